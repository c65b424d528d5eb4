/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SHADOW_SHADOW_H
#define QUIRE_MMU_SHADOW_SHADOW_H

/*
 * Shadow page tables: the guest's tables (stage 1) composed with ours (stage 2), in the format of
 * 4-level paging, for a processor that runs the guest at CPL 3.
 *
 * An entry is made when the guest first needs it, by the 2D walk.  It grants what both stages
 * grant, to one *view*: the guest's user or its supervisor.  The real CPL is always 3, so each view
 * has its own tables, and that of the user has no entry for a supervisor page.
 *
 * What is stale.  The guest may change its tables without a word, as on a processor.  Each shadow
 * page remembers the guest entries that its own entries were made of.  So an entry may be older
 * than the guest's tables until the guest says INVLPG or loads CR3 (shadow_invlpg, shadow_resync),
 * and no longer.  An entry is never older than stage 2: who changes stage 2 says so (shadow_forget,
 * shadow_protect), under the same lock.
 *
 * What is flushed.  A processor may hold an entry that has become weaker here.  Each such change is
 * noted in a list, which shadow_flush hands to whoever can reach the processors.  Until then,
 * tables that were freed are not used again.
 *
 * What is trusted.  The arena is written and never read.  A guest that finds a way to write it has
 * an arena of its own making, as it has a CR3 of its own making, and nothing here follows from it.
 *
 * Limits.  The processor must run in 4-level mode, so guests with 5-level paging are refused.  With
 * SMAP but not SMEP, the guest's supervisor can read a user page that it has executed.
 *
 * Locking: there is none inside.  Callers take turns, under LOCK_GMEM.
 */
#include "mmu/format/walk.h"

/*
 * Machine addresses as the shadow tables have them, which are KVM's guest-physical ones.  A guest's
 * own addresses lie below SHADOW_GUEST_END.  Its devices and its RAM, but for the first 2 MiB, are
 * where the guest sees them.
 */
#define SHADOW_GUEST_END    (1ULL << 38)
#define SHADOW_MONITOR_BASE SHADOW_GUEST_END		  /* the monitor: at most 4 GiB */
#define SHADOW_ZERO_PAGE    (SHADOW_GUEST_END + 8 * GiB)  /* one page of zeroes, read-only */
#define SHADOW_NOWHERE	    (SHADOW_GUEST_END + 12 * GiB) /* one page, no memory and no device */
#define SHADOW_LOW_RAM	    (SHADOW_GUEST_END + 16 * GiB) /* RAM below SHADOW_LOW_END */
#define SHADOW_STORE_BASE   (SHADOW_GUEST_END + 64 * GiB) /* segments of the store, read-only */

/*
 * RAM below this address is apart, so that there is none where a processor starts by itself, in
 * real mode: KVM_RUN returns before the first instruction (vmm/vm/vcpu_real.c).
 */
#define SHADOW_LOW_END QUIRE_BLOCK_SIZE

/*
 * The entry of each root table that belongs to the monitor, and the addresses that it covers.
 * Linux leaves this part to hypervisors ("guard hole", Documentation/arch/x86/x86_64/mm.rst).  A
 * guest that maps something there gets #PF when it uses it, as if the page were not present.
 */
#define SHADOW_MONITOR_SLOT 256u
#define SHADOW_MONITOR_GVA  0xffff800000000000ULL
#define SHADOW_MONITOR_END  0xffff808000000000ULL

#define SHADOW_MAX_VCPUS 64u

/* Entries that have become weaker, by their machine addresses. */
#define SHADOW_MAX_STALE 1024u
struct shadow_stale {
	bool all; /* there were too many: any entry may be stale */
	unsigned int nr;
	maddr_t entry[SHADOW_MAX_STALE];
};

struct shadow_config {
	void *arena;		/* memory for tables, which the processor reads */
	maddr_t arena_maddr;	/* the same as it addresses it; both page-aligned */
	uint32_t arena_pages;	/* SHADOW_MIN_PAGES or more */
	uint64_t monitor_entry; /* the entry at SHADOW_MONITOR_SLOT of each root */

	const struct gfn_range *ram; /* sorted, disjoint; copied */
	unsigned int nr_ram;
	uint8_t maxphyaddr; /* of the guest's CPUID, for the rules of its tables */

