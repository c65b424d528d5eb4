/* SPDX-License-Identifier: MIT */
/*
 * Generations: pages of about one age are a generation, and pages of the oldest one leave.
 *
 *	oldest          oldest + 1   ...   youngest
 *	next to leave                      used since it began
 *
 * It is in the manner of Linux's multi-generational LRU (Documentation/mm/multigen_lru.rst,
 * mm/vmscan.c).  From there come:
 *
 *  - There are at most four generations, and three are ideal.  A new youngest one begins when there
 *    are fewer, or when there are three, and the youngest has more than half of all pages, or the
 *    oldest less than a quarter (should_run_aging()).
 *  - A page that was used becomes a member of the youngest, once for each generation: so its place
 *    says how long ago that was, and a second report costs nothing.
 *  - The oldest that became empty is no more, and the next one is the oldest.
 *
 * Refaults are the feedback (mm/workingset.c).  A page that comes back, after no more pages left
 * than are resident now, would have stayed with twice the memory: it is of the working set, and
 * begins in the youngest generation.  Any other page begins in the oldest, behind those that are
 * there.  If it is used again before its turn, it moves on.  If it is part of a scan, it leaves
 * before pages that were used.  There quire is stricter than Linux, where a page that the processor
 * maps begins young.
 */
#include "page_list.h"

#define MIN_GENERATIONS 2u
#define MAX_GENERATIONS 4u

struct gen {
	struct reclaim r;
	struct page_lists lists;	    /* generation n is list n % MAX_GENERATIONS */
	uint64_t oldest, youngest;	    /* never fall */
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
	g->youngest = MIN_GENERATIONS;
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

	add(g, gfn, distance <= r->nr_resident ? g->youngest : g->oldest);
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
	uint64_t young = g->nr_pages[list_of(g->youngest)], old = g->nr_pages[list_of(g->oldest)];

	if (g->youngest - g->oldest != MIN_GENERATIONS)
		return g->youngest - g->oldest < MIN_GENERATIONS;
	return young * MIN_GENERATIONS > g->r.nr_resident ||
	       old * (MIN_GENERATIONS + 2) < g->r.nr_resident;
}

static gfn_t gen_choose(struct reclaim *r)
{
	struct gen *g = gen_of(r);
	gfn_t gfn;

	while (!g->nr_pages[list_of(g->oldest)] || is_time_for_another(g)) {
		if (!g->nr_pages[list_of(g->oldest)])
			g->oldest++;
		if (is_time_for_another(g))
			g->youngest++;
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
