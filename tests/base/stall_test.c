/* SPDX-License-Identifier: MIT */
/*
 * stall.h against a naive model, with a clock that the test moves.
 *
 * The model goes tick by tick, and knows who waits and who works in each.  Its averages are real
 * numbers.
 */
#include <string.h>
#include "mmu/base/stall.h"
#include "tests/tap.h"

#define WORKERS 3u
#define TICK	1000000ULL /* 1 ms */

/* exp(-2 s/10 s) and so on. */
static const double weight[STALL_NR_SPANS] = { 0.818730753, 0.967216100, 0.993355507 };

static uint64_t now, worked;

static uint64_t worked_ns(void *ctx)
{
	(void)ctx;
	return worked;
}

/* ---- the model ---- */

struct model {
	bool waits[WORKERS], works[WORKERS];
	uint64_t total[STALL_NR_KINDS], period[STALL_NR_KINDS];
	double average[STALL_NR_KINDS][STALL_NR_SPANS];
};

static unsigned int number(const bool *flag)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORKERS; i++)
		n += flag[i];
	return n;
}

static void sample(struct model *m)
{
	for (unsigned int k = 0; k < STALL_NR_KINDS; k++) {
		double share = 100.0 * (double)m->period[k] / (double)STALL_PERIOD_NS;

		for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
			m->average[k][i] = m->average[k][i] * weight[i] + share * (1 - weight[i]);
		m->period[k] = 0;
	}
}

static void tick(struct model *m)
{
	bool stalled[] = { number(m->waits) > 0, number(m->waits) > 0 && !number(m->works) };

	for (unsigned int k = 0; k < STALL_NR_KINDS; k++) {
		m->total[k] += stalled[k] ? TICK : 0;
		m->period[k] += stalled[k] ? TICK : 0;
	}
	worked += number(m->works) * TICK;
	now += TICK;
	if (now % STALL_PERIOD_NS == 0)
		sample(m);
}

static void run(struct model *m, uint64_t ms)
{
	while (ms--)
		tick(m);
}

/* The larger of `most` and what an average of this kind is off, in percent. */
static double largest_difference(const struct model *m, const struct stall_record *r,
				 enum stall_kind kind, double most)
{
	for (unsigned int i = 0; i < STALL_NR_SPANS; i++) {
		double off = m->average[kind][i] - r->average[kind][i] / 100.0;

		most = off > most ? off : -off > most ? -off : most;
	}
	return most;
}

/* ---- tests ---- */

static struct stall fresh(void)
{
	struct stall s;

	now = worked = 0;
	stall_init(&s, now, worked_ns, NULL);
	return s;
}

static void test_one(void)
{
	struct model m = { .works = { true } };
	struct stall s = fresh();
	struct stall_record r;

	run(&m, 500);
	m.works[0] = false;
	m.waits[0] = true;
	stall_begin(&s, now);
	run(&m, 300);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_SOME], 300 * TICK, "a stall counts while it lasts");
	is(r.total_ns[STALL_FULL], 300 * TICK, "... of one worker it is full");
	is(r.average[STALL_SOME][STALL_10S], 0, "... and there is no sample yet");
	run(&m, 200);
	stall_end(&s, now);
	m.waits[0] = false;
	m.works[0] = true;
	run(&m, 1000);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_SOME], 500 * TICK, "it ends");
	/* A quarter of the period, of which 1 - exp(-1/5) goes into the average. */
	ok(r.average[STALL_SOME][STALL_10S] / 10 == 453 / 10, "a quarter of 2 s: avg10 %u",
	   r.average[STALL_SOME][STALL_10S]);
	ok(r.average[STALL_SOME][STALL_300S] / 10 == 16 / 10, "... avg300 %u",
	   r.average[STALL_SOME][STALL_300S]);
}

/* A worker waits; another works for a while, and a third one is idle. */
static void test_full(void)
{
	struct stall_record r;
	struct model m = { .works = { false, true, false } };
	struct stall s = fresh();

	stall_begin(&s, now);
	m.waits[0] = true;
	run(&m, 100);
	m.works[1] = false;
	run(&m, 50);
	stall_end(&s, now);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_SOME], 150 * TICK, "some waited");
	is(r.total_ns[STALL_FULL], 50 * TICK, "none worked for a part of that");

	s = fresh();
	m = (struct model){ .works = { false, true, true } };
	stall_begin(&s, now);
	run(&m, 100);
	m.works[1] = m.works[2] = false;
	run(&m, 100);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_FULL], 0, "what two work at a time is taken off twice");
	stall_begin(&s, now);
	worked = 0;
	run(&m, 10);
	stall_end(&s, now);
	stall_end(&s, now);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_FULL], 10 * TICK, "a worker that has ended has not worked");
}

