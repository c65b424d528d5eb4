/* SPDX-License-Identifier: MIT */
/* Pages that wait for credits: see waiting.h. */
#include <string.h>
#include "mmu/base/clock.h"
#include "gmem_internal.h"

static void insert(struct waiting *w, unsigned int i, const struct waiting_page *page)
{
	memmove(&w->page[i + 1], &w->page[i], (w->nr - i) * sizeof(*page));
	w->page[i] = *page;
	w->nr++;
}

static void erase(struct waiting *w, unsigned int i)
{
	w->nr--;
	memmove(&w->page[i], &w->page[i + 1], (w->nr - i) * sizeof(w->page[i]));
}

void waiting_count(struct gmem *gm, uint64_t since_ns)
{
	uint64_t ns = monotonic_ns() - since_ns;

	assert_held(&gm->lock);
	gm->stats.credit_wait_ns += ns;
	histogram_add(&gm->stats.credit_waits, ns);
}

void waiting_end(struct gmem *gm, const struct waiting_page *page)
{
	waiting_count(gm, page->since_ns);
	gmem_stall_end(gm);
}

/* The entry leaves the list for good, and who sleeps there looks again. */
static void settle(struct gmem *gm, unsigned int i)
{
	struct waiting_page page = gm->waiting.page[i];

	erase(&gm->waiting, i);
	waiting_end(gm, &page);
	backend_wake(gm->backend, page.gfn, 1);
}

void waiting_add(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns)
{
	struct waiting_page page = { gfn, write, since_ns };
	struct waiting *w = &gm->waiting;

	assert_held(&gm->lock);
	for (unsigned int i = 0; i < w->nr; i++) {
		if (w->page[i].gfn != gfn)
			continue;
		w->page[i].write |= write;
		gm->stats.faults++;
		gm->stats.faults_spurious++;
		return;
	}
	if (w->nr == WAITING_MAX)
		settle(gm, 0);
	insert(w, w->nr, &page);
	gmem_stall_begin(gm, since_ns);
}

bool waiting_take(struct gmem *gm, struct waiting_page *page)
{
	assert_held(&gm->lock);
	if (!gm->waiting.nr)
		return false;
	*page = gm->waiting.page[0];
	erase(&gm->waiting, 0);
	return true;
}

/* There is room for it: nobody but the pager, which took it off, adds entries. */
void waiting_put_back(struct gmem *gm, const struct waiting_page *page)
{
	assert_held(&gm->lock);
	insert(&gm->waiting, 0, page);
}

/* Would the access that waits go on now? */
static bool is_served(const struct gmem *gm, const struct waiting_page *waiting)
{
	struct stage2_page page;

	stage2_lookup(gm->s2, waiting->gfn, &page);
	return page.mapped && (!waiting->write || page.state == PG_PRIVATE);
}

void waiting_settle(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct waiting *w = &gm->waiting;
	bool any = waiting_any(w);

	for (unsigned int i = 0; i < w->nr;) {
		if (w->page[i].gfn - gfn >= nr || !is_served(gm, &w->page[i])) {
			i++;
			continue;
		}
		gm->stats.faults++;
		gm->stats.faults_spurious++;
		settle(gm, i);
	}
	if (any && !waiting_any(w))
		gmem_stop_seeking(gm);
}
