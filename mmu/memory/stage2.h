/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STAGE2_H
#define QUIRE_MMU_MEMORY_STAGE2_H

/*
 * Stage 2: the state of every guest page, as a radix tree in EPT format.
 *
 * It is bookkeeping only: it says what a gfn is, counts it, and refuses moves that make no sense.
 * The back end (gmem.h) makes that real, with memory files, userfaultfd and KVM.
 *
 * Memory: table pages come from an arena.  Its address space is reserved at creation, for every
 * table that RAM can need, so no change can fail for want of a table.  A page of the arena is
 * touched only while it holds a table, so cost follows what the guest touched.
 *
 * Locking: there is none inside.  Callers take turns, under LOCK_GMEM.
 */
#include "mmu/format/pgtable.h"

/* What a guest page is.  Each gfn of RAM is in exactly one state. */
enum page_state {
	PG_ABSENT,     /* nothing is behind this gfn yet: it reads as zeroes and costs nothing */
	PG_PRIVATE,    /* it has a frame of its own, counted once in resident */
	PG_SHARED,     /* it has a frame of the store, read-only, that others may have too */
	PG_ZERO,       /* no frame: it reads as zeroes, and is mapped once it was read */
	PG_BALLOONED,  /* no frame: the guest gave it to its balloon */
	PG_COMPRESSED, /* no frame: the pool has its bytes, and the payload is their handle */
	PG_SWAPPED,    /* no frame: the swap file has its bytes, and the payload is its gfn */
	PG_ARCHIVED,   /* no frame: a store has its bytes, packed, and the payload says where */
	PG_NR_STATES
};

/*
 * The number that an entry has beside the state, in 40 bits.  If the entry maps a frame, it is that
 * frame's.  If not, it is the *payload*: what else one must know of the page, such as where in a
 * file its bytes are.  In a linear run the numbers are
 */
enum page_number {
	NUMBER_NONE,	/* 0: there is none */
	NUMBER_SAME,	/* all the same */
	NUMBER_FOLLOWS, /* from page to page one more */
};

/* What is true of all pages in a state; page_states.c has the one table of states. */
struct page_state_info {
	const char *name;
	char glyph;		  /* in `quire map` */
	uint32_t rgb;		  /* in `quire map --png` */
	enum page_number frame;	  /* of a page that is mapped; NUMBER_NONE: none is */
	enum page_number payload; /* of a page that is not mapped */
	bool maps_late;		  /* a page may be mapped or not; else all are, or none */
	bool writable;		  /* the guest may write what is mapped */
	bool resident;		  /* the page occupies a frame of the RAM file */
	bool large;		  /* a 2 MiB leaf may be in this state */
	bool loads;		  /* a touch loads its bytes, and stalls the vCPU until then */
	uint32_t moves;		  /* bit n: a page may go to state n */
};
extern const struct page_state_info page_states[PG_NR_STATES];

/*
 * Machine frames beyond the RAM file: the store's begin at STAGE2_STORE_PFN, and there is one for
 * the page of zeroes.  What is not mapped has STAGE2_UNMAPPED | payload in place of a frame.
 */
#define STAGE2_STORE_PFN (1ULL << 36)
#define STAGE2_ZERO_PFN	 (1ULL << 39)
#define STAGE2_UNMAPPED	 (1ULL << 63)

/* A gfn's entry, decoded. */
struct stage2_page {
	enum page_state state;
	uint8_t level; /* 2: part of a 2 MiB leaf, else 1 */
	bool mapped;   /* the entry maps a frame: private, shared, and zero if it was read */
	pfn_t pfn;     /* that machine frame, or STAGE2_UNMAPPED | payload */
};

/* Is a page in this state mapped, if it has pfn? */
static inline bool stage2_maps(enum page_state state, pfn_t pfn)
{
	return page_states[state].frame != NUMBER_NONE && !(pfn & STAGE2_UNMAPPED);
}

/* The pfn of the n-th page of a linear run whose first has pfn. */
static inline pfn_t stage2_frame(enum page_state state, pfn_t pfn, uint64_t n)
{
	const struct page_state_info *info = &page_states[state];
	enum page_number number = stage2_maps(state, pfn) ? info->frame : info->payload;

	return number == NUMBER_FOLLOWS ? pfn + n : pfn;
}