	struct walk_stage2 stage2; /* 4 KiB and 2 MiB leaves; machine addresses of the callers */
	struct walk_memory memory;
	/* The machine address, as above, of a frame that stage 2 names. */
	maddr_t (*frame)(void *ctx, pfn_t pfn);
	/*
	 * Return when no processor can use an entry of the list as it was.  A processor that is out
	 * of the guest may do its part before it enters.  *stale is valid during the call.
	 */
	void (*flush)(void *ctx, const struct shadow_stale *stale);
	void *ctx; /* of frame and flush */
};

#define SHADOW_MIN_PAGES 64u

struct shadow;

/* 0, -EINVAL: bad ranges, or RAM beyond SHADOW_GUEST_END; -ENOMEM: no address space. */
int shadow_create(const struct shadow_config *config, struct shadow **out);

/* Free it.  The arena stays.  NULL is fine. */
void shadow_destroy(struct shadow *s);

/* --- what the processor does ------------------------------------------------------------- */

enum shadow_answer {
	SHADOW_MAPPED,	      /* the entry is there: let the guest try again */
	SHADOW_PAGE_FAULT,    /* the guest gets #PF with res->error_code */
	SHADOW_NOT_CANONICAL, /* the guest gets #GP (#SS for stack accesses) */
	SHADOW_NEEDS_PAGE,    /* res->gpa must come in, to be written if PT_PERM_W is in
				 res->qualification: do it, and call again */
	SHADOW_AGAIN,	      /* call again, after shadow_flush */
	SHADOW_BAD_MODE,      /* no paging mode of x86, or one that cannot be shadowed */
};

/*
 * The processor had #PF at gva, or will have: make the entry for this access, or say why there is
 * none.  access.set_ad is taken as set: A and D bits become set in the guest's tables as by a
 * processor.  access.user is the guest's CPL 3; which view is meant follows from it.
 *
 * An address that is neither RAM nor at or above SHADOW_GUEST_END is a device's: it is mapped as it
 * is, for an exit of KVM's.  One above is mapped to SHADOW_NOWHERE.  A guest table that is not in
 * RAM reads as all ones, and #PF says so (RSVD).
 *
 * *res is as walk_2d left it, and what enum shadow_answer says.
 */
enum shadow_answer shadow_fault(struct shadow *s, const struct walk_cpu *cpu, gva_t gva,
				struct walk_access access, struct walk_result *res);

/*
 * The root table that processor `vcpu` is to use now, for CR3 and the other registers in *cpu, and
 * for the user's or the supervisor's view: its machine address, as CR3 wants it.  `now` is the
 * root that the real CR3 has until that is loaded, of an earlier call for this processor; 0: none.
 * Both stay until the next call for this processor, whatever others do.  0: no table is free now;
 * call shadow_flush, and try again.  GPA_INVALID: SHADOW_BAD_MODE.
 */
maddr_t shadow_root(struct shadow *s, unsigned int vcpu, maddr_t now, const struct walk_cpu *cpu,
		    bool user);

/* The guest said INVLPG gva. */
void shadow_invlpg(struct shadow *s, const struct walk_cpu *cpu, gva_t gva);

/*
 * The guest loaded CR3, or changed bits of CR0, CR4 or EFER that flush, or invalidates more than
 * one page by INVPCID.  Entries that no longer follow from the guest's tables go.  From now on,
 * each page that is a table in use is write-protected, until it is written.
 */
void shadow_resync(struct shadow *s);

/* --- what stage 2 does ------------------------------------------------------------------- */

/* [gfn, gfn + nr) change their frame, or lose it: nothing maps them any more. */
void shadow_forget(struct shadow *s, gfn_t gfn, uint64_t nr);

/* Does any entry map gfn, which is RAM? */
bool shadow_is_mapped(const struct shadow *s, gfn_t gfn);

/* Whole blocks of [gfn, gfn + nr) are not 2 MiB in stage 2 any more. */
void shadow_split(struct shadow *s, gfn_t gfn, uint64_t nr);

/* [gfn, gfn + nr) may not be written any more. */
void shadow_protect(struct shadow *s, gfn_t gfn, uint64_t nr);

