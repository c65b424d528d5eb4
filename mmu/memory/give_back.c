/* SPDX-License-Identifier: MIT */
/*
 * Giving pages back to the host, for good (drop) or for as long as the guest says (balloon).
 *
 * Giving back private pages costs system calls.  So they go in runs as long as possible, across
 * blocks.  First the whole blocks of a run become single: one call for those that lie side by
 * side.  Then one hole is punched for all of the run.  A block that goes as a whole keeps its 2 MiB
 * leaf in stage 2 until it has gone; the leaf is split only if the host could not free all of the
 * block.
 *
 * The lock is dropped after each section, because others wait for it.  The host takes 10 to 20 us
 * to free a huge page, but 0.3 to 1 ms to free 512 single ones.
 *
 * What the host cannot free just now is tried again a few times, with pauses in which nobody has to
 * wait for us.
 */
#include <errno.h>
#include <time.h>
#include "away.h"
#include "mmu/base/clock.h"
#include "ramfile.h"

#define HUGE_PAGES   8u	   /* that may be freed in one section */
#define TRIES	     64u   /* to free what the host cannot free just now, with pauses ... */
#define TRY_PAUSE_NS 50000 /* ... of so long, which makes 3 ms */

/* ---- private pages ---- */

/* A guest will not want soon what it gave to its balloon, so others may have those credits. */
static void put_or_give(struct gmem *gm, uint64_t pages, enum page_state to)
{
	if (to == PG_BALLOONED)
		gmem_give(gm, pages);
	else
		gmem_put(gm, pages);
}

/* The holes in [gfn, end) move to state `to`; pages that are still there stay private. */
static uint64_t move_holes(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to, pfn_t pfn)
{
	gfn_t start = gfn;
	uint64_t gone = 0;

	while (gfn < end) {
		gfn_t stop = gpa_to_gfn(
			ramfile_next_data(gm->window.ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(end)));

		if (stop > gfn) {
			gmem_set(gm, gfn, stop - gfn, to, stage2_frame(to, pfn, gfn - start));
			put_or_give(gm, stop - gfn, to);
			gone += stop - gfn;
		}
		gfn = stop + 1;
	}
	return gone;
}

/* How many whole blocks lie side by side from `block` on, before end. */
static uint64_t whole_blocks(const struct gmem *gm, gfn_t block, gfn_t end)
{
	struct stage2_page page;
	uint64_t nr = 0;

	for (; block < end; block += QUIRE_BLOCK_PAGES, nr++) {
		stage2_lookup(gm->s2, block, &page);
		if (page.level != 2)
			break;
	}
	return nr;
}

/*
 * Let the host manage [gfn, end), private pages of one section, singly.  Stage 2 is not told yet.
 * The blocks of a section are either all whole or all single, but for the first: pages before gfn
 * may have gone from it.
 */
static int make_single(struct gmem *gm, gfn_t gfn, gfn_t end)
{
	gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
	uint64_t nr = whole_blocks(gm, block, end);

	if (!nr) {
		block += QUIRE_BLOCK_PAGES;
		nr = whole_blocks(gm, block, end);
	}
	return nr ? backend_make_single(gm->backend, block, nr) : 0;
}

/* Tell stage 2, of all blocks in [gfn, end) or only of those that it covers in part. */
static void split(struct gmem *gm, gfn_t gfn, gfn_t end, bool all)
{
	struct stage2_page page;

	for (gfn_t at = align_down(gfn, QUIRE_BLOCK_PAGES); at < end; at += QUIRE_BLOCK_PAGES) {
		bool part = at < gfn || at + QUIRE_BLOCK_PAGES > end;

		stage2_lookup(gm->s2, max_u64(at, gfn), &page);
		if (page.level == 2 && (all || part))
			stage2_split(gm->s2, at);
	}
}

uint64_t gmem_punch(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to, pfn_t pfn)
{
	int err;

	backend_leave(gm->backend, gfn, end - gfn);
	err = ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(end - gfn));
	if (!err) {
		gmem_set(gm, gfn, end - gfn, to, pfn);
		put_or_give(gm, end - gfn, to);
		return end - gfn;
	}
	split(gm, gfn, end, true);
	return err == -EAGAIN ? move_holes(gm, gfn, end, to, pfn) : 0;
}

/* How a range is given back.  `stuck`: of pages.kept, those that the host could not free. */
struct outcome {
	struct gmem_gone pages;
	uint64_t stuck;
};

static int give_back_private(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to,
			     struct outcome *out)
{
	uint64_t gone;
	int err = make_single(gm, gfn, end);

	if (err)
		return err;
	split(gm, gfn, end, false);
	gone = gmem_punch(gm, gfn, end, to, STAGE2_UNMAPPED);
	out->pages.gone += gone;
	out->pages.kept += end - gfn - gone;
	out->stuck += end - gfn - gone;
	return 0;
}

/* ---- ranges ---- */

