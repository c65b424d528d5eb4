/* SPDX-License-Identifier: MIT */
/*
 * Spilling: compressed pages go on to the swap file.
 *
 * The pool is for pages that may be wanted again soon.  When it takes a fifth of RAM, as Linux's
 * zswap does by default (max_pool_percent), or when nothing else can become free, pages go on that
 * left long ago.  A hand goes round RAM.  It passes over a page that left lately: since then the
 * policy has chosen fewer than half as many pages as are compressed.  If it finds no other page in
 * a whole round, it takes these, too.
 */
#include "reclaimer_internal.h"

#define POOL_PART  5u	/* the pool may have this part of RAM */
#define WORD	   64u	/* pages that are looked at together */
#define SPILL_MOST 256u /* pages that go at a time */

/* Which of the pages from gfn on are compressed, and left so many choices ago? */
static uint64_t old_pages(const struct reclaimer *r, gfn_t gfn, uint64_t age)
{
	uint64_t bits = 0, now = r->policy->nr_chosen + 1;
	uint8_t states[WORD];

	gmem_states(r->gm, gfn, WORD, states);
	for (unsigned int i = 0; i < WORD; i++)
		if (states[i] == PG_COMPRESSED && (uint32_t)(now - r->chosen_at[gfn + i]) >= age)
			bits |= 1ULL << i;
	return bits;
}

/* Once round RAM at most, until `want` pages have gone.  Returns how many did. */
static uint64_t go_round(struct reclaimer *r, uint64_t want, uint64_t age)
{
	uint64_t swapped = 0;

	for (gfn_t n = 0; n < r->policy->nr_pages && swapped < want; n += WORD) {
		uint64_t bits = old_pages(r, r->hand, age);

		if (bits && reclaimer_swap_out(r, r->hand, bits, false, &swapped))
			break;
		r->hand = r->hand + WORD < r->policy->nr_pages ? r->hand + WORD : 0;
	}
	return swapped;
}

uint64_t reclaimer_spill(struct reclaimer *r, uint64_t want, bool must)
{
	struct gmem_stats gs;
	uint64_t pool, swapped;

	gmem_stats(r->gm, &gs);
	pool = gs.pool.pool_pages;
	if (!gs.swap.most_pages || !gs.pool.object_pages ||
	    (!must && pool < gs.s2.ram_pages / POOL_PART))
		return 0;
	want = min_u64(2 * want, SPILL_MOST);
	swapped = go_round(r, want, gs.s2.pages[PG_COMPRESSED] / 2);
	if (swapped < want)
		swapped += go_round(r, want - swapped, 0);
	reclaimer_count(&r->stats.spilled_pages, swapped);
	gmem_stats(r->gm, &gs);
	pool -= min_u64(pool, gs.pool.pool_pages);
	reclaimer_count(&r->stats.freed_pages, pool);
	return pool;
}
