/* SPDX-License-Identifier: MIT */
/*
 * OPT: resident pages are in a binary heap, the one that is used again latest at its root.  Of
 * pages that are never used again, the one with the lowest number leaves first.
 */
#include <errno.h>
#include <stdlib.h>
#include "opt.h"

struct opt {
	struct reclaim r;
	const uint32_t *next; /* of each access */
	const uint64_t *now;
	uint32_t *key;	 /* of each page: when it is used again */
	uint32_t *heap;	 /* pages, nr_resident */
	uint32_t *place; /* in the heap, of each page */
};

static struct opt *opt_of(struct reclaim *r)
{
	return (struct opt *)r;
}

static int opt_init(struct reclaim *r, uint64_t seed)
{
	struct opt *o = opt_of(r);

	(void)seed;
	o->key = calloc(r->nr_pages + 1, sizeof(*o->key));
	o->heap = calloc(r->nr_pages + 1, sizeof(*o->heap));
	o->place = calloc(r->nr_pages + 1, sizeof(*o->place));
	return o->key && o->heap && o->place ? 0 : -ENOMEM;
}

static void opt_finish(struct reclaim *r)
{
	struct opt *o = opt_of(r);

	free(o->key);
	free(o->heap);
	free(o->place);
}

void opt_foresee(struct reclaim *r, const struct spool *next, const uint64_t *now)
{
	opt_of(r)->next = next->number;
	opt_of(r)->now = now;
}

static bool leaves_before(const struct opt *o, uint32_t a, uint32_t b)
{
	return o->key[a] != o->key[b] ? o->key[a] > o->key[b] : a < b;
}

static void put(struct opt *o, uint64_t place, uint32_t page)
{
	o->heap[place] = page;
	o->place[page] = (uint32_t)place;
}

static void sift_up(struct opt *o, uint64_t place, uint32_t page)
{
	while (place && leaves_before(o, page, o->heap[(place - 1) / 2])) {
		put(o, place, o->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(o, place, page);
}

/* In a heap of nr pages. */
static void sift_down(struct opt *o, uint64_t nr, uint64_t place, uint32_t page)
{
	for (;;) {
		uint64_t child = 2 * place + 1;

		if (child + 1 < nr && leaves_before(o, o->heap[child + 1], o->heap[child]))
			child++;
		if (child >= nr || !leaves_before(o, o->heap[child], page))
			break;
		put(o, place, o->heap[child]);
		place = child;
	}
	put(o, place, page);
}

static void opt_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	struct opt *o = opt_of(r);

	(void)distance;
	o->key[gfn] = o->next[*o->now];
	sift_up(o, r->nr_resident, (uint32_t)gfn);
}

/* Of all resident pages this was used next, so now it is used later. */
static void opt_used(struct reclaim *r, gfn_t gfn)
{
	struct opt *o = opt_of(r);

	o->key[gfn] = o->next[*o->now];
	sift_up(o, o->place[gfn], (uint32_t)gfn);
}

static void opt_drop(struct reclaim *r, gfn_t gfn)
{
	struct opt *o = opt_of(r);
	uint64_t nr = r->nr_resident - 1;
	uint32_t last = o->heap[nr];

	if (last == gfn)
		return;
	sift_up(o, o->place[gfn], last);
	sift_down(o, nr, o->place[last], last);
}

static gfn_t opt_choose(struct reclaim *r)
{
	gfn_t gfn = opt_of(r)->heap[0];

	opt_drop(r, gfn);
	return gfn;
}

const struct reclaim_policy reclaim_opt = {
	.name = "opt",
	.page_bytes = 3 * sizeof(uint32_t),
	.size = sizeof(struct opt),
	.init = opt_init,
	.finish = opt_finish,
	.load = opt_load,
	.used = opt_used,
	.drop = opt_drop,
	.choose = opt_choose,
};

int opt_look_ahead(const struct trace *t, struct spool *next, struct quire_error *err)
{
	uint32_t *last = malloc((t->nr_pages + 1ULL) * sizeof(*last));
	int code;

	if (!last)
		return quire_fail(err, -ENOMEM, "no memory for %u pages", t->nr_pages);
	code = spool_init_zeroes(next, trace_length(t), err);
	for (uint32_t page = 0; page < t->nr_pages; page++)
		last[page] = OPT_NEVER;
	for (uint64_t i = trace_length(t); i-- && !code;) {
		next->number[i] = last[trace_page(t, i)];
		last[trace_page(t, i)] = (uint32_t)i;
	}
	free(last);
	return code;
}
