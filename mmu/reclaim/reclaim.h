/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_RECLAIM_H
#define QUIRE_MMU_RECLAIM_RECLAIM_H

/*
 * Page replacement: which of a VM's resident pages leave memory when memory is short.
 *
 * A replacement policy knows pages by their gfn.  Its caller tells it four things: a page came in
 * (reclaim_load), pages were used (reclaim_used), a page left for another reason (reclaim_drop),
 * and so many pages have to leave (reclaim_choose).  It moves no data and maps nothing.
 *
 * Use is not known access by access.  The caller samples: it takes away what the processor maps,
 * and later finds what has come back, or it reads and clears accessed bits.  So what it reports is
 * a bit for each page, "used since this was last reported", at whatever times it chooses.  How
 * often it was used, and in which order, a policy cannot know.  The simulator (simulate.h) may
 * report each single access at once; then the policies are those of the textbooks.
 *
 * The access that brings a page in is part of reclaim_load(), and is not reported as a use.
 *
 * Each policy is a row of reclaim_policies[], and a file.  docs/reclaim.md compares them.
 *
 * There are no locks: the caller lets one thread at a time call these.  Unless a row says
 * something else, every operation takes O(1) for each page.
 */
#include <quire/types.h>

/* A larger VM has more pages than a policy can number: 8 TiB. */
#define RECLAIM_MAX_PAGES (1ULL << 31)

/* The distance of a page that was never resident, or of which that is not known. */
#define RECLAIM_NEW UINT64_MAX

struct reclaim;

/* Private to the policies, but for the name and page_bytes. */
struct reclaim_policy {
	const char *name;
	/* What it keeps for each page that is or was resident: at most so many bytes. */
	unsigned int page_bytes;
	size_t size; /* of its structure, which begins with a struct reclaim */

	/* Begin without a page.  0 or -ENOMEM; finish() is called after either. */
	int (*init)(struct reclaim *r, uint64_t seed);
	void (*finish)(struct reclaim *r);

	void (*load)(struct reclaim *r, gfn_t gfn, uint64_t distance);
	void (*used)(struct reclaim *r, gfn_t gfn); /* NULL: that changes nothing */
	void (*drop)(struct reclaim *r, gfn_t gfn);

	/* Choose one page and forget it.  There is one. */
	gfn_t (*choose)(struct reclaim *r);
};

/* What all policies have.  Readers outside this room use nr_resident and nr_chosen only. */
struct reclaim {
	const struct reclaim_policy *policy;
	gfn_t nr_pages;
	uint64_t nr_resident; /* pages that it may choose from */
	uint64_t nr_chosen;   /* pages that it ever chose */
	uint64_t *resident;   /* a bit for each page */
};

extern const struct reclaim_policy reclaim_clock, reclaim_lru, reclaim_lfu, reclaim_fifo;
extern const struct reclaim_policy reclaim_random, reclaim_gen;

enum reclaim_kind {
	RECLAIM_CLOCK,
	RECLAIM_LRU,
	RECLAIM_LFU,
	RECLAIM_FIFO,
	RECLAIM_RANDOM,
	RECLAIM_GEN,
	RECLAIM_NR_POLICIES
};
extern const struct reclaim_policy *const reclaim_policies[RECLAIM_NR_POLICIES];

/*
 * Begin, for pages [0, nr_pages), none of which is resident.  Equal seeds and equal calls give
 * equal choices.  Memory is touched only for pages that become resident.
 *
 * Returns 0; -EINVAL: nr_pages is above RECLAIM_MAX_PAGES; -ENOMEM.
 */
int reclaim_create(struct reclaim **r, const struct reclaim_policy *policy, gfn_t nr_pages,
		   uint64_t seed);
void reclaim_destroy(struct reclaim *r);

/*
 * A page came in, which was not resident.  `distance` is how many pages were chosen since this one
 * was: nr_chosen now, less nr_chosen when it had just been chosen; or RECLAIM_NEW.  It is the
 * refault distance of Linux's mm/workingset.c: with so many frames more, the page would have
 * stayed.  A page that was chosen and could not leave after all comes back with distance 0.
 */
void reclaim_load(struct reclaim *r, gfn_t gfn, uint64_t distance);

/*
 * Pages were used since they were last reported: bit n of `bits` is the page 64 * word + n.  Pages
 * that are not resident are left out, so a report may be late.
 */
void reclaim_used(struct reclaim *r, uint64_t word, uint64_t bits);

/* Which pages it may choose from, of the 64 from page 64 * word on: a bit for each. */
static inline uint64_t reclaim_resident(const struct reclaim *r, uint64_t word)
{
	return r->resident[word];
}

/* A page is no longer resident, for another reason than being chosen.  It may have left before. */
void reclaim_drop(struct reclaim *r, gfn_t gfn);

/*
 * Choose pages to leave, the first to leave first: as many as there are, up to nr.  They are not
 * resident any more.  Returns how many, in victim[0] and up.
 */
uint64_t reclaim_choose(struct reclaim *r, gfn_t *victim, uint64_t nr);

#endif
