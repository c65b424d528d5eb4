/* SPDX-License-Identifier: MIT */
/*
 * Least recently used: the page that was not used for the longest time leaves.  Of pages that are
 * reported together, those with the higher gfn count as used later; so with rare reports it is an
 * approximation.
 */
#include "page_list.h"

struct lru {
	struct reclaim r;
	struct page_lists lists;
};

static struct lru *lru_of(struct reclaim *r)
{
	return (struct lru *)r;
}

static int lru_init(struct reclaim *r, uint64_t seed)
{
	(void)seed;
	return page_lists_create(&lru_of(r)->lists, r->nr_pages, 1);
}

static void lru_finish(struct reclaim *r)
{
	page_lists_destroy(&lru_of(r)->lists);
}

static void lru_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	(void)distance;
	page_list_add(&lru_of(r)->lists, 0, gfn);
}

static void lru_used(struct reclaim *r, gfn_t gfn)
{
	page_list_move(&lru_of(r)->lists, 0, gfn);
}

static void lru_drop(struct reclaim *r, gfn_t gfn)
{
	page_list_remove(&lru_of(r)->lists, gfn);
}

static gfn_t lru_choose(struct reclaim *r)
{
	return page_list_take(&lru_of(r)->lists, 0);
}

const struct reclaim_policy reclaim_lru = {
	.name = "lru",
	.page_bytes = sizeof(struct page_link),
	.size = sizeof(struct lru),
	.init = lru_init,
	.finish = lru_finish,
	.load = lru_load,
	.used = lru_used,
	.drop = lru_drop,
	.choose = lru_choose,
};
