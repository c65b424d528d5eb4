/* SPDX-License-Identifier: MIT */
/*
 * The link: the connection between keeper and machine, and what goes over it.
 *
 * The keeper asks for the link when it needs it, through the VM's channel, and the machine makes
 * it.  When the link breaks, the machine is gone, and with it every reference that we had.  Our
 * shared pages are orphans then, until a new machine has them (scan.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "keeper_internal.h"

#define NEWS_KEPT (4 * MERGE_BATCH) /* memory for more news is not kept */

/* Close the link: the machine is gone, and our shared pages are orphans. */
static void link_lose(struct keeper *k)
{
	if (k->link >= 0)
		close(k->link);
	k->link = -1;
	k->news_waiting = 0;
	k->memory_short = false;
	k->unasked = true;
	__atomic_store_n(&k->stats.joined, 0, __ATOMIC_RELAXED);
	gmem_lock(k->gm, GMEM_KEEPER);
	store_view_orphan(&k->gm->share.store);
	k->gm->share.nr_dropped = 0;
	gmem_unlock(k->gm);
}

/* Send the question in k->msg and receive the answer there.  False: the machine is lost. */
static bool ask(struct keeper *k, int *descriptor)
{
	if (k->link < 0)
		return false;
	if (!merge_ask(k->link, &k->msg, descriptor))
		return true;
	link_lose(k);
	return false;
}

static bool connect_link(struct keeper *k)
{
	int fd = k->config.join ? k->config.join(k->config.ctx) : -ENOTCONN;

	if (fd < 0)
		return false;
	k->link = fd;
	__atomic_store_n(&k->stats.joined, 1, __ATOMIC_RELAXED);
	return true;
}

/* Each machine has another secret, and no hash is kept for longer than a question takes. */
static bool learn_secret(struct keeper *k)
{
	k->msg.type = MERGE_SECRET;
	k->msg.nr = k->msg.arg = 0;
	if (!ask(k, NULL))
		return false;
	k->secret = k->msg.secret;
	return true;
}

bool link_join(struct keeper *k)
{
	return k->link >= 0 || (!k->forsaken && connect_link(k) && learn_secret(k));
}

void link_send(struct keeper *k, struct flight *f)
{
	if (merge_send(k->link, &k->msg, &f->question))
		link_lose(k);
	else
		f->state = FLIGHT_ASKED;
}

void link_receive(struct keeper *k, struct flight *f)
{
	f->state = FLIGHT_ANSWERED;
	if (k->link < 0)
		return;
	if (merge_receive(k->link, &k->msg, &f->question, NULL)) {
		link_lose(k);
		return;
	}
	f->nr_answers = k->msg.nr;
	k->news_waiting = k->msg.arg;
	for (unsigned int i = 0; i < f->nr_answers; i++)
		f->answer[i] = k->msg.frame[i].frame;
}

/* ---- references ---- */

static void give_back(struct keeper *k, const uint32_t *frame, unsigned int nr)
{
	struct merge_msg *msg = &k->msg;

	if (k->link < 0 || !nr)
		return;
	msg->type = MERGE_DROP;
	msg->nr = nr;
	msg->arg = 0;
	memmove(msg->drop, frame, nr * sizeof(*frame));
	if (merge_tell(k->link, msg))
		link_lose(k);
}

void link_drop(struct keeper *k, uint32_t frame, uint32_t references)
{
	while (references--)
		give_back(k, &frame, 1);
}

void link_flush(struct keeper *k)
{
	uint32_t frame[MERGE_BATCH];
	unsigned int nr;

	do {
		gmem_lock(k->gm, GMEM_KEEPER);
		nr = share_take_dropped(k->gm, frame, MERGE_BATCH);
		gmem_unlock(k->gm);
		give_back(k, frame, nr);
	} while (nr == MERGE_BATCH);
}

/* ---- passes ---- */

void link_tell_pass(struct keeper *k)
{
	const struct keeper_stats *s = &k->stats;
	uint64_t pages = s->merged_pages + s->zeroed_pages;

	if (k->link < 0 || pages == k->told_pages)
		return;
	k->told_pages = pages;
	k->msg.type = MERGE_PASS;
	k->msg.nr = k->msg.arg = 0;
	k->msg.pass = (struct merge_pass){
		.full_scans = s->full_scans,
		.merged_pages = s->merged_pages,
		.zeroed_pages = s->zeroed_pages,
		.pages_scanned = s->pages_scanned,
		.pages_skipped = s->pages_skipped,
	};
	if (merge_tell(k->link, &k->msg))
		link_lose(k);
}

void link_tell_cold(struct keeper *k, const uint32_t *frame, unsigned int nr)
{
	if (k->link < 0)
		return;
	k->msg.type = MERGE_COLD;
	k->msg.nr = nr;
	k->msg.arg = 0;
	memcpy(k->msg.cold, frame, nr * sizeof(*frame));
	if (merge_tell(k->link, &k->msg))
		link_lose(k);
}

/* ---- segments ---- */

static void forsake(struct keeper *k)
{
	k->forsaken = true;
	link_lose(k);
	if (k->config.on_false_segment)
		k->config.on_false_segment(k->config.ctx);
}

