/* SPDX-License-Identifier: MIT */
/*
 * The simulator: known answers of textbooks, what is proven about LRU and OPT, and a naive memory
 * that counts the same.
 */
#include <stdlib.h>
#include <string.h>
#include "mmu/reclaim/opt.h"
#include "mmu/reclaim/reclaim.h"
#include "mmu/reclaim/simulate.h"
#include "tests/tap.h"
#include "trace_lab.h"

static unsigned int named(const char *name)
{
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
		if (!strcmp(sim_name(p), name))
			return p;
	tap_bail("no policy %s", name);
}

static struct sim_result run_batch(const struct trace *t, unsigned int policy, uint32_t frames,
				   uint32_t batch)
{
	struct sim sim = { .policy = policy, .frames = frames, .batch = batch, .seed = 7 };
	struct quire_error err = { "" };
	struct sim_result result;

	if (sim_run(t, &sim, &result, &err))
		tap_bail("%s", err.text);
	return result;
}

static struct sim_result run(const struct trace *t, unsigned int policy, uint32_t frames)
{
	return run_batch(t, policy, frames, 0);
}

/* ---- known answers ---- */

/* A. Silberschatz, P. B. Galvin and G. Gagne, Operating System Concepts; L. A. Belady 1969. */
#define CONCEPTS   "7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1"
#define ANOMALY	   "1 2 3 4 1 2 5 1 2 3 4 5"
#define EXERCISE   "1 2 3 4 2 1 5 6 2 1 2 3 7 6 3 2 1 2 3 6"
#define EXERCISE_2 "7 2 3 1 2 5 3 4 6 7 7 1 0 5 4 6 2 3 0 1"
#define STALLINGS  "2 3 2 1 5 2 4 5 3 2 5 2"
#define THREE_EASY "0 1 2 0 1 3 0 3 1 2 1"

/* With first, first + 1, ... frames; 0 ends the list. */
static const struct {
	const char *trace, *policy;
	uint32_t first;
	unsigned int faults[8];
} known[] = {
	{ CONCEPTS, "fifo", 1, { 20, 15, 15, 10, 9, 6, 6 } },
	{ CONCEPTS, "lru", 1, { 20, 17, 12, 8, 7, 6, 6 } },
	{ CONCEPTS, "opt", 1, { 20, 13, 9, 8, 7, 6, 6 } },
	{ CONCEPTS, "clock", 3, { 14 } }, /* the bit is set on load */
	{ ANOMALY, "fifo", 1, { 12, 12, 9, 10, 5 } },
	{ ANOMALY, "lru", 1, { 12, 12, 10, 8, 5 } },
	{ ANOMALY, "opt", 1, { 12, 9, 7, 6, 5 } },
	{ EXERCISE, "lru", 1, { 20, 18, 15, 10, 8, 7, 7 } },
	{ EXERCISE, "fifo", 1, { 20, 18, 16, 14, 10, 10, 7 } },
	{ EXERCISE, "opt", 1, { 20, 15, 11, 8, 7, 7, 7 } },
	{ EXERCISE_2, "lru", 3, { 18 } },
	{ EXERCISE_2, "fifo", 3, { 17 } },
	{ EXERCISE_2, "opt", 3, { 13 } },
	{ STALLINGS, "opt", 3, { 6 } },
	{ STALLINGS, "lru", 3, { 7 } },
	{ STALLINGS, "fifo", 3, { 9 } },
	{ STALLINGS, "clock", 3, { 8 } },
	{ THREE_EASY, "opt", 3, { 5 } },
	{ THREE_EASY, "fifo", 3, { 7 } },
	{ THREE_EASY, "lru", 3, { 5 } },
};

static void row_trace(struct trace *t, const char *row)
{
	char text[128];

	snprintf(text, sizeof(text), "%s\n", row);
	for (char *p = text; *p; p++)
		if (*p == ' ')
			*p = '\n';
	lab_trace(t, text);
}

