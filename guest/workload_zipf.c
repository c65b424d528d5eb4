/* SPDX-License-Identifier: MIT */
/*
 * zipf: skewed access, like that of real programs.
 *
 *	zipf SEED PAGES SECONDS|ops=N [s=1.0]
 *
 * Each operation draws a rank k with a probability proportional to 1 / k^s.  A permutation gives
 * the page of that rank, so that hot pages are scattered.  The operation updates the page: a
 * counter in the first word, and a stamp of it in the last.  The counts are also kept apart, and a
 * page is compared with them whenever it is drawn, and at the end.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"
#include "zipf.h"

struct run {
	uint64_t seed, pages, ops, deadline;
	struct zipf zipf;
	uint32_t *count;
	struct shuffle place;
	volatile uint64_t (*page)[PAGE_WORDS];
};

static uint64_t stamp(const struct run *r, uint64_t page)
{
	return mix(r->seed ^ page << 32 ^ r->count[page]);
}

static bool holds(const volatile uint64_t *at, uint64_t want)
{
	uint64_t got = *at;

	if (got != want)
		report_wrong("zipf", at, want, got);
	return got == want;
}

/* A page that was not written yet may hold anything. */
static bool check(const struct run *r, uint64_t page)
{
	return !r->count[page] || (holds(&r->page[page][0], r->count[page]) &&
				   holds(&r->page[page][PAGE_WORDS - 1], stamp(r, page)));
}

static bool run_ops(struct run *r)
{
	uint64_t state = r->seed, done = 0;

	while (r->ops ? done < r->ops : done % 1024 || rdtsc() < r->deadline) {
		uint64_t page = shuffle_at(&r->place, zipf_draw(&r->zipf, &state));

		if (!check(r, page))
			return false;
		r->page[page][0] = ++r->count[page];
		r->page[page][PAGE_WORDS - 1] = stamp(r, page);
		done++;
	}
	r->ops = done;
	return true;
}

static bool check_all(const struct run *r, uint64_t *touched, uint64_t *most)
{
	for (uint64_t page = 0; page < r->pages; page++) {
		if (!check(r, page))
			return false;
		*touched += r->count[page] > 0;
		if (r->count[page] > *most)
			*most = r->count[page];
	}
	return true;
}

/* "1.25" is 1250 thousandths. */
static uint64_t thousandths(struct args *a, const char *text)
{
	char *end;
	uint64_t value = strtoul(text, &end, 10) * 1000, unit = 100;

	a->bad |= end == text;
	if (*end == '.')
		for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
			value += (uint64_t)(*end - '0') * unit;
	a->bad |= *end != 0;
	return value;
}

int zipf_run(struct args *a)
{
	struct run r = { 0 };
	uint64_t touched = 0, most = 0, s = thousandths(a, args_text(a, "s", "1.0"));
	uint64_t seconds;

	r.seed = args_number(a);
	r.pages = args_number(a);
	r.ops = args_key(a, "ops", 0);
	seconds = r.ops ? 0 : args_number(a);
	a->bad |= !r.pages;
	if (!args_done(a))
		return STATUS_USAGE;
	r.page = window_create(r.pages);
	r.count = window_create((r.pages * sizeof(*r.count) + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!r.page || !r.count || !zipf_init(&r.zipf, r.pages, s))
		return no_room(r.pages);
	memset(r.count, 0, r.pages * sizeof(*r.count));
	shuffle_init(&r.place, r.pages, r.seed);
	r.deadline = r.ops ? 0 : clock_deadline(seconds);
	if (!run_ops(&r) || !check_all(&r, &touched, &most))
		return STATUS_WRONG;
	print("zipf: seed=%lu pages=%lu s=%lu.%03lu ops=%lu touched=%lu most=%lu verified=%lu\n",
	      r.seed, r.pages, s / 1000, s % 1000, r.ops, touched, most, touched);
	return STATUS_OK;
}
