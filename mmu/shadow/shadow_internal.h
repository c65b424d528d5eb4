/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SHADOW_SHADOW_INTERNAL_H
#define QUIRE_MMU_SHADOW_SHADOW_INTERNAL_H

/*
 * What the files of this room share.
 *
 * A *shadow page* (sp) is a table of 512 entries in the arena and what we know of it.  A *slot* is
 * one entry, by its number: the page's index times 512, and the entry's.
 *
 *   role      what the page stands for.  Two pages never have the same.
 *   snapshot  of each present entry of a page that shadows a guest table, the guest's entry that
 *             it was made of, with the A and D bits that the walk has set.
 *   lists     A slot that is a leaf of RAM is in the list of its gfn (or of its block, if it maps
 *             2 MiB).  A slot that is a link is in the list of the page's parents.  So each change
 *             finds the entries that it concerns.
 *   in sync   The guest's table is write-protected, and each entry agrees with its snapshot.  A
 *             page begins its life out of sync, and is in sync after shadow_resync.
 *
 * Links grant everything.  A leaf has the whole answer: the role has what the levels above grant.
 */
#include "mmu/format/x86pt.h"
#include "shadow.h"

#define SP_ENTRIES 512u
#define SP_NONE	   UINT32_MAX

#define SHADOW_PCD  (1ULL << 4)
#define SHADOW_LINK (X86_P | X86_W | X86_U | X86_A)
#define SHADOW_LEAF (X86_P | X86_U | X86_A | X86_D)

/* `access` is of the levels above (SP_GUEST), or for the view itself (SP_DIRECT): PT_PERM_*. */
struct sp_role {
	gpa_t base;
	uint8_t kind, level;
	uint8_t format;	  /* guest's number of levels; 0: paging is off */
	uint8_t quadrant; /* which part of a 32-bit guest table */
	uint8_t access;
	bool user, wp, nxe, smep, smap, pse; /* as far as they matter for the view */
};

struct shadow_page {
	struct sp_role role;
	uint32_t hash_next; /* SP_NONE: the end; also links the lists of free pages */
	uint32_t parents;   /* slots that link here; 0: none, else the slot + 1 */
	uint32_t unsync_at; /* its place in shadow.unsync, or SP_NONE */
	uint32_t present;   /* entries, without the monitor's */
	bool in_use;
	bool in_sync;
	bool recent;	/* was used since the clock came by */
	uint8_t floods; /* first writes to its table since it was last filled */
};

struct shadow {
	struct shadow_config config;
	struct gfn_range ram[8];
	gfn_t span;		       /* end of RAM */
	uint64_t (*entry)[SP_ENTRIES]; /* what the entries are ... */
	uint64_t (*table)[SP_ENTRIES]; /* ... and the arena, which is written only */
	uint64_t (*snapshot)[SP_ENTRIES];
	uint32_t *next, *prev; /* by slot: of its list, the slot + 1; 0: none */
	struct shadow_page *page;
	uint32_t *hash, hash_mask;   /* by base: the first page, or SP_NONE */
	uint32_t free, limbo;	     /* lists; limbo waits for a flush */
	uint32_t *rmap, *rmap_large; /* by gfn and by block: first slot + 1 */
	uint16_t *synced;	     /* by block: pages in sync whose table lies there */
	uint32_t *unsync, nr_unsync;
	uint32_t clock; /* the hand of the eviction */
	/* In use, or SP_NONE: what a processor is to load, and what its CR3 may still have. */
	uint32_t root[SHADOW_MAX_VCPUS][2];
	struct shadow_stale stale;
	struct shadow_stats stats;
};

/* What stage 2 has at a gpa. */
struct backing {
	maddr_t maddr; /* of its page, for the processor */
	bool writable;
	bool large; /* a 2 MiB leaf */
};

/* --- guest memory (shadow.c) --- */

bool shadow_is_ram(const struct shadow *s, gfn_t gfn);

/* Stage 2's leaf for gpa.  False: it maps nothing there. */
bool shadow_walk_stage2(const struct shadow *s, gpa_t gpa, struct pt_result *leaf);

/* False: stage 2 maps nothing there. */
bool shadow_backing(const struct shadow *s, gfn_t gfn, struct backing *b);

/* The guest entry at gpa; 0 if nothing is mapped there, which reads as zeroes. */
uint64_t shadow_read_guest(const struct shadow *s, gpa_t gpa, unsigned int bytes);

/* --- roles (role.c) --- */

