/* SPDX-License-Identifier: MIT */
/*
 * Pages without a frame of their own.
 *
 * Sending a run away to be shared.  No vCPU is stopped for it, so the order is everything (the
 * guest may write at any moment, on any line):
 *
 *   1. write-protect the run           a write waits for the pager, which waits for our lock
 *   2. compare all bytes with the frames	nobody can change either now
 *   3. map the frames over it          window_send_away(): readers see the same bytes
 *   4. punch the hole, tell stage 2    the RAM file's copy is what is saved
 *   5. unlock                          writes that waited are answered by what stage 2 says now
 *
 * What was different at 2 is let go again and stays private.  What the host could not free at 4,
 * because it held a huge page for a moment, has been zeroed: it is filled again from the frame and
 * comes home.
 *
 * A page of zeroes goes the same way without 3: its hole is all it needs.
 *
 * Coming home is the reverse: the bytes are written into the RAM file first, then the file is
 * mapped.  Whoever reads sees the same bytes before and after; whoever writes waits for the end.
 *
 * The reserve.  A page that comes home needs a credit, and the guest is waiting for it.  So that it
 * need not wait for the machine, the first credits that merging frees are kept here, where nothing
 * but a break can have them.  There are never more than pages away: private and reserve together
 * never exceed what RAM is promised, and an absent page is not kept out for good by the reserve.
 *
 * The mappings.  Breaking a run in the middle takes two.  If they are not there, short runs
 * nearby are broken whole, which gives two back each, until they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/base/reserve.h"
#include "ramfile.h"
#include "share.h"

#define RESERVE	   64u	 /* credits: some for each vCPU that may write at once */
#define BREAK_MOST 64u	 /* pages that come home at once for a sequential writer */
#define SHORT_RUN  64u	 /* pages; what may be broken to win mappings */
#define MARGIN	   1024u /* mappings that are left to breaks */

static const uint8_t zeroes[QUIRE_PAGE_SIZE];

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
	store_view_init(&gm->store);
	gm->note = reserve(span_pages(gm));
	gm->written = reserve(written_bytes(gm));
	gm->streak_next = NO_BLOCK;
	return gm->note && gm->written ? 0 : -ENOMEM;
}

void share_finish(struct gmem *gm)
{
	gmem_put(gm, gm->reserve);
	gm->reserve = 0;
	store_view_finish(&gm->store);
	unreserve(gm->note, span_pages(gm));
	unreserve(gm->written, written_bytes(gm));
	free(gm->dropped);
}

/* --- references to give back ------------------------------------------------------------- */

/* Room for every reference that we hold, so that a break never needs memory for its books. */
static int make_room(struct gmem *gm, uint64_t more)
{
	struct stage2_counters c;
	uint64_t need;
	void *p;

	stage2_counters(gm->s2, &c);
	need = c.pages[PG_SHARED] + gm->nr_dropped + more;
	if (need <= gm->dropped_room)
		return 0;
	need = align_up(need + need / 2, 1024);
	p = realloc(gm->dropped, need * sizeof(*gm->dropped));
	if (!p)
		return -ENOMEM;
	gm->dropped = p;
	gm->dropped_room = need;
	return 0;
}

/* An orphan's frames have no owner to be given back to. */
static void drop(struct gmem *gm, pfn_t pfn, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		uint32_t frame;

		if (!store_view_frame(&gm->store, pfn + i, &frame))
			continue;
		assert(gm->nr_dropped < gm->dropped_room);
		gm->dropped[gm->nr_dropped++] = frame;
	}
}

int share_drop(struct gmem *gm, pfn_t pfn, uint64_t nr)
{
	int err = make_room(gm, nr);

	if (!err)
		drop(gm, pfn, nr);
	return err;
}

unsigned int share_take_dropped(struct gmem *gm, uint32_t *out, unsigned int max)
{
	unsigned int nr = (unsigned int)min_u64(max, gm->nr_dropped);

	assert_held(&gm->lock);
	gm->nr_dropped -= nr;
	if (nr)
		memcpy(out, gm->dropped + gm->nr_dropped, nr * sizeof(*out));
	return nr;
}

/* --- away -------------------------------------------------------------------------------- */

bool share_has_room(const struct gmem *gm)
{
	return gm->mappings + min_u64(MARGIN, gm->max_mappings / 4) < gm->max_mappings;
}