/* Several are told of late, and one after the other: each moment counts once. */
static void test_late(void)
{
	struct stall s = fresh();
	struct stall_record r;

	now = 100 * TICK;
	stall_begin(&s, 90 * TICK);
	stall_end(&s, now);
	stall_begin(&s, 90 * TICK);
	now = 110 * TICK;
	stall_begin(&s, 95 * TICK);
	stall_end(&s, now);
	stall_end(&s, now);
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_SOME], 20 * TICK, "what overlaps counts once");
}

/* Nobody has looked for hours. */
static void test_long(void)
{
	struct stall s = fresh();
	struct stall_record r;

	stall_begin(&s, now);
	now += 100 * 3600 * 1000 * TICK + 5 * TICK;
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_SOME], now, "a stall of 100 hours is counted");
	for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
		is(r.average[STALL_SOME][i], 10000, "... an average is 100 %%");
	stall_end(&s, now);
	now += 100 * 3600 * 1000 * TICK;
	stall_read(&s, now, &r);
	is(r.total_ns[STALL_FULL], 100 * 3600 * 1000 * TICK + 5 * TICK, "100 hours later no more");
	for (unsigned int i = 0; i < STALL_NR_SPANS; i++)
		is(r.average[STALL_SOME][i], 0, "... an average is 0 %%");
	now += 1995 * TICK;
	stall_begin(&s, now - 1000 * TICK);
	stall_read(&s, now, &r);
	/* Half a period: the periods are still where they began. */
	ok(r.average[STALL_SOME][STALL_10S] / 10 == 906 / 10, "... and periods end when they did");
}

/* One of those who wait goes on, or one of the others has to wait, or does not work. */
static void step(struct model *m, struct stall *s, uint64_t *seed)
{
	unsigned int who = tap_random(seed) % WORKERS;

	if (m->waits[who]) {
		m->waits[who] = false;
		stall_end(s, now);
		m->works[who] = tap_random(seed) % 2;
	} else if (tap_random(seed) % 3) {
		m->waits[who] = true;
		m->works[who] = false;
		stall_begin(s, now);
	} else {
		m->works[who] = !m->works[who];
	}
}

/*
 * For some minutes, at most one working at a time: there the totals are the model's.  An average
 * differs by what the kernel's constants and its rounding up do.  That of `full` differs by more:
 * it is not known in which part of a stall the others worked, and the stall may lie in two periods.
 */
static void test_random(void)
{
	struct model m = { 0 };
	struct stall s = fresh();
	struct stall_record r;
	uint64_t seed = 14, wrong = 0;
	double most[STALL_NR_KINDS] = { 0 };

	for (unsigned int i = 0; i < 6000; i++) {
		bool busy = i / 1000 % 2;

		if (busy || number(m.waits))
			step(&m, &s, &seed);
		while (number(m.works) > 1)
			for (unsigned int w = 0; w < WORKERS; w++)
				if (m.works[w]) {
					m.works[w] = false;
					break;
				}
		run(&m, tap_random(&seed) % 400);
		if (tap_random(&seed) % 8)
			continue;
		stall_read(&s, now, &r);
		wrong += memcmp(r.total_ns, m.total, sizeof(m.total)) != 0;
		for (unsigned int k = 0; k < STALL_NR_KINDS; k++)
			most[k] = largest_difference(&m, &r, k, most[k]);
	}
	is(wrong, 0, "totals are the model's");
	ok(m.total[STALL_FULL] > now / 20 && m.total[STALL_FULL] < m.total[STALL_SOME],
	   "... which are not all the same");
	ok(most[STALL_SOME] < 1, "no average of some is off by 1 %% (%.2f)", most[STALL_SOME]);
	ok(most[STALL_FULL] < 10, "... nor one of full by 10 %% (%.2f)", most[STALL_FULL]);
}

int main(void)
{
	tap_init();
	test_one();
	test_full();
	test_late();
	test_long();
	test_random();
	return tap_done();
}
