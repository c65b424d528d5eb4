/* SPDX-License-Identifier: MIT */
/*
 * Shared pages that the guest does not use: telling the machine, and letting go of their frames.
 *
 * When memory is short, the keeper looks after a pass which shared pages were touched since it had
 * their touches forgotten, one LOOK_NS ago at least, and tells the machine the frames of the others
 * (COLD in merge_protocol.h).  If it has not looked for AGAIN_NS, it has the touches forgotten
 * first, and tells next time.
 *
 * When NEWS say that frames were archived, pages of them become archived that were not touched
 * meanwhile.  Stage 2 says which frame a page has, but not the other way round: so all shared pages
 * are looked through, once for all news.
 */
#include <stdlib.h>
#include "keeper_internal.h"
#include "mmu/memory/archived.h"

#define LOOK_NS	   (5 * NS_PER_S)
#define AGAIN_NS   (60 * NS_PER_S)
#define COLD_PIECE (8 * MERGE_COLD_MOST) /* frames that are collected before they are told */

/* ---- what is cold ---- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Tell the machine of nr frames, in any order. */
static void tell(struct keeper *k, uint32_t *frame, unsigned int nr)
{
	unsigned int left = 0;

	qsort(frame, nr, sizeof(*frame), by_number);
	for (unsigned int i = 0; i < nr; i++)
		if (!i || frame[i] != frame[i - 1])
			frame[left++] = frame[i];
	for (unsigned int i = 0, n; i < left; i += n) {
		n = (unsigned int)min_u64(left - i, MERGE_COLD_MOST);
		link_tell_cold(k, frame + i, n);
	}
}

/*
 * Look at up to BACKEND_TOUCHED shared pages, and have their touches forgotten.  The frames of
 * those that were not touched go to `cold`.  Returns how many.
 */
static unsigned int look(struct gmem *gm, gfn_t gfn, uint64_t nr, pfn_t pfn, uint32_t *cold)
{
	uint64_t touched = backend_touched(gm->backend, gfn, nr);
	unsigned int found = 0;

	for (uint64_t i = 0; i < nr; i++)
		if (!(touched >> i & 1) &&
		    store_view_frame(&gm->share.store, pfn + i, &cold[found]))
			found++;
	if (found < nr)
		backend_forget_touches(gm->backend, gfn, nr);
	return found;
}

/* Collect frames from *run on.  False: all of RAM was looked at. */
static bool collect(struct gmem *gm, struct gmem_run *run, uint32_t *cold, unsigned int *nr)
{
	*nr = 0;
	while (gmem_each_run(gm, run)) {
		if (run->page.state == PG_SHARED) {
			run->nr = min_u64(run->nr, BACKEND_TOUCHED);
			*nr += look(gm, run->gfn, run->nr, run->page.pfn, cold + *nr);
		}
		gmem_let_others(gm);
		if (*nr > COLD_PIECE - BACKEND_TOUCHED)
			return true;
	}
	return false;
}

void archive_look(struct keeper *k)
{
	uint64_t now = monotonic_ns(), since = now - k->looked_ns;
	uint64_t least = k->config.look_ns ? k->config.look_ns : LOOK_NS;
	bool told = k->looked_ns && since < AGAIN_NS, more = true;
	struct gmem_run run = { 0 };
	uint32_t cold[COLD_PIECE];
	unsigned int nr;

	if (!(k->memory_short || k->config.look_ns) || k->obeyed != KEEPER_ON ||
	    (k->looked_ns && since < least))
		return;
	k->looked_ns = now;
	while (more && k->link >= 0) {
		gmem_lock(k->gm, GMEM_KEEPER);
		more = collect(k->gm, &run, cold, &nr);
		gmem_unlock(k->gm);
		if (told)
			tell(k, cold, nr);
	}
}

/* ---- what was archived ---- */

/* A frame that was archived: where it is, and how many references to that are left. */
struct archived {
	uint32_t frame, left;
	struct archived_place place;
};

