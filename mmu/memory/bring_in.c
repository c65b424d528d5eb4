/* SPDX-License-Identifier: MIT */
/*
 * Bringing pages in: what an access to a page that is not mapped for it does.
 *
 * An absent page is touched.  What comes in, as private pages, is
 *
 *   its block of 512   if all of it is absent and huge pages are on;
 *   its group of 16    otherwise: those pages of it that are absent.  Groups of 32, 64 and 128
 *                      follow while touches go on from group to group, up or down;
 *   the page alone     if credits are short, or others wait for some.
 *
 * An absent page is read, and share.zero_reads is set.  It becomes zero, with the pages around it
 * in its block that are absent too, and the page of zeroes is mapped there: this costs no frame.
 *
 * A zero page is read for the first time.  The page of zeroes is mapped there, and at the pages
 * around it in its block that are zero and not mapped.
 *
 * A compressed page is touched.  It comes home, and with it those that follow if the guest goes on
 * from page to page (packed.c).
 *
 * A swapped page is touched.  It is read first (swapped.c).
 *
 * A page that is away is written.  It comes home (away.c): alone, or with others for a writer that
 * goes on from page to page.  If such a writer meets a block in which nothing has a frame, the
 * block comes in as one.
 *
 * A ballooned page is touched before the balloon is deflated.  It becomes absent, and then as
 * above.
 *
 * Groups are aligned, and not placed in the direction of recent faults.  That serves both
 * directions alike.  And pages come in again as they were given back, for example in lists of a
 * balloon.
 *
 * The order: first the file and the window's page tables, then stage 2.  A touch in between finds
 * the page and goes on, or it has raised an event that the pager answers when it gets the lock.
 *
 * Filling a block is mostly zeroing 2 MiB, so it is done with the lock dropped, one block at a
 * time.  The block is noted in `filling` meanwhile: in stage 2 it is still absent, but the guest
 * may find a page there already and write to it.  So whoever acts on a page's being absent waits
 * until its block is filled (gmem_await_filled), and looks again.
 *
 * The host may run out of memory in the middle of a block.  Then some of its pages exist, and the
 * guest may have written to them already: they are kept as private pages.  It is a failure only if
 * no page exists.
 */
#include <errno.h>
#include "away.h"
#include "mmu/base/clock.h"
#include "ramfile.h"
#include "zero.h"

/* Pages brought in around a fault where blocks are managed singly; a power of two. */
#define FAULT_AROUND 16u
#define FAULT_MOST   128u /* ... for a sequential guest; divides a block */

void bring_in_init(struct gmem *gm)
{
	pthread_cond_init(&gm->filled, NULL);
	gm->filling = NO_BLOCK;
}

void bring_in_finish(struct gmem *gm)
{
	pthread_cond_destroy(&gm->filled);
}

/* --- credits ----------------------------------------------------------------------------- */

bool gmem_take(struct gmem *gm, uint64_t pages)
{
	const struct gmem_credits *credits = gm->config.credits;

	return !credits || credits->take(credits->ctx, pages);
}

uint64_t gmem_take_some(struct gmem *gm, uint64_t nr)
{
	while (nr && !gmem_take(gm, nr))
		nr /= 2;
	return nr;
}

void gmem_ask(struct gmem *gm)
{
	const struct gmem_credits *credits = gm->config.credits;

	if (credits && credits->ask)
		credits->ask(credits->ctx);
}

void gmem_put(struct gmem *gm, uint64_t pages)
{
	const struct gmem_credits *credits = gm->config.credits;

	if (credits && pages)
		credits->put(credits->ctx, pages);
}

void gmem_give(struct gmem *gm, uint64_t pages)
{
	const struct gmem_credits *credits = gm->config.credits;

	if (credits && credits->give && pages)
		credits->give(credits->ctx, pages);
	else
		gmem_put(gm, pages);
}

/* How many credits an access that waits for one would welcome. */
static uint64_t welcome(const struct gmem *gm)
{
	return gm->config.hugepages == GMEM_HUGE_AUTO ? QUIRE_BLOCK_PAGES : FAULT_AROUND;
}

static void call_helper(struct gmem *gm)
{
	if (gm->wanted)
		gm->wanted(gm->helper);
}

