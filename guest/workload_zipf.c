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
 *
 * Ranks are drawn by binary search in the cumulated weights, eight bytes a page.  Powers come
 * from the x87, which has the logarithm that a kernel without libm lacks.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

struct zipf {
	uint64_t seed, pages, ops, deadline;
	double *cumulated;
	uint32_t *count;
	struct shuffle place;
	volatile uint64_t (*page)[PAGE_WORDS];
};

/* k ^ -s */
static double weight(double k, double s)
{
	long double exponent, whole, power;

	__asm__("fyl2x" : "=t"(exponent) : "0"((long double)k), "u"((long double)-s) : "st(1)");
	__asm__("frndint" : "=t"(whole) : "0"(exponent));
	__asm__("f2xm1" : "=t"(power) : "0"(exponent - whole));
	__asm__("fscale" : "=t"(power) : "0"(power + 1.0L), "u"(whole));
	return (double)power;
}

static void cumulate(struct zipf *z, double s)
{
	double sum = 0;

	__asm__ volatile("fninit");
	for (uint64_t i = 0; i < z->pages; i++) {
		sum += weight((double)(i + 1), s);
		z->cumulated[i] = sum;
	}
}

static uint64_t draw_rank(const struct zipf *z, uint64_t *state)
{
	double unit = (double)(random_next(state) >> 11) / 9007199254740992.0;
	double x = unit * z->cumulated[z->pages - 1];
	uint64_t low = 0, high = z->pages - 1;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (z->cumulated[middle] > x)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static uint64_t stamp(const struct zipf *z, uint64_t page)
{
	return mix(z->seed ^ page << 32 ^ z->count[page]);
}

static bool holds(const volatile uint64_t *at, uint64_t want)
{
	uint64_t got = *at;

	if (got != want)
		report_wrong("zipf", at, want, got);
	return got == want;
}

/* A page that was not written yet may hold anything. */
static bool check(const struct zipf *z, uint64_t page)
{
	return !z->count[page] || (holds(&z->page[page][0], z->count[page]) &&
				   holds(&z->page[page][PAGE_WORDS - 1], stamp(z, page)));
}

static bool run_ops(struct zipf *z)
{
	uint64_t state = z->seed, done = 0;

	while (z->ops ? done < z->ops : done % 1024 || rdtsc() < z->deadline) {
		uint64_t page = shuffle_at(&z->place, draw_rank(z, &state));

		if (!check(z, page))
			return false;
		z->page[page][0] = ++z->count[page];
		z->page[page][PAGE_WORDS - 1] = stamp(z, page);
		done++;
	}
	z->ops = done;
	return true;
}

static bool check_all(const struct zipf *z, uint64_t *touched, uint64_t *most)
{
	for (uint64_t page = 0; page < z->pages; page++) {
		if (!check(z, page))
			return false;
		*touched += z->count[page] > 0;
		if (z->count[page] > *most)
			*most = z->count[page];
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

static void *window_bytes(uint64_t bytes)
{
	return window_create((bytes + PAGE_SIZE - 1) / PAGE_SIZE);
}

int zipf_run(struct args *a)
{
	struct zipf z = { 0 };
	uint64_t touched = 0, most = 0, s = thousandths(a, args_text(a, "s", "1.0"));
	uint64_t seconds;

	z.seed = args_number(a);
	z.pages = args_number(a);
	z.ops = args_key(a, "ops", 0);
	seconds = z.ops ? 0 : args_number(a);
	a->bad |= !z.pages;
	if (!args_done(a))
		return STATUS_USAGE;
	z.page = window_create(z.pages);
	z.cumulated = window_bytes(z.pages * sizeof(*z.cumulated));
	z.count = window_bytes(z.pages * sizeof(*z.count));
	if (!z.page || !z.cumulated || !z.count)
		return no_room(z.pages);
	memset(z.count, 0, z.pages * sizeof(*z.count));
	shuffle_init(&z.place, z.pages, z.seed);
	cumulate(&z, (double)s / 1000);
	z.deadline = z.ops ? 0 : clock_deadline(seconds);
	if (!run_ops(&z) || !check_all(&z, &touched, &most))
		return STATUS_WRONG;
	print("zipf: seed=%lu pages=%lu s=%lu.%03lu ops=%lu touched=%lu most=%lu verified=%lu\n",
	      z.seed, z.pages, s / 1000, s % 1000, z.ops, touched, most, touched);
	return STATUS_OK;
}
