/* SPDX-License-Identifier: MIT */
/* Pages that wait for credits, or for the swap file: see waiting.h. */
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
	if (!page->loaded)
		waiting_count(gm, page->since_ns);
	gmem_stall_end(gm);
}

/* The entry leaves its list for good, and who sleeps there looks again. */
static void settle(struct gmem *gm, struct waiting *w, unsigned int i)
{
	struct waiting_page page = w->page[i];

	erase(w, i);
	waiting_end(gm, &page);
	backend_wake(gm->backend, page.gfn, 1);
}

/* False: it is on the list already. */
static bool append(struct gmem *gm, struct waiting *w, const struct waiting_page *page)
{
	assert_held(&gm->lock);
	for (unsigned int i = 0; i < w->nr; i++) {
		if (w->page[i].gfn != page->gfn)
			continue;
		w->page[i].write |= page->write;
		return false;
	}
	if (w->nr == WAITING_MAX)
		settle(gm, w, 0);
	insert(w, w->nr, page);
	return true;
}

static void add(struct gmem *gm, struct waiting *w, const struct waiting_page *page)
{
	if (append(gm, w, page)) {
		gmem_stall_begin(gm, page->since_ns);
		return;
	}
	gm->stats.faults++;
	gm->stats.faults_spurious++;
}

void waiting_add(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns)
{
	add(gm, &gm->waiting, &(struct waiting_page){ gfn, write, since_ns, false, false });
}

void waiting_add_load(struct gmem *gm, gfn_t gfn, bool write, uint64_t since_ns)
{
	add(gm, &gm->loading, &(struct waiting_page){ gfn, write, since_ns, true, true });
}

/* It stalls already; if another one waits for the same, one of the two is counted on. */
static void move_to(struct gmem *gm, struct waiting *w, const struct waiting_page *page)
{
	if (!append(gm, w, page))
		gmem_stall_end(gm);
}

void waiting_wait_on(struct gmem *gm, const struct waiting_page *page)
{
	struct waiting_page load = *page;

	load.loaded = load.untried = true;
	move_to(gm, &gm->loading, &load);
}

void waiting_try_loads(struct gmem *gm)
{
	struct waiting *from = &gm->loading;

	for (unsigned int i = 0; i < from->nr; i++)
		move_to(gm, &gm->waiting, &from->page[i]);
	from->nr = 0;
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
	gm->waiting.page[0].untried = false;
}

/* Would the access that waits go on now? */
static bool is_served(const struct gmem *gm, const struct waiting_page *waiting)
{
	struct stage2_page page;

	stage2_lookup(gm->s2, waiting->gfn, &page);
	return page.mapped && (!waiting->write || page.state == PG_PRIVATE);
}

static void settle_some(struct gmem *gm, struct waiting *w, gfn_t gfn, uint64_t nr)
{
	for (unsigned int i = 0; i < w->nr;) {
		if (w->page[i].gfn - gfn >= nr || !is_served(gm, &w->page[i])) {
			i++;
			continue;
		}
		gm->stats.faults++;
		gm->stats.faults_spurious++;
		settle(gm, w, i);
	}
}

void waiting_settle(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	bool any = waiting_any(&gm->waiting);

	settle_some(gm, &gm->waiting, gfn, nr);
	settle_some(gm, &gm->loading, gfn, nr);
	if (any && !waiting_any(&gm->waiting))
		gmem_stop_seeking(gm);
}
