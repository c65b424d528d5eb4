/* SPDX-License-Identifier: MIT */
/*
 * Looking at the pages of a block.
 *
 * Each gfn has a note, which says what the keeper knows of the page.  So the note decides whether
 * the page is a candidate, which means that this pass looks at it:
 *
 *   written since the last visit      no; the page is noted as volatile
 *   new, or volatile and quiet since  yes
 *   unique                            no: it was looked up, and has not changed
 *   backing off                       in one pass of 2^n, if it was un-shared n times; when it
 *                                     stays away for so long, n falls by one (scan_relax)
 *   kept huge                         in one pass of KEPT_PASSES
 *   no mapping or frame was left      when there is room
 *   page table                        never
 *
 * Candidates are read under the lock, a few at a time, so that they cannot leave meanwhile.  The
 * guest may write to them while they are read, so share_commit() compares again.
 *
 * An orphan is a page that is shared with a frame of a machine that is gone, or archived there.  It
 * comes home and is looked up at once.  The new machine makes a frame of it even if nobody else
 * asks for it: somebody will.
 */
#include <stdlib.h>
#include <string.h>
#include "keeper_internal.h"
#include "mmu/memory/archived.h"

#define KEPT_PASSES    8u  /* pages of a kept leaf are looked at once in so many passes */
#define HASH_AT_ONCE   16u /* so many pages are read in one hold of the lock */
#define ZERO_AT_ONCE   16u /* so many runs of zeroes are given up in one hold */
#define ZERO_RUN_WORTH 8u  /* ... each of which takes as long as so many pages */
#define UNDO_AT_ONCE   64u /* so many pages are un-shared in one hold */

/* ---- choosing ---- */

static bool is_turn(gfn_t gfn, uint64_t pass, unsigned int backoff)
{
	return ((gfn ^ pass) & ((1ULL << backoff) - 1)) == 0;
}

static bool is_candidate(struct keeper *k, gfn_t gfn, bool written, uint64_t pass)
{
	uint8_t *note = &k->gm->share.note[gfn];

	switch (note_reason(*note)) {
	case NOTE_PAGE_TABLE: return false;
	case NOTE_BACKING_OFF: return !written && is_turn(gfn, pass, note_backoff(*note));
	default: break;
	}
	if (written) {
		k->fresh += note_reason(*note) != NOTE_VOLATILE;
		*note = note_with(*note, NOTE_VOLATILE);
		return false;
	}
	switch (note_reason(*note)) {
	case NOTE_UNIQUE: return !k->config.log;
	case NOTE_KEPT_HUGE:
		return is_turn(gfn / QUIRE_BLOCK_PAGES, pass, __builtin_ctz(KEPT_PASSES));
	case NOTE_BUDGET: return away_has_room(k->gm);
	default: return true;
	}
}

static bool bit(const uint64_t *bitmap, uint64_t n)
{
	return bitmap && bitmap[n / 64] >> n % 64 & 1;
}

/*
 * Bring orphans home: the first pages of the run [gfn, gfn + nr), as many as there are credits for.
 * *page is the first.  Returns how many came home; 0: they are no orphans, or there are no credits.
 */
static uint64_t adopt_orphans(struct keeper *k, gfn_t gfn, uint64_t nr,
			      const struct stage2_page *page)
{
	struct gmem *gm = k->gm;
	uint32_t frame;

	if (k->link < 0 || (page->state != PG_SHARED && page->state != PG_ARCHIVED) ||
	    store_view_frame(&gm->share.store,
			     page->state == PG_SHARED ? page->pfn : archived_frame(page), &frame))
		return 0;
	nr = gmem_take_some(gm, nr);
	if (!nr) {
		gmem_ask(gm);
		return 0;
	}
	return away_bring_home(gm, gfn, nr) ? 0 : nr;
}

static void choose(struct keeper *k, gfn_t start, gfn_t end, const uint64_t *written, uint64_t pass,
		   struct candidates *c)
{
	struct gmem *gm = k->gm;
	uint64_t skipped = 0;

