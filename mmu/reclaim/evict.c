/* SPDX-License-Identifier: MIT */
/*
 * Eviction: pages that the policy chose are sent away.
 *
 * Victims of one batch go together, in the order of their gfns: the pool needs memory before it
 * wins some, so a page alone could not go.  A page that was touched since the last sample stays: it
 * has been used, which the policy is told now.  A page that does not compress goes to the swap
 * file, if there is one.  Pages that stay come back to the policy with distance 0.  Others need no
 * frame any more, because they were merged or dropped first: they have not been evicted, and are
 * new to the policy when they are private again.
 *
 * A 2 MiB leaf is touched as a whole.  If pages of it were chosen, nothing else is older: they go
 * although it was touched, and from then on its pages can be told apart.  To split it would not do:
 * the host would enter all of it in its tables again with the next touch.
 */
#include <stdlib.h>
#include "reclaimer_internal.h"

static int by_gfn(const void *a, const void *b)
{
	gfn_t x = *(const gfn_t *)a, y = *(const gfn_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * A 2 MiB leaf of which these pages were chosen was touched.  They go all the same, and then the
 * host has to manage its pages singly.
 */
static void break_leaf(struct reclaimer *r, gfn_t gfn, uint64_t nr, struct gmem_packed *out)
{
	out->touched -= min_u64(nr, out->touched);
	gmem_compress(r->gm, gfn, nr, GMEM_NR_WATCHERS, out);
	gmem_forget_touches(r->gm, GMEM_RECLAIMER, align_down(gfn, QUIRE_BLOCK_PAGES),
			    QUIRE_BLOCK_PAGES);
}

int reclaimer_swap_out(struct reclaimer *r, gfn_t gfn, uint64_t bits, bool any, uint64_t *swapped)
{
	enum gmem_watcher unless = any ? GMEM_NR_WATCHERS : GMEM_RECLAIMER;
	struct gmem_swapped out = { 0 };
	int err = 0;

	for (uint64_t i = 0, run; i < 64 && bits >> i && !err; i += run) {
		run = 1;
		if (!(bits >> i & 1))
			continue;
		while (i + run < 64 && bits >> (i + run) & 1)
			run++;
		err = gmem_swap_out(r->gm, gfn + i, run, unless, &out);
	}
	reclaimer_count(&r->stats.swapped_pages, out.swapped);
	*swapped += out.swapped;
	return err;
}

/* Some of these pages, which were chosen and follow each other, may be there still. */
static void take_back(struct reclaimer *r, gfn_t gfn, uint64_t nr, bool any,
		      struct gmem_packed *out)
{
	struct gmem_touched t;
	uint8_t states[EVICT_BATCH];
	uint64_t swapped = 0;

	gmem_touched(r->gm, GMEM_RECLAIMER, gfn, nr, &t);
	if (t.large && t.touched[0]) {
		break_leaf(r, gfn, nr, out);
		gmem_touched(r->gm, GMEM_RECLAIMER, gfn, nr, &t);
	}
	/* They did not compress.  If they were not used, they go to the file, if there is one. */
	reclaimer_swap_out(r, gfn, t.resident[0] & (any ? UINT64_MAX : ~t.touched[0]), any,
			   &swapped);
	if (swapped) {
		out->freed += (int64_t)swapped;
		gmem_touched(r->gm, GMEM_RECLAIMER, gfn, nr, &t);
	}
	gmem_states(r->gm, gfn, nr, states);
	for (uint64_t i = 0; i < nr; i++) {
		enum page_state state = states[i] & ~GMEM_STATE_LARGE;

		if (page_states[state].loads)
			continue;
		reclaimer_mark(r, gfn + i, 0);
		if (state != PG_PRIVATE)
			continue;
		reclaim_load(r->policy, gfn + i, 0);
		if (t.touched[0] >> i & 1)
			reclaim_used(r->policy, (gfn + i) / 64, 1ULL << (gfn + i) % 64);
	}
}

/* How many victims from *victim on follow each other, in one block. */
static uint64_t run_of(const gfn_t *victim, uint64_t nr)
{
	uint64_t run = 1;

	while (run < nr && victim[run] == victim[0] + run && victim[run] % QUIRE_BLOCK_PAGES)
		run++;
	return run;
}

uint64_t reclaimer_evict(struct reclaimer *r, uint64_t nr, bool any, uint64_t *chosen)
{
	struct gmem_packed out = { 0 };
	gfn_t victim[EVICT_BATCH];

	nr = *chosen =
		reclaim_choose(r->policy, victim, min_u64(max_u64(nr, EVICT_LEAST), EVICT_BATCH));
	for (uint64_t i = 0; i < nr; i++)
		reclaimer_mark(r, victim[i], (uint32_t)r->policy->nr_chosen + 1);
	qsort(victim, nr, sizeof(*victim), by_gfn);
	gmem_compress_pages(r->gm, victim, nr, any ? GMEM_NR_WATCHERS : GMEM_RECLAIMER, &out);
	for (uint64_t i = 0, run; i < nr && out.compressed < nr; i += run) {
		run = run_of(victim + i, nr - i);
		take_back(r, victim[i], run, any, &out);
	}
	out.freed = out.freed > 0 ? out.freed : 0;
	reclaimer_count(&r->stats.chosen_pages, nr);
	reclaimer_count(&r->stats.gone_pages, out.compressed);
	reclaimer_count(&r->stats.busy_pages, out.touched);
	reclaimer_count(&r->stats.refused_pages, out.refused);
	reclaimer_count(&r->stats.freed_pages, (uint64_t)out.freed);
	return (uint64_t)out.freed;
}