bool role_equal(const struct sp_role *a, const struct sp_role *b);
const struct pt_format *role_format(const struct sp_role *role);
/* The guest's level that the page shadows, and the address of the guest entry behind entry i. */
const struct pt_level *role_level(const struct sp_role *role);
gpa_t role_entry_gpa(const struct sp_role *role, unsigned int i);

/* The role of the root for these registers.  False: no mode that can be shadowed. */
bool role_of_root(const struct walk_cpu *cpu, bool user, struct sp_role *root);
/* The same; if CR3 leads out of RAM, of a root that stands for no table. */
bool role_of_root_in_ram(const struct shadow *s, const struct walk_cpu *cpu, bool user,
			 struct sp_role *root);

/* What the view may do with a page to which all levels together grant `access`. */
unsigned int role_view(const struct sp_role *role, unsigned int access);

/*
 * What entry i stands for, if `entry` is the guest's (SP_GUEST): a leaf, whose first gpa and
 * permissions for the view are given; or the role of the table below.
 */
struct sp_target {
	bool leaf;	      /* a frame of the entry's size, or more than one of smaller size */
	gpa_t gpa;	      /* leaf */
	unsigned int perm;    /* leaf: PT_PERM_R, W, X */
	struct sp_role child; /* the table to link, also for a leaf that cannot be one entry */
};
void role_target(const struct sp_role *role, unsigned int i, uint64_t entry,
		 const struct pt_rules *rules, struct sp_target *t);

struct pt_rules role_rules(const struct shadow *s, const struct sp_role *role);

/* --- pages (page.c) --- */

uint32_t page_find(const struct shadow *s, const struct sp_role *role);
/* SP_NONE: there is no free page, and some were put into limbo. */
uint32_t page_alloc(struct shadow *s, const struct sp_role *role);
/* Take away all that links to it, and with the last link the page.  A root goes at once. */
void page_zap(struct shadow *s, uint32_t sp);
/* The roots of the guest's table at base: the first `max` go to out.  Returns how many. */
unsigned int page_roots(const struct shadow *s, gpa_t base, uint32_t *out, unsigned int max);
bool page_is_root_in_use(const struct shadow *s, uint32_t sp);
uint32_t page_of_entry(const struct shadow *s, uint64_t link);

/* Is the gfn a table that is in sync, and so write-protected? */
bool page_is_protected(const struct shadow *s, gfn_t gfn);
void page_set_sync(struct shadow *s, uint32_t sp, bool in_sync);
/* The first page, from `sp` on in its chain, that shadows a table in gfn; from the hash if NONE. */
uint32_t page_next_of_gfn(const struct shadow *s, gfn_t gfn, uint32_t sp);

/* --- entries (entry.c) --- */

/* The one door.  `snapshot` is the guest's entry, for SP_GUEST. */
void entry_set(struct shadow *s, uint32_t sp, unsigned int i, uint64_t entry, uint64_t snapshot);
void entry_zap(struct shadow *s, uint32_t sp, unsigned int i);
/* A page that comes into use is empty, but for the monitor's entry of a root. */
void entry_clear(struct shadow *s, uint32_t sp);
/* Take the right to write from a leaf of 4 KiB, or grant it again as far as it follows. */
void entry_protect(struct shadow *s, uint32_t slot);
void entry_unprotect(struct shadow *s, uint32_t slot);
bool entry_is_leaf(const struct shadow *s, uint32_t sp, unsigned int i);
gfn_t entry_gfn(const struct shadow *s, uint32_t sp, unsigned int i);
/* The head of the list in which a present entry is; NULL: in none. */
uint32_t *entry_list(struct shadow *s, uint32_t sp, unsigned int i);
uint64_t entry_leaf(const struct shadow *s, gpa_t gpa, unsigned int level, unsigned int perm,
		    const struct backing *b);
bool entry_may_be_large(const struct shadow *s, gpa_t gpa, const struct backing *b);

/* --- coherence (sync.c) --- */

/* Entries of sp that differ from the guest's table go; `links`: only those that are links. */
void sync_compare(struct shadow *s, uint32_t sp, bool links);
/* The same for sp and all below it. */
void sync_below(struct shadow *s, uint32_t sp);
void sync_unsync(struct shadow *s, gfn_t gfn);
/* Ours was made of the guest's entry `then`, which is `now`: does it lag behind? */
bool sync_is_older(const struct pt_format *format, uint64_t then, uint64_t now);

static inline unsigned int sp_index(gva_t gva, unsigned int level)
{
	return gva >> (QUIRE_PAGE_SHIFT + 9 * (level - 1)) & (SP_ENTRIES - 1);
}

static inline uint64_t sp_span(unsigned int level)
{
	return QUIRE_PAGE_SIZE << 9 * (level - 1);
}

#endif
