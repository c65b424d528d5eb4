/* SPDX-License-Identifier: MIT */
/*
 * stress: does memory keep what is written to it, whatever the host does with it?
 *
 *	stress SECONDS [seed=N] [pages=N]
 *
 * It draws a page (of 7/8 of the free memory unless told), checks every byte of what it last wrote
 * there, and writes something new.  At the end it checks all.  The seed, the page and its
 * generation determine what a page holds; the generations are kept apart, a number a page.
 *
 * One page in eight is zeroes, and two in eight have one of sixteen common contents.  So a host
 * that merges has something to merge and to break.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define COMMON_CONTENTS 16

struct stress {
	uint64_t seed, pages, writes, verified;
	uint32_t *generation; /* 0: not written yet */
	uint64_t (*page)[PAGE_WORDS];
};

/* Unique contents are numbered from COMMON_CONTENTS up: 32 bits of page, 28 of generation. */
static uint64_t content_of(const struct stress *s, uint64_t page)
{
	uint64_t unique = page << 28 | s->generation[page], die = mix(s->seed ^ unique);

	if (die % 8 == 0)
		return CONTENT_ZERO;
	if (die % 8 < 3)
		return die / 8 % COMMON_CONTENTS;
	return COMMON_CONTENTS + unique;
}

static bool check(struct stress *s, uint64_t page)
{
	if (!s->generation[page])
		return true;
	s->verified++;
	return content_check("stress", s->page[page], s->seed, content_of(s, page));
}

static bool run_until(struct stress *s, uint64_t deadline)
{
	uint64_t state = s->seed;

	while (s->writes % 64 || rdtsc() < deadline) {
		uint64_t page = random_below(&state, s->pages);

		if (!check(s, page))
			return false;
		s->generation[page]++;
		content_write(s->page[page], s->seed, content_of(s, page));
		s->writes++;
	}
	return true;
}

static bool check_all(struct stress *s)
{
	for (uint64_t page = 0; page < s->pages; page++)
		if (!check(s, page))
			return false;
	return true;
}

int stress_run(struct args *a)
{
	uint64_t seconds = args_number(a);
	struct stress s = { .seed = args_key(a, "seed", 1) };

	s.pages = args_key(a, "pages", free_blocks(9) / 8 * 7 * BLOCK_PAGES);
	if (!args_done(a))
		return STATUS_USAGE;
	s.page = window_create(s.pages);
	s.generation = window_create((s.pages + 1023) / 1024);
	if (!s.page || !s.generation)
		return no_room(s.pages);
	memset(s.generation, 0, s.pages * sizeof(*s.generation));
	print("stress: seed=%lu pages=%lu seconds=%lu\n", s.seed, s.pages, seconds);
	console_flush();
	if (!run_until(&s, clock_deadline(seconds)) || !check_all(&s))
		return STATUS_WRONG;
	print("stress: writes=%lu verified=%lu\n", s.writes, s.verified);
	return STATUS_OK;
}
