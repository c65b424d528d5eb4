/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_FORMAT_WALK_H
#define QUIRE_MMU_FORMAT_WALK_H

/*
 * The two-dimensional walk: from gva to gpa through the guest's tables, where every reference to a
 * guest table is itself a gpa that goes through stage 2.  It records each memory reference in
 * order.  If the access is refused, it says exactly what a processor would say: a #PF error code
 * (Intel SDM Vol. 3A, "Page-Fault Exceptions") or an EPT-violation qualification (Vol. 3C, "Exit
 * Qualification for EPT Violations").
 *
 * The walk is a pure function of its inputs: it takes no lock, allocates nothing and prints
 * nothing.  The caller keeps guest memory from vanishing (LOCK_GMEM).  The guest's vCPUs may change
 * their tables meanwhile, and each entry is read once.
 *
 * Order of events, as on a processor:
 *   1. The address must be canonical (4- and 5-level paging; outside long mode it is cut to
 *      32 bits).
 *   2. Root to leaf, each guest entry: its gpa goes through stage 2, which may refuse; the
 *      entry is read; not present faults with P = 0, reserved bits fault with RSVD.
 *   3. The permissions of all levels together: #PF if they refuse.
 *   4. With set_ad, root to leaf: A where it is clear, D in the leaf for a write, through
 *      the same stage-2 translation as the read, which must allow the write.  A #PF thus
 *      leaves no trace in the tables; a processor may have set A bits in upper levels by
 *      then, which the manual allows but does not require (and KVM's own walk does not).
 *   5. The address found goes through stage 2 as the final access.
 *
 * Within stage 2 likewise: from root to leaf, the first entry that is malformed or not present ends
 * the walk.  The permissions of all levels together come last.  Stage 2's own A and D bits are
 * never written, whatever EPTP bit 6 says: changes to stage-2 entries go through stage2.h's one
 * door.
 *
 * Not modelled: protection keys, shadow stacks, linear-address masking, PDPTE registers
 * (PAE's four PDPTEs are read from memory with each walk, as entries of level 3), and
 * implicit supervisor accesses (the processor's own, from CPL 3).
 */
#include "pgtable.h"

/* The registers that select and steer the guest's paging. */
struct walk_cpu {
	uint64_t cr0, cr3, cr4, efer; /* bits that are not CR3's table address are ignored */
	bool ac;		      /* RFLAGS.AC: lifts SMAP for explicit accesses */
	uint8_t maxphyaddr;	      /* guest's CPUID 0x80000008 EAX[7:0]; taken as 32..52 */
	bool pages_1g;		      /* guest's CPUID 0x80000001 EDX[26] */
	bool amd;		      /* guest's CPUID vendor is AMD or Hygon, not Intel */
};

struct walk_access {
	bool write, fetch; /* neither: a read; both is not an access */
	bool user;	   /* CPL 3 */
	bool set_ad;	   /* store A and D bits in the guest's tables, like a processor */
};

/*
 * Stage 2 as the walk sees it.  A gpa wider than the format's address_bits is a violation,
 * without a reference, as if no entry were present.
 */
struct walk_stage2 {
	const struct pt_format *format; /* ept4_format or ept5_format */
	struct pt_rules rules;
	uint64_t root;	 /* address of the root table, for read */
	bool ad;	 /* EPTP bit 6: guest table references count as writes */
	pt_read_fn read; /* fetch a stage-2 entry */
	void *ctx;
};

/* Guest memory by machine address.  Accesses are of 4 or 8 bytes, and naturally aligned. */
struct walk_memory {
	/* 0, or -errno if nothing is there (ends the walk as WALK_NO_MEMORY). */
	int (*read)(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value);
	/*
	 * Set bits in the entry at addr if it still equals value.  0; -EAGAIN: it changed, and the
	 * walk starts over, as a processor would; another -errno: nothing is there, or it cannot be
	 * written (WALK_NO_MEMORY).  May be NULL if set_ad is never asked for.
	 */
	int (*set_bits)(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value, uint64_t bits);
	void *ctx;
};

enum walk_outcome {
	WALK_OK,	    /* gpa and maddr are valid */
	WALK_PAGE_FAULT,    /* the guest gets #PF with error_code; gpa is invalid */
	WALK_NOT_CANONICAL, /* the guest gets #GP (#SS for stack accesses) */
	WALK_VIOLATION,	    /* stage 2 refuses at gpa, with qualification */
	WALK_MISCONFIG,	    /* stage 2's entry for gpa is malformed (exit reason 49) */
	WALK_NO_MEMORY,	    /* stage 2 maps gpa to where no memory is */
	WALK_BAD_MODE,	    /* CR0, CR4 and EFER are no paging mode of x86 */
	WALK_AGAIN,	    /* the guest kept changing its tables: let it run, fault again */
};

/* One memory reference. */
struct walk_ref {
	uint8_t stage;	  /* 1: a guest entry, 2: a stage-2 entry */
	uint8_t level;	  /* of the entry, 1 = 4 KiB upward */
	const char *name; /* "PML4E", "EPT PTE", ... */
	uint64_t addr;	  /* stage 1: gpa of the entry; stage 2: its table address */
	uint64_t input;	  /* stage 1: the gva; stage 2: the gpa being translated */
	uint64_t entry;	  /* its value as read, before A and D were set */
};

#define WALK_MAX_REFS 36 /* 5x5 levels make 35 */

struct walk_result {
	enum walk_outcome outcome;
	gpa_t gpa;			 /* OK: the address; stage 2 or memory: the gpa refused */
	maddr_t maddr;			 /* OK; GPA_INVALID like gpa where there is none */
	uint32_t error_code;		 /* PAGE_FAULT: P W U RSVD I in bits 0..4 */
	uint64_t qualification;		 /* VIOLATION */
	uint8_t level1, level2;		 /* OK: leaf levels of the stages; 0 if that stage is off */
	const struct pt_format *format1; /* the guest's; NULL with paging off */
	/*
	 * A refused walk failed at the last reference, whose entry is 0 if it could not be read.
	 * Setting A and D bits adds no reference: it writes where the walk has read.
	 */
	unsigned int nr_refs;
	struct walk_ref ref[WALK_MAX_REFS];
};

/* Of a violation's qualification: the access itself, and not that to a guest table, was refused. */
#define WALK_FINAL 0x100u

/* #PF error code bits. */
#define PF_P	0x01u
#define PF_W	0x02u
#define PF_U	0x04u
#define PF_RSVD 0x08u
#define PF_I	0x10u

/*
 * The guest paging format that cr0, cr4 and efer select.  NULL: paging is off.  *bad says whether
 * no processor can be in that combination; then NULL is returned too.
 */
const struct pt_format *walk_guest_format(const struct walk_cpu *cpu, bool *bad);

/* The rules by which bits in this guest's tables are reserved. */
struct pt_rules walk_guest_rules(const struct walk_cpu *cpu);

/* Where the root table is, if walk_guest_format() has returned fmt. */
gpa_t walk_guest_root(const struct walk_cpu *cpu, const struct pt_format *fmt);

/*
 * Translate gva.  If s2 is NULL there is no stage 2, and machine addresses are guest addresses.
 * Fills *res, also when the access is refused, but of res->ref only the first nr_refs.  Returns
 * res->outcome.
 */
enum walk_outcome walk_2d(const struct walk_cpu *cpu, const struct walk_stage2 *s2,
			  const struct walk_memory *mem, gva_t gva, struct walk_access access,
			  struct walk_result *res);

/* "ok", "page fault", ... */
const char *walk_outcome_name(enum walk_outcome outcome);

#endif