static void known_answers(void)
{
	struct trace t;

	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		row_trace(&t, known[i].trace);
		for (unsigned int n = 0; known[i].faults[n]; n++)
			is(run(&t, named(known[i].policy), known[i].first + n).faults,
			   known[i].faults[n], "%s with %u frames: %s", known[i].policy,
			   known[i].first + n, known[i].trace);
		trace_finish(&t);
	}
}

/* ---- a naive memory: LRU, FIFO and OPT, with write-backs ---- */

enum naive {
	NAIVE_LRU,
	NAIVE_FIFO,
	NAIVE_OPT,
};

#define MOST_PAGES 64u

struct naive_page {
	bool resident, written;
	uint64_t order; /* of the load, or of the last use */
};

static uint64_t next_use(const struct trace *t, uint64_t now, uint32_t page)
{
	for (uint64_t i = now; i < trace_length(t); i++)
		if (trace_page(t, i) == page)
			return i;
	return UINT64_MAX;
}

static bool goes_first(const struct trace *t, enum naive rule, uint64_t now,
		       const struct naive_page *pages, uint32_t a, uint32_t b)
{
	if (rule == NAIVE_OPT)
		return next_use(t, now, a) > next_use(t, now, b);
	return pages[a].order < pages[b].order;
}

static struct sim_result naive_run(const struct trace *t, enum naive rule, uint32_t frames)
{
	struct naive_page pages[MOST_PAGES] = { 0 };
	struct sim_result result = { 0 };
	uint32_t resident = 0;

	for (uint64_t i = 0; i < trace_length(t); i++) {
		uint32_t page = trace_page(t, i), victim = UINT32_MAX;

		if (pages[page].resident && rule == NAIVE_LRU)
			pages[page].order = i;
		if (!pages[page].resident && resident == frames) {
			for (uint32_t p = 0; p < t->nr_pages; p++)
				if (pages[p].resident && (victim == UINT32_MAX ||
							  goes_first(t, rule, i, pages, p, victim)))
					victim = p;
			result.evictions++;
			result.write_backs += pages[victim].written;
			pages[victim] = (struct naive_page){ 0 };
			resident--;
		}
		if (!pages[page].resident) {
			pages[page] = (struct naive_page){ .resident = true, .order = i };
			result.faults++;
			resident++;
		}
		pages[page].written |= trace_writes(t, i);
	}
	return result;
}

static bool same(const struct sim_result *a, const struct sim_result *b)
{
	return a->faults == b->faults && a->evictions == b->evictions &&
	       a->write_backs == b->write_backs;
}

static void against_naive(uint64_t *seed)
{
	static const char *const rule[] = { "lru", "fifo", "opt" };
	unsigned int wrong[ARRAY_SIZE(rule)] = { 0 };

	for (unsigned int round = 0; round < 20; round++) {
		struct trace t;

		lab_random_trace(&t, 300, 2 + tap_random(seed) % (MOST_PAGES - 2), seed);
		for (uint32_t frames = 1; frames <= t.nr_pages + 1; frames += 1 + frames / 4)
			for (unsigned int i = 0; i < ARRAY_SIZE(rule); i++) {
				struct sim_result want = naive_run(&t, i, frames);
				struct sim_result got = run(&t, named(rule[i]), frames);

				wrong[i] += !same(&got, &want);
			}
		trace_finish(&t);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(rule); i++)
		is(wrong[i], 0, "%s has the faults, evictions and write-backs of a naive memory",
		   rule[i]);
}

/* ---- the stack property: what n frames hold, n + 1 frames hold ---- */

struct stack {
	struct reclaim *r;
	uint32_t frames;
};

static void stack_begin(struct stack *s, const struct reclaim_policy *policy, uint32_t frames,
			const struct trace *t, const struct spool *next, const uint64_t *now)
{
	s->frames = frames;
	if (reclaim_create(&s->r, policy, t->nr_pages, 0))
		tap_bail("no memory");
	if (policy == &reclaim_opt)
		opt_foresee(s->r, next, now);
}

