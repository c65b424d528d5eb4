/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STAGE2_H
#define QUIRE_MMU_MEMORY_STAGE2_H

/*
 * Stage 2: the state of every guest page, as a radix tree in EPT format.
 *
 * This is bookkeeping only: it decides what a gfn is, counts it, and refuses moves that
 * make no sense.  Making the decision real (memory files, userfaultfd, KVM) is a back
 * end's work (gmem.h).
 *
 * Memory: table pages come from an arena whose address space is reserved at creation, for
 * every page at level 1, so no change can fail for want of a table; pages of the arena are
 * touched only while they hold a table, so cost follows what the guest touched.
 *
 * Locking: none inside; callers serialise (gmem.h's lock does).
 */
#include "mmu/format/pgtable.h"

/* What a guest page is.  Each gfn of RAM is in exactly one state. */
enum page_state {
	PG_ABSENT,  /* nothing behind this gfn yet: reads as zeroes, costs nothing */
	PG_PRIVATE, /* one frame of its own, counted once in resident */
	PG_SHARED,  /* a frame of the store, read-only: the same bytes as pages elsewhere */
	PG_ZERO, /* no frame: reads find zeroes; once it was read, the page of zeroes is mapped */
	PG_BALLOONED, /* no frame: the guest gave it up, and will not touch it untold */
	PG_NR_STATES
};

/* What is true of a state; stage2.c has the one table of them. */
struct page_state_info {
	const char *name;
	char glyph;	/* in `quire map` */
	uint32_t rgb;	/* in `quire map --png` */
	bool present;	/* the entry maps a frame ... */
	bool writable;	/* ... which the guest may write */
	bool one_frame; /* ... and which is STAGE2_ZERO_PFN for all; or maps nothing, page by page */
	bool resident;	/* it occupies a frame */
	bool large;	/* a 2 MiB leaf may have it */
	uint32_t moves; /* bit n: a page may go to state n */
};
extern const struct page_state_info page_states[PG_NR_STATES];

/*
 * Machine frames beyond the RAM file: the store's begin at STAGE2_STORE_PFN, and there is one for
 * the page of zeroes.  STAGE2_UNMAPPED stands for a frame where there is none.
 */
#define STAGE2_STORE_PFN (1ULL << 36)
#define STAGE2_ZERO_PFN	 (1ULL << 39)
#define STAGE2_UNMAPPED	 0ULL

/* A gfn's entry, decoded. */
struct stage2_page {
	enum page_state state;
	uint8_t level; /* 2: part of a 2 MiB leaf, else 1 */
	bool mapped;   /* the entry maps a frame: private, shared, and zero if it was read */
	pfn_t pfn;     /* that machine frame, or STAGE2_UNMAPPED */
};

/* The frame of the n-th page of a run whose first has the frame pfn. */
static inline pfn_t stage2_frame(enum page_state state, pfn_t pfn, uint64_t n)
{
	return page_states[state].one_frame ? pfn : pfn + n;
}

struct stage2_counters {
	uint64_t pages[PG_NR_STATES]; /* sum == ram_pages */
	uint64_t ram_pages;
	uint64_t large_leaves;	    /* 2 MiB leaves in place */
	uint64_t splits, collapses; /* since creation */
	uint64_t tables;	    /* table pages in use, the root included */
	uint64_t metadata_bytes;    /* everything stage 2 itself occupies now */
};

struct stage2;

/*
 * Create a tree for the nr RAM ranges (sorted, disjoint, not empty, below 2^36 frames; copied).
 * All pages start absent.  Returns 0, -EINVAL (bad ranges) or -ENOMEM.
 */
int stage2_create(const struct gfn_range *ram, unsigned int nr, struct stage2 **out);

/* NULL is fine. */
void stage2_destroy(struct stage2 *s2);

/* Is all of [gfn, gfn + nr) RAM?  nr may be anything, overflow included. */
bool stage2_is_ram(const struct stage2 *s2, gfn_t gfn, uint64_t nr);

/* Decode gfn's entry.  -EFAULT if gfn is not RAM. */
int stage2_lookup(const struct stage2 *s2, gfn_t gfn, struct stage2_page *page);

/*
 * Length of the run of pages from gfn on, at most to end, that are in one state; the state
 * goes to *state.  [gfn, end) is RAM and not empty.  O(entries looked at), holes in the tree
 * counting once.
 */
uint64_t stage2_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, enum page_state *state);

/*
 * The same, but a run ends where frames do not follow each other, where the size of leaves
 * changes, and at the end of a table.  The first page goes to *page.
 */
uint64_t stage2_linear_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, struct stage2_page *page);

/*
 * Move all pages of [gfn, gfn + nr) to state `to`.  This is the one door for a change of state.  A
 * 2 MiB leaf that the range covers only in part is split first.
 *
 * pfn: private and shared pages get the frames pfn, pfn + 1, ...  Zero pages get the page of zeroes
 * if pfn is STAGE2_ZERO_PFN, and are not mapped otherwise.  Other states ignore it.
 *
 * Returns 0;
 *   -EFAULT  part of the range is not RAM, or nr is 0 (nothing changed)
 *   -EPERM   the table of moves forbids it for some page (nothing changed)
 */
int stage2_set(struct stage2 *s2, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn);

/*
 * Map the block of 512 pages at gfn (a multiple of 512) with one 2 MiB leaf to the 512
 * frames from pfn (same alignment): from absent, or from 512 pages already private and linear
 * from pfn (collapse).
 *
 * Returns 0; -EFAULT (not all RAM), -EINVAL (alignment), -EBUSY (neither all absent nor all
 * private and linear), -EEXIST (it is one leaf already); on failure nothing changed.
 */
int stage2_set_large(struct stage2 *s2, gfn_t gfn, pfn_t pfn);

/* Replace the 2 MiB leaf over gfn by 512 entries.  0; -ENOENT if there is none. */
int stage2_split(struct stage2 *s2, gfn_t gfn);

void stage2_counters(const struct stage2 *s2, struct stage2_counters *out);

/*
 * Recompute everything from the tree and compare: counters, legality of each entry, table
 * occupancy, sums.  Describes each fault through report (may be NULL); returns their number.
 */
unsigned int stage2_audit(const struct stage2 *s2, void (*report)(void *ctx, const char *what),
			  void *ctx);

/* For walk.h: root table address and the function that reads an entry (ctx: the stage2). */
uint64_t stage2_root(const struct stage2 *s2);
int stage2_read_entry(void *s2, uint64_t addr, const struct pt_level *lv, uint64_t *entry);
extern const struct pt_rules stage2_rules; /* the EPT features our own tables assume */

#endif
