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
 * The groups.  A page that comes home from the middle of a mapping takes two mappings more.  A
 * guest that writes at random would soon use them all up.  So the more of them are in use, the
 * larger is the aligned group that may come home with the page:
 *
 *   up to a half                 the page alone
 *   up to three quarters         a group of up to 16
 *   all that merging may use     a group of up to 64
 *   the margin (relief.c)        a group of up to 512, a block
 *
 * It is the smallest group after which there are no more mappings than before.  For a page far from
 * any end of a mapping no group is so, and it comes home alone: so in a group of the largest size
 * there are two ends at most.  If credits are short, the page comes home alone, too.
 *
 * A group backs off for longer than a page that comes home alone.  Most of its pages were not
 * written, so they would be shared again soon, only to come home with the next write nearby.
 */
#include <errno.h>
#include "away.h"
#include "ramfile.h"

#define RESERVE	    64u /* credits: some for each vCPU that may write at once */
#define SMALL_GROUP 16u /* pages */
#define LARGE_GROUP 64u

const struct away_provider *const away_providers[PG_NR_STATES] = {
	[PG_SHARED] = &share_provider,	    [PG_ZERO] = &zero_provider,
	[PG_COMPRESSED] = &packed_provider, [PG_SWAPPED] = &swapped_provider,
	[PG_ARCHIVED] = &archived_provider,
};

/* --- the reserve ------------------------------------------------------------------------- */

/* ... and have no frame anywhere in the RAM file. */
static uint64_t pages_away(const struct gmem *gm)
{
	struct stage2_counters c;
	uint64_t pages = 0;

	stage2_counters(gm->s2, &c);
	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		pages += page_is_away(state) ? c.pages[state] : 0;
	return pages - packed_pool_pages(gm);
}

void away_fit_reserve(struct gmem *gm)
{
	struct share *sh = &gm->share;
	uint64_t want;

	packed_settle(gm);
	want = min_u64(RESERVE, pages_away(gm));
	if (sh->reserve > want)
		gmem_put(gm, sh->reserve - want);
	else if (sh->reserve == want || waiting_any(&gm->waiting) ||
		 !gmem_take(gm, want - sh->reserve))
		return;
	sh->reserve = want;
}

uint64_t away_take_some(struct gmem *gm, uint64_t nr)
{
	struct share *sh = &gm->share;
	uint64_t taken = gmem_take_some(gm, nr);

	if (taken || !sh->reserve)
		return taken;
	sh->reserve--;
	return 1;
}

/* --- home -------------------------------------------------------------------------------- */

static void note_all_broken(struct gmem *gm, gfn_t gfn, uint64_t nr, unsigned int backoff)
{
	uint8_t *note = gm->share.note + gfn;

	for (uint64_t i = 0; i < nr; i++)
		note[i] = note_broken(note[i], backoff);
	gm->share.any_backoff |= nr > 0;
}

int away_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
		   unsigned int backoff)
{
	int err = away_providers[page->state]->come_home(gm, gfn, nr, page);

	if (err || !away_providers[page->state]->merged)
		return err;
	note_all_broken(gm, gfn, nr, backoff);
	gm->stats.unshared_pages += nr;
	return 0;
}

int away_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err = -ENOMEM;

	assert_held(&gm->lock);
	stage2_lookup(gm->s2, gfn, &page);
	if (away_fits(gm, gfn, nr))
		err = away_providers[page.state]->come_home(gm, gfn, nr, &page);
	if (err)
		gmem_put(gm, nr);
	else
		away_fit_reserve(gm);
	return err;
}

/* --- breaks ------------------------------------------------------------------------------ */

/* Does a guest that goes on from page to page come to gfn next?  It passes over what is private. */
static bool is_next(const struct gmem *gm, gfn_t gfn)
{
	gfn_t next = gm->share.streak_next;
	enum page_state state;

	if (gfn <= next || gfn - next > AWAY_BREAK_MOST)
		return gfn == next;
	return stage2_run(gm->s2, next, gfn, &state) == gfn - next && state == PG_PRIVATE;
}

uint64_t away_break_around(struct gmem *gm, gfn_t gfn)
{
	struct share *sh = &gm->share;

	sh->streak = is_next(gm, gfn) ? min_u64(2 * sh->streak, AWAY_BREAK_MOST) : 1;
	return sh->streak;
}

/* The largest group that may come home at once. */
static uint64_t largest_group(const struct gmem *gm)
{
	const struct backend *b = gm->backend;

	if (!away_has_room(gm))
		return QUIRE_BLOCK_PAGES;
	if (b->mappings > b->max_mappings / 4 * 3)
		return LARGE_GROUP;
	return b->mappings > b->max_mappings / 2 ? SMALL_GROUP : 1;
}

static bool takes_mappings(const struct gmem *gm, const struct gfn_range *r)
{
	return backend_home_costs(gm->backend, r->start, r->end - r->start) > 0;
}

/* The aligned group of that size around gfn, as far as it is RAM. */
static struct gfn_range group_around(const struct gmem *gm, gfn_t gfn, uint64_t size)
{
	struct gfn_range group = { align_down(gfn, size), align_down(gfn, size) + size };

	while (!stage2_is_ram(gm->s2, group.start, group.end - group.start))
		group.end--;
	return group;
}

/* Where pages shall come home because gfn is written: `run`, or a group that takes no mappings. */
static struct gfn_range to_break(const struct gmem *gm, gfn_t gfn, struct gfn_range run)
{
	uint64_t most = takes_mappings(gm, &run) ? largest_group(gm) : 0;