static bool holds(const struct stack *s, uint32_t page)
{
	return s->r->resident[page / 64] >> page % 64 & 1;
}

static void stack_access(struct stack *s, uint32_t page)
{
	gfn_t victim;

	if (holds(s, page)) {
		reclaim_used(s->r, page / 64, 1ULL << page % 64);
		return;
	}
	if (s->r->nr_resident == s->frames)
		reclaim_choose(s->r, &victim, 1);
	reclaim_load(s->r, page, RECLAIM_NEW);
}

/* How often a smaller memory held a page that the larger one did not. */
static uint64_t violations(const struct reclaim_policy *policy, const struct trace *t,
			   uint32_t frames)
{
	struct quire_error err = { "" };
	struct spool next;
	struct stack small, large;
	uint64_t now, nr = 0;

	if (opt_look_ahead(t, &next, &err))
		tap_bail("%s", err.text);
	stack_begin(&small, policy, frames, t, &next, &now);
	stack_begin(&large, policy, frames + 1, t, &next, &now);
	for (now = 0; now < trace_length(t); now++) {
		stack_access(&small, trace_page(t, now));
		stack_access(&large, trace_page(t, now));
		for (uint32_t word = 0; word <= t->nr_pages / 64; word++)
			nr += (small.r->resident[word] & ~large.r->resident[word]) != 0;
	}
	reclaim_destroy(small.r);
	reclaim_destroy(large.r);
	spool_finish(&next);
	return nr;
}

static void stack_property(uint64_t *seed)
{
	uint64_t lru = 0, opt = 0, fifo = 0;
	struct trace t;

	for (unsigned int round = 0; round < 20; round++) {
		lab_random_trace(&t, 500, 2 + tap_random(seed) % 100, seed);
		for (uint32_t frames = 1; frames <= t.nr_pages; frames += 1 + frames / 3) {
			lru += violations(&reclaim_lru, &t, frames);
			opt += violations(&reclaim_opt, &t, frames);
			fifo += violations(&reclaim_fifo, &t, frames);
		}
		trace_finish(&t);
	}
	is(lru, 0, "lru has the stack property");
	is(opt, 0, "opt has the stack property");
	ok(fifo, "fifo has not");
}

/* ---- OPT, when pages also leave for other reasons ---- */

/* Is there a resident page that is used again later than the victim? */
static bool is_later_one(const struct stack *s, const struct trace *t, uint64_t now, gfn_t victim)
{
	uint64_t when = next_use(t, now, (uint32_t)victim);

	for (uint32_t page = 0; page < t->nr_pages; page++)
		if (holds(s, page) && next_use(t, now, page) > when)
			return true;
	return false;
}

static void opt_with_drops(uint64_t *seed)
{
	struct quire_error err = { "" };
	unsigned int wrong = 0;
	struct stack s;
	struct spool next;
	struct trace t;
	uint64_t now;
	gfn_t victim;

	lab_random_trace(&t, 4000, 400, seed);
	if (opt_look_ahead(&t, &next, &err))
		tap_bail("%s", err.text);
	stack_begin(&s, &reclaim_opt, UINT32_MAX, &t, &next, &now);
	for (now = 0; now < trace_length(&t); now++) {
		stack_access(&s, trace_page(&t, now));
		if (now % 3 == 0)
			reclaim_drop(s.r, tap_random(seed) % t.nr_pages);
		/* Now and then all of them leave, so that the whole heap is looked at. */
		while (now % 200 == 199 && reclaim_choose(s.r, &victim, 1))
			wrong += is_later_one(&s, &t, now + 1, victim);
	}
	is(wrong, 0, "opt chooses what is used again latest, also when pages were dropped");
	reclaim_destroy(s.r);
	spool_finish(&next);
	trace_finish(&t);
}

/* ---- bounds, and the two ways to a curve ---- */

