/* SPDX-License-Identifier: MIT */
/*
 * peek: reads memory that was never written.
 *
 *	peek PAGES [write=PERCENT] [seconds=N] [seed=N]
 *
 * It reads every word of PAGES pages, which must be zero; so the first access to each page is a
 * read.  Then it writes PERCENT of the pages (0), spread evenly over the others, and verifies all.
 * It waits N seconds (0) or until there is input after the reads, and again after the writes if
 * there are any.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

struct peek {
	uint64_t pages, writes, seconds, seed;
	uint64_t (*page)[PAGE_WORDS];
};

/* Is page i written, and as which? */
static bool is_written(const struct peek *p, uint64_t i, uint64_t *number)
{
	*number = spread(i, p->pages, p->writes);
	return spread(i + 1, p->pages, p->writes) > *number;
}

static void write_some(const struct peek *p)
{
	uint64_t number;

	for (uint64_t i = 0; i < p->pages; i++)
		if (is_written(p, i, &number))
			content_write(p->page[i], p->seed, number);
}

static bool check_all(const struct peek *p, bool written)
{
	uint64_t number;

	for (uint64_t i = 0; i < p->pages; i++) {
		bool zero = !written || !is_written(p, i, &number);

		if (!content_check("peek", p->page[i], p->seed, zero ? CONTENT_ZERO : number))
			return false;
	}
	return true;
}

static bool peek_parse(struct peek *p, struct args *a)
{
	uint64_t percent = args_key(a, "write", 0);

	p->pages = args_number(a);
	p->writes = p->pages * percent / 100;
	p->seconds = args_key(a, "seconds", 0);
	p->seed = args_key(a, "seed", 1);
	a->bad |= !p->pages || percent > 100;
	return args_done(a);
}

static void hold_for(uint64_t seconds)
{
	if (seconds)
		pause_for_input(clock_deadline(seconds));
}

int peek_run(struct args *a)
{
	struct peek p;
	uint64_t start;

	if (!peek_parse(&p, a))
		return STATUS_USAGE;
	p.page = window_create(p.pages);
	if (!p.page)
		return no_room(p.pages);
	start = rdtsc();
	if (!check_all(&p, false))
		return STATUS_WRONG;
	print("peek: pages=%lu zero=%lu ns_per_page=%lu\n", p.pages, p.pages,
	      clock_ns(rdtsc() - start) / p.pages);
	print("peek: ready\n");
	hold_for(p.seconds);
	if (p.writes) {
		write_some(&p);
		print("peek: written=%lu\n", p.writes);
		hold_for(p.seconds);
	}
	if (!check_all(&p, p.writes > 0))
		return STATUS_WRONG;
	print("peek: verified=%lu\n", p.pages);
	return STATUS_OK;
}
