/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_BALLOON_SIM_H
#define QUIRE_TESTS_MACHINE_BALLOON_SIM_H

/*
 * A machine of simulated guests under the balloon policy, and the rules of docs/balloon.md stated
 * naively, in floating point, over what went in and what came out: they know nothing of how the
 * policy counts.  A tick is a second.
 *
 * A guest needs `need` pages and fills up to `cache_wish` more.  What it once touched stays
 * resident until the balloon takes it, and the balloon gets untouched pages first: the worst
 * case.  One that reports free pages has only what it uses resident.
 */
#include <stdlib.h>
#include "mmu/machine/balloon_policy.h"
#include "tests/tap.h"

#define MB(n)	((uint64_t)(n)*256)
#define SIM_MAX 64

#define NEVER_PLENTY 1 /* as plenty_divisor: free memory is never above high + all memory */

enum sim_model {
	SIM_IDLE,
	SIM_STEADY,
	SIM_STEP_UP,
	SIM_STEP_DOWN,
	SIM_SAWTOOTH,
	SIM_LEAK,
	SIM_CACHE,
	SIM_SILENT,
	SIM_LIAR,
	SIM_SELF,
	SIM_HOG,
	SIM_NR_MODELS,
};

extern const char *const sim_names[SIM_NR_MODELS];

struct sim_guest {
	enum sim_model model;
	uint64_t base, swing, period; /* of the need */
	uint64_t cache_wish;
	uint64_t speed; /* pages the driver moves in a tick */
	bool reports;	/* free page reporting */
	bool deflates;	/* DEFLATE_ON_OOM */
	uint64_t used, cache, touched;
	uint64_t starved; /* ticks in which it lacked what it needed */
	uint64_t lacking; /* for how many in a row */
	uint64_t reversals, last_move_tick;
	int direction;
	/* The reference's own memory. */
	double slow, fast, active;
	uint64_t seen_ns, quiet_ns;
	uint64_t low, high; /* range of the target since marked */
};

struct sim {
	struct balloon_policy policy;
	struct balloon_machine machine;
	unsigned int nr;
	struct sim_guest guest[SIM_MAX];
	struct balloon_input in[SIM_MAX];
	struct balloon_vm vm[SIM_MAX];
	uint64_t tick, reserved_pages; /* of the machine, for others */
	uint64_t rng;
	bool lazy_stats; /* one sample in four does not come */
	bool was_short;
	uint64_t faults; /* breaches of the rules, all ticks */
	uint64_t over;	 /* ticks in which guests had more than there is */
	uint64_t hash;	 /* of all targets */
};

/* A machine with so many pages; tax_permille is the policy's tax on idle memory. */
struct sim *sim_new(uint64_t memory_pages, uint32_t tax_permille);

/* Adds a guest that behaves as the model says; ram and the rest in pages. */
struct sim_guest *sim_add(struct sim *s, enum sim_model model, uint64_t ram, uint32_t shares,
			  uint64_t base);

/* Pages that guest i has now: its RAM less its balloon. */
uint64_t sim_size(const struct sim *s, unsigned int i);

/* One tick: guests live, report and follow; the policy decides; the rules are checked. */
void sim_tick(struct sim *s);

/* So many ticks. */
void sim_run(struct sim *s, unsigned int ticks);

/* Forget ranges and reversals: what comes now is measured. */
void sim_mark(struct sim *s);

/* How far the target has moved since sim_mark(), in pages. */
uint64_t sim_range(const struct sim_guest *g);

#endif
