/* SPDX-License-Identifier: MIT */
/*
 * This file decides which regions are watched for writes, and fetches what was written in them.
 *
 *   region:  not watched --not growing------> watched --HOT_VISITS hot visits--> rests, not watched
 *              ^                                                                   |
 *              +-------------- 2, 4, 8 ... passes later ----------------------------+
 *
 * A region is hot when each of several visits finds a quarter of its pages written.  While a region
 * is watched, KVM maps its memory in 4 KiB pages.  So a hot region rests from being watched.
 */
#include <string.h>
#include "keeper_internal.h"

#define GROWTH_PART 64u /* if more than 1/64 came in since the last pass, it is being filled */
#define HOT_VISITS  3u	/* after so many visits in a row a region is hot */
#define MAX_REST    6u	/* it rests for at most 2^6 passes */

/* The number of pages of a region that are not absent. */
static uint64_t present_pages(struct keeper *k, const struct watch_region *w)
{
	enum page_state state;
	uint64_t nr, pages = 0;

	gmem_lock(k->gm, GMEM_KEEPER);
	for (gfn_t at = w->range.start; at < w->range.end; at += nr) {
		nr = stage2_run(k->gm->s2, at, w->range.end, &state);
		pages += state == PG_ABSENT ? 0 : nr;
		gmem_let_others(k->gm);
	}
	gmem_unlock(k->gm);
	return pages;
}

/*
 * Is it time to watch a region?  Not while the guest fills it: KVM maps no neighbours of a page
 * where it logs writes, so each first touch would cost more.  In a hurry it is watched all the
 * same.
 */
static bool is_filled(struct keeper *k, struct watch_region *w, bool hurried)
{
	uint64_t before = w->present, growth = (w->range.end - w->range.start) / GROWTH_PART;

	w->present = present_pages(k, w);
	if (w->present <= before + growth || hurried)
		return w->present;
	k->stir++;
	return false;
}

void watch_end(struct keeper *k, struct watch_region *w)
{
	if (w->watched && k->config.log)
		k->config.log->watch(k->config.log->ctx, (unsigned int)(w - k->region), false);
	w->watched = false;
}

void watch_anew(struct keeper *k, const struct watch_region *w)
{
	uint8_t *note = k->gm->share.note;

	gmem_lock(k->gm, GMEM_KEEPER);
	for (gfn_t g = w->range.start; g < w->range.end; g++)
		if (note_reason(note[g]) == NOTE_UNIQUE)
			note[g] = note_with(note[g], NOTE_NEW);
	gmem_unlock(k->gm);
}

/* Forget which pages were written before watching began: that counts as long ago. */
static void forget_writes(struct keeper *k, const struct watch_region *w)
{
	gmem_lock(k->gm, GMEM_KEEPER);
	for (gfn_t g = w->range.start; g < w->range.end; g += 64)
		k->gm->share.written[g / 64] = 0;
	gmem_unlock(k->gm);
}

bool watch_all(struct keeper *k, uint64_t pass, bool hurried)
{
	const struct keeper_log *log = k->config.log;
	bool begun = false;

	for (unsigned int i = 0; i < k->nr_regions; i++) {
		struct watch_region *w = &k->region[i];

		if (w->watched || w->rest_until > pass || !is_filled(k, w, hurried))
			continue;
		w->watched = !log || !log->watch(log->ctx, i, true);
		if (!w->watched || !log)
			continue;
		forget_writes(k, w);
		watch_anew(k, w);
		begun = true;
	}
	return begun;
}

bool watch_fetch(struct keeper *k, struct watch_region *w)
{
	const struct keeper_log *log = k->config.log;
	uint64_t words = (w->range.end - w->range.start + 63) / 64;
	uint64_t *ours = k->gm->share.written + w->range.start / 64;

	if (!log)
		memset(k->bitmap, 0, words * sizeof(*k->bitmap));
	else if (log->fetch(log->ctx, (unsigned int)(w - k->region), k->bitmap))
		return false;
	gmem_lock(k->gm, GMEM_KEEPER);
	for (uint64_t i = 0; i < words; i++) {
		/* Without a log every page is looked at each time, so none is passed over. */
		k->bitmap[i] |= log ? ours[i] : 0;
		if (ours[i])
			ours[i] = 0;
	}
	gmem_unlock(k->gm);
	return true;
}

static uint64_t count_bits(const uint64_t *word, uint64_t nr)
{
	uint64_t bits = 0;

	for (uint64_t i = 0; i < nr; i++)
		bits += (unsigned int)__builtin_popcountll(word[i]);
	return bits;
}

void watch_judge(struct keeper *k, struct watch_region *w, uint64_t pass)
{
	uint64_t pages = w->range.end - w->range.start;
	uint64_t written = count_bits(k->bitmap, (pages + 63) / 64);

	k->stir += written > CALM_PAGES;
	if (written * 4 < pages) {
		w->hot = 0;
		return;
	}
	if (++w->hot < HOT_VISITS)
		return;
	watch_end(k, w);
	w->rest_until =
		pass +
		(1ULL << (w->hot - HOT_VISITS + 1 < MAX_REST ? w->hot - HOT_VISITS + 1 : MAX_REST));
}

void watch_put_back(struct keeper *k, const struct watch_region *w, gfn_t from)
{
	gmem_lock(k->gm, GMEM_KEEPER);
	for (gfn_t g = from; g < w->range.end; g += 64)
		k->gm->share.written[g / 64] |= k->bitmap[(g - w->range.start) / 64];
	gmem_unlock(k->gm);
}

void watch_count(struct keeper *k)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < k->nr_regions; i++)
		nr += k->region[i].watched;
	__atomic_store_n(&k->stats.watched_regions, nr, __ATOMIC_RELAXED);
}