	for (uint64_t size = SMALL_GROUP; size <= most; size *= 2) {
		struct gfn_range group = group_around(gm, gfn, size);

		if (!takes_mappings(gm, &group))
			return group;
	}
	return run;
}

/* The linear run of pages that are away, and mapped or not like *its, at *gfn or after it. */
static uint64_t next_away(const struct gmem *gm, const struct stage2_page *its, gfn_t *gfn,
			  gfn_t end, struct stage2_page *page)
{
	for (uint64_t nr; *gfn < end; *gfn += nr) {
		nr = stage2_linear_run(gm->s2, *gfn, end, page);
		if (page_is_away(page->state) && page->mapped == its->mapped)
			return nr;
	}
	return 0;
}

/* How many pages of the range are to come home with a page like *its. */
static uint64_t count_away(const struct gmem *gm, const struct stage2_page *its,
			   const struct gfn_range *r)
{
	struct stage2_page page;
	uint64_t nr, sum = 0;

	for (gfn_t at = r->start; (nr = next_away(gm, its, &at, r->end, &page)); at += nr)
		sum += nr;
	return sum;
}

/*
 * Bring them home, to back off so often at least.  The caller has taken a credit for each.  0, or
 * -errno: not all came.
 */
static int break_range(struct gmem *gm, const struct stage2_page *its, const struct gfn_range *r,
		       unsigned int backoff)
{
	struct stage2_page page;
	int result = 0;
	uint64_t nr;

	for (gfn_t at = r->start; (nr = next_away(gm, its, &at, r->end, &page)); at += nr) {
		int err = away_come_home(gm, at, nr, &page, backoff);

		if (err)
			gmem_put(gm, nr);
		result = err ? err : result;
	}
	return result;
}

/*
 * Choose what comes home with gfn, at most `around` pages of its run or a group, and take credits
 * for it.  0; -EAGAIN: gfn itself is home or absent, because mappings were won; or as away_break.
 */
static int prepare(struct gmem *gm, gfn_t gfn, uint64_t around, struct gfn_range *r)
{
	bool alone = false;

	for (;;) {
		struct stage2_page page;
		uint64_t nr = stage2_linear_run(gm->s2, gfn, gfn + around, &page);
		struct gfn_range run = { gfn, gfn + (alone ? 1 : nr) };
		int err;

		if (!page_is_away(page.state))
			return -EAGAIN;
		*r = alone ? run : to_break(gm, gfn, run);
		if (!away_fits(gm, r->start, r->end - r->start)) {
			err = away_relieve(gm);
			if (err)
				return err;
			gmem_await_filled(gm, gfn, gfn + 1);
		} else if (alone) {
			return away_take_some(gm, 1) ? 0 : -EDQUOT;
		} else if (gmem_take(gm, count_away(gm, &page, r))) {
			return 0;
		} else {
			alone = true;
		}
	}
}

int away_break(struct gmem *gm, gfn_t gfn, uint64_t around, struct gfn_range *in)
{
	struct stage2_page page;
	enum page_state state;
	struct gfn_range r;
	bool group;
	uint64_t nr;
	int err;

	*in = (struct gfn_range){ gfn, gfn };
	do {
		err = prepare(gm, gfn, around, &r);
		if (err)
			return err == -EAGAIN ? 0 : err;
		stage2_lookup(gm->s2, gfn, &page);
		group = r.end - r.start > around;
		err = break_range(gm, &page, &r, group ? NOTE_GROUP_BACKOFF : 1);
		nr = stage2_run(gm->s2, gfn, r.end, &state);
		/* The kernel may have refused a mapping that we counted on, and now we know. */
	} while (page_is_away(state) && err == -ENOMEM && !away_fits(gm, r.start, r.end - r.start));
	/* The host may have run out of memory half way. */
	if (state != PG_PRIVATE)
		return err ? err : -ENOMEM;
	backend_populate(gm->backend, gfn, min_u64(nr, around));
	gm->share.streak_next = gfn + nr;
	*in = (struct gfn_range){ gfn, gfn + nr };
	away_fit_reserve(gm);
	return 0;
}

/* --- forgetting -------------------------------------------------------------------------- */

/*
 * Bring mapped pages home to be absent.  The RAM file may have some of them all the same, if it
 * could not free them when they went away (share.c): they go first, or nothing does.  What is
 * touched on the way home is single pages, which nobody but the guest has: they can go.
 */
static int forget_home(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	gpa_t start = gfn_to_gpa(gfn), bytes = gfn_to_gpa(nr);
	int err = ramfile_punch(gm->window.ram_fd, start, bytes);

	if (!err)
		err = backend_home(gm->backend, gfn, nr);
	if (!err)
		ramfile_punch(gm->window.ram_fd, start, bytes);
	return err;
}

int away_forget(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	assert_held(&gm->lock);
	stage2_lookup(gm->s2, gfn, &page);
	if (page.mapped && !away_fits(gm, gfn, nr))
		return -ENOMEM;
	err = page.mapped ? forget_home(gm, gfn, nr) : 0;
	if (err)
		return err;
	if (away_providers[page.state]->let_go)
		away_providers[page.state]->let_go(gm, &page, nr);
	gmem_set(gm, gfn, nr, PG_ABSENT, STAGE2_UNMAPPED);
	away_fit_reserve(gm);
	return 0;
}
