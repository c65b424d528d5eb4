/* SPDX-License-Identifier: MIT */
/*
 * The clock, or second chance: the hand goes round the pages in the order in which they came in.  A
 * page that was used since the hand last passed stays, and loses its bit; the first one without a
 * bit leaves.  F. J. Corbató, "A Paging Experiment with the Multics System", MIT Project MAC
 * MAC-M-384, 1968.
 *
 * A page comes in with its bit set, because the access that brought it in is a use.  The clock
 * needs no more than bits, so it decides the same however seldom they are reported, if they are
 * before it has to choose.
 *
 * The hand passes each page at most once for each report of it, so a choice takes O(1) in the mean,
 * and O(resident pages) at worst.
 */
#include "page_list.h"

struct clock {
	struct reclaim r;
	struct page_lists lists; /* the hand is at the first page */
	uint64_t *used;		 /* a bit for each page */
};

static struct clock *clock_of(struct reclaim *r)
{
	return (struct clock *)r;
}

static int clock_init(struct reclaim *r, uint64_t seed)
{
	struct clock *c = clock_of(r);

	(void)seed;
	c->used = calloc(r->nr_pages / 64 + 1, sizeof(uint64_t));
	return c->used ? page_lists_create(&c->lists, r->nr_pages, 1) : -ENOMEM;
}

static void clock_finish(struct reclaim *r)
{
	page_lists_destroy(&clock_of(r)->lists);
	free(clock_of(r)->used);
}

static void clock_used(struct reclaim *r, gfn_t gfn)
{
	clock_of(r)->used[gfn / 64] |= 1ULL << gfn % 64;
}

static bool clear_used(struct clock *c, gfn_t gfn)
{
	uint64_t *word = &c->used[gfn / 64], bit = 1ULL << gfn % 64;
	bool was = *word & bit;

	*word &= ~bit;
	return was;
}

static void clock_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	(void)distance;
	page_list_add(&clock_of(r)->lists, 0, gfn);
	clock_used(r, gfn);
}

static void clock_drop(struct reclaim *r, gfn_t gfn)
{
	page_list_remove(&clock_of(r)->lists, gfn);
}

static gfn_t clock_choose(struct reclaim *r)
{
	struct clock *c = clock_of(r);
	gfn_t gfn;

	while (clear_used(c, gfn = page_list_first(&c->lists, 0)))
		page_list_move(&c->lists, 0, gfn);
	page_list_remove(&c->lists, gfn);
	return gfn;
}

const struct reclaim_policy reclaim_clock = {
	.name = "clock",
	.page_bytes = sizeof(struct page_link) + 1,
	.size = sizeof(struct clock),
	.init = clock_init,
	.finish = clock_finish,
	.load = clock_load,
	.used = clock_used,
	.drop = clock_drop,
	.choose = clock_choose,
};
