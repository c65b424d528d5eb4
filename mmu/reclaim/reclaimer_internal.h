/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_RECLAIMER_INTERNAL_H
#define QUIRE_MMU_RECLAIM_RECLAIMER_INTERNAL_H

/* What the files of the reclaimer share. */
#include <stdatomic.h>
#include "mmu/base/thread.h"
#include "reclaimer.h"

#define RECLAIMER_DRAWN 128u /* pages of which the working set is estimated */
#define EVICT_LEAST	32u  /* pages that are chosen at a time ... */
#define EVICT_BATCH	64u  /* ... and at most */

/* Pages that need no frame are wanted: see give_back.c. */
struct give_back {
	bool on; /* since the last time that nothing was wanted at all */
	unsigned int priority;
	uint64_t want;		    /* what was asked for when that was last looked at */
	uint64_t asked;		    /* so much of all that was asked for was to be given back ... */
	uint64_t left;		    /* ... and so many pages still are */
	unsigned int in_vain;	    /* looks in a row that found nothing */
	uint64_t found;		    /* since the last look began ... */
	uint64_t all_found;	    /* ... and by all looks for what was asked for */
	uint64_t began_ns;	    /* the last look */
	uint64_t given;		    /* what given_back() said last */
	uint64_t step_ns;	    /* the priority falls then */
	uint64_t next_ns, pause_ns; /* no look before; and how long the pause was */
	uint64_t unshared, loaded;  /* counters when the costs were measured ... */
	uint64_t give_cost, send_cost; /* ... and what came of them */
};

/* What is swapped out by hand: see by_hand.c. */
#define BY_HAND_RESULTS 16u /* as many clients as a VM has */

struct by_hand_result {
	struct gmem_swapped pages;
	int code;
};

struct by_hand {
	uint64_t begun; /* tickets given out: theirs who ask, and so are: */
	gfn_t gfn;	/* what is wanted ... */
	uint64_t nr;	/* ... which the thread reads until it is done */
	enum gmem_watcher unless;
	atomic_ullong wanted;			       /* [a] the last ticket */
	atomic_ullong done;			       /* [a] the last ticket that has a result */
	struct by_hand_result result[BY_HAND_RESULTS]; /* of ticket n at n % BY_HAND_RESULTS */
};

/* What a sample counts; and all that is known of ages: see age.c. */
#define AGE_SAMPLES 256u

struct age_counts {
	uint64_t active, inactive, active_clean, inactive_clean;
	uint64_t by_idle[AGE_SAMPLES];
};

struct age {
	uint64_t began_ns;	      /* [I] */
	uint8_t *idle;		      /* [a] of each page: so many samples found it unused */
	uint32_t time_s[AGE_SAMPLES]; /* [a] of sample n % AGE_SAMPLES, since began_ns */
	struct age_counts counts;
};

/* At how many of its last looks each page was used, less how often not: see sample.c. */
struct heat {
	uint8_t *of_page;
	uint64_t hottest; /* pages of the most heat at which the sample looked ... */
	uint64_t unused;  /* ... of them those that were not used */
};

/* A page that is watched for the working set: was it away when it was drawn?  See working_set.c. */
struct drawn_page {
	gfn_t gfn;
	bool away;
};

