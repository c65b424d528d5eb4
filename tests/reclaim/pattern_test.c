/* SPDX-License-Identifier: MIT */
/* Traces that are made are what their names say, and the same everywhere. */
#include <stdlib.h>
#include <string.h>
#include "mmu/reclaim/pattern.h"
#include "tests/tap.h"
#include "trace_lab.h"

enum {
	PAGES = 1000,
	LENGTH = 200000,
};

struct made {
	uint32_t page[LENGTH]; /* as they are called in the text */
	uint32_t nr_writes;
	uint32_t times[PAGES]; /* how often each is accessed */
	char *text;
	size_t bytes;
};

static struct made made;

static unsigned int named(const char *name)
{
	for (unsigned int i = 0; i < PATTERN_KINDS; i++)
		if (!strcmp(pattern_names[i], name))
			return i;
	tap_bail("no pattern %s", name);
}

static void write_text(const struct pattern *pattern)
{
	struct quire_error err = { "" };
	FILE *f;

	free(made.text);
	f = open_memstream(&made.text, &made.bytes);
	if (!f || pattern_write(pattern, f, &err) || fclose(f))
		tap_bail("cannot make a trace");
}

/* Make a trace of 1000 pages, and read it line by line. */
static void make(const char *name, uint32_t write_percent)
{
	struct pattern pattern = {
		.nr_pages = PAGES,
		.length = LENGTH,
		.write_percent = write_percent,
		.seed = 11,
		.kind = named(name),
	};
	unsigned int n = 0;

	write_text(&pattern);
	memset(made.times, 0, sizeof(made.times));
	made.nr_writes = 0;
	for (char *line = strtok(made.text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long page = strtoul(line, NULL, 10);

		if (*line == '#')
			continue;
		if (page >= PAGES || n == LENGTH)
			tap_bail("%s: '%s' is no access of it", name, line);
		made.page[n++] = (uint32_t)page;
		made.times[page]++;
		made.nr_writes += strchr(line, 'w') != NULL;
	}
	is(n, LENGTH, "%s has all its accesses", name);
}

static int downwards(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x < y) - (x > y);
}

/* H(1000) is 7.485: the first rank has 26717 of 200000, the tenth a tenth of that. */
static void zipf(void)
{
	unsigned int first_half = 0;

	make("zipf", 25);
	for (unsigned int page = 0; page < PAGES / 2; page++)
		first_half += made.times[page] > LENGTH / PAGES;
	ok(first_half > 50 && first_half < 100,
	   "zipf: ranks are scattered; %u of the upper ones "
	   "are in the first half",
	   first_half);
	qsort(made.times, PAGES, sizeof(*made.times), downwards);
	ok(made.times[0] > 25900 && made.times[0] < 27500, "zipf: the first has %u accesses",
	   made.times[0]);
	ok(made.times[9] > 2300 && made.times[9] < 3000, "zipf: the tenth has %u", made.times[9]);
	ok(made.times[99] > 200 && made.times[99] < 340, "zipf: the hundredth has %u",
	   made.times[99]);
	ok(made.nr_writes > LENGTH * 24 / 100 && made.nr_writes < LENGTH * 26 / 100,
	   "a quarter of the accesses are writes: %u", made.nr_writes);
}

static void scan(void)
{
	unsigned int wrong = 0;

	make("scan", 0);
	for (unsigned int i = 0; i < LENGTH; i++)
		wrong += made.page[i] != i % PAGES;
	is(wrong, 0, "scan: all pages in order, again and again");
	is(made.nr_writes, 0, "no writes, on demand");
}

static void evenly(void)
{
	make("random", 100);
	qsort(made.times, PAGES, sizeof(*made.times), downwards);
	ok(made.times[0] < 300 && made.times[PAGES - 1] > 120,
	   "random: each page has about 200 accesses, %u at most and %u at least", made.times[0],
	   made.times[PAGES - 1]);
	is(made.nr_writes, LENGTH, "all are writes, on demand");
}

static void phases(void)
{
	unsigned int inside = 0;

	make("phases", 25);
	for (unsigned int i = 0; i < LENGTH; i++) {
		unsigned int start = i / (LENGTH / 8) * (PAGES / 8);

		inside += made.page[i] >= start && made.page[i] < start + PAGES / 8 + 1;
	}
	/* And of the tenth that goes anywhere, an eighth. */
	ok(inside > LENGTH * 905 / 1000 && inside < LENGTH * 92 / 100,
	   "phases: %u of %u accesses are in the working set of the time", inside,
	   (unsigned int)LENGTH);
}

static void mixed(void)
{
	unsigned int from = LENGTH / 5 * 2, wrong = 0;

	make("mixed", 25);
	for (unsigned int i = 0; i < LENGTH / 10; i++)
		wrong += made.page[from + 2 * i + 1] != i % PAGES;
	is(wrong, 0, "mixed: in the third fifth, every second access is of a scan");
}

/* FNV-1a of the text. */
static uint64_t sum_of(const char *text, size_t bytes)
{
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < bytes; i++)
		sum = (sum ^ (unsigned char)text[i]) * 0x100000001b3;
	return sum;
}

static void the_same_everywhere(void)
{
	static const uint64_t want[PATTERN_KINDS] = {
		0xd836e03504cbadba, 0x4922c7ca3d953e9c, 0xf000ff571084db31,
		0x4e5faded68527f14, 0x0e2867632f6f2352,
	};

	for (unsigned int kind = 0; kind < PATTERN_KINDS; kind++) {
		struct pattern pattern = {
			.nr_pages = 777,
			.length = 5000,
			.write_percent = 30,
			.kind = kind,
		};

		write_text(&pattern);
		is_hex(sum_of(made.text, made.bytes), want[kind], "%s is what it always was",
		       pattern_names[kind]);
	}
}

/* Sizes at the edges, which are traces all the same. */
static void small_ones(void)
{
	for (unsigned int kind = 0; kind < PATTERN_KINDS; kind++) {
		struct pattern pattern = { .nr_pages = 1, .length = 1, .kind = kind };
		struct trace t;

		write_text(&pattern);
		lab_trace(&t, made.text);
		is(trace_length(&t), 1, "%s: one access to one page", pattern_names[kind]);
		trace_finish(&t);
	}
}

int main(void)
{
	tap_init();
	zipf();
	scan();
	evenly();
	phases();
	mixed();
	the_same_everywhere();
	small_ones();
	free(made.text);
	return tap_done();
}
