/* SPDX-License-Identifier: MIT */
/*
 * Any page leaves, each as likely as the others.  Use changes nothing.  It is the measure of the
 * others: a policy that does worse than this has guessed wrong.
 *
 * The resident pages are in an array without gaps.  The last one takes the place of one that
 * leaves.
 */
#include <errno.h>
#include <stdlib.h>
#include "dice.h"
#include "reclaim.h"

struct random {
	struct reclaim r;
	uint64_t dice;
	uint32_t *page;	 /* the resident ones are [0, nr_resident) */
	uint32_t *place; /* where in `page` each of them is */
};

static struct random *random_of(struct reclaim *r)
{
	return (struct random *)r;
}

static int random_init(struct reclaim *r, uint64_t seed)
{
	struct random *x = random_of(r);

	x->dice = seed;
	x->page = calloc(r->nr_pages + 1, sizeof(*x->page));
	x->place = calloc(r->nr_pages + 1, sizeof(*x->place));
	return x->page && x->place ? 0 : -ENOMEM;
}

static void random_finish(struct reclaim *r)
{
	free(random_of(r)->page);
	free(random_of(r)->place);
}

static void put(struct random *x, uint64_t place, uint32_t page)
{
	x->page[place] = page;
	x->place[page] = (uint32_t)place;
}

static void random_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	(void)distance;
	put(random_of(r), r->nr_resident, (uint32_t)gfn);
}

static void random_drop(struct reclaim *r, gfn_t gfn)
{
	struct random *x = random_of(r);

	put(x, x->place[gfn], x->page[r->nr_resident - 1]);
}

static gfn_t random_choose(struct reclaim *r)
{
	struct random *x = random_of(r);
	gfn_t gfn = x->page[dice_below(&x->dice, r->nr_resident)];

	random_drop(r, gfn);
	return gfn;
}

const struct reclaim_policy reclaim_random = {
	.name = "random",
	.page_bytes = 2 * sizeof(uint32_t),
	.size = sizeof(struct random),
	.init = random_init,
	.finish = random_finish,
	.load = random_load,
	.drop = random_drop,
	.choose = random_choose,
};