/* [I] immutable once the thread runs   [a] atomic   all else is the thread's alone */
struct reclaimer {
	struct reclaimer_config config; /* [I] */
	struct gmem *gm;		/* [I] */
	struct thread thread;
	int event;	      /* [I] eventfd that makes the thread look around */
	atomic_bool quitting; /* [a] */
	atomic_ullong asked;  /* [a] pages that are still to become free */
	struct by_hand by_hand;
	struct give_back give;
	struct age age;
	struct heat heat;
	struct reclaim *policy;
	uint32_t *chosen_at;	 /* [a] of each page: nr_chosen when it was chosen, + 1; 0: never */
	uint64_t sampled_at;	 /* nr_chosen at the end of the last pass */
	bool sampled;		 /* there was one */
	uint64_t helped_ns;	 /* when memory was last reclaimed for them */
	uint64_t dry_until_ns;	 /* nothing could go: it is not tried before */
	gfn_t hand;		 /* the next page that may be spilled */
	uint64_t fruitless;	 /* pages that were chosen since one went */
	uint64_t empty_until_ns; /* and it is not said before that pages could go */
	uint64_t told_ns;	 /* when the last record was told ... */
	bool told_more;		 /* ... and what it said of that */
	struct drawn_page drawn[RECLAIMER_DRAWN]; /* watched for the working set ... */
	unsigned int nr_drawn;			  /* ... so many ... */
	uint32_t drawn_at;			  /* ... since so many pages were chosen, + 1 ... */
	uint64_t look_ns;			  /* ... until then */
	bool has_estimate;			  /* the working set was estimated */
	uint64_t dice;				  /* the state of random numbers */
	struct reclaimer_stats stats;		  /* [a] written by the thread */
};

/* Add to a counter that others may read. */
static inline void reclaimer_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* So many of the pages that were asked for are free.  (reclaimer.c) */
void reclaimer_done(struct reclaimer *r, uint64_t pages);

/*
 * Of `want` pages that were asked for, how many are to be sent away now.  And until when to wait,
 * if none: UINT64_MAX: until somebody asks.  (give_back.c)
 */
uint64_t reclaimer_weigh(struct reclaimer *r, uint64_t want, uint64_t now);
uint64_t reclaimer_weigh_until(const struct reclaimer *r, uint64_t now);

/* Have the thread look around.  (reclaimer.c) */
void reclaimer_wake(struct reclaimer *r);

/* Do what is wanted by hand, if anything is.  (by_hand.c) */
void reclaimer_swap_by_hand(struct reclaimer *r);

/* A page was chosen then; 0: it is back. */
static inline void reclaimer_mark(struct reclaimer *r, gfn_t gfn, uint32_t at)
{
	__atomic_store_n(&r->chosen_at[gfn], at, __ATOMIC_RELAXED);
}

/*
 * Look at all of RAM: tell the policy which pages came and went since the last time, and which were
 * used; and have their touches forgotten.  (sample.c)
 */
void reclaimer_sample(struct reclaimer *r);

/*
 * A sample begins, finds some of 64 pages resident and used, and has ended.  A page is back after
 * so many were chosen.  (age.c)
 */
void reclaimer_age_begin(struct reclaimer *r);
void reclaimer_age(struct reclaimer *r, uint64_t word, uint64_t resident, uint64_t used);
void reclaimer_age_end(struct reclaimer *r);
void reclaimer_refault(struct reclaimer *r, uint64_t distance);

/*
 * Draw pages of which the working set is to be estimated; and estimate it from what has been
 * touched of these since.  (working_set.c)
 */
void reclaimer_draw(struct reclaimer *r);
void reclaimer_estimate(struct reclaimer *r);

/* The pages of which it may be a part: what is private, and what had to leave.  (working_set.c) */
uint64_t reclaimer_used_at_most(const struct reclaimer *r);

/*
 * Choose `nr` pages, but EVICT_LEAST to EVICT_BATCH, and send them away; `any`: also those that
 * were used just now.  Returns how many pages became free.  *chosen: how many the policy chose; 0:
 * it knows of none.  (evict.c)
 */
uint64_t reclaimer_evict(struct reclaimer *r, uint64_t nr, bool any, uint64_t *chosen);

/*
 * Swap out the pages `bits` of the 64 from gfn on, as gmem_swap_out does; `any`: also those that
 * were used just now.  *swapped is added to.  0, or why not all of them were tried.  (evict.c)
 */
int reclaimer_swap_out(struct reclaimer *r, gfn_t gfn, uint64_t bits, bool any, uint64_t *swapped);

/*
 * If the pool is large, or `must`, swap out compressed pages, so that about `want` pages become
 * free.  Returns how many did; 0: it is small, or no page can go there.  (spill.c)
 */
uint64_t reclaimer_spill(struct reclaimer *r, uint64_t want, bool must);

#endif