int gmem_wait(struct gmem *gm)
{
	const struct gmem_credits *credits = gm->config.credits;
	int err;

	assert(!lock_is_held(&gm->lock));
	if (!atomic_fetch_add(&gm->sleepers, 1))
		atomic_store(&gm->sleepers_since, monotonic_ns());
	call_helper(gm);
	err = credits->wait(credits->ctx, 1, welcome(gm));
	atomic_fetch_sub(&gm->sleepers, 1);
	return err ? -EDQUOT : 0;
}

int gmem_seek(struct gmem *gm)
{
	const struct gmem_credits *credits = gm->config.credits;
	int err;

	assert_held(&gm->lock);
	if (!gm->seeking) {
		atomic_store(&gm->seeking_since, monotonic_ns());
		call_helper(gm);
	}
	gm->seeking = true;
	err = credits->seek(credits->ctx, 1, welcome(gm), pager_news, gm);
	return err && err != -EAGAIN ? -EDQUOT : err;
}

void gmem_stop_seeking(struct gmem *gm)
{
	assert_held(&gm->lock);
	if (gm->seeking)
		gm->config.credits->stop_seeking(gm->config.credits->ctx);
	gm->seeking = false;
	atomic_store(&gm->seeking_since, 0);
}

/* --- blocks ------------------------------------------------------------------------------ */

void gmem_await_filled(struct gmem *gm, gfn_t start, gfn_t end)
{
	while (gm->filling != NO_BLOCK && gm->filling < end &&
	       gm->filling + QUIRE_BLOCK_PAGES > start)
		gmem_wait_for_fill(gm);
}

/* Nothing has a frame in the block, and it lies in RAM. */
static bool block_is_empty(const struct gmem *gm, gfn_t block)
{
	enum page_state state;

	if (!stage2_is_ram(gm->s2, block, QUIRE_BLOCK_PAGES))
		return false;
	for (gfn_t g = block; g < block + QUIRE_BLOCK_PAGES;) {
		g += stage2_run(gm->s2, g, block + QUIRE_BLOCK_PAGES, &state);
		if (state != PG_ABSENT && !page_is_away_zero(state))
			return false;
	}
	return true;
}

/* Nothing is in the block, and it lies in RAM. */
static bool block_is_absent(const struct gmem *gm, gfn_t block)
{
	enum page_state state;

	return stage2_is_ram(gm->s2, block, QUIRE_BLOCK_PAGES) &&
	       stage2_run(gm->s2, block, block + QUIRE_BLOCK_PAGES, &state) == QUIRE_BLOCK_PAGES &&
	       state == PG_ABSENT;
}

uint64_t gmem_adopt(struct gmem *gm, gfn_t gfn, gfn_t end)
{
	uint64_t nr = 0;

	for (; gfn < end; gfn++) {
		gfn_t data = gpa_to_gfn(
			ramfile_next_data(gm->window.ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(end)));

		if (data == gfn) {
			gmem_set(gm, gfn, 1, PG_PRIVATE, gfn);
			nr++;
		} else {
			gfn = data - 1;
		}
	}
	return nr;
}

/* The file has all pages of the block.  False: there is no mapping left to make it whole. */
static bool adopt_block(struct gmem *gm, gfn_t block)
{
	struct stage2_page page;

	if (!away_has_room(gm) || backend_make_whole(gm->backend, block))
		return false;
	for (gfn_t g = block, end = block + QUIRE_BLOCK_PAGES; g < end;) {
		uint64_t nr = stage2_linear_run(gm->s2, g, end, &page);

		if (page.state != PG_ABSENT)
			gmem_set(gm, g, nr, PG_ABSENT, STAGE2_UNMAPPED);
		g += nr;
	}
	if (!backend_is_huge(gm->backend, block))
		gm->stats.huge_fallbacks++;
	gmem_set_large(gm, block);
	return true;
}

/*
 * The file has pages of the block, which stays managed singly.  What the guest may have used
 * becomes private.  Behind zeroes that are mapped nobody can have seen them: they go.  Returns how
 * many stay.
 */