static int by_frame(const void *a, const void *b)
{
	const struct archived *x = a, *y = b;

	return (x->frame > y->frame) - (x->frame < y->frame);
}

/* Frames of places that cannot be had are given back.  Returns how many are left. */
static size_t find_places(struct keeper *k, const struct merge_frame *news, size_t nr,
			  struct archived *out)
{
	size_t found = 0;

	for (size_t i = 0; i < nr; i++) {
		pfn_t pfn = link_frame(k, news[i].frame, news[i].references);

		if (pfn)
			out[found++] = (struct archived){
				.frame = merge_archived_frame(news[i].gfn),
				.left = news[i].references,
				.place = { pfn, merge_archived_at(news[i].gfn) },
			};
	}
	return found;
}

/* Which of them has this frame, and references left?  NULL: none. */
static struct archived *find(struct archived *a, size_t nr, uint32_t frame)
{
	struct archived *found = NULL, key = { .frame = frame };

	if (nr)
		found = bsearch(&key, a, nr, sizeof(*a), by_frame);
	while (found && found > a && found[-1].frame == frame)
		found--;
	while (found && found < a + nr && found->frame == frame && !found->left)
		found++;
	return found && found < a + nr && found->frame == frame ? found : NULL;
}

/* Page n of a run was archived: take a reference to where it is.  NULL: it was not. */
static struct archived *take_one(struct gmem *gm, const struct gmem_run *run, uint64_t n,
				 struct archived *a, size_t nr)
{
	struct archived *found = NULL;
	uint32_t frame;

	if (n < run->nr && store_view_frame(&gm->share.store, run->page.pfn + n, &frame))
		found = find(a, nr, frame);
	if (found)
		found->left--;
	return found;
}

/* Let pages of a run of shared pages go, from the first on.  Returns how many were looked at. */
static uint64_t let_go(struct keeper *k, const struct gmem_run *run, struct archived *a, size_t nr)
{
	struct archived_place place[ARCHIVED_BATCH];
	struct archived *of[ARCHIVED_BATCH];
	struct gmem *gm = k->gm;
	uint64_t n = 0, used, gone = 0;

	while (n < ARCHIVED_BATCH && (of[n] = take_one(gm, run, n, a, nr)) != NULL) {
		place[n] = of[n]->place;
		n++;
	}
	if (!n)
		return 1;
	used = backend_touched(gm->backend, run->gfn, n) & ((1ULL << n) - 1);
	if (!(used & 1))
		gone = archived_commit(gm, run->gfn, used ? (uint64_t)__builtin_ctzll(used) : n,
				       place);
	for (uint64_t i = 0; i < n; i++)
		of[i]->left += !(gone >> i & 1);
	k->stir += gone != 0;
	/* From the first one on that was used, the others are for the next time. */
	return used ? (uint64_t)__builtin_ctzll(used) + 1 : n;
}

static void let_all_go(struct keeper *k, struct archived *a, size_t nr)
{
	struct gmem *gm = k->gm;
	struct gmem_run run = { 0 };

	gmem_lock(gm, GMEM_KEEPER);
	while (gmem_each_run(gm, &run)) {
		if (run.page.state == PG_SHARED)
			run.nr = let_go(k, &run, a, nr);
		gmem_let_others(gm);
	}
	for (size_t i = 0; i < nr; i++)
		for (; a[i].left; a[i].left--)
			share_drop(gm, a[i].place.frame, 1);
	gmem_unlock(gm);
}

void archive_take(struct keeper *k, const struct merge_frame *news, size_t nr)
{
	struct archived *a = calloc(nr, sizeof(*a));

	if (!a) {
		for (size_t i = 0; i < nr; i++)
			link_drop(k, news[i].frame, news[i].references);
		return;
	}
	nr = find_places(k, news, nr, a);
	qsort(a, nr, sizeof(*a), by_frame);
	if (k->link >= 0)
		let_all_go(k, a, nr);
	free(a);
}