	for (gfn_t at = start; at < end;) {
		struct stage2_page page;
		uint64_t nr = stage2_linear_run(gm->s2, at, end, &page);
		uint64_t adopted = adopt_orphans(k, at, nr, &page);
		bool orphan = adopted;

		nr = orphan ? adopted : nr;
		for (gfn_t g = at; g < at + nr && (page.state == PG_PRIVATE || orphan); g++) {
			if (!orphan && !is_candidate(k, g, bit(written, g - start), pass))
				skipped++;
			else
				c->gfn[c->nr++] = g | (orphan ? MERGE_PUBLISH : 0);
		}
		at += nr;
	}
	keeper_add(&k->stats.pages_skipped, skipped);
}

/* ---- reading ---- */

/* A candidate that is looked at. */
struct reading {
	const struct keeper *k;
	struct candidates *c;
	unsigned int i;
};

static int read_page(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	const struct reading *r = ctx;
	struct candidates *c = r->c;

	(void)first;
	(void)nr;
	c->zero[r->i] = page_is_zero(bytes);
	if (!c->zero[r->i] && r->k->obeyed == KEEPER_ON && r->k->link >= 0)
		c->hash[r->i] = r->k->config.hash(&r->k->secret, bytes);
	return 0;
}

static void read_some(struct keeper *k, struct candidates *c, unsigned int from, unsigned int to)
{
	struct reading r = { .k = k, .c = c };
	const struct page_look look = { read_page, &r };
	struct gmem *gm = k->gm;

	gmem_lock(gm, GMEM_KEEPER);
	for (r.i = from; r.i < to; r.i++) {
		gfn_t gfn = c->gfn[r.i] & ~MERGE_PUBLISH;
		struct stage2_page now;

		stage2_lookup(gm->s2, gfn, &now);
		c->gone[r.i] = now.state != PG_PRIVATE;
		if (!c->gone[r.i])
			contents_show(gm, gfn, 1, &now, &look);
	}
	gmem_unlock(gm);
	keeper_add(&k->stats.pages_scanned, to - from);
}

static unsigned int count_zero(const struct candidates *c)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < c->nr; i++)
		nr += !c->gone[i] && c->zero[i];
	return nr;
}

/* ---- asking ---- */

/* Write a LOOKUP of the candidates that are not zero to k->msg. */
static void ask_for(struct keeper *k, const struct candidates *c, unsigned int fewest)
{
	struct merge_msg *msg = &k->msg;

	msg->type = MERGE_LOOKUP;
	msg->nr = 0;
	msg->arg = fewest;
	for (unsigned int i = 0; i < c->nr; i++)
		if (!c->gone[i] && !c->zero[i])
			msg->lookup[msg->nr++] = (struct merge_lookup){ c->hash[i], c->gfn[i] };
}

static unsigned int reason_of(uint32_t none)
{
	switch (none) {
	case MERGE_UNIQUE: return NOTE_UNIQUE;
	case MERGE_FEW: return NOTE_KEPT_HUGE;
	default: return NOTE_BUDGET;
	}
}

void scan_add_page(struct block_work *work, gfn_t gfn, enum page_state to, pfn_t pfn)
{
	struct share_run *last = work->nr_runs ? &work->run[work->nr_runs - 1] : NULL;

	if (last && last->to == to && last->gfn + last->nr == gfn &&
	    (to == PG_ZERO || last->pfn + last->nr == pfn))
		last->nr++;
	else
		work->run[work->nr_runs++] = (struct share_run){ gfn, 1, to, pfn };
}

/*
 * Note the machine's answers about pages that it has no frame for.  They are in the order of the
 * candidates that were asked for.  There may be none, if nothing was asked or the machine was lost.
 */
static void note_answers(struct keeper *k, const struct flight *f)
{
	const struct candidates *c = &f->candidates;
	unsigned int at = 0;

	gmem_lock(k->gm, GMEM_KEEPER);
	for (unsigned int i = 0; i < c->nr; i++) {
		unsigned int reason = NOTE_UNIQUE; /* as far as we can know */

		if (c->gone[i] || c->zero[i])
			continue;
		if (at == f->nr_answers)
			k->unasked = true;
		else if (MERGE_IS_FRAME(f->answer[at++]))
			continue;
		else
			reason = reason_of(f->answer[at - 1]);
		share_note(k->gm, c->gfn[i] & ~MERGE_PUBLISH, 1, reason);
	}
	gmem_unlock(k->gm);
}

