/* SPDX-License-Identifier: MIT */
/*
 * Shared pages: private pages leave for frames of the store, and come home.
 *
 * No vCPU is stopped for it, so the order is everything: the guest may write at any moment, on any
 * line.
 *
 *   1. write-protect the run            a write waits for the pager, which waits for our lock
 *   2. compare all bytes with frames    nobody can change either now
 *   3. map the frames over it           backend_send_to_file(): readers see the same bytes
 *   4. punch the hole, tell stage 2     the RAM file's copy is what is saved
 *   5. unlock                           writes that waited are answered by what stage 2 says now
 *
 * Pages that differ at 2 are let go again and stay private, and so is a run that the guest wrote
 * while 3 was under way.  What the host could not free at 4, because it held a huge page for a
 * moment, has been zeroed: it is filled again from the frame, and comes home.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "away.h"
#include "mmu/base/reserve.h"
#include "ramfile.h"

static uint64_t span_pages(const struct gmem *gm)
{
	return gm->window.span >> QUIRE_PAGE_SHIFT;
}

static uint64_t written_bytes(const struct gmem *gm)
{
	return (span_pages(gm) + 63) / 64 * sizeof(uint64_t);
}

int share_init(struct gmem *gm)
{
	struct share *sh = &gm->share;

	store_view_init(&sh->store);
	sh->note = reserve(span_pages(gm));
	sh->written = reserve(written_bytes(gm));
	sh->streak_next = NO_BLOCK;
	return sh->note && sh->written ? 0 : -ENOMEM;
}

void share_finish(struct gmem *gm)
{
	struct share *sh = &gm->share;

	gmem_put(gm, sh->reserve);
	sh->reserve = 0;
	store_view_finish(&sh->store);
	unreserve(sh->note, span_pages(gm));
	unreserve(sh->written, written_bytes(gm));
	free(sh->dropped);
}

/* --- notes ------------------------------------------------------------------------------- */

void share_note_written(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	uint64_t *written = gm->share.written;

	for (; nr && gfn % 64; gfn++, nr--)
		written[gfn / 64] |= 1ULL << gfn % 64;
	for (; nr >= 64; gfn += 64, nr -= 64)
		written[gfn / 64] = UINT64_MAX;
	for (; nr; gfn++, nr--)
		written[gfn / 64] |= 1ULL << gfn % 64;
}

void share_note(struct gmem *gm, gfn_t gfn, uint64_t nr, unsigned int reason)
{
	uint8_t *note = gm->share.note + gfn;

	for (uint64_t i = 0; i < nr; i++)
		note[i] = note_with(note[i], reason);
}

/* --- references to give back ------------------------------------------------------------- */

int share_make_room(struct gmem *gm, uint64_t more)
{
	struct share *sh = &gm->share;
	struct stage2_counters c;
	uint64_t need;
	void *p;

	stage2_counters(gm->s2, &c);
	need = c.pages[PG_SHARED] + c.pages[PG_ARCHIVED] + sh->nr_dropped + more;
	if (need <= sh->dropped_room)
		return 0;
	need = align_up(need + need / 2, 1024);
	p = realloc(sh->dropped, need * sizeof(*sh->dropped));
	if (!p)
		return -ENOMEM;
	sh->dropped = p;
	sh->dropped_room = need;
	return 0;
}

/* An orphan's frames have no owner to be given back to. */
static void drop(struct gmem *gm, pfn_t pfn, uint64_t nr)
{
	struct share *sh = &gm->share;

	for (uint64_t i = 0; i < nr; i++) {
		uint32_t frame;

		if (!store_view_frame(&sh->store, pfn + i, &frame))
			continue;
		assert(sh->nr_dropped < sh->dropped_room);
		sh->dropped[sh->nr_dropped++] = frame;
	}
}

int share_drop(struct gmem *gm, pfn_t pfn, uint64_t nr)
{
	int err = share_make_room(gm, nr);

	if (!err)
		drop(gm, pfn, nr);
	return err;
}

unsigned int share_take_dropped(struct gmem *gm, uint32_t *out, unsigned int max)
{
	struct share *sh = &gm->share;
	unsigned int nr = (unsigned int)min_u64(max, sh->nr_dropped);

	assert_held(&gm->lock);
	sh->nr_dropped -= nr;
	if (nr)
		memcpy(out, sh->dropped + sh->nr_dropped, nr * sizeof(*out));
	return nr;
}

/* --- away -------------------------------------------------------------------------------- */

/* What page i of the run is to be. */
static struct stage2_page wanted(const struct share_run *run, uint64_t i)
{
	return (struct stage2_page){
		.state = run->to,
		.level = 1,
		.pfn = stage2_frame(run->to, run->pfn, i),
	};
}

uint64_t share_stretch(const struct gmem *gm, const struct share_run *run, uint64_t i, bool *same)
{
	uint64_t start = i;

	for (; i < run->nr; i++) {
		const struct stage2_page ours = { .state = PG_PRIVATE }, to = wanted(run, i);
		bool equal = contents_same(gm, run->gfn + i, &ours, &to);

		if (i == start)
			*same = equal;
		else if (equal != *same)
			break;
	}
	return i - start;
}

static void refuse(struct gmem *gm, const struct share_run *run, unsigned int reason)
{
	share_note(gm, run->gfn, run->nr, reason);
	drop(gm, run->pfn, run->nr);
}

