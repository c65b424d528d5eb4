/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_RECLAIMER_H
#define QUIRE_MMU_RECLAIM_RECLAIMER_H

/*
 * The reclaimer: one thread of a VM that frees memory of it, when there is too little.
 *
 * A VM reclaims its own pages, and nobody else's.  It does so when it is asked for a number of
 * pages (reclaimer_ask), and when accesses of its own guest have waited for credits for a moment.
 * Pages that need no frame may go first (tendency.h).  Of the others a replacement policy
 * (reclaim.h) says which are to go; they are compressed (gmem_compress).
 * With nothing to do it sleeps, and every 30 seconds looks at a few pages (working_set.c).
 *
 * Only this thread knows the policy.  It compares what the policy knows with stage 2 when it
 * samples, block by block.  So nothing is told to a policy when a page comes in or goes, and a
 * fault costs nothing more.
 */
#include <quire/error.h>
#include "mmu/base/reclaim_record.h"
#include "mmu/memory/gmem.h"
#include "reclaim.h"
#include "tendency.h"

struct reclaimer_config {
	struct gmem *gm; /* outlives the reclaimer */
	const struct reclaim_policy *policy;
	uint64_t seed; /* of the policy */
	enum tendency_rule rule;
	bool only_by_hand; /* it does what reclaimer_begin_swap asks for, and nothing else */
	unsigned int swappiness;
	/*
	 * Begin to look at RAM for pages that need no frame; false: nobody does.  NULL: the same.
	 * given_back returns how many were found so far; *busy: somebody is still looking.  The
	 * thread calls both, with no lock.
	 */
	bool (*give_back)(void *ctx);
	uint64_t (*given_back)(void *ctx, bool *busy);
	void (*on_thread_start)(void *ctx); /* first thing in the thread; may be NULL */
	/*
	 * What reclaim has come to: the thread calls it when it begins, several times a second
	 * while it works, and when that changes what can be asked of it.  No lock.  May be NULL.
	 */
	void (*tell)(void *ctx, const struct reclaim_record *record);
	void *ctx;
};

#define RECLAIM_AGES	  18u
#define RECLAIM_DISTANCES 33u

struct reclaimer_stats {
	uint64_t requests;	/* reclaimer_ask() */
	uint64_t direct;	/* how often accesses waited until memory was reclaimed for them */
	uint64_t give_passes;	/* how often pages were looked for that need no frame ... */
	uint64_t given_pages;	/* ... and what was found while they were wanted */
	uint64_t passes;	/* samples of all of RAM */
	uint64_t chosen_pages;	/* that the policy chose to leave ... */
	uint64_t gone_pages;	/* ... and which did ... */
	uint64_t busy_pages;	/* ... or which had just been used again */
	uint64_t refused_pages; /* ... or for which there is no other place */
	uint64_t swapped_pages; /* ... or which went to the swap file instead */
	uint64_t spilled_pages; /* compressed pages that went on to the swap file */
	uint64_t freed_pages;	/* what that won: less than gone_pages, for the pool needs some */
	uint64_t refault_pages; /* pages that came back, as found by samples */
	uint64_t known_pages;	/* that the policy may choose from, now */
	uint64_t working_set_pages;	  /* an estimate of what the guest uses ... */
	uint64_t working_set_error_pages; /* ... and how far off it may be (working_set.c) */
	/* Private pages, as the last sample of all of RAM found them. */
	uint64_t active_pages;	     /* used since the sample before ... */
	uint64_t inactive_pages;     /* ... or not; of both ... */
	uint64_t active_clean_pages; /* ... those that are clean (gmem_clean) */
	uint64_t inactive_clean_pages;
	uint64_t age_pages[RECLAIM_AGES]; /* by the age: [n]: below 2^n s; the last has no end */
	uint64_t refault_distances[RECLAIM_DISTANCES]; /* [n]: refaults below 2^n; as above */
	uint64_t cpu_ns;			       /* processor time of the thread */
	uint64_t metadata_bytes;		       /* what the reclaimer occupies at most */
};

struct reclaimer;

/*
 * Create a reclaimer without its thread, and without a descriptor.
 * Returns 0, or -errno with *err, which may be NULL: -ENOMEM; -EINVAL: RAM is larger than a policy
 * can number.
 */
int reclaimer_create(const struct reclaimer_config *config, struct reclaimer **out,
		     struct quire_error *err);

/*
 * Start the thread.  It becomes the helper of guest memory (gmem_set_helper), so this comes before
 * anybody may wait for credits.  0, or -errno with *err, which may be NULL.
 */
int reclaimer_start(struct reclaimer *r, struct quire_error *err);

/* Stop the thread.  Nobody waits for memory any more. */
void reclaimer_stop(struct reclaimer *r);

/* Free the reclaimer, which is stopped or was never started, before its gmem.  NULL is fine. */
void reclaimer_destroy(struct reclaimer *r);

/*
 * So many pages are to become free from now on; that replaces what is left of an earlier request.
 * 0: no more are wanted.  Any thread, with any lock held.
 */
void reclaimer_ask(struct reclaimer *r, uint64_t pages);

/*
 * Have [gfn, gfn + nr) swapped out, as gmem_swap_out does; the thread waits for the disk.  Returns
 * a ticket; 0: another request is under way.  With the ticket reclaimer_end_swap returns what
 * gmem_swap_out did, *out filled in; -EINPROGRESS: it has not ended; -ESTALE: it was too long ago.
 * One thread calls both.
 */
uint64_t reclaimer_begin_swap(struct reclaimer *r, gfn_t gfn, uint64_t nr,
			      enum gmem_watcher unless);
int reclaimer_end_swap(struct reclaimer *r, uint64_t ticket, struct gmem_swapped *out);

/*
 * What is known of one page.  Samples are taken when memory is short, so an age is no less than
 * the time since the last one.
 */
struct reclaimer_page {
	uint64_t passes;       /* samples of all of RAM so far; 0: nothing is known */
	uint64_t idle_passes;  /* so many of the last ones found it unused: at most 255 */
	uint64_t unused_s;     /* ... and the one before them was so long ago */
	uint64_t chosen_since; /* so many pages were chosen since it was; RECLAIM_NEW: it is here */
};

/* Fill *out in for a page of RAM.  Any thread. */
void reclaimer_look(const struct reclaimer *r, gfn_t gfn, struct reclaimer_page *out);

/* Copy the statistics to *out.  Any thread. */
void reclaimer_stats(const struct reclaimer *r, struct reclaimer_stats *out);

#endif
