/* SPDX-License-Identifier: MIT */
/*
 * Pages that are away: the providers, and how pages come home.
 *
 * Coming home.  The bytes are written into the RAM file first, then the file is mapped.  Whoever
 * reads finds the same bytes before and after; whoever writes waits for the end.
 *
 * The reserve.  A page that comes home needs a credit, and the guest waits for it.  So that it need
 * not wait for the machine, the first credits that merging frees are kept in reserve, where only a
 * break can have them.  The reserve is never larger than the number of pages that are away: so
 * private pages and reserve together never exceed what RAM is promised, and no absent page is kept
 * out for good by the reserve.  While pages wait for credits, it is not filled up.
 *
 * The mappings.  Breaking a run in the middle takes two mappings.  If they are not to be had, short
 * runs elsewhere are broken whole, which gives two back each, until they are.
 */
#include <errno.h>
#include "away.h"
#include "ramfile.h"

#define RESERVE	  64u	/* credits: some for each vCPU that may write at once */
#define SHORT_RUN 64u	/* pages; what may be broken to win mappings */
#define MARGIN	  1024u /* mappings that are left to breaks */

const struct away_provider *const away_providers[PG_NR_STATES] = {
	[PG_SHARED] = &share_provider,
	[PG_ZERO] = &zero_provider,
};

bool away_has_room(const struct gmem *gm)
{
	return gm->backend->mappings + min_u64(MARGIN, gm->backend->max_mappings / 4) <
	       gm->backend->max_mappings;
}

/* --- the reserve ------------------------------------------------------------------------- */

static uint64_t pages_away(const struct gmem *gm)
{
	struct stage2_counters c;
	uint64_t pages = 0;

	stage2_counters(gm->s2, &c);
	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		pages += page_is_away(state) ? c.pages[state] : 0;
	return pages;
}

void away_fit_reserve(struct gmem *gm)
{
	struct share *sh = &gm->share;
	uint64_t want = min_u64(RESERVE, pages_away(gm));

	if (sh->reserve > want)
		gmem_put(gm, sh->reserve - want);
	else if (sh->reserve == want || waiting_any(&gm->waiting) ||
		 !gmem_take(gm, want - sh->reserve))
		return;
	sh->reserve = want;
}

/* Credits for `nr` pages, or for one: how many; 0: none. */
static uint64_t take_for_break(struct gmem *gm, uint64_t nr)
{
	if (gmem_take(gm, nr))
		return nr;
	if (gmem_take(gm, 1))
		return 1;
	if (!gm->share.reserve)
		return 0;
	gm->share.reserve--;
	return 1;
}

/* --- mappings ---------------------------------------------------------------------------- */

static void note_all_broken(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	uint8_t *note = gm->share.note + gfn;

	for (uint64_t i = 0; i < nr; i++)
		note[i] = note_broken(note[i]);
	gm->share.any_backoff |= nr > 0;
}

/*
 * Map a run of zeroes home.  What the guest touches meanwhile comes in, for which there must be
 * credits; the rest becomes absent.
 */
static bool unmap_zeroes(struct gmem *gm, const struct gmem_run *run)
{
	uint64_t came_in;

	if (!gmem_take(gm, run->nr))
		return false;
	if (backend_home(gm->backend, run->gfn, run->nr)) {
		gmem_put(gm, run->nr);
		return false;
	}
	gmem_set(gm, run->gfn, run->nr, PG_ABSENT, STAGE2_UNMAPPED);
	came_in = gmem_adopt(gm, run->gfn, run->gfn + run->nr);
	gmem_put(gm, run->nr - came_in);
	away_fit_reserve(gm);
	return true;
}

/* Break a short run wholly, or unmap it if it is of zeroes: its mappings come back. */
static bool win_mappings(struct gmem *gm, const struct gmem_run *run)
{
	const struct stage2_page *page = &run->page;

	if (!page_is_mapped_away(page))
		return false;
	if (page_is_away_zero(page->state))
		return unmap_zeroes(gm, run);
	if (run->nr > SHORT_RUN || !gmem_take(gm, run->nr))
		return false;
	if (!away_providers[page->state]->come_home(gm, run->gfn, run->nr, page, false)) {
		note_all_broken(gm, run->gfn, run->nr);
		return true;
	}
	gmem_put(gm, run->nr);
	return false;
}

/* Win mappings somewhere, but not by the run of `except`.  False: there was nothing to win. */
static bool relieve(struct gmem *gm, gfn_t except)
{
	struct gmem_run run = { 0 };

	while (gmem_each_run(gm, &run)) {
		bool is_other = except < run.gfn || except >= run.gfn + run.nr;
		bool fills = gm->filling < run.gfn + run.nr &&
			     gm->filling + QUIRE_BLOCK_PAGES > run.gfn;

		if (is_other && !fills && win_mappings(gm, &run)) {
			gm->stats.mapping_reliefs++;
			return true;
		}
	}
	return false;
}

int away_map_home(struct gmem *gm, gfn_t gfn, uint64_t nr, bool may_relieve)
{
	int err;

	do
		err = backend_home(gm->backend, gfn, nr);
	while (err == -ENOMEM && may_relieve && relieve(gm, gfn));
	return err;
}

/* --- home -------------------------------------------------------------------------------- */

int away_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	assert_held(&gm->lock);
	stage2_lookup(gm->s2, gfn, &page);
	while (gm->backend->mappings + 2 > gm->backend->max_mappings && relieve(gm, gfn))
		;
	err = away_providers[page.state]->come_home(gm, gfn, nr, &page, true);
	if (err)
		gmem_put(gm, nr);
	else
		away_fit_reserve(gm);
	return err;
}

uint64_t away_break_around(struct gmem *gm, gfn_t gfn)
{
	struct share *sh = &gm->share;

	sh->streak = gfn == sh->streak_next ? min_u64(2 * sh->streak, AWAY_BREAK_MOST) : 1;
	return sh->streak;
}

int away_break(struct gmem *gm, gfn_t gfn, uint64_t max, struct gfn_range *in)
{
	struct stage2_page page;
	uint64_t nr = stage2_linear_run(gm->s2, gfn, gfn + max, &page);
	enum page_state state;
	int err;

	nr = take_for_break(gm, nr);
	if (!nr)
		return -EDQUOT;
	err = away_bring_home(gm, gfn, nr);
	if (err)
		return err;
	/* The host may have run out of memory half way, or even at once. */
	nr = stage2_run(gm->s2, gfn, gfn + nr, &state);
	if (state != PG_PRIVATE)
		return -ENOMEM;
	note_all_broken(gm, gfn, nr);
	backend_populate(gm->backend, gfn, nr);
	gm->share.streak_next = gfn + nr;
	gm->stats.unshared_pages += nr;
	*in = (struct gfn_range){ gfn, gfn + nr };
	return 0;
}

int away_forget(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	assert_held(&gm->lock);
	stage2_lookup(gm->s2, gfn, &page);
	err = page.mapped ? backend_home(gm->backend, gfn, nr) : 0;
	if (err)
		return err;
	/* What was touched on the way home. */
	if (page.mapped)
		ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(nr));
	if (away_providers[page.state]->let_go)
		away_providers[page.state]->let_go(gm, &page, nr);
	gmem_set(gm, gfn, nr, PG_ABSENT, STAGE2_UNMAPPED);
	away_fit_reserve(gm);
	return 0;
}