/*
 * The hole could not be made: the page is zeroed, but there, so it can be filled, and come home.
 * False: the host has no memory to map it.  Then it stays away, and what the RAM file has of it is
 * too much, until the page comes home or is given back.
 */
static bool bring_back(struct gmem *gm, const struct share_run *run, uint64_t i)
{
	const struct stage2_page page = wanted(run, i);
	uint8_t bytes[QUIRE_PAGE_SIZE];

	contents_copy(gm, run->gfn + i, &page, 0, bytes, sizeof(bytes));
	contents_write(gm, gfn_to_gpa(run->gfn + i), bytes, sizeof(bytes));
	if (!backend_home(gm->backend, run->gfn + i, 1))
		return true;
	gmem_set(gm, run->gfn + i, 1, PG_SHARED, run->pfn + i);
	gmem_put(gm, 1);
	return false;
}

/* The pages of a run are mapped from elsewhere: free their frames, as far as the host can. */
static uint64_t leave_home(struct gmem *gm, const struct share_run *run)
{
	uint64_t left = 0;

	gmem_punch(gm, run->gfn, run->gfn + run->nr, PG_SHARED, run->pfn);
	for (uint64_t i = 0; i < run->nr; i++) {
		struct stage2_page page;

		stage2_lookup(gm->s2, run->gfn + i, &page);
		if (page.state == PG_SHARED || !bring_back(gm, run, i)) {
			left++;
			continue;
		}
		refuse(gm, &(struct share_run){ run->gfn + i, 1, PG_SHARED, run->pfn + i },
		       NOTE_BUDGET);
	}
	store_view_count(&gm->share.store, run->pfn, (int64_t)left);
	return left;
}

static void send_away(struct gmem *gm, const struct share_run *run, struct share_result *res)
{
	int fd = store_view_segment(&gm->share.store, run->pfn)->fd;
	int err = backend_send_to_file(gm->backend, run->gfn, run->nr, fd,
				       store_view_offset(run->pfn));
	uint64_t left;

	if (err)
		backend_protect(gm->backend, run->gfn, run->nr, false);
	if (err == -EAGAIN) {
		refuse(gm, run, NOTE_VOLATILE);
		res->differ += run->nr;
		return;
	}
	if (err) {
		refuse(gm, run, NOTE_BUDGET);
		gm->stats.mapping_refusals++;
		res->no_room += run->nr;
		return;
	}
	left = leave_home(gm, run);
	res->merged += left;
	res->no_room += run->nr - left;
}

/* All private and managed singly.  Their bytes decide. */
static void commit_private(struct gmem *gm, const struct share_run *run, struct share_result *res)
{
	if (!away_has_room(gm) || backend_protect(gm->backend, run->gfn, run->nr, true)) {
		refuse(gm, run, NOTE_BUDGET);
		gm->stats.mapping_refusals += !away_has_room(gm);
		res->no_room += run->nr;
		return;
	}
	for (uint64_t i = 0, nr; i < run->nr; i += nr) {
		struct share_run part = { run->gfn + i, 0, run->to, run->pfn + i };
		bool same = false;

		nr = part.nr = share_stretch(gm, run, i, &same);
		if (same) {
			send_away(gm, &part, res);
		} else {
			backend_protect(gm->backend, part.gfn, nr, false);
			refuse(gm, &part, NOTE_VOLATILE);
			res->differ += nr;
		}
	}
}

int share_commit(struct gmem *gm, const struct share_run *run, struct share_result *res)
{
	assert_held(&gm->lock);
	assert(run->to == PG_SHARED);
	if (share_make_room(gm, 2 * run->nr))
		return -ENOMEM;
	for (uint64_t i = 0, nr; i < run->nr; i += nr) {
		struct share_run part = { run->gfn + i, 0, run->to, run->pfn + i };
		struct stage2_page page;
		bool held;

		nr = stage2_linear_run(gm->s2, part.gfn, run->gfn + run->nr, &page);
		held = gmem_is_held(gm, part.gfn, &nr);
		part.nr = nr;
		if (page.state == PG_PRIVATE && page.level == 1 && !held)
			commit_private(gm, &part, res);
		else
			refuse(gm, &part, note_reason(gm->share.note[part.gfn]));
	}
	away_fit_reserve(gm);
	return 0;
}

/* --- the provider ------------------------------------------------------------------------ */

static int share_show(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
		      const struct page_look *look)
{
	return look->fn(look->ctx, 0, nr, store_view_bytes(&gm->share.store, page->pfn));
}

void share_let_go_frames(struct gmem *gm, pfn_t pfn, uint64_t nr)
{
	drop(gm, pfn, nr);
	store_view_count(&gm->share.store, pfn, -(int64_t)nr);
}

static void share_let_go(struct gmem *gm, const struct stage2_page *page, uint64_t nr)
{
	share_let_go_frames(gm, page->pfn, nr);
}

static int share_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	int err = contents_take_home(gm, gfn, nr, page);

	if (err)
		return err;
	err = backend_home(gm->backend, gfn, nr);
	if (err) {
		ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT);
		return err;
	}
	share_let_go(gm, page, nr);
	gmem_set(gm, gfn, nr, PG_PRIVATE, gfn);
	return 0;
}

const struct away_provider share_provider = {
	.merged = true,
	.show = share_show,
	.come_home = share_come_home,
	.let_go = share_let_go,
};
