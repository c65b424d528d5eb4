/* SPDX-License-Identifier: MIT */
/*
 * Least frequently used: the page with the fewest reports of use since it came in leaves, and of
 * several the one that has this count for the longest time.
 *
 * Counts grow old.  When they are too high in the mean, all are halved, as in J. T. Robinson and M.
 * V. Devarakonda, "Data Cache Management Using Frequency-Based Replacement", SIGMETRICS 1990.
 * Otherwise a page that was in use yesterday would stay for ever.  A count ends at 255.
 *
 * There is a list for each count.  To halve them, list 2n and then list 2n + 1 become list n.  That
 * takes O(resident pages), but happens only after as many reports of use: so O(1) in the mean.
 */
#include <string.h>
#include "page_list.h"

#define MAX_COUNT 255u
#define MEAN_MAX  8u /* at a higher mean all counts are halved */

struct lfu {
	struct reclaim r;
	struct page_lists lists; /* by count */
	uint8_t *count;		 /* of each page */
	uint64_t sum;		 /* of the counts of resident pages */
};

static struct lfu *lfu_of(struct reclaim *r)
{
	return (struct lfu *)r;
}

static int lfu_init(struct reclaim *r, uint64_t seed)
{
	struct lfu *f = lfu_of(r);

	(void)seed;
	f->count = calloc(r->nr_pages + 1, 1);
	return f->count ? page_lists_create(&f->lists, r->nr_pages, MAX_COUNT + 1) : -ENOMEM;
}

static void lfu_finish(struct reclaim *r)
{
	page_lists_destroy(&lfu_of(r)->lists);
	free(lfu_of(r)->count);
}

static void move_all(struct lfu *f, unsigned int from, unsigned int to)
{
	while (!page_list_is_empty(&f->lists, from)) {
		gfn_t gfn = page_list_take(&f->lists, from);

		f->sum -= from - to;
		f->count[gfn] = (uint8_t)to;
		page_list_add(&f->lists, to, gfn);
	}
}

static void halve(struct lfu *f)
{
	for (unsigned int from = 1; from <= MAX_COUNT; from++)
		move_all(f, from, from / 2);
}

static void lfu_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	struct lfu *f = lfu_of(r);

	(void)distance;
	f->count[gfn] = 1;
	f->sum++;
	page_list_add(&f->lists, 1, gfn);
}

static void lfu_used(struct reclaim *r, gfn_t gfn)
{
	struct lfu *f = lfu_of(r);

	if (f->count[gfn] < MAX_COUNT) {
		f->count[gfn]++;
		f->sum++;
	}
	page_list_move(&f->lists, f->count[gfn], gfn);
	if (f->sum > MEAN_MAX * r->nr_resident)
		halve(f);
}

static void lfu_drop(struct reclaim *r, gfn_t gfn)
{
	struct lfu *f = lfu_of(r);

	f->sum -= f->count[gfn];
	page_list_remove(&f->lists, gfn);
}

static gfn_t lfu_choose(struct reclaim *r)
{
	struct lfu *f = lfu_of(r);
	unsigned int count = 0;
	gfn_t gfn;

	while (page_list_is_empty(&f->lists, count))
		count++;
	gfn = page_list_first(&f->lists, count);
	lfu_drop(r, gfn);
	return gfn;
}

const struct reclaim_policy reclaim_lfu = {
	.name = "lfu",
	.page_bytes = sizeof(struct page_link) + 1,
	.size = sizeof(struct lfu),
	.init = lfu_init,
	.finish = lfu_finish,
	.load = lfu_load,
	.used = lfu_used,
	.drop = lfu_drop,
	.choose = lfu_choose,
};
