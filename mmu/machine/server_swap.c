/* SPDX-License-Identifier: MIT */
/*
 * The swap area: a quota in pages, as large as the ledger's swap.  What VMs hold of it never
 * exceeds that, unless the area was made smaller or they brought it from an earlier machine.
 *
 * A VM asks for a batch, and gets less of it the fuller the area is, so that many find room.  A
 * grant is a power of two, unless it is all that was asked or all that is left: a VM does not learn
 * how much is free.  Who finds the area full waits for his answer.  What comes back goes to those
 * who wait, first come first served.
 */
#include "server_internal.h"

#define PART_DIVISOR 16u /* a VM gets so great a part of what is free ... */
#define PART_MIN     16u /* ... or so many pages */

static uint64_t free_pages(const struct machine *m)
{
	uint64_t swap = m->ledger.config.swap_pages;

	return swap > m->swap_held_pages ? swap - m->swap_held_pages : 0;
}

/* What somebody who asks for `pages` gets now; 0: the area is full. */
static uint64_t part(const struct machine *m, uint64_t pages)
{
	uint64_t free = free_pages(m), most = max_u64(free / PART_DIVISOR, PART_MIN);

	if (pages > most)
		pages = 1ULL << (63 - __builtin_clzll(most));
	return min_u64(pages, free);
}

void swap_serve(struct machine *m)
{
	struct tenant *t;

	while ((t = TAILQ_FIRST(&m->swap_queue))) {
		uint64_t pages = part(m, t->swap_asked_pages);

		if (!pages)
			return;
		swap_forget(m, t);
		t->swap_pages += pages;
		m->swap_held_pages += pages;
		channel_send(m, t, MACHINE_SWAP_GRANT, pages);
	}
}

const char *swap_request(struct machine *m, struct tenant *t, uint64_t pages)
{
	if (t->swap_asked_pages)
		return "a SWAP_CREDIT while another waits";
	if (!pages || pages > t->promise.ram_pages - t->swap_pages)
		return "a SWAP_CREDIT for nothing, or beyond its RAM";
	t->swap_asked_pages = pages;
	TAILQ_INSERT_TAIL(&m->swap_queue, t, in_swap_queue);
	swap_serve(m);
	return NULL;
}

const char *swap_return(struct machine *m, struct tenant *t, uint64_t pages)
{
	if (pages > t->swap_pages)
		return "a SWAP_RETURN of more than it holds";
	t->swap_pages -= pages;
	m->swap_held_pages -= pages;
	swap_serve(m);
	return NULL;
}

void swap_forget(struct machine *m, struct tenant *t)
{
	if (t->swap_asked_pages)
		TAILQ_REMOVE(&m->swap_queue, t, in_swap_queue);
	t->swap_asked_pages = 0;
}

void swap_readmit(struct machine *m, struct tenant *t)
{
	t->swap_pages = t->promise.swap_pages;
	m->swap_held_pages += t->swap_pages;
}

void swap_release(struct machine *m, struct tenant *t)
{
	swap_forget(m, t);
	m->swap_held_pages -= t->swap_pages;
	t->swap_pages = 0;
	swap_serve(m);
}
