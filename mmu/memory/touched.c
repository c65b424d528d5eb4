/* SPDX-License-Identifier: MIT */
/*
 * What the guest has touched, for several who ask.
 *
 * The back end knows of each page whether it was touched since it was last forgotten.  If one who
 * asks has it forgotten, the others would never hear of that touch.  So it is kept for them: each
 * has a bitmap, a bit for each page, of touches that somebody else has had forgotten since.
 */
#include <errno.h>
#include <stdlib.h>
#include "gmem_internal.h"
#include "touched.h"

#define BITS 64u

int touched_init(struct gmem *gm)
{
	uint64_t words = (gm->window.span >> QUIRE_PAGE_SHIFT) / BITS + 1;

	for (unsigned int i = 0; i < GMEM_NR_WATCHERS; i++) {
		gm->watcher[i].missed = calloc(words, sizeof(uint64_t));
		if (!gm->watcher[i].missed)
			return -ENOMEM;
	}
	return 0;
}

void touched_finish(struct gmem *gm)
{
	for (unsigned int i = 0; i < GMEM_NR_WATCHERS; i++)
		free(gm->watcher[i].missed);
}

static uint64_t mask(uint64_t nr)
{
	return nr < BITS ? (1ULL << nr) - 1 : UINT64_MAX;
}

/* The bits of [gfn, gfn + nr), at most 64 pages. */
static uint64_t missed(const uint64_t *map, gfn_t gfn, uint64_t nr)
{
	unsigned int shift = gfn % BITS;
	uint64_t bits = map[gfn / BITS] >> shift;

	if (shift + nr > BITS)
		bits |= map[gfn / BITS + 1] << (BITS - shift);
	return bits & mask(nr);
}

static void set_missed(uint64_t *map, gfn_t gfn, uint64_t nr, uint64_t bits, bool on)
{
	for (uint64_t i = 0; i < nr; i++)
		if (bits >> i & 1) {
			uint64_t bit = 1ULL << (gfn + i) % BITS;
			uint64_t *word = &map[(gfn + i) / BITS];

			*word = on ? *word | bit : *word & ~bit;
		}
}

static void set_all(uint64_t *map, gfn_t gfn, gfn_t end)
{
	for (; gfn < end; gfn++)
		map[gfn / BITS] |= 1ULL << gfn % BITS;
}

uint64_t touched_since(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr)
{
	assert_held(&gm->lock);
	return (backend_touched(gm->backend, gfn, nr) & mask(nr)) |
	       missed(gm->watcher[who].missed, gfn, nr);
}

/* Others who look want to know of the touches that are being forgotten. */
static void keep_for_others(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
			    uint64_t touched)
{
	for (unsigned int i = 0; i < GMEM_NR_WATCHERS; i++)
		if (i != who && gm->watcher[i].looks)
			set_missed(gm->watcher[i].missed, gfn, nr, touched, true);
}

/*
 * Part of a 2 MiB leaf is to be forgotten.  The back end forgets all of it, so that everybody has
 * to be kept what they would have heard of the rest.
 */
static void keep_leaf(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr)
{
	gfn_t start = align_down(gfn, QUIRE_BLOCK_PAGES), end = start + QUIRE_BLOCK_PAGES;

	if (!(backend_touched(gm->backend, gfn, 1) & 1))
		return;
	for (gfn_t at = start; at < end; at += BITS)
		keep_for_others(gm, who, at, BITS, UINT64_MAX);
	set_all(gm->watcher[who].missed, start, gfn);
	set_all(gm->watcher[who].missed, gfn + nr, end);
}

/* Of a run of private pages, before they are forgotten. */
static void note_forgotten(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr)
{
	for (uint64_t i = 0, n; i < nr; i += n) {
		n = min_u64(nr - i, BACKEND_TOUCHED);
		keep_for_others(gm, who, gfn + i, n,
				backend_touched(gm->backend, gfn + i, n) & mask(n));
		set_missed(gm->watcher[who].missed, gfn + i, n, UINT64_MAX, false);
	}
}

static bool is_in(const uint64_t *which, uint64_t i)
{
	return !which || which[i / BITS] >> i % BITS & 1;
}

/* How many pages from page i on, at most nr, are all in `which`, or all not. */
static uint64_t run_in(const uint64_t *which, uint64_t i, uint64_t nr)
{
	uint64_t run = 1;

	while (run < nr && is_in(which, i + run) == is_in(which, i))
		run++;
	return run;
}

/*
 * Pages that are not mapped have nothing to forget.  A range goes on over them: each range that is
 * forgotten may interrupt a vCPU.
 */
static void forget(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, gfn_t end,
		   const uint64_t *which)
{
	struct gfn_range range = { gfn, gfn };
	gfn_t first = gfn;
	struct stage2_page page;

	gm->watcher[who].looks = true;
	for (uint64_t nr; gfn < end; gfn += nr) {
		nr = stage2_linear_run(gm->s2, gfn, end, &page);
		if (page.mapped)
			nr = run_in(which, gfn - first, nr);
		if (!page.mapped)
			continue;
		if (page.state == PG_PRIVATE && is_in(which, gfn - first)) {
			if (page.level == 2 && nr < QUIRE_BLOCK_PAGES)
				keep_leaf(gm, who, gfn, nr);
			note_forgotten(gm, who, gfn, nr);
			range.start = range.start < range.end ? range.start : gfn;
			range.end = gfn + nr;
			continue;
		}
		if (range.start < range.end)
			backend_forget_touches(gm->backend, range.start, range.end - range.start);
		range.start = range.end;
	}
	if (range.start < range.end)
		backend_forget_touches(gm->backend, range.start, range.end - range.start);
}

int gmem_forget_these(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
		      const uint64_t *which)
{
	if (!nr || nr > QUIRE_BLOCK_PAGES || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	gmem_lock(gm, GMEM_GIVE);
	gmem_await_filled(gm, gfn, gfn + nr);
	forget(gm, who, gfn, gfn + nr, which);
	gmem_unlock(gm);
	return 0;
}

int gmem_forget_touches(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr)
{
	if (!nr || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	gmem_lock(gm, GMEM_GIVE);
	for (gfn_t end = gfn + nr, next; gfn < end; gfn = next) {
		next = min_u64(end, align_down(gfn, QUIRE_BLOCK_PAGES) + QUIRE_BLOCK_PAGES);
		gmem_await_filled(gm, gfn, next);
		forget(gm, who, gfn, next, NULL);
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
	return 0;
}

/* Add the private run at page `at` of *out. */
static void look_at_run(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
			unsigned int at, struct gmem_touched *out)
{
	for (uint64_t n; nr; nr -= n, gfn += n, at += n) {
		uint64_t *word = &out->touched[at / BITS];

		n = min_u64(nr, BITS - at % BITS);
		out->resident[at / BITS] |= mask(n) << at % BITS;
		*word |= touched_since(gm, who, gfn, n) << at % BITS;
	}
}

int gmem_touched(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr,
		 struct gmem_touched *out)
{
	gfn_t start = gfn, end = gfn + nr;
	struct stage2_page page;

	*out = (struct gmem_touched){ .large = false };
	if (!nr || nr > QUIRE_BLOCK_PAGES || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	gmem_lock(gm, GMEM_LOOK);
	gmem_await_filled(gm, gfn, end);
	for (; gfn < end; gfn += nr) {
		nr = stage2_linear_run(gm->s2, gfn, end, &page);
		if (page.state == PG_PRIVATE)
			look_at_run(gm, who, gfn, nr, (unsigned int)(gfn - start), out);
		out->large |= page.level == 2;
	}
	gmem_unlock(gm);
	return 0;
}
