/* SPDX-License-Identifier: MIT */
/*
 * Replacement policies: the miss ratio and the time of an access, on traces of each pattern.  A
 * miss ratio is exact, and the same on every machine.  It is shown twice: with each use reported
 * at once, and behind it as under a VM, where 64 pages leave at a time and use is reported then.
 * The time is of the exact run: the median of RUNS, of this thread's processor time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "mmu/reclaim/pattern.h"
#include "mmu/reclaim/simulate.h"

#define RUNS   5u
#define PAGES  20000u
#define LENGTH 1000000u
#define BATCH  64u

static const unsigned int percents[] = { 10, 25, 50, 75 };

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const struct quire_error *err)
{
	fprintf(stderr, "reclaim_bench: %s\n", err->text);
	exit(1);
}

static void make(struct trace *t, unsigned int kind)
{
	struct pattern pattern = { .kind = kind, .nr_pages = PAGES, .length = LENGTH, .seed = 1 };
	struct quire_error err = { "no temporary file" };
	FILE *f = tmpfile();

	pattern.write_percent = 25;
	if (!f || pattern_write(&pattern, f, &err))
		die(&err);
	rewind(f);
	if (trace_read(t, f, "the trace", &err))
		die(&err);
	fclose(f);
}

/* The miss ratio, and the processor time. */
static double run(const struct trace *t, unsigned int policy, unsigned int percent, uint32_t batch,
		  uint64_t *ns)
{
	struct sim sim = {
		.policy = policy,
		.frames = PAGES * percent / 100,
		.batch = batch,
		.seed = 1,
	};
	struct sim_result result;
	struct quire_error err;
	uint64_t start = cpu_ns();

	if (sim_run(t, &sim, &result, &err))
		die(&err);
	*ns = cpu_ns() - start;
	return 100.0 * (double)result.faults / (double)trace_length(t);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double time_of(const struct trace *t, unsigned int policy)
{
	uint64_t ns[RUNS];

	for (unsigned int i = 0; i < RUNS; i++)
		run(t, policy, 25, 0, &ns[i]);
	qsort(ns, RUNS, sizeof(*ns), compare);
	return (double)ns[RUNS / 2] / LENGTH;
}

static void measure(unsigned int kind)
{
	struct trace t;
	uint64_t ns;

	make(&t, kind);
	for (unsigned int p = 0; p < SIM_NR_POLICIES; p++) {
		printf("%-7s %-7s", pattern_names[kind], sim_name(p));
		for (unsigned int i = 0; i < ARRAY_SIZE(percents); i++) {
			double exact = run(&t, p, percents[i], 0, &ns);

			printf("  %5.1f / %5.1f %%", exact, run(&t, p, percents[i], BATCH, &ns));
		}
		printf("  %4.0f ns\n", time_of(&t, p));
	}
	trace_finish(&t);
}

int main(void)
{
	printf("%u accesses to %u pages; miss ratio, exact / in batches of %u\n", LENGTH, PAGES,
	       BATCH);
	printf("%-15s", "memory");
	for (unsigned int i = 0; i < ARRAY_SIZE(percents); i++)
		printf("  %13u %%", percents[i]);
	printf("  access\n");
	for (unsigned int kind = 0; kind < PATTERN_KINDS; kind++)
		measure(kind);
	return 0;
}