/* Make runs of the candidates that can leave, in order of gfn. */
static void make_runs(struct keeper *k, const struct flight *f, struct block_work *work)
{
	const struct candidates *c = &f->candidates;
	unsigned int at = 0;

	for (unsigned int i = 0; i < c->nr; i++) {
		gfn_t gfn = c->gfn[i] & ~MERGE_PUBLISH;
		pfn_t pfn;

		if (c->gone[i])
			continue;
		if (c->zero[i]) {
			scan_add_page(work, gfn, PG_ZERO, 0);
		} else if (at < f->nr_answers && MERGE_IS_FRAME(f->answer[at++])) {
			pfn = link_frame(k, f->answer[at - 1], 1);
			if (pfn)
				scan_add_page(work, gfn, PG_SHARED, pfn);
		}
	}
}

/* ---- doing ---- */

/*
 * May pages leave this block?  They may if it is not a 2 MiB leaf, or if it is worth splitting and
 * was split.  The caller holds the lock.
 */
static bool can_leave(struct keeper *k, const struct block_work *work)
{
	struct gmem *gm = k->gm;
	struct stage2_page page;
	uint64_t nr = 0;

	stage2_lookup(gm->s2, work->run[0].gfn, &page);
	if (page.level == 1)
		return true;
	for (unsigned int i = 0; i < work->nr_runs; i++)
		nr += work->run[i].nr;
	return nr >= LEAF_WORTH && !gmem_split(gm, work->block);
}

static void keep_huge(struct keeper *k, const struct share_run *run)
{
	struct gmem *gm = k->gm;

	share_note(gm, run->gfn, run->nr, NOTE_KEPT_HUGE);
	if (run->to == PG_SHARED)
		share_drop(gm, run->pfn, run->nr);
}

/* Send nr runs of a block away, in one hold: either one to be shared, or a few to be zero. */
static void commit_some(struct keeper *k, const struct block_work *work,
			const struct share_run *run, unsigned int nr)
{
	struct share_result res = { 0 };

	/* The machine may have gone since, with our references to these frames and the segment. */
	if (run->to == PG_SHARED && k->link < 0)
		return;
	gmem_lock(k->gm, GMEM_KEEPER);
	gmem_await_filled(k->gm, work->block, work->block + QUIRE_BLOCK_PAGES);
	if (!can_leave(k, work))
		for (unsigned int i = 0; i < nr; i++)
			keep_huge(k, &run[i]);
	else if (run->to == PG_ZERO)
		zero_commit(k->gm, run, nr, &res);
	else
		share_commit(k->gm, run, &res);
	gmem_unlock(k->gm);
	keeper_add(run->to == PG_ZERO ? &k->stats.zeroed_pages : &k->stats.merged_pages,
		   res.merged);
	keeper_add(&k->stats.mismatches, res.differ);
	k->stir += res.merged;
}

/* How many runs from the i-th on are to be zero and fit into one hold, with `most` pages. */
static unsigned int zero_runs(const struct block_work *work, unsigned int i, uint64_t most)
{
	uint64_t most_runs = min_u64(ZERO_AT_ONCE, most / ZERO_RUN_WORTH), pages = 0;
	unsigned int nr = 0;

	for (; i + nr < work->nr_runs && nr < most_runs; nr++) {
		const struct share_run *run = &work->run[i + nr];

		pages += run->nr;
		if (run->to != PG_ZERO || pages > most)
			break;
	}
	return nr;
}

/*
 * Send as much of a block's runs away, from the i-th on, as may be done in one hold.  Returns the
 * run to go on with: the i-th again, without the pages that are done, if it is too long.
 */