static const uint8_t *bytes_of(const struct gmem *gm, enum page_state state, pfn_t pfn)
{
	return state == PG_SHARED ? store_view_bytes(&gm->store, pfn) : zeroes;
}

/* Pages of a run, from its page `i` on, that all have (or all do not have) their frame's bytes. */
static uint64_t stretch(const struct gmem *gm, const struct share_run *run, uint64_t i, bool *same)
{
	uint64_t start = i;

	for (; i < run->nr; i++) {
		const uint8_t *ours = window_page(&gm->window, run->gfn + i);
		bool equal = !memcmp(ours, bytes_of(gm, run->to, run->pfn + i), QUIRE_PAGE_SIZE);

		if (i == start)
			*same = equal;
		else if (equal != *same)
			break;
	}
	return i - start;
}

static void note_all(struct gmem *gm, gfn_t gfn, uint64_t nr, unsigned int reason)
{
	for (uint64_t i = 0; i < nr; i++)
		gm->note[gfn + i] = note_with(gm->note[gfn + i], reason);
}

static void refuse(struct gmem *gm, const struct share_run *run, unsigned int reason)
{
	note_all(gm, run->gfn, run->nr, reason);
	drop(gm, run->pfn, run->nr);
}

/* The hole could not be made: the page is zeroed, but there, so it can be filled. */
static void bring_back(struct gmem *gm, const struct share_run *run, uint64_t i)
{
	memcpy(gm->window.alias + gfn_to_gpa(run->gfn + i), bytes_of(gm, run->to, run->pfn + i),
	       QUIRE_PAGE_SIZE);
	if (window_home(&gm->window, run->gfn + i, 1))
		abort(); /* with a mapping to spare: the kernel's books are broken */
}

/* The pages of a run are mapped from elsewhere: free their frames, as far as the host can. */
static uint64_t leave_home(struct gmem *gm, const struct share_run *run)
{
	uint64_t left = 0;

	gmem_punch(gm, run->gfn, run->gfn + run->nr, PG_SHARED, run->pfn);
	for (uint64_t i = 0; i < run->nr; i++) {
		struct stage2_page page;

		stage2_lookup(gm->s2, run->gfn + i, &page);
		if (page.state == PG_SHARED) {
			left++;
			continue;
		}
		bring_back(gm, run, i);
		refuse(gm, &(struct share_run){ run->gfn + i, 1, PG_SHARED, run->pfn + i },
		       NOTE_BUDGET);
	}
	store_view_count(&gm->store, run->pfn, (int64_t)left);
	return left;
}

static void send_away(struct gmem *gm, const struct share_run *run, struct share_result *res)
{
	int fd = store_view_segment(&gm->store, run->pfn)->fd;
	uint64_t left;

	if (window_send_away(&gm->window, run->gfn, run->nr, fd, store_view_offset(run->pfn))) {
		window_protect(&gm->window, run->gfn, run->nr, false);
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
	if (!share_has_room(gm) || gm->iov_maps ||
	    window_protect(&gm->window, run->gfn, run->nr, true)) {
		refuse(gm, run, NOTE_BUDGET);
		gm->stats.mapping_refusals += !share_has_room(gm);
		res->no_room += run->nr;
		return;
	}
	for (uint64_t i = 0, nr; i < run->nr; i += nr) {
		struct share_run part = { run->gfn + i, 0, run->to, run->pfn + i };
		bool same = false;

		nr = part.nr = stretch(gm, run, i, &same);
		if (same) {
			send_away(gm, &part, res);
		} else {
			window_protect(&gm->window, part.gfn, nr, false);
			refuse(gm, &part, NOTE_VOLATILE);
			res->differ += nr;
		}
	}
}

/* The first credits that merging frees are the reserve; it goes with the last pages away. */
static void settle_reserve(struct gmem *gm)
{
	struct stage2_counters c;
	uint64_t want;

	stage2_counters(gm->s2, &c);
	want = min_u64(RESERVE, c.pages[PG_SHARED] + c.pages[PG_ZERO]);
	if (gm->reserve > want)
		gmem_put(gm, gm->reserve - want);
	else if (gm->reserve == want || !gmem_take(gm, want - gm->reserve))
		return;
	gm->reserve = want;
}

int share_commit(struct gmem *gm, const struct share_run *run, struct share_result *res)
{
	assert_held(&gm->lock);
	assert(run->to == PG_SHARED);
	if (make_room(gm, 2 * run->nr))
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
			refuse(gm, &part, note_reason(gm->note[part.gfn]));
	}
	settle_reserve(gm);
	return 0;
}

