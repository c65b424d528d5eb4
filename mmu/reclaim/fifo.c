/* SPDX-License-Identifier: MIT */
/*
 * First in, first out: the page that came in first leaves.  Use changes nothing, so nothing has to
 * be sampled.  More frames may make it worse: L. A. Belady, R. A. Nelson and G. S. Shedler, "An
 * Anomaly in Space-Time Characteristics of Certain Programs Running in a Paging Machine", CACM
 * 12(6), 1969.
 */
#include "page_list.h"

struct fifo {
	struct reclaim r;
	struct page_lists lists;
};

static struct fifo *fifo_of(struct reclaim *r)
{
	return (struct fifo *)r;
}

static int fifo_init(struct reclaim *r, uint64_t seed)
{
	(void)seed;
	return page_lists_create(&fifo_of(r)->lists, r->nr_pages, 1);
}

static void fifo_finish(struct reclaim *r)
{
	page_lists_destroy(&fifo_of(r)->lists);
}

static void fifo_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	(void)distance;
	page_list_add(&fifo_of(r)->lists, 0, gfn);
}

static void fifo_drop(struct reclaim *r, gfn_t gfn)
{
	page_list_remove(&fifo_of(r)->lists, gfn);
}

static gfn_t fifo_choose(struct reclaim *r)
{
	return page_list_take(&fifo_of(r)->lists, 0);
}

const struct reclaim_policy reclaim_fifo = {
	.name = "fifo",
	.page_bytes = sizeof(struct page_link),
	.size = sizeof(struct fifo),
	.init = fifo_init,
	.finish = fifo_finish,
	.load = fifo_load,
	.drop = fifo_drop,
	.choose = fifo_choose,
};
