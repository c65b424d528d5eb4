/* SPDX-License-Identifier: MIT */
/*
 * Zero pages: private pages full of zeroes lose their frames.
 *
 * A page becomes zero by the steps of share.c without the third: its hole is all that it needs.
 * Nothing is mapped for it, so the guest's first read raises an event, and that maps the page of
 * zeroes (zero_map).  Many zero pages are never read again, and mappings are limited.
 */
#include <errno.h>
#include "away.h"
#include "zero.h"

/* --- away -------------------------------------------------------------------------------- */

/* Is any page of [start, end) mapped from its provider, and so protected for good? */
static bool any_mapped_away(const struct gmem *gm, gfn_t start, gfn_t end)
{
	struct stage2_page page;

	for (gfn_t at = start; at < end;) {
		at += stage2_linear_run(gm->s2, at, end, &page);
		if (page_is_mapped_away(&page))
			return true;
	}
	return false;
}

/* [gfn, gfn + nr) is private and write-protected: the pages of zeroes in it go. */
static void give_zeroes_up(struct gmem *gm, gfn_t gfn, uint64_t nr, struct share_result *res)
{
	const struct share_run run = { gfn, nr, PG_ZERO, STAGE2_UNMAPPED };
	uint64_t part;

	for (uint64_t i = 0; i < nr; i += part) {
		bool same = false;
		uint64_t gone;

		part = share_stretch(gm, &run, i, &same);
		if (!same) {
			share_note(gm, gfn + i, part, NOTE_VOLATILE);
			res->differ += part;
			continue;
		}
		gone = gmem_punch(gm, gfn + i, gfn + i + part, PG_ZERO, STAGE2_UNMAPPED);
		res->merged += gone;
		res->no_room += part - gone;
	}
}

/* The private pages of a run. */
static void commit_zero(struct gmem *gm, const struct share_run *run, bool is_protected,
			struct share_result *res)
{
	struct stage2_page page;

	for (gfn_t at = run->gfn, end = at + run->nr; at < end;) {
		uint64_t nr = stage2_linear_run(gm->s2, at, end, &page);
		bool private = page.state == PG_PRIVATE && page.level == 1 &&
			       !gmem_is_held(gm, at, &nr);

		if (private && (is_protected || !backend_protect(gm->backend, at, nr, true))) {
			give_zeroes_up(gm, at, nr, res);
			if (!is_protected)
				backend_protect(gm->backend, at, nr, false);
		}
		at += nr;
	}
}

/*
 * All of the runs are write-protected at once, with what stays private between them, to save two
 * calls for each run.  But what is mapped from a provider must stay protected: then each run is
 * protected by itself.
 */
void zero_commit(struct gmem *gm, const struct share_run *run, unsigned int nr,
		 struct share_result *res)
{
	gfn_t start = run[0].gfn, end = run[nr - 1].gfn + run[nr - 1].nr;
	bool at_once;

	assert_held(&gm->lock);
	at_once = !any_mapped_away(gm, start, end) &&
		  !backend_protect(gm->backend, start, end - start, true);
	for (unsigned int i = 0; i < nr; i++)
		commit_zero(gm, &run[i], at_once, res);
	if (at_once)
		backend_protect(gm->backend, start, end - start, false);
	away_fit_reserve(gm);
}

/* At most nr pages of *around, gfn among them. */
static void narrow(struct gfn_range *around, gfn_t gfn, uint64_t nr)
{
	around->start = max_u64(around->start, min_u64(gfn, around->end - nr));
	around->end = around->start + nr;
}

/*
 * The guest may write to the pages while they are being mapped, and then they are private.  So
 * there are credits for them before; those of the reserve will do.
 */
int zero_map(struct gmem *gm, gfn_t gfn, struct gfn_range *around)
{
	struct share *sh = &gm->share;
	uint64_t taken, nr;
	int err;

	assert_held(&gm->lock);
	if (!away_has_room(gm))
		return -ENOMEM;
	taken = gmem_take_some(gm, around->end - around->start);
	nr = taken ? taken : min_u64(around->end - around->start, sh->reserve);
	if (!nr)
		return -EDQUOT;
	narrow(around, gfn, nr);
	err = backend_send_to_zero(gm->backend, around->start, nr);
	if (err == -EAGAIN) {
		gmem_set(gm, around->start, nr, PG_PRIVATE, around->start);
		sh->reserve -= taken ? 0 : nr;
		away_fit_reserve(gm);
		return 0;
	}
	gmem_put(gm, taken);
	if (!err)
		gmem_set(gm, around->start, nr, PG_ZERO, STAGE2_ZERO_PFN);
	return err;
}

int zero_unmap(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	int err = backend_home(gm->backend, gfn, nr);

	assert_held(&gm->lock);
	if (err)
		return err;
	gmem_set(gm, gfn, nr, PG_ABSENT, STAGE2_UNMAPPED);
	gmem_put(gm, nr - gmem_adopt(gm, gfn, gfn + nr));
	away_fit_reserve(gm);
	return 0;
}

/* --- the provider ------------------------------------------------------------------------ */

/*
 * The host may run out of memory half way: then the rest is absent, but for pages that were touched
 * on the way home.
 */
static int zero_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	int err = page->mapped ? backend_home(gm->backend, gfn, nr) : 0;
	uint64_t done;

	if (err)
		return err;
	gmem_set(gm, gfn, nr, PG_ABSENT, STAGE2_UNMAPPED);
	err = backend_fill(gm->backend, gfn, nr, &done);
	if (done)
		gmem_set(gm, gfn, done, PG_PRIVATE, gfn);
	if (err)
		done += gmem_adopt(gm, gfn + done, gfn + nr);
	if (!done)
		return err;
	gmem_put(gm, nr - done);
	return 0;
}

const struct away_provider zero_provider = {
	.merged = true,
	.come_home = zero_come_home,
};