static unsigned int commit_section(struct keeper *k, struct block_work *work, unsigned int i)
{
	uint64_t most = gmem_section(k->gm, QUIRE_BLOCK_PAGES);
	struct share_run *run = &work->run[i];
	struct share_run part = { run->gfn, most, run->to, run->pfn };
	unsigned int nr;

	if (run->nr > most) {
		commit_some(k, work, &part, 1);
		run->gfn += most;
		run->pfn += most;
		run->nr -= most;
		return i;
	}
	nr = max_u64(1, zero_runs(work, i, most));
	commit_some(k, work, run, nr);
	return i + nr;
}

/*
 * The order when mappings are scarce.  Runs to be zero come first, in order of gfn.  Of the others
 * the longest comes first: it saves most for its mapping.
 */
static int by_need(const void *a, const void *b)
{
	const struct share_run *x = a, *y = b;

	if (x->to != y->to)
		return x->to == PG_ZERO ? -1 : 1;
	if (x->to == PG_ZERO || x->nr == y->nr)
		return x->gfn < y->gfn ? -1 : 1;
	return x->nr < y->nr ? 1 : -1;
}

/* The order else: runs to be zero first, and both kinds in order of gfn. */
static int by_kind(const void *a, const void *b)
{
	const struct share_run *x = a, *y = b;

	if (x->to != y->to)
		return x->to == PG_ZERO ? -1 : 1;
	return x->gfn < y->gfn ? -1 : 1;
}

void scan_commit(struct keeper *k, struct block_work *work)
{
	bool scarce;

	gmem_lock(k->gm, GMEM_KEEPER);
	scarce = k->gm->backend->mappings > k->gm->backend->max_mappings / 2;
	gmem_unlock(k->gm);
	qsort(work->run, work->nr_runs, sizeof(work->run[0]), scarce ? by_need : by_kind);
	for (unsigned int i = 0; i < work->nr_runs;)
		i = commit_section(k, work, i);
}

/* Complete a flight: receive the answer and act on it. */
static void land(struct keeper *k, struct flight *f)
{
	if (f->state == FLIGHT_ASKED)
		link_receive(k, f);
	if (f->state == FLIGHT_ANSWERED && f->candidates.nr) {
		k->work.block = f->block;
		k->work.nr_runs = 0;
		note_answers(k, f);
		make_runs(k, f, &k->work);
		scan_commit(k, &k->work);
		link_flush(k);
	}
	f->state = FLIGHT_IDLE;
}

void scan_finish(struct keeper *k)
{
	land(k, &k->flight[k->turn]);
	land(k, &k->flight[!k->turn]);
}

uint64_t scan_pages(struct keeper *k, gfn_t start, gfn_t end, const uint64_t *written,
		    uint64_t pass)
{
	struct flight *f = &k->flight[k->turn];
	struct candidates *c = &f->candidates;
	struct stage2_page page;
	unsigned int zeroes;

	c->nr = f->nr_answers = 0;
	f->block = align_down(start, QUIRE_BLOCK_PAGES);
	gmem_lock(k->gm, GMEM_KEEPER);
	gmem_await_filled(k->gm, start, end);
	choose(k, start, end, written, pass, c);
	stage2_lookup(k->gm->s2, start, &page);
	gmem_unlock(k->gm);
	if (!c->nr)
		return 0;
	for (unsigned int i = 0; i < c->nr; i += HASH_AT_ONCE)
		read_some(k, c, i, (unsigned int)min_u64(c->nr, i + HASH_AT_ONCE));
	zeroes = count_zero(c);
	f->state = FLIGHT_ANSWERED;
	if (k->obeyed == KEEPER_ON && k->link >= 0 && zeroes < c->nr) {
		ask_for(k, c, page.level == 2 && zeroes < LEAF_WORTH ? LEAF_WORTH - zeroes : 0);
		if (k->msg.nr)
			link_send(k, f);
	}
	k->turn = !k->turn;
	land(k, &k->flight[k->turn]);
	return c->nr;
}

/* ---- backing off less ---- */

static bool is_merged(const struct gmem *gm, gfn_t gfn)
{
	struct stage2_page page;

	stage2_lookup(gm->s2, gfn, &page);
	return page_is_merged(page.state);
}

/*
 * The turn of a page comes once in as many passes as it backs off.  A page that is away on two
 * turns in a row, and was not un-shared between them, backs off half as long from then on.
 */