/* ---- zero ---- */

/* Is any page of [start, end) mapped from elsewhere, and so protected for good? */
static bool any_away(const struct gmem *gm, gfn_t start, gfn_t end)
{
	struct stage2_page page;

	for (gfn_t at = start; at < end; at += stage2_linear_run(gm->s2, at, end, &page)) {
		stage2_lookup(gm->s2, at, &page);
		if (page.state == PG_SHARED || (page.state == PG_ZERO && page.pfn))
			return true;
	}
	return false;
}

/* What of a run, private and write-protected, is zero goes. */
static void give_zeroes_up(struct gmem *gm, gfn_t gfn, uint64_t nr, struct share_result *res)
{
	const struct share_run run = { gfn, nr, PG_ZERO, 0 };
	uint64_t part;

	for (uint64_t i = 0; i < nr; i += part) {
		bool same = false;
		uint64_t left;

		part = stretch(gm, &run, i, &same);
		if (!same) {
			note_all(gm, gfn + i, part, NOTE_VOLATILE);
			res->differ += part;
			continue;
		}
		left = gmem_punch(gm, gfn + i, gfn + i + part, PG_ZERO, 0);
		res->merged += left;
		res->no_room += part - left;
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

		if (private && (is_protected || !window_protect(&gm->window, at, nr, true))) {
			give_zeroes_up(gm, at, nr, res);
			if (!is_protected)
				window_protect(&gm->window, at, nr, false);
		}
		at += nr;
	}
}

/*
 * Nothing is mapped for them, so the guest's first read will be an event, and map the page of
 * zeroes then; many are never read again, and each mapping is one of a limited number.  What stays
 * private between them is write-protected with them for a moment, to save two calls for each run;
 * but what is mapped from elsewhere must stay protected.
 */
void share_commit_zero(struct gmem *gm, const struct share_run *run, unsigned int nr,
		       struct share_result *res)
{
	gfn_t start = run[0].gfn, end = run[nr - 1].gfn + run[nr - 1].nr;
	bool at_once;

	assert_held(&gm->lock);
	if (gm->iov_maps)
		return;
	at_once = !any_away(gm, start, end) &&
		  !window_protect(&gm->window, start, end - start, true);
	for (unsigned int i = 0; i < nr; i++)
		commit_zero(gm, &run[i], at_once, res);
	if (at_once)
		window_protect(&gm->window, start, end - start, false);
	settle_reserve(gm);
}

int share_map_zero(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	assert_held(&gm->lock);
	if (!share_has_room(gm))
		return -ENOMEM;
	err = window_send_away(&gm->window, gfn, nr, -1, 0);
	if (err) {
		window_protect(&gm->window, gfn, nr, false);
		return err;
	}
	stage2_lookup(gm->s2, gfn, &page);
	if (page.state == PG_ZERO)
		gmem_set(gm, gfn, nr, PG_ABSENT, 0);
	gmem_set(gm, gfn, nr, PG_ZERO, STAGE2_ZERO_PFN);
	window_wake(&gm->window, gfn, nr);
	return 0;
}

/* --- home -------------------------------------------------------------------------------- */

/* The run's pages leave their frames. */
static void let_go(struct gmem *gm, enum page_state from, pfn_t pfn, uint64_t nr)
{
	if (from != PG_SHARED)
		return;
	drop(gm, pfn, nr);
	store_view_count(&gm->store, pfn, -(int64_t)nr);
}

/* All of it or nothing; false: the host has no memory. */
static int write_frames(struct gmem *gm, gfn_t gfn, uint64_t nr, pfn_t pfn)
{
	uint64_t bytes = nr << QUIRE_PAGE_SHIFT;
	ssize_t n;

	do
		n = pwrite(gm->window.ram_fd, store_view_bytes(&gm->store, pfn), bytes,
			   gfn_to_gpa(gfn));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)bytes)
		return 0;
	ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), bytes);
	return n < 0 ? -errno : -ENOMEM;
}

static bool relieve(struct gmem *gm, gfn_t except);

static int map_home(struct gmem *gm, gfn_t gfn, uint64_t nr, bool may_relieve)
{
	int err;

	do
		err = window_home(&gm->window, gfn, nr);
	while (err == -ENOMEM && may_relieve && relieve(gm, gfn));
	return err;
}

