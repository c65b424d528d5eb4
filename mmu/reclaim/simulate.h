/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_SIMULATE_H
#define QUIRE_MMU_RECLAIM_SIMULATE_H

/*
 * Replacement policies over a trace: the same code that decides about a VM's pages (reclaim.h), in
 * a memory of so many frames, and Belady's OPT, which knows the future.
 *
 * Exactly, each use of a page is reported at once, and pages leave one by one.  In batches, it is
 * as under a VM: when there is no frame left, all use since the last time is reported, a bit for
 * each page, and then so many pages leave.  OPT is always exact.
 */
#include "trace.h"

/* The policies of reclaim_policies[], and behind them OPT. */
#define SIM_NR_POLICIES 7u

const char *sim_name(unsigned int policy);

/* What the policy keeps for each page, in bytes. */
unsigned int sim_page_bytes(unsigned int policy);

struct sim {
	unsigned int policy;
	uint32_t frames; /* more than 0 */
	uint32_t batch;	 /* pages that leave together; 0: exact */
	uint64_t seed;
};

struct sim_result {
	uint64_t faults; /* accesses to pages without a frame, first accesses included */
	uint64_t evictions;
	uint64_t write_backs; /* evictions of pages that were written since they came in */
};

/*
 * Run a policy over a trace.  It takes as long as the trace, times O(1), for OPT times O(log
 * frames); in batches also O(pages / 64) for each.  Memory: what the policy keeps, and about 5
 * bytes for each page of the trace.  OPT also takes 4 bytes on disk for each access.
 *
 * 0 or -errno, with a line in *err: there is no memory, or as spool_init().
 */
int sim_run(const struct trace *t, const struct sim *sim, struct sim_result *result,
	    struct quire_error *err);

/*
 * The faults of a policy with frames[i] frames, into faults[i], for each i < nr: a miss-ratio
 * curve.  sim->frames means nothing.  As sim_run(), for each i; but exact LRU takes one pass for
 * all, O(log pages) an access, because of its stack property (stack_distance.h).
 */
int sim_curve(const struct trace *t, const struct sim *sim, const uint32_t *frames, unsigned int nr,
	      uint64_t *faults, struct quire_error *err);

/*
 * Numbers of frames at which a curve is worth looking at, from 1 to nr_pages > 0: all of them, or
 * two for each doubling if they are many.  Returns how many, at most SIM_MAX_POINTS.
 */
#define SIM_MAX_POINTS 64u
unsigned int sim_points(uint32_t nr_pages, uint32_t *frames);

#endif