/* They may again, as far as stage 2 and the guest's tables allow. */
void shadow_unprotect(struct shadow *s, gfn_t gfn, uint64_t nr);

/* Bytes of [gfn, gfn + nr) changed, and no processor of the guest wrote them. */
void shadow_written(struct shadow *s, gfn_t gfn, uint64_t nr);

/* If anything is stale, call config.flush, and forget that it is. */
void shadow_flush(struct shadow *s);

/* --- looking ----------------------------------------------------------------------------- */

struct shadow_stats {
	uint64_t pages;	     /* table pages in use now */
	uint64_t most_pages; /* ... and at any time */
	uint64_t free_pages; /* ... and free; the rest waits for a flush */
	uint64_t roots;	     /* of the pages in use */
	uint64_t unsync;     /* of the pages in use: the guest may be changing its table */
	uint64_t leaves;     /* entries that map, now */
	uint64_t large;	     /* ... of which 2 MiB */
	uint64_t fills;	     /* leaves made by shadow_fault for the access itself */
	uint64_t ahead;	     /* ... and for pages around it */
	uint64_t unsyncs;    /* first writes to a protected table */
	uint64_t resyncs;    /* calls of shadow_resync */
	uint64_t zaps;	     /* entries that went, for whatever reason */
	uint64_t evictions;  /* pages that went to make room */
	uint64_t flushes;    /* calls of config.flush */
	uint64_t full;	     /* ... with `all` */
};

void shadow_stats(const struct shadow *s, struct shadow_stats *out);

/* What a shadow page stands for. */
enum sp_kind {
	SP_DIRECT,  /* no guest table: consecutive frames */
	SP_PAD,	    /* nothing: above the root of a guest format with fewer levels than four */
	SP_GUEST,   /* a guest's table, or the part of it that 512 entries cover */
	SP_MONITOR, /* only of an entry: the monitor's */
};

/* An entry that a processor reads, and what it stands for. */
struct shadow_ref {
	uint8_t level;	 /* 4 to 1; of a guest's table too */
	uint8_t kind;	 /* enum sp_kind */
	uint8_t access;	 /* PT_PERM_*: of the levels above (SP_GUEST), of the view (SP_DIRECT) */
	uint8_t in_sync; /* SP_GUEST: the guest's table is write-protected */
	uint8_t zero[4];
	maddr_t address;
	uint64_t entry;
	gpa_t guest;   /* SP_GUEST: of the guest's entry; SP_DIRECT: the first that is mapped */
	uint64_t then; /* SP_GUEST: the guest's entry that ours was made of ... */
	uint64_t now;  /* ... and what it is now */
};

enum shadow_found {
	SHADOW_NO_TABLES, /* the guest is not on shadow tables */
	SHADOW_NO_ROOT,	  /* there is no root for these registers and this view */
	SHADOW_NO_ENTRY,  /* the last reference is empty; none: no entry can have this address */
	SHADOW_MAPS,	  /* the last reference maps the page */
};

/* What the processor walks at an address, from the root on. */
struct shadow_look {
	uint32_t found; /* enum shadow_found */
	uint32_t nr_refs;
	uint8_t user;		     /* the view */
	uint8_t wp, nxe, smep, smap; /* the rules that matter for it */
	uint8_t stage2_level;	     /* MAPS: of the entry of stage 2 behind it; 0: it is no RAM */
	uint8_t stale;		     /* bit n: ref[n] is older than the guest's tables */
	uint8_t zero;
	maddr_t root;
	gpa_t gpa;	       /* MAPS: where the leaf begins */
	uint64_t stage2_entry; /* MAPS */
	struct shadow_ref ref[4];
};

/*
 * Look, as a processor with these registers would for this view, and change nothing.  *walk is what
 * walk_2d has said of gva just now, under the same lock: guest entries that it has read are not
 * read again, so both show one moment.
 */
void shadow_look(const struct shadow *s, const struct walk_cpu *cpu, bool user, gva_t gva,
		 const struct walk_result *walk, struct shadow_look *out);

/*
 * Re-derive each entry from what the guest's tables said and from stage 2, and recount everything.
 * Describes each fault through report (may be NULL).  Returns their number.
 */
unsigned int shadow_audit(const struct shadow *s, void (*report)(void *ctx, const char *what),
			  void *ctx);

#endif
