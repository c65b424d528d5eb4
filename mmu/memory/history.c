/* SPDX-License-Identifier: MIT */
/*
 * A word: bits 31:9 the second in which the page left or came back last, counted from 1; bit 8: it
 * is gone; bits 7:0 how often it came back.  A second beyond 23 bits is 97 days, and stays there.
 */
#include <errno.h>
#include "history.h"
#include "mmu/base/clock.h"
#include "mmu/base/reserve.h"

#define RETURNS	   0xffu
#define GONE	   0x100u
#define MOVE_SHIFT 9
#define MOVE_MOST  0x7fffffu

int history_init(struct history *h, uint64_t pages)
{
	*h = (struct history){ .pages = pages, .began_ns = monotonic_ns() };
	h->word = reserve(pages * sizeof(*h->word));
	return h->word ? 0 : -ENOMEM;
}

void history_finish(struct history *h)
{
	unreserve(h->word, h->pages * sizeof(*h->word));
}

static uint64_t now_s(const struct history *h)
{
	return min_u64((monotonic_ns() - h->began_ns) / NS_PER_S + 1, MOVE_MOST);
}

/* A page that leaves the pool for the disk is gone as long as before. */
static void leave(struct history *h, gfn_t gfn, uint64_t nr)
{
	uint32_t left = (uint32_t)now_s(h) << MOVE_SHIFT | GONE;

	for (gfn_t end = gfn + nr; gfn < end; gfn++)
		if (!(h->word[gfn] & GONE))
			h->word[gfn] = left | (h->word[gfn] & RETURNS);
	h->any = true;
}

static void come_back(const struct history *h, uint32_t *word)
{
	uint32_t returns = *word & RETURNS;

	if (*word & GONE)
		*word = (uint32_t)now_s(h) << MOVE_SHIFT |
			(returns < RETURNS ? returns + 1 : returns);
}

void history_note(struct history *h, gfn_t gfn, uint64_t nr, enum page_state to)
{
	if (page_states[to].payload != NUMBER_NONE) {
		leave(h, gfn, nr);
		return;
	}
	for (gfn_t end = gfn + nr; h->any && gfn < end; gfn++) {
		if (to == PG_PRIVATE)
			come_back(h, &h->word[gfn]);
		else if (to == PG_ABSENT && h->word[gfn])
			h->word[gfn] = 0;
	}
}

unsigned int history_returns(const struct history *h, gfn_t gfn)
{
	return h->any ? h->word[gfn] & RETURNS : 0;
}

static uint64_t moved_s(const struct history *h, gfn_t gfn)
{
	return now_s(h) - min_u64(h->word[gfn] >> MOVE_SHIFT, now_s(h));
}

uint64_t history_gone_s(const struct history *h, gfn_t gfn)
{
	return h->any && h->word[gfn] & GONE ? moved_s(h, gfn) : 0;
}

uint64_t history_back_s(const struct history *h, gfn_t gfn)
{
	return h->any && history_returns(h, gfn) && !(h->word[gfn] & GONE) ? moved_s(h, gfn) : 0;
}