struct stage2_counters {
	uint64_t pages[PG_NR_STATES]; /* their sum is ram_pages */
	uint64_t ram_pages;
	uint64_t large_leaves;	    /* 2 MiB leaves in place */
	uint64_t splits, collapses; /* since creation */
	uint64_t tables;	    /* table pages in use, the root included */
	uint64_t metadata_bytes;    /* everything that stage 2 itself occupies now */
};

struct stage2;

/*
 * Create a tree in which all pages are absent.  The nr RAM ranges are sorted, disjoint, not empty,
 * and below 2^36 frames; they are copied.
 * 0; -EINVAL: bad ranges; -ENOMEM: no memory or no address space.
 */
int stage2_create(const struct gfn_range *ram, unsigned int nr, struct stage2 **out);

/* Free the tree.  NULL is fine. */
void stage2_destroy(struct stage2 *s2);

/* Is all of [gfn, gfn + nr) RAM, and one range of it?  nr may be anything; overflow is no RAM. */
bool stage2_is_ram(const struct stage2 *s2, gfn_t gfn, uint64_t nr);

/* Decode gfn's entry into *page.  0, or -EFAULT: gfn is not RAM. */
int stage2_lookup(const struct stage2 *s2, gfn_t gfn, struct stage2_page *page);

/*
 * How many pages from gfn on, at most to end, are in one state, which goes to *state. [gfn, end) is
 * RAM and not empty.  The cost is that of the entries looked at; a hole in the tree is one.
 */
uint64_t stage2_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, enum page_state *state);

/*
 * The length of the linear run at gfn, at most to end: pages in one state, mapped or not like the
 * first, with the frames or payloads that stage2_frame says, in one table and in leaves of one
 * size.  The first page goes to *page.
 */
uint64_t stage2_linear_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, struct stage2_page *page);

/*
 * Move all pages of [gfn, gfn + nr) to state `to`.  This is the one door for a change of state.  A
 * 2 MiB leaf that the range covers only in part is split first.
 *
 * pfn: of the first page, and stage2_frame says of the others.  Private and shared pages get a
 * frame, zero pages STAGE2_ZERO_PFN or STAGE2_UNMAPPED.  A state whose row has neither frame nor
 * payload ignores it.
 *
 * Returns 0;
 *   -EFAULT  part of the range is not RAM, or nr is 0 (nothing changed)
 *   -EPERM   the table of moves forbids it for some page (nothing changed)
 */
int stage2_set(struct stage2 *s2, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn);

/*
 * Map the block of 512 pages at gfn by one 2 MiB leaf, to the 512 frames from pfn on.  gfn and pfn
 * are multiples of 512.  The pages are all absent, or all private with just these frames (that is a
 * collapse).
 *
 * Returns 0; on failure nothing changed:
 *   -EFAULT  not all of the block is RAM
 *   -EINVAL  gfn or pfn is not aligned
 *   -EBUSY   the pages are neither all absent nor all private with these frames
 *   -EEXIST  the block is one leaf already
 */
int stage2_set_large(struct stage2 *s2, gfn_t gfn, pfn_t pfn);

/* Replace the 2 MiB leaf over gfn by 512 entries.  0; -ENOENT: there is none. */
int stage2_split(struct stage2 *s2, gfn_t gfn);

/* How many pages occupy a frame of the RAM file. */
uint64_t stage2_resident(const struct stage2 *s2);

/* Copy the counters to *out. */
void stage2_counters(const struct stage2 *s2, struct stage2_counters *out);

/*
 * Recompute everything from the tree and compare: counters, legality of each entry, occupancy of
 * tables, sums.  Describes each fault through report (may be NULL).  Returns their number.
 */
unsigned int stage2_audit(const struct stage2 *s2, void (*report)(void *ctx, const char *what),
			  void *ctx);

/*
 * For a walk (pgtable.h, walk.h): the address of the root table, the function that reads an entry
 * (its ctx is the struct stage2), and the EPT features that our tables assume.
 */
uint64_t stage2_root(const struct stage2 *s2);
int stage2_read_entry(void *s2, uint64_t addr, const struct pt_level *lv, uint64_t *entry);
extern const struct pt_rules stage2_rules;

#endif