static uint64_t adopt_part(struct gmem *gm, gfn_t block)
{
	struct stage2_page page;
	uint64_t kept = 0, nr;

	for (gfn_t g = block, end = block + QUIRE_BLOCK_PAGES; g < end; g += nr) {
		nr = stage2_linear_run(gm->s2, g, end, &page);
		if (page_is_mapped_away(&page))
			ramfile_punch(gm->window.ram_fd, gfn_to_gpa(g), gfn_to_gpa(nr));
		else
			kept += gmem_adopt(gm, g, g + nr);
	}
	backend_wake(gm->backend, block, QUIRE_BLOCK_PAGES);
	return kept;
}

/*
 * Bring in the block, in which nothing has a frame, as one; no block is being filled.  Its zeroes
 * can be read all the time.  The lock is dropped meanwhile. 0 if at least one page came in;
 * -EDQUOT, or the host's -errno, if none did.
 */
static int bring_in_block(struct gmem *gm, gfn_t block)
{
	enum gmem_holder who = gm->holder;
	uint64_t kept = QUIRE_BLOCK_PAGES;
	int err;

	assert_held(&gm->lock);
	if (!gmem_take(gm, QUIRE_BLOCK_PAGES))
		return -EDQUOT;
	gm->filling = block;
	gmem_unlock(gm);
	err = backend_fill_block(gm->backend, block);
	gmem_lock(gm, who);
	gm->filling = NO_BLOCK;
	if (err || !adopt_block(gm, block))
		kept = adopt_part(gm, block);
	gmem_put(gm, QUIRE_BLOCK_PAGES - kept);
	away_fit_reserve(gm);
	pthread_cond_broadcast(&gm->filled);
	if (kept)
		return 0;
	return err ? err : -ENOMEM;
}

/* --- single pages ------------------------------------------------------------------------ */

/*
 * Bring in the absent pages of [gfn, end), no part of which is being filled, at 4 KiB, run by run.
 * -EDQUOT: a run was too long for the credits at hand, and those before it came in.
 */
static int bring_in_singly(struct gmem *gm, gfn_t gfn, gfn_t end)
{
	while (gfn < end) {
		enum page_state state;
		uint64_t nr = stage2_run(gm->s2, gfn, end, &state), done = nr;
		int err = 0;

		if (state == PG_ABSENT) {
			if (!gmem_take(gm, nr))
				return -EDQUOT;
			err = backend_fill(gm->backend, gfn, nr, &done);
			gmem_put(gm, nr - done);
			if (done)
				gmem_set(gm, gfn, done, PG_PRIVATE, gfn);
		}
		if (err)
			return err;
		gfn += nr;
	}
	return 0;
}

/* How large a group to bring in around gfn: larger if it is next to, or in, the last group. */
static uint64_t group_size(struct gmem *gm, gfn_t gfn)
{
	const struct gfn_range *last = &gm->last_group;
	uint64_t size = last->end - last->start;

	if (gfn + size >= last->start && gfn < last->end + size)
		return min_u64(2 * size, FAULT_MOST);
	return FAULT_AROUND;
}

/* From the first to the last absent page of the group of that size around gfn, which is absent. */
static struct gfn_range absent_group(const struct gmem *gm, gfn_t gfn, uint64_t size)
{
	struct gfn_range group = { align_down(gfn, size), align_down(gfn, size) + size };
	struct gfn_range in = { gfn, gfn + 1 };
	enum page_state state;

	while (!stage2_is_ram(gm->s2, group.start, group.end - group.start))
		group.end--;
	for (gfn_t g = group.start; g < group.end;) {
		uint64_t nr = stage2_run(gm->s2, g, group.end, &state);

		if (state == PG_ABSENT) {
			in.start = min_u64(in.start, g);
			in.end = max_u64(in.end, g + nr);
		}
		g += nr;
	}
	return in;
}

static int bring_in_some(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	uint64_t size = group_size(gm, gfn);
	int err = -EDQUOT;

	gm->last_group = (struct gfn_range){ align_down(gfn, size), align_down(gfn, size) + size };
	for (; size >= FAULT_AROUND && err == -EDQUOT; size /= 2) {
		*in = absent_group(gm, gfn, size);
		err = bring_in_singly(gm, in->start, in->end);
	}
	return err;
}