/* Give back the run of pages in one state from gfn on, at most to end.  *nr: its length. */
static int give_back_run(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to,
			 struct outcome *out, uint64_t *nr)
{
	struct stage2_page page;
	enum page_state state;
	int err = 0;

	*nr = stage2_linear_run(gm->s2, gfn, end, &page);
	if (!page_is_away(page.state))
		*nr = stage2_run(gm->s2, gfn, end, &state);
	if (page.state == PG_PRIVATE && gmem_is_held(gm, gfn, nr)) {
		out->pages.kept += *nr;
		return 0;
	}
	if (page.state == PG_PRIVATE)
		return give_back_private(gm, gfn, gfn + *nr, to, out);
	if (page.state == to || page.state == PG_BALLOONED) {
		out->pages.already += *nr;
		return 0;
	}
	if (page_is_away(page.state))
		err = away_forget(gm, gfn, *nr);
	if (err == -ENOMEM || err == -EAGAIN) {
		out->pages.kept += *nr;
		out->stuck += err == -EAGAIN ? *nr : 0;
		return 0;
	}
	if (err)
		return err;
	if (to == PG_BALLOONED)
		gmem_set(gm, gfn, *nr, to, STAGE2_UNMAPPED);
	out->pages.gone += *nr;
	return 0;
}

/* The caller holds the lock, which may be dropped before anything happens. */
static int give_back_section(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to,
			     struct outcome *out)
{
	int err = 0;
	uint64_t nr;

	gmem_await_filled(gm, gfn, end);
	for (; gfn < end && !err; gfn += nr)
		err = give_back_run(gm, gfn, end, to, out, &nr);
	return err;
}

/* Where the section ends that begins at gfn. */
static gfn_t section_end(struct gmem *gm, gfn_t gfn, gfn_t end)
{
	uint64_t most = gmem_section(gm, QUIRE_BLOCK_PAGES), huge = 0;

	if (gfn % QUIRE_BLOCK_PAGES == 0)
		huge = whole_blocks(gm, gfn, min_u64(end, gfn + HUGE_PAGES * QUIRE_BLOCK_PAGES));
	return min_u64(end, huge ? gfn + huge * QUIRE_BLOCK_PAGES : align_down(gfn, most) + most);
}

/* Try again to free the pages of [gfn, end) that are stuck, without the lock in between. */
static int try_again(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to, struct outcome *out)
{
	const struct timespec pause = { .tv_nsec = TRY_PAUSE_NS };
	int err = 0;

	for (unsigned int i = 0; i < TRIES && out->stuck && !err; i++) {
		struct outcome now = { 0 };

		nanosleep(&pause, NULL);
		gmem_lock(gm, GMEM_GIVE);
		err = give_back_section(gm, gfn, end, to, &now);
		gmem_unlock(gm);
		/* Pages that the guest touched again meanwhile have gone twice, but count once. */
		now.pages.gone = min_u64(now.pages.gone, out->stuck);
		out->pages.gone += now.pages.gone;
		out->pages.kept -= now.pages.gone;
		out->stuck -= now.pages.gone;
	}
	return err;
}

static int give_back(struct gmem *gm, gfn_t gfn, uint64_t nr, enum page_state to, uint64_t *total,
		     struct gmem_gone *gone)
{
	gfn_t end = gfn + nr, next;
	struct outcome out = { 0 };
	int err = 0;

	if (!stage2_is_ram(gm->s2, gfn, nr) || nr == 0)
		return -EFAULT;
	for (; gfn < end && !err; gfn = next) {
		gmem_lock(gm, GMEM_GIVE);
		next = section_end(gm, gfn, end);
		err = give_back_section(gm, gfn, next, to, &out);
		gmem_unlock(gm);
		if (!err)
			err = try_again(gm, gfn, next, to, &out);
		out.stuck = 0;
	}
	gmem_lock(gm, GMEM_GIVE);
	*total += out.pages.gone;
	gmem_unlock(gm);
	if (gone)
		*gone = out.pages;
	return !err && out.pages.kept ? -EAGAIN : err;
}

int gmem_drop(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	return give_back(gm, gfn, nr, PG_ABSENT, &gm->stats.dropped_pages, gone);
}

int gmem_balloon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	return give_back(gm, gfn, nr, PG_BALLOONED, &gm->stats.ballooned_pages, gone);
}

int gmem_unballoon(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	struct gmem_gone res = { 0 };
	gfn_t end = gfn + nr;

	if (!stage2_is_ram(gm->s2, gfn, nr) || nr == 0)
		return -EFAULT;
	gmem_lock(gm, GMEM_GIVE);
	while (gfn < end) {
		enum page_state state;

		nr = stage2_run(gm->s2, gfn, min_u64(end, gfn + QUIRE_BLOCK_PAGES), &state);
		if (state == PG_BALLOONED)
			gmem_set(gm, gfn, nr, PG_ABSENT, STAGE2_UNMAPPED);
		*(state == PG_BALLOONED ? &res.gone : &res.already) += nr;
		gfn += nr;
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
	if (gone)
		*gone = res;
	return 0;
}
