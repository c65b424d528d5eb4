/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_STALL_H
#define QUIRE_MMU_BASE_STALL_H

/*
 * Stalls: for how long workers could not go on, as Linux counts pressure (kernel/sched/psi.c,
 * Documentation/accounting/psi.rst).  A guest's workers are its vCPUs.
 *
 *   some  at least one of them waits
 *   full  ... and none of the others works meanwhile
 *
 * Each has a total, and averages over 10, 60 and 300 seconds.  As in psi.c, an average takes a
 * sample every 2 seconds: the share of these that was a stall.  A sample weighs 1 - exp(-2 s/10 s)
 * in the average over 10 seconds, and the older ones the rest.
 *
 * Who works is not known from moment to moment, but only how much processor time all workers have
 * used.  What they use while one of them waits is taken from `full`.  For one worker that is exact.
 * What several use at the same moment counts for each of them, so `full` is never too long for
 * that.  An idle worker uses nothing, and so it is no reason that a stall is not full.  A worker
 * that waits for a processor of the host uses nothing either, but psi.c says that it works.
 *
 * There is no timer: what happened since the last call is counted by the next one.
 *
 * Locking: there is none inside.
 */
#include <stdint.h>

enum stall_kind { STALL_SOME, STALL_FULL, STALL_NR_KINDS };
enum stall_span { STALL_10S, STALL_60S, STALL_300S, STALL_NR_SPANS };

#define STALL_PERIOD_NS 2000000000ULL /* of a sample */

struct stall {
	uint64_t (*worked_ns)(void *ctx);
	void *ctx;
	unsigned int waiting; /* how many wait now */
	uint64_t counted_ns;  /* all is counted up to this moment ... */
	uint64_t worked;      /* ... and if somebody waits, workers had used so much then */
	uint64_t period_end;  /* when the next sample is taken */
	double period_ns[STALL_NR_KINDS]; /* stalled in this period so far */
	uint64_t total_ns[STALL_NR_KINDS];
	uint64_t average[STALL_NR_KINDS][STALL_NR_SPANS]; /* percent, in fixed point */
};

/* What is to be seen of it. */
struct stall_record {
	uint64_t total_ns[STALL_NR_KINDS];
	uint32_t average[STALL_NR_KINDS][STALL_NR_SPANS]; /* hundredths of a percent */
};

/*
 * Nobody waits at now_ns.  worked_ns(ctx): processor time that all workers have used so far, in ns;
 * it is called when the first of them begins to wait, when the last one ends, and by stall_read.
 */
void stall_init(struct stall *s, uint64_t now_ns, uint64_t (*worked_ns)(void *ctx), void *ctx);

/* A worker waits since since_ns, which may be a little in the past. */
void stall_begin(struct stall *s, uint64_t since_ns);

/* One that waited goes on. */
void stall_end(struct stall *s, uint64_t now_ns);

/* Count all up to now_ns. */
void stall_read(struct stall *s, uint64_t now_ns, struct stall_record *out);

#endif