static bool fetch_segment(struct keeper *k, uint32_t number)
{
	struct merge_msg *msg = &k->msg;
	int fd = -1, err;

	/* Answers come in order: those for flights under way come before this one. */
	for (unsigned int i = 0; i < 2; i++)
		if (k->flight[k->turn ^ i].state == FLIGHT_ASKED)
			link_receive(k, &k->flight[k->turn ^ i]);
	msg->type = MERGE_SEGMENT;
	msg->nr = 0;
	msg->arg = number;
	if (!ask(k, &fd) || msg->type != MERGE_SEGMENT)
		return false;
	gmem_lock(k->gm, GMEM_KEEPER);
	err = store_view_add(&k->gm->share.store, number, fd);
	gmem_unlock(k->gm);
	if (err == -EPERM || err == -EINVAL || err == -EBADF)
		forsake(k);
	return !err;
}

/*
 * In our numbers the last frame of a segment is followed by the first of the next, but in no file.
 * No run may go across that border, so the last frame of a segment is never used.
 *
 * Segments come and go in this thread alone, so it looks for them without the lock.
 */
pfn_t link_frame(struct keeper *k, uint32_t frame, uint32_t references)
{
	pfn_t pfn = 0;

	if (frame % MERGE_SEGMENT_FRAMES != MERGE_SEGMENT_FRAMES - 1) {
		pfn = store_view_pfn(&k->gm->share.store, frame);
		if (!pfn && fetch_segment(k, frame >> MERGE_SEGMENT_SHIFT))
			pfn = store_view_pfn(&k->gm->share.store, frame);
	}
	if (!pfn)
		link_drop(k, frame, references);
	return pfn;
}

/* ---- news ---- */

static bool keep_news(struct keeper *k, const struct merge_frame *news, unsigned int nr)
{
	if (k->nr_news + nr > k->news_room) {
		size_t room = 2 * k->news_room + MERGE_BATCH;
		void *p = realloc(k->news, room * sizeof(*k->news));

		if (!p)
			return false;
		k->news = p;
		__atomic_store_n(&k->news_room, room, __ATOMIC_RELAXED);
	}
	if (nr)
		memcpy(k->news + k->nr_news, news, nr * sizeof(*news));
	k->nr_news += nr;
	return true;
}

/* There is no memory for the news in k->msg. */
static void give_news_back(struct keeper *k)
{
	struct merge_frame news[MERGE_BATCH];
	unsigned int nr = k->msg.nr;

	memcpy(news, k->msg.frame, nr * sizeof(*news));
	for (unsigned int i = 0; i < nr; i++)
		link_drop(k, news[i].frame, news[i].gfn & MERGE_ARCHIVED ? news[i].references : 1);
}

/* Fetch all news.  False: the machine is lost, or there was no memory and some were given back. */
static bool collect(struct keeper *k)
{
	struct merge_msg *msg = &k->msg;

	k->nr_news = 0;
	do {
		msg->type = MERGE_NEWS;
		msg->nr = msg->arg = 0;
		if (!ask(k, NULL))
			return false;
		if (!keep_news(k, msg->frame, msg->nr)) {
			give_news_back(k);
			return false;
		}
		k->memory_short = msg->arg & MERGE_SHORT;
		k->news_waiting = msg->arg & ~MERGE_SHORT;
	} while (k->news_waiting);
	return true;
}

static int by_gfn(const void *a, const void *b)
{
	const struct merge_frame *x = a, *y = b;

	return x->gfn < y->gfn ? -1 : x->gfn > y->gfn;
}

/* May this page be shared now, as far as we know? */
static bool is_welcome(struct keeper *k, gfn_t gfn)
{
	bool welcome;

	if (k->obeyed != KEEPER_ON || !stage2_is_ram(k->gm->s2, gfn, 1))
		return false;
	gmem_lock(k->gm, GMEM_KEEPER);
	welcome = note_reason(k->gm->share.note[gfn]) != NOTE_PAGE_TABLE;
	gmem_unlock(k->gm);
	return welcome;
}

/*
 * Merge the news of one block, from the i-th on.  Returns where the news of the next block begin.
 */
static size_t serve_block(struct keeper *k, size_t i)
{
	struct block_work *work = &k->work;
	gfn_t block = align_down(k->news[i].gfn, QUIRE_BLOCK_PAGES);

	work->block = block;
	work->nr_runs = 0;
	for (; i < k->nr_news && k->news[i].gfn < block + QUIRE_BLOCK_PAGES; i++) {
		const struct merge_frame *n = &k->news[i];
		bool again = i && n->gfn == n[-1].gfn;
		pfn_t pfn = link_frame(k, n->frame, 1);

		/* A page may have found two partners, one after the other: the first will do. */
		if (!pfn)
			continue;
		if (again || !is_welcome(k, n->gfn)) {
			gmem_lock(k->gm, GMEM_KEEPER);
			share_drop(k->gm, pfn, 1);
			gmem_unlock(k->gm);
			continue;
		}
		scan_add_page(work, n->gfn, PG_SHARED, pfn);
	}
	scan_commit(k, work);
	return i;
}

/* Forget the news.  Much news is rare, so the memory for it is not kept. */
static void forget_news(struct keeper *k)
{
	k->nr_news = 0;
	if (k->news_room <= NEWS_KEPT)
		return;
	free(k->news);
	k->news = NULL;
	k->news_room = 0;
}

size_t link_take_news(struct keeper *k)
{
	size_t nr, pages;

	if (k->link < 0)
		return 0;
	collect(k);
	nr = k->nr_news;
	if (nr)
		qsort(k->news, nr, sizeof(*k->news), by_gfn);
	for (pages = 0; pages < nr && !(k->news[pages].gfn & MERGE_ARCHIVED);)
		pages = serve_block(k, pages);
	if (pages < nr)
		archive_take(k, k->news + pages, nr - pages);
	forget_news(k);
	link_flush(k);
	return nr;
}
