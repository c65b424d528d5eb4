/* SPDX-License-Identifier: MIT */
/*
 * Stalls: see stall.h.
 *
 * The fixed point and its constants are those of the load average (include/linux/sched/loadavg.h),
 * as in psi.c.
 */
#include <assert.h>
#include <string.h>
#include <quire/types.h>
#include "stall.h"

#define FSHIFT	11
#define FIXED_1 (1u << FSHIFT)

/* In so many periods each average comes to what it is averaging. */
#define ENOUGH_PERIODS 3000u

/* 1/exp(2 s/10 s) and so on. */
static const uint64_t exponent[STALL_NR_SPANS] = { 1677, 1981, 2034 };

void stall_init(struct stall *s, uint64_t now_ns, uint64_t (*worked_ns)(void *ctx), void *ctx)
{
	*s = (struct stall){
		.worked_ns = worked_ns,
		.ctx = ctx,
		.counted_ns = now_ns,
		.period_end = now_ns + STALL_PERIOD_NS,
	};
}

/* calc_load() of the kernel. */
static uint64_t with_sample(uint64_t average, uint64_t weight, uint64_t sample)
{
	uint64_t sum = average * weight + sample * (FIXED_1 - weight);

	return (sample >= average ? sum + FIXED_1 - 1 : sum) / FIXED_1;
}

static void end_period(struct stall *s)
{
	for (unsigned int k = 0; k < STALL_NR_KINDS; k++) {
		double share = s->period_ns[k] / STALL_PERIOD_NS;
		uint64_t sample = (uint64_t)(share * 100 * FIXED_1 + 0.5);

		for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
			s->average[k][i] = with_sample(s->average[k][i], exponent[i], sample);
		s->period_ns[k] = 0;
	}
	s->period_end += STALL_PERIOD_NS;
}

/* From counted_ns on, some and all waited for these shares of the time.  Take the samples. */
static void take_samples(struct stall *s, uint64_t now_ns, const double share[STALL_NR_KINDS])
{
	uint64_t periods = (now_ns - s->counted_ns) / STALL_PERIOD_NS;
	uint64_t skip = periods > ENOUGH_PERIODS ? periods - ENOUGH_PERIODS : 0;

	s->counted_ns += skip * STALL_PERIOD_NS;
	s->period_end += skip * STALL_PERIOD_NS;
	while (s->counted_ns < now_ns) {
		uint64_t until = min_u64(now_ns, s->period_end);

		for (unsigned int k = 0; k < STALL_NR_KINDS; k++)
			s->period_ns[k] += share[k] * (double)(until - s->counted_ns);
		s->counted_ns = until;
		if (until == s->period_end)
			end_period(s);
	}
}

/* Of the next `length` ns, for how long did none of the workers work? */
static uint64_t idle_ns(struct stall *s, uint64_t length)
{
	uint64_t worked = s->worked_ns(s->ctx);
	uint64_t used = worked - min_u64(s->worked, worked); /* a worker that ended is missing */

	s->worked = worked;
	return length - min_u64(used, length);
}

static void count(struct stall *s, uint64_t now_ns)
{
	double share[STALL_NR_KINDS] = { 0 };
	uint64_t length, full;

	if (now_ns <= s->counted_ns)
		return;
	length = now_ns - s->counted_ns;
	if (s->waiting) {
		full = idle_ns(s, length);
		s->total_ns[STALL_SOME] += length;
		s->total_ns[STALL_FULL] += full;
		share[STALL_SOME] = 1;
		share[STALL_FULL] = (double)full / (double)length;
	}
	take_samples(s, now_ns, share);
}

void stall_begin(struct stall *s, uint64_t since_ns)
{
	if (!s->waiting) {
		count(s, since_ns);
		s->worked = s->worked_ns(s->ctx);
	}
	s->waiting++;
}

void stall_end(struct stall *s, uint64_t now_ns)
{
	assert(s->waiting);
	if (s->waiting == 1)
		count(s, now_ns);
	s->waiting--;
}

void stall_read(struct stall *s, uint64_t now_ns, struct stall_record *out)
{
	count(s, now_ns);
	memset(out, 0, sizeof(*out));
	memcpy(out->total_ns, s->total_ns, sizeof(out->total_ns));
	for (unsigned int k = 0; k < STALL_NR_KINDS; k++)
		for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
			out->average[k][i] = (uint32_t)(s->average[k][i] * 100 >> FSHIFT);
}