static void relax(uint8_t *note)
{
	if (*note & NOTE_RESTED)
		*note = (uint8_t)(*note - (1u << NOTE_BACKOFF_SHIFT));
	else
		*note |= NOTE_RESTED;
}

/* Relax the pages of [start, end) whose turn it is.  Returns how many back off. */
static uint64_t relax_some(struct gmem *gm, gfn_t start, gfn_t end, uint64_t pass)
{
	const uint64_t levels = NOTE_BACKOFF_MASK * (UINT64_MAX / 0xff);
	uint64_t nr = 0;

	for (gfn_t g = start; g < end; g++) {
		unsigned int backoff = note_backoff(gm->share.note[g]);
		uint64_t eight;

		/* Most pages were never un-shared: skip eight at a time. */
		if (g % sizeof(eight) == 0 && g + sizeof(eight) <= end) {
			memcpy(&eight, gm->share.note + g, sizeof(eight));
			if (!(eight & levels)) {
				g += sizeof(eight) - 1;
				continue;
			}
		}
		nr += backoff > 0;
		if (backoff && is_turn(g, pass, backoff) && is_merged(gm, g))
			relax(&gm->share.note[g]);
	}
	return nr;
}

void scan_relax(struct keeper *k, uint64_t pass)
{
	struct gmem *gm = k->gm;
	struct gmem_run run = { 0 };
	bool any;

	k->backing_off = 0;
	gmem_lock(gm, GMEM_KEEPER);
	any = gm->share.any_backoff;
	gm->share.any_backoff = false;
	gmem_unlock(gm);
	if (!any)
		return;
	gmem_lock(gm, GMEM_KEEPER);
	while (gmem_each_run(gm, &run)) {
		gfn_t end = align_down(run.gfn, QUIRE_BLOCK_PAGES) + QUIRE_BLOCK_PAGES;

		if (run.page.state != PG_ABSENT) {
			run.nr = min_u64(end, run.ram_end) - run.gfn;
			k->backing_off += relax_some(gm, run.gfn, run.gfn + run.nr, pass);
			gm->share.any_backoff |= k->backing_off > 0;
		}
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
}

/* ---- undoing ---- */

/* Make zeroes that are mapped absent, for nr credits that were taken.  Returns nr, or 0. */
static uint64_t undo_zeroes(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	if (away_fits(gm, gfn, nr) && !zero_unmap(gm, gfn, nr))
		return nr;
	gmem_put(gm, nr);
	return 0;
}

/* Bring a run that is away home.  Returns how much of it, from its first page on, came home. */
static uint64_t undo_run(struct gmem *gm, const struct gmem_run *run)
{
	bool zeroes = page_is_away_zero(run->page.state);
	uint64_t nr;

	if (zeroes && !run->page.mapped)
		return away_forget(gm, run->gfn, run->nr) ? 0 : run->nr;
	nr = gmem_take_some(gm, run->nr);
	if (!nr)
		return 0;
	if (zeroes)
		return undo_zeroes(gm, run->gfn, nr);
	if (away_bring_home(gm, run->gfn, nr))
		return 0;
	memset(gm->share.note + run->gfn, 0, nr);
	return nr;
}

/* Does the mode not allow that pages are in this state? */
static bool is_to_undo(const struct keeper *k, enum page_state state)
{
	return state == PG_SHARED || state == PG_ARCHIVED ||
	       (state == PG_ZERO && k->obeyed == KEEPER_OFF);
}

bool scan_unmerge(struct keeper *k, bool *some)
{
	bool all = true;
	struct gmem *gm = k->gm;
	struct gmem_run run = { 0 };

	*some = false;
	gmem_lock(gm, GMEM_KEEPER);
	while (gmem_each_run(gm, &run)) {
		if (is_to_undo(k, run.page.state)) {
			uint64_t undone;

			run.nr = min_u64(run.nr, UNDO_AT_ONCE);
			undone = undo_run(gm, &run);
			all &= undone != 0;
			*some |= undone != 0;
			run.nr = undone ? undone : run.nr;
		}
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
	if (!all)
		gmem_ask(gm);
	link_flush(k);
	return all;
}