static int bring_in_group(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	int err = waiting_any(&gm->waiting) ? -EDQUOT : bring_in_some(gm, gfn, in);

	if (err != -EDQUOT)
		return err;
	/* There are no credits for all of that.  The page itself may have come in already. */
	*in = (struct gfn_range){ gfn, gfn + 1 };
	return bring_in_singly(gm, gfn, gfn + 1);
}

/* Shall a page that is not mapped get the page of zeroes when it is only read? */
static bool may_read_zeroes(const struct gmem *gm, const struct stage2_page *page)
{
	return page->state == PG_ABSENT ? gm->share.zero_reads : page_is_away_zero(page->state);
}

/* Map the page of zeroes at gfn, and at its neighbours in its block that are in the same state. */
static int read_zeroes(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	gfn_t start = align_down(gfn, QUIRE_BLOCK_PAGES), end = start + QUIRE_BLOCK_PAGES;
	struct stage2_page page, its;
	int err;

	stage2_lookup(gm->s2, gfn, &its);
	while (!stage2_is_ram(gm->s2, start, end - start))
		end--;
	for (gfn_t g = start; g <= gfn; g += stage2_linear_run(gm->s2, g, end, &page))
		start = g;
	end = start + stage2_linear_run(gm->s2, start, end, &page);
	assert(page.state == its.state && page.mapped == its.mapped);
	*in = (struct gfn_range){ start, end };
	err = zero_map(gm, gfn, in);
	if (err) {
		*in = (struct gfn_range){ gfn, gfn };
		return err;
	}
	gm->stats.zero_read_pages += its.state == PG_ABSENT ? in->end - in->start : 0;
	return 0;
}

/* A page that is away is written: bring it home, or its whole block if that has no frames. */
static int bring_home(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	uint64_t around = away_break_around(gm, gfn);
	struct stage2_page page;
	int err = 0;

	if (around == AWAY_BREAK_MOST && gm->config.hugepages == GMEM_HUGE_AUTO &&
	    gm->filling == NO_BLOCK && block_is_empty(gm, block) && !bring_in_block(gm, block))
		*in = (struct gfn_range){ block, block + QUIRE_BLOCK_PAGES };
	/* The lock may have been dropped.  If the page is absent now, it will be touched again. */
	stage2_lookup(gm->s2, gfn, &page);
	if (page_is_away(page.state))
		err = away_break(gm, gfn, around, in);
	if (!err && page.state == PG_COMPRESSED && in->start < in->end)
		packed_bring_ahead(gm, in, around);
	return err;
}

/* A page of a wholly absent block is touched: bring in the block, or else what can be had. */
static int bring_in_absent(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);

	*in = (struct gfn_range){ block, block + QUIRE_BLOCK_PAGES };
	switch (bring_in_block(gm, block)) {
	case 0: return 0;
	case -EDQUOT: return bring_in_group(gm, gfn, in);
	default:
		/* The host has no 2 MiB, but it may have a page. */
		gmem_await_filled(gm, gfn, gfn + 1);
		return bring_in_group(gm, gfn, in);
	}
}

int gmem_bring_in(struct gmem *gm, gfn_t gfn, bool write, struct gfn_range *in)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	struct stage2_page page;

	assert_held(&gm->lock);
	*in = (struct gfn_range){ gfn, gfn };
	for (;;) {
		gmem_await_filled(gm, gfn, gfn + 1);
		stage2_lookup(gm->s2, gfn, &page);
		if (page.state == PG_BALLOONED) {
			gmem_set(gm, gfn, 1, PG_ABSENT, STAGE2_UNMAPPED);
			gm->stats.balloon_touches++;
			continue;
		}
		if (page.mapped && (!write || page.state == PG_PRIVATE))
			return 0;
		if (!write && may_read_zeroes(gm, &page)) {
			int err = read_zeroes(gm, gfn, in);

			if (err != -ENOMEM)
				return err;
		}
		if (page.state == PG_SWAPPED)
			return swapped_bring_home(gm, gfn, in);
		if (page_is_away(page.state))
			return bring_home(gm, gfn, in);
		if (gm->config.hugepages == GMEM_HUGE_NEVER || waiting_any(&gm->waiting) ||
		    !block_is_absent(gm, block))
			return bring_in_group(gm, gfn, in);
		if (gm->filling == NO_BLOCK)
			return bring_in_absent(gm, gfn, in);
		gmem_wait_for_fill(gm);
	}
}
