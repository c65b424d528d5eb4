/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_WATCH_H
#define QUIRE_VMM_LOOK_WATCH_H

/*
 * Looks one after another: how fast counters grow, and how it was in the last minutes.
 *
 * A machine that goes away is watched for until it is back.  What is known of a VM is forgotten
 * when a look does not find it any more.
 */
#include "look.h"

/* What is counted by the second, with a row of watch_rates[] each. */
enum watch_rate {
	WATCH_FAULTS,
	WATCH_MERGES,
	WATCH_UNSHARES,
	WATCH_BALLOON,
	WATCH_EVICTIONS,
	WATCH_LOADS,
	WATCH_NR_RATES
};

extern const struct watch_rate_row {
	const char *name;  /* one short word, for people */
	const char *about; /* one line: what is counted */
} watch_rates[WATCH_NR_RATES];

/* How a VM was, or all VMs together, between two looks. */
struct watch_point {
	uint64_t at_ns;	  /* CLOCK_MONOTONIC of the second look */
	uint64_t over_ns; /* since the first; 0: there was none, so rates and stall are 0 */
	uint64_t state_pages[PG_NR_STATES]; /* at the second */
	uint64_t per_second[WATCH_NR_RATES];
	uint32_t stall_permille; /* of the time some vCPU waited for memory; all VMs: their mean */
	uint32_t nr_vms;	 /* that answered */
	/* The machine's, in pages; 0 in points of a VM. */
	uint64_t memory, free, credits, store, overhead, committed, commit_limit;
};

#define WATCH_POINTS 240

struct watch_ring {
	uint64_t nr; /* points ever put in */
	struct watch_point point[WATCH_POINTS];
};

/* A point of the ring, 0 is the newest; NULL: there are not so many. */
const struct watch_point *watch_point(const struct watch_ring *ring, unsigned int back);

struct watch_vm;

struct watch {
	const char *address; /* the caller's, as look_take() takes it */
	struct look look;    /* the newest; empty if the machine was away */
	bool away;	     /* the newest look failed, for the reason in why */
	struct quire_error why;
	struct watch_ring all;
	struct watch_vm *vm; /* sorted by process */
	unsigned int nr_vms;
};

/* Prepare *w; `address` must live as long.  It looks at nothing yet. */
void watch_init(struct watch *w, const char *address);

/*
 * Look again.  That the machine is away is no failure: see `away`.  0; -ENOMEM with *err: nothing
 * has changed but w->look, which is empty.
 */
int watch_step(struct watch *w, struct quire_error *err);

/* Take in w->look, which is newer than those before.  0 or -ENOMEM; watch_step() calls it. */
int watch_note(struct watch *w);

/* What is known of this VM of w->look; NULL: it has not answered yet. */
const struct watch_ring *watch_ring_of(const struct watch *w, const struct roster_vm *vm);

void watch_finish(struct watch *w);

#endif
