/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_KEEPER_H
#define QUIRE_MMU_MERGE_KEEPER_H

/*
 * The keeper: one thread of a VM that looks for pages worth sharing, and shares them.
 *
 * It visits RAM in *regions*, for which somebody (KVM) can say what the guest wrote since the last
 * visit.  Only what was not written for an epoch is looked at: a page of zeroes becomes `zero`; the
 * hash of any other is looked up with the machine, and if somebody in the domain has the same
 * page, both become `shared`.  What has been looked at and not written since is not looked at
 * again, so that an idle guest costs next to nothing.
 */
#include "mmu/memory/gmem.h"
#include "mmu/memory/note.h"

enum keeper_mode {
	KEEPER_OFF,  /* shares nothing (and un-shares all it can, when it becomes so) */
	KEEPER_ZERO, /* pages of zeroes only: nothing that another VM could notice (and
				 * un-shares the others when it becomes so) */
	KEEPER_ON,
	KEEPER_NR_MODES
};

/*
 * What the guest wrote.  All calls come from the keeper's thread, with no lock held.  A region that
 * is not watched may be written at full speed and costs nothing.
 */
struct keeper_log {
	unsigned int nr_regions;
	/* The pages of region `region`; 64-page aligned but for the end of RAM. */
	struct gfn_range (*range)(void *ctx, unsigned int region);
	/* Begin or end watching.  0 or -errno. */
	int (*watch)(void *ctx, unsigned int region, bool on);
	/* Pages written since the last call, or since watching began: bit n is page start + n.  The
	 * answer may include pages that were not written. */
	int (*fetch)(void *ctx, unsigned int region, uint64_t *bitmap);
	void *ctx;
};

struct keeper_config {
	struct gmem *gm; /* outlives the keeper */
	enum keeper_mode mode;
	uint64_t pages_per_s;	      /* pace; 0: automatic */
	const struct keeper_log *log; /* borrowed; NULL: anything may have been written */
	/* Give the machine one end of a connection (merge_protocol.h); the callee owns fd.  0, or
	 * -ENOTCONN: there is no machine now, ask again later.  NULL: there never is one. */
	int (*join)(void *ctx, int fd);
	/* Call each for every frame that is known to hold guest page tables now.  False: nothing is
	 * known so far, ask again soon.  May be NULL. */
	bool (*page_tables)(void *ctx, void (*each)(void *arg, gfn_t gfn), void *arg);
	void (*on_thread_start)(void *ctx); /* first thing in the thread; may be NULL */
	void *ctx;
	uint64_t (*hash)(const void *page); /* for tests; NULL: XXH3, 64 bits */
};

#define KEEPER_HISTOGRAM 24 /* bucket n: 2^n to 2^(n+1) ns */

struct keeper_stats {
	uint32_t mode;		   /* enum keeper_mode */
	uint32_t joined;	   /* 1: connected to a machine */
	uint64_t full_scans;	   /* passes over all of RAM */
	uint64_t pages_scanned;	   /* hashed, or found to be zero */
	uint64_t pages_skipped;	   /* passed over: not written since it was last looked at */
	uint64_t merged_pages;	   /* became shared */
	uint64_t zeroed_pages;	   /* became zero */
	uint64_t mismatches;	   /* the machine's frame did not have the page's bytes */
	uint64_t collapsed_blocks; /* put together again to 2 MiB leaves */
	uint64_t cpu_ns;	   /* of the keeper's thread */
	uint64_t pages_per_s;	   /* its pace now */
	uint64_t watched_regions, regions;
	uint64_t metadata_bytes;		   /* what the keeper itself occupies */
	uint64_t hold_histogram[KEEPER_HISTOGRAM]; /* how long a run held guest memory's lock */
	uint64_t reason_pages[NOTE_NR_REASONS];	   /* of private pages */
};

struct keeper;

/* No thread yet; may open descriptors.  0 or -errno with *err (may be NULL). */
int keeper_create(const struct keeper_config *config, struct keeper **out, struct quire_error *err);
int keeper_start(struct keeper *k, struct quire_error *err);
void keeper_destroy(struct keeper *k); /* before its gmem; NULL is fine */

/*
 * Change the mode.  Returns at once; the thread obeys soon.  When it becomes KEEPER_OFF or
 * KEEPER_ZERO, shared pages are made private as far as credits allow; with KEEPER_OFF zero pages
 * become absent.
 */
void keeper_set_mode(struct keeper *k, enum keeper_mode mode);

/*
 * Make a full pass as soon as can be, at full speed.  Returns a ticket: the pass is over when
 * keeper_passes_done() is at least that.  A pass of KEEPER_OFF or KEEPER_ZERO
 * tries to un-share again what could not be.
 */
uint64_t keeper_request_pass(struct keeper *k);
uint64_t keeper_passes_done(struct keeper *k);

/* Any thread. */
void keeper_stats(struct keeper *k, struct keeper_stats *out);

#endif
