/* SPDX-License-Identifier: MIT */
/*
 * visit: a working set that is known, page by page.
 *
 *	visit SEED PAGES [of=K] [seconds=N]
 *
 * It writes PAGES pages, which can be compressed.  Then it verifies one page in K of them (8),
 * drawn at random, again and again, a thousand times a second, and leaves the others alone.  It
 * prints which they are, each by its frame number.  With a byte of input it draws others, and after
 * N seconds (5) it verifies all.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

struct visit {
	uint64_t seed, pages, of, seconds, set;
	uint64_t (*page)[PAGE_WORDS];
};

static bool is_visited(const struct visit *v, uint64_t page)
{
	return mix(v->seed ^ v->set << 40 ^ page) % v->of == 0;
}

static uint64_t frame_of(const struct visit *v, uint64_t page)
{
	uint64_t gva = (uint64_t)v->page[page];

	return ((*pte_find(pml4, gva, 2, false) & PTE_ADDRESS) + gva % BLOCK_SIZE) / PAGE_SIZE;
}

static void tell(const struct visit *v)
{
	uint64_t nr = 0;

	for (uint64_t i = 0; i < v->pages; i++)
		if (is_visited(v, i)) {
			print("visit: page=0x%lx\n", frame_of(v, i));
			nr++;
		}
	print("visit: set=%lu visited=%lu\n", v->set, nr);
	console_flush();
}

static bool check(const struct visit *v, uint64_t page)
{
	return content_check("visit", v->page[page], v->seed, page | CONTENT_PACKS);
}

static bool round_trip(const struct visit *v)
{
	for (uint64_t i = 0; i < v->pages; i++)
		if (is_visited(v, i) && !check(v, i))
			return false;
	return true;
}

static bool visit_set(const struct visit *v, uint64_t deadline)
{
	tell(v);
	while (rdtsc() < deadline && !console_has_input()) {
		if (!round_trip(v))
			return false;
		pause_until(rdtsc() + clock_khz());
	}
	return true;
}

static bool visit_parse(struct visit *v, struct args *a)
{
	v->seed = args_number(a);
	v->pages = args_number(a);
	v->of = args_key(a, "of", 8);
	v->seconds = args_key(a, "seconds", 5);
	a->bad |= !v->pages || !v->of;
	return args_done(a);
}

int visit_run(struct args *a)
{
	struct visit v = { 0 };
	uint64_t deadline;

	if (!visit_parse(&v, a))
		return STATUS_USAGE;
	v.page = window_create(v.pages);
	if (!v.page)
		return no_room(v.pages);
	for (uint64_t i = 0; i < v.pages; i++)
		content_write(v.page[i], v.seed, i | CONTENT_PACKS);
	for (deadline = clock_deadline(v.seconds); rdtsc() < deadline; v.set++) {
		if (!visit_set(&v, deadline))
			return STATUS_WRONG;
		if (console_has_input())
			(void)console_getc();
	}
	for (uint64_t i = 0; i < v.pages; i++)
		if (!check(&v, i))
			return STATUS_WRONG;
	print("visit: verified=%lu\n", v.pages);
	return STATUS_OK;
}