/* For nr credits, which stay the caller's on failure. */
static int come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
		     bool may_relieve)
{
	bool shared = page->state == PG_SHARED;
	uint64_t done = nr;
	int err = shared ? write_frames(gm, gfn, nr, page->pfn) : 0;

	if (err)
		return err;
	if (page->pfn)
		err = map_home(gm, gfn, nr, may_relieve);
	if (err) {
		if (shared)
			ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT);
		return err;
	}
	let_go(gm, page->state, page->pfn, nr);
	if (!shared) {
		gmem_set(gm, gfn, nr, PG_ABSENT, 0);
		err = window_fill(&gm->window, gfn, nr, &done);
	}
	if (!done)
		return err;
	gmem_set(gm, gfn, done, PG_PRIVATE, gfn);
	gmem_put(gm, nr - done);
	return 0;
}

/* Pages that were broken soon after they were shared wait longer each time (scan.c). */
static void note_all_broken(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		gm->note[gfn + i] = note_broken(gm->note[gfn + i]);
	gm->any_backoff |= nr > 0;
}

int share_forget(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	stage2_lookup(gm->s2, gfn, &page);
	err = page.pfn ? window_empty(&gm->window, gfn, nr) : 0;
	if (err)
		return err;
	let_go(gm, page.state, page.pfn, nr);
	gmem_set(gm, gfn, nr, PG_ABSENT, 0);
	settle_reserve(gm);
	return 0;
}

/* Break (or, if zero, forget) a short run wholly, which gives its mappings back. */
static bool break_short(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	if (page->state == PG_ZERO && page->pfn)
		return !share_forget(gm, gfn, nr);
	if (page->state != PG_SHARED || nr > SHORT_RUN || !gmem_take(gm, nr))
		return false;
	if (!come_home(gm, gfn, nr, page, false)) {
		note_all_broken(gm, gfn, nr);
		return true;
	}
	gmem_put(gm, nr);
	return false;
}

/* Win mappings somewhere, but not by what holds `except`.  False: there was nothing to win. */
static bool relieve(struct gmem *gm, gfn_t except)
{
	bool won = false;

	for (unsigned int r = 0; r < gm->config.nr_ram && !won; r++)
		for (gfn_t at = gm->ram[r].start; at < gm->ram[r].end && !won;) {
			struct stage2_page page;
			uint64_t nr = stage2_linear_run(gm->s2, at, gm->ram[r].end, &page);

			if (except < at || except >= at + nr)
				won = break_short(gm, at, nr, &page);
			at += nr;
		}
	gm->stats.mapping_reliefs += won;
	return won;
}

uint64_t share_break_around(struct gmem *gm, gfn_t gfn)
{
	gm->streak = gfn == gm->streak_next ? min_u64(2 * gm->streak, BREAK_MOST) : 1;
	return gm->streak;
}

/* Credits for `nr` pages, or for one: how many; 0: none. */
static uint64_t take_for_break(struct gmem *gm, uint64_t nr)
{
	if (gmem_take(gm, nr))
		return nr;
	if (gmem_take(gm, 1))
		return 1;
	if (!gm->reserve)
		return 0;
	gm->reserve--;
	return 1;
}

int share_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;
	int err;

	assert_held(&gm->lock);
	stage2_lookup(gm->s2, gfn, &page);
	while (gm->mappings + 2 > gm->max_mappings && relieve(gm, gfn))
		;
	err = come_home(gm, gfn, nr, &page, true);
	if (err)
		gmem_put(gm, nr);
	else
		settle_reserve(gm);
	return err;
}

int share_break(struct gmem *gm, gfn_t gfn, uint64_t max, struct gfn_range *in)
{
	struct stage2_page page;
	uint64_t nr = stage2_linear_run(gm->s2, gfn, gfn + max, &page);
	enum page_state state;
	int err;

	nr = take_for_break(gm, nr);
	if (!nr)
		return -EDQUOT;
	err = share_bring_home(gm, gfn, nr);
	if (err)
		return err;
	/* The host may have run out of memory half way. */
	nr = stage2_run(gm->s2, gfn, gfn + nr, &state);
	note_all_broken(gm, gfn, nr);
	window_populate(&gm->window, gfn, nr);
	gm->streak_next = gfn + nr;
	gm->stats.unshared_pages += nr;
	*in = (struct gfn_range){ gfn, gfn + nr };
	return 0;
}
