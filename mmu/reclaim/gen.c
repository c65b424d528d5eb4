/* SPDX-License-Identifier: MIT */
/*
 * Generations: pages that were used in about the same time are a generation, and pages of the
 * oldest one leave.
 *
 *	oldest            oldest + 1   ...   youngest
 *	on probation                         used since it began
 *
 * The frame is that of Linux's multi-generational LRU (Documentation/mm/multigen_lru.rst).  There
 * are at most four generations, and at least three when a page is chosen.  A page that was used
 * moves to the youngest, once for each generation: so its place says how long ago that was, and a
 * second report costs nothing.  When the oldest has become empty, the next one is the oldest.
 *
 * A generation lasts until as many pages have left as are resident.  (In Linux it is ended by a
 * proportion between the youngest and the oldest.  Then a loop that is larger than memory makes all
 * pages old before they are used again.)
 *
 * A page that comes in is on probation: it begins in the oldest generation, behind those that are
 * there.  If it is used before its turn, it moves on.  So a scan leaves first, and of a loop that
 * is larger than memory only a part.  There are two exceptions:
 *
 *  - While more than a quarter of all pages are on probation, it begins in the youngest.  That is
 *    so when memory fills up.
 *  - Refaults are the feedback, as in Linux's mm/workingset.c.  A page that comes back after so few
 *    evictions that a quarter more memory would have kept it was judged too early: it begins in the
 *    youngest.
 */
#include "page_list.h"

#define MIN_GENERATIONS 3u
#define MAX_GENERATIONS 4u
#define PROBATION	4u /* a quarter of the pages */

struct gen {
	struct reclaim r;
	struct page_lists lists;	    /* generation n is list n % MAX_GENERATIONS */
	uint64_t oldest, youngest;	    /* never fall */
	uint64_t began;			    /* nr_chosen when the youngest began */
	uint64_t nr_pages[MAX_GENERATIONS]; /* in each list */
	uint8_t *list;			    /* of each page */
};

static struct gen *gen_of(struct reclaim *r)
{
	return (struct gen *)r;
}

static unsigned int list_of(uint64_t generation)
{
	return generation % MAX_GENERATIONS;
}

static int gen_init(struct reclaim *r, uint64_t seed)
{
	struct gen *g = gen_of(r);

	(void)seed;
	g->list = calloc(r->nr_pages + 1, 1);
	g->youngest = MIN_GENERATIONS - 1;
	return g->list ? page_lists_create(&g->lists, r->nr_pages, MAX_GENERATIONS) : -ENOMEM;
}

static void gen_finish(struct reclaim *r)
{
	page_lists_destroy(&gen_of(r)->lists);
	free(gen_of(r)->list);
}

static void add(struct gen *g, gfn_t gfn, uint64_t generation)
{
	unsigned int list = list_of(generation);

	g->list[gfn] = (uint8_t)list;
	g->nr_pages[list]++;
	page_list_add(&g->lists, list, gfn);
}

static void gen_drop(struct reclaim *r, gfn_t gfn)
{
	struct gen *g = gen_of(r);

	g->nr_pages[g->list[gfn]]--;
	page_list_remove(&g->lists, gfn);
}

static void gen_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	struct gen *g = gen_of(r);
	bool filling = g->nr_pages[list_of(g->oldest)] > r->nr_resident / PROBATION;

	add(g, gfn, filling || distance <= r->nr_resident / PROBATION ? g->youngest : g->oldest);
}

static void gen_used(struct reclaim *r, gfn_t gfn)
{
	struct gen *g = gen_of(r);

	if (g->list[gfn] == list_of(g->youngest))
		return;
	gen_drop(r, gfn);
	add(g, gfn, g->youngest);
}

static bool is_time_for_another(const struct gen *g)
{
	uint64_t nr = g->youngest - g->oldest + 1;

	return nr < MIN_GENERATIONS ||
	       (nr < MAX_GENERATIONS && g->r.nr_chosen - g->began > g->r.nr_resident);
}

static gfn_t gen_choose(struct reclaim *r)
{
	struct gen *g = gen_of(r);
	gfn_t gfn;

	while (!g->nr_pages[list_of(g->oldest)])
		g->oldest++;
	while (is_time_for_another(g)) {
		g->youngest++;
		g->began = r->nr_chosen;
	}
	gfn = page_list_first(&g->lists, list_of(g->oldest));
	gen_drop(r, gfn);
	return gfn;
}

const struct reclaim_policy reclaim_gen = {
	.name = "gen",
	.page_bytes = sizeof(struct page_link) + 1,
	.size = sizeof(struct gen),
	.init = gen_init,
	.finish = gen_finish,
	.load = gen_load,
	.used = gen_used,
	.drop = gen_drop,
	.choose = gen_choose,
};