static void nothing_beats_opt(uint64_t *seed)
{
	unsigned int beaten[SIM_NR_POLICIES] = { 0 }, odd = 0;
	struct trace t;

	for (unsigned int round = 0; round < 20; round++) {
		lab_random_trace(&t, 2000, 2 + tap_random(seed) % 200, seed);
		for (uint32_t frames = 1; frames <= t.nr_pages + 1; frames += 1 + frames / 3) {
			uint64_t best = run(&t, named("opt"), frames).faults;

			for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
				for (uint32_t batch = 0; batch < 9; batch += 4) {
					struct sim_result r = run_batch(&t, p, frames, batch);

					beaten[p] += r.faults < best;
					odd += r.faults < t.nr_pages || r.evictions > r.faults ||
					       r.faults - r.evictions > frames ||
					       r.write_backs > r.evictions;
				}
		}
		trace_finish(&t);
	}
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++)
		is(beaten[p], 0, "%s has no fewer faults than opt, in batches or not", sim_name(p));
	is(odd, 0, "what comes in and does not leave is in a frame, and the like");
}

static void curves(uint64_t *seed)
{
	struct sim sim = { .policy = named("lru") };
	uint32_t frames[SIM_MAX_POINTS];
	uint64_t faults[SIM_MAX_POINTS];
	struct quire_error err = { "" };
	unsigned int wrong = 0, nr;
	struct trace t;

	for (unsigned int round = 0; round < 20; round++) {
		lab_random_trace(&t, 3000, 2 + tap_random(seed) % 300, seed);
		nr = sim_points(t.nr_pages, frames);
		if (sim_curve(&t, &sim, frames, nr, faults, &err))
			tap_bail("%s", err.text);
		for (unsigned int i = 0; i < nr; i++)
			wrong += faults[i] != run(&t, sim.policy, frames[i]).faults;
		trace_finish(&t);
	}
	is(wrong, 0, "one pass gives lru's faults for all numbers of frames");
}

static void points(void)
{
	static const uint32_t sizes[] = { 1, 2, 23, 24, 25, 1000, 1u << 20, 1u << 31 };
	uint32_t frames[SIM_MAX_POINTS];
	unsigned int nr;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		bool rising = true;

		nr = sim_points(sizes[i], frames);
		for (unsigned int n = 1; n < nr && n < SIM_MAX_POINTS; n++)
			rising &= frames[n - 1] < frames[n];
		ok(rising && nr <= SIM_MAX_POINTS && frames[0] == 1 && frames[nr - 1] == sizes[i],
		   "%u points of a curve go up to %u pages", nr, sizes[i]);
	}
}

/* Where a policy needs no order of use within a report, it decides the same. */
static void batches(uint64_t *seed)
{
	static const char *const same_at_one[] = { "clock", "fifo", "random", "opt" };
	unsigned int wrong[ARRAY_SIZE(same_at_one)] = { 0 }, opt = 0;
	struct trace t;

	for (unsigned int round = 0; round < 20; round++) {
		uint32_t frames;

		lab_random_trace(&t, 2000, 2 + tap_random(seed) % 200, seed);
		frames = 1 + tap_random(seed) % t.nr_pages;
		for (unsigned int i = 0; i < ARRAY_SIZE(same_at_one); i++) {
			struct sim_result exact = run(&t, named(same_at_one[i]), frames);
			struct sim_result one = run_batch(&t, named(same_at_one[i]), frames, 1);

			wrong[i] += !same(&exact, &one);
		}
		opt += run_batch(&t, named("opt"), frames, 16).faults !=
		       run(&t, named("opt"), frames).faults;
		trace_finish(&t);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(same_at_one); i++)
		is(wrong[i], 0, "%s: one page at a time, use reported late, is the same",
		   same_at_one[i]);
	is(opt, 0, "opt is exact in batches too");
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	known_answers();
	against_naive(&seed);
	stack_property(&seed);
	opt_with_drops(&seed);
	nothing_beats_opt(&seed);
	curves(&seed);
	points();
	batches(&seed);
	return tap_done();
}
