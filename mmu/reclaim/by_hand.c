/* SPDX-License-Identifier: MIT */
/*
 * Pages that somebody wants swapped out by hand.  The disk may take its time for that, so this
 * thread waits for it, and whoever asked comes back for the result.
 *
 * One request at a time is under way.  The results of the last few are kept, because between the
 * end of one and the question for it another one may have begun.
 */
#include <errno.h>
#include "reclaimer_internal.h"

uint64_t reclaimer_begin_swap(struct reclaimer *r, gfn_t gfn, uint64_t nr, enum gmem_watcher unless)
{
	struct by_hand *b = &r->by_hand;

	if (atomic_load(&b->done) != b->begun)
		return 0;
	b->gfn = gfn;
	b->nr = nr;
	b->unless = unless;
	atomic_store(&b->wanted, ++b->begun);
	reclaimer_wake(r);
	return b->begun;
}

int reclaimer_end_swap(struct reclaimer *r, uint64_t ticket, struct gmem_swapped *out)
{
	struct by_hand *b = &r->by_hand;
	const struct by_hand_result *result = &b->result[ticket % BY_HAND_RESULTS];

	if (!ticket || ticket > b->begun || ticket + BY_HAND_RESULTS <= b->begun)
		return -ESTALE;
	if (ticket > atomic_load(&b->done))
		return -EINPROGRESS;
	*out = result->pages;
	return result->code;
}

void reclaimer_swap_by_hand(struct reclaimer *r)
{
	struct by_hand *b = &r->by_hand;
	uint64_t ticket = atomic_load(&b->wanted);
	struct by_hand_result *result = &b->result[ticket % BY_HAND_RESULTS];

	if (ticket == atomic_load(&b->done))
		return;
	result->pages = (struct gmem_swapped){ 0 };
	result->code = gmem_swap_out(r->gm, b->gfn, b->nr, b->unless, &result->pages);
	atomic_store(&b->done, ticket);
}
