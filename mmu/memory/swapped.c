/* SPDX-License-Identifier: MIT */
/*
 * Swapped pages: how they come home.
 *
 * Somebody wants a page that is swapped.  A *load* is begun: a read of its copy, and of those
 * behind it in the file whose pages follow, if the guest goes from page to page.  The thread of the
 * swap file unpacks what came, checks it by its hash, and says that the load is done.  Whoever
 * wanted the page comes again and finds the bytes at hand: the pager by its list (waiting.h), vCPUs
 * on shadow tables and accessors because they slept in swapped_await().  They bring the page home
 * for a credit, with the neighbours that were read, if credits are at hand and nobody waits.
 *
 * Meanwhile anything may become of the page: it is given up, for example, and swapped out again
 * with other bytes.  So a load belongs to copies, and counts only for pages that still have these.
 *
 * What cannot be read, or is not what was written, is read once more.  Then the load has failed,
 * and so does whoever wants the page: the VM ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "away.h"
#include "contents.h"
#include "mmu/base/clock.h"
#include "mmu/base/reserve.h"
#include "mmu/swap/zpack.h"
#include "swapped.h"

#define LOADS 16u
#define AHEAD 16u /* pages that are read at once, at most */

#define BUFFER_BYTES (2 * AHEAD * QUIRE_PAGE_SIZE) /* of a load: as stored, then as pages */

enum load_state { LOAD_FREE, LOAD_READING, LOAD_DONE };

struct swap_load {
	struct swap_op op;
	struct gmem *gm;
	enum load_state state;
	uint64_t age; /* the number of the load */
	gfn_t gfn;
	unsigned int nr; /* pages from gfn on */
	unsigned int tries;
	struct swap_copy copy[AHEAD];
	int result[AHEAD]; /* DONE: as of swapped_fetch */
	uint8_t *stored, *pages;
};

/* ---- create and destroy ---- */

static int create_loads(struct gmem *gm)
{
	uint8_t *buffers = reserve(LOADS * BUFFER_BYTES);

	gm->swapped.load = calloc(LOADS, sizeof(*gm->swapped.load));
	if (!gm->swapped.load || !buffers) {
		unreserve(buffers, LOADS * BUFFER_BYTES);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < LOADS; i++) {
		struct swap_load *l = &gm->swapped.load[i];

		l->gm = gm;
		l->stored = buffers + i * BUFFER_BYTES;
		l->pages = l->stored + BUFFER_BYTES / 2;
	}
	return 0;
}

int swapped_init(struct gmem *gm)
{
	const struct gmem_swap *swap = gm->config.swap;
	struct swapped *sw = &gm->swapped;
	struct hash_secret secret;
	struct swap_config config;
	int err;

	cond_init_monotonic(&sw->changed);
	if (!swap)
		return 0;
	config = (struct swap_config){
		.pages = gm->window.span >> QUIRE_PAGE_SHIFT,
		.unit = swap->unit,
		.quota = swap->quota,
		.secret = &secret,
	};
	if (getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
		return -EIO;
	err = swap_create(&config, &sw->area);
	err = err ? err : zpack_create(&sw->zpack);
	err = err ? err : create_loads(gm);
	err = err ? err : swap_batch_create(&sw->batch);
	return err ? err : swap_io_create(swap->fd, swap->unit, &swap->faults, &sw->io);
}

int swapped_start(struct gmem *gm)
{
	const struct gmem_config *c = &gm->config;

	return gm->swapped.io ? swap_io_start(gm->swapped.io, c->on_swap_thread_start, c->ctx) : 0;
}

void swapped_stop(struct gmem *gm)
{
	swap_io_destroy(gm->swapped.io);
	gm->swapped.io = NULL;
}

void swapped_finish(struct gmem *gm)
{
	struct swapped *sw = &gm->swapped;

	swapped_stop(gm);
	if (sw->load)
		unreserve(sw->load[0].stored, LOADS * BUFFER_BYTES);
	free(sw->load);
	swap_batch_destroy(sw->batch);
	zpack_destroy(sw->zpack);
	swap_destroy(sw->area);
	pthread_cond_destroy(&sw->changed);
}

/* ---- a load, in the thread of the swap file ---- */

static bool same_copy(const struct swap_copy *a, const struct swap_copy *b)
{
	return a->units && a->units == b->units && a->at == b->at && a->hash == b->hash;
}

/* Where page i of the load is, as it was stored. */
static uint64_t offset_in(const struct swap_load *l, unsigned int i)
{
	return swap_offset(l->gm->swapped.area, l->copy[i].at - l->copy[0].at);
}

static void unpack(struct swap_load *l)
{
	const struct swapped *sw = &l->gm->swapped;
	int err = (int)l->op.file.result;

	for (unsigned int i = 0; i < l->nr; i++) {
		uint8_t *page = l->pages + i * QUIRE_PAGE_SIZE;

		l->result[i] = err;
		if (!err && !swap_unpack(sw->area, sw->zpack, &l->copy[i],
					 l->stored + offset_in(l, i), page))
			l->result[i] = -EBADMSG;
	}
}

static void submit(struct swap_load *l)
{
	struct swap *area = l->gm->swapped.area;
	const struct swap_copy *last = &l->copy[l->nr - 1];

	l->op.file.type = FILE_READ;
	l->op.file.buf = l->stored;
	l->op.file.offset = swap_offset(area, l->copy[0].at);
	l->op.file.len = swap_offset(area, last->at + last->units - l->copy[0].at);
	swap_io_submit(l->gm->swapped.io, &l->op);
}

/* The page that was wanted, and of those behind it what came: who wants the others asks again. */
static unsigned int right_prefix(const struct swap_load *l)
{
	unsigned int nr = 1;

	while (nr < l->nr && !l->result[nr])
		nr++;
	return nr;
}

static void load_done(struct swap_op *op)
{
	struct swap_load *l = (struct swap_load *)op;
	struct gmem *gm = l->gm;
	bool peeked;

	unpack(l);
	if (l->result[0] && !l->tries++) {
		submit(l);
		return;
	}
	gmem_lock(gm, GMEM_PAGER);
	l->state = LOAD_DONE;
	l->nr = right_prefix(l);
	histogram_add(&gm->stats.swap_reads, monotonic_ns() - op->since_ns);
	gm->stats.swap_read_errors += l->result[0] != 0;
	waiting_try_loads(gm);
	pthread_cond_broadcast(&gm->swapped.changed);
	peeked = gm->swapped.peeked;
	gm->swapped.peeked = false;
	gmem_unlock(gm);
	pager_news(gm);
	if (peeked && gm->config.on_peek)
		gm->config.on_peek(gm->config.ctx);
}

/* ---- who wants a page ---- */

/* The load that has the copy of gfn, as page *i of it; NULL: there is none. */
static struct swap_load *load_of(const struct gmem *gm, gfn_t gfn, unsigned int *i)
{
	struct swap_copy copy = swap_copy_of(gm->swapped.area, gfn);

	for (struct swap_load *l = gm->swapped.load; l < gm->swapped.load + LOADS; l++) {
		*i = (unsigned int)(gfn - l->gfn);
		if (l->state != LOAD_FREE && gfn >= l->gfn && gfn < l->gfn + l->nr &&
		    same_copy(&l->copy[*i], &copy))
			return l;
	}
	return NULL;
}

/* A load to use: a free one, or the oldest that is done.  NULL: all are being read. */
static struct swap_load *find_idle(struct gmem *gm)
{
	struct swap_load *found = NULL;

	for (struct swap_load *l = gm->swapped.load; l < gm->swapped.load + LOADS; l++) {
		if (l->state == LOAD_FREE)
			return l;
		if (l->state == LOAD_DONE && (!found || l->age < found->age))
			found = l;
	}
	return found;
}

/* Does page gfn lie right behind `last` in the file? */
static bool lies_behind(const struct gmem *gm, gfn_t gfn, const struct swap_copy *last,
			struct swap_copy *copy)
{
	struct stage2_page page;

	if (stage2_lookup(gm->s2, gfn, &page) || page.state != PG_SWAPPED)
		return false;
	*copy = swap_copy_of(gm->swapped.area, gfn);
	return copy->at == last->at + last->units;
}

static void begin(struct gmem *gm, struct swap_load *l, gfn_t gfn, uint64_t around)
{
	l->gfn = gfn;
	l->copy[0] = swap_copy_of(gm->swapped.area, gfn);
	l->nr = 1;
	while (l->nr < min_u64(around, AHEAD) &&
	       lies_behind(gm, gfn + l->nr, &l->copy[l->nr - 1], &l->copy[l->nr]))
		l->nr++;
	l->state = LOAD_READING;
	l->age = gm->swapped.loads++;
	l->tries = 0;
	l->op.done = load_done;
	submit(l);
}

int swapped_fetch(struct gmem *gm, gfn_t gfn, uint64_t around)
{
	struct swap_load *l;
	unsigned int i;

	assert_held(&gm->lock);
	l = load_of(gm, gfn, &i);
	if (l && l->state == LOAD_DONE)
		return l->result[i];
	if (!l) {
		l = find_idle(gm);
		if (l)
			begin(gm, l, gfn, around);
	}
	return -EINPROGRESS;
}

/* Its neighbours that were read with it, as long as there are credits for them. */
static void bring_others_home(struct gmem *gm, struct gfn_range *in)
{
	const struct swap_load *l;
	struct stage2_page page;
	unsigned int i;

	while (!stage2_lookup(gm->s2, in->end, &page) && page.state == PG_SWAPPED &&
	       (l = load_of(gm, in->end, &i)) && l->state == LOAD_DONE && !l->result[i] &&
	       !waiting_any(&gm->waiting) && gmem_take(gm, 1) && !away_bring_home(gm, in->end, 1)) {
		in->end++;
		gm->stats.swap_ahead_pages++;
	}
}

int swapped_bring_home(struct gmem *gm, gfn_t gfn, struct gfn_range *in)
{
	unsigned int i;
	int err;

	err = swapped_fetch(gm, gfn, load_of(gm, gfn, &i) ? 1 : away_break_around(gm, gfn));
	err = err ? err : away_break(gm, gfn, 1, in);
	if (err || in->start == in->end)
		return err;
	bring_others_home(gm, in);
	gm->share.streak_next = in->end;
	return 0;
}

void swapped_await(struct gmem *gm)
{
	gmem_sleep(gm, &gm->swapped.changed, UINT64_MAX);
}

int swapped_await_until(struct gmem *gm, uint64_t until_ns)
{
	if (monotonic_ns() < until_ns && !gmem_sleep(gm, &gm->swapped.changed, until_ns))
		return 0;
	gm->swapped.peeked = true;
	return -ETIMEDOUT;
}

/* ---- the provider ---- */

static int swapped_show(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
			const struct page_look *look)
{
	gfn_t gfn = page->pfn & ~STAGE2_UNMAPPED;
	int ret = 0;

	for (uint64_t n = 0; n < nr && !ret; n++) {
		unsigned int i;
		const struct swap_load *l = load_of(gm, gfn + n, &i);

		if (!l || l->state != LOAD_DONE || l->result[i])
			return -EAGAIN;
		ret = look->fn(look->ctx, n, 1, l->pages + i * QUIRE_PAGE_SIZE);
	}
	return ret;
}

static int swapped_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr,
			     const struct stage2_page *page)
{
	int err = contents_take_home(gm, gfn, nr, page);

	if (err)
		return err;
	for (uint64_t i = 0; i < nr; i++)
		swap_back(gm->swapped.area, gfn + i);
	gmem_set(gm, gfn, nr, PG_PRIVATE, gfn);
	gm->stats.swapped_in_pages += nr;
	return 0;
}

static void swapped_let_go(struct gmem *gm, const struct stage2_page *page, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		swap_drop(gm->swapped.area, (page->pfn & ~STAGE2_UNMAPPED) + i);
	swapped_settle(gm);
}

const struct away_provider swapped_provider = {
	.show = swapped_show,
	.come_home = swapped_come_home,
	.let_go = swapped_let_go,
};

/* ---- space that is not used ---- */

static void closed(struct swap_op *op)
{
	struct swapped *sw = (struct swapped *)((char *)op - offsetof(struct swapped, closing));
	struct gmem *gm = (struct gmem *)((char *)sw - offsetof(struct gmem, swapped));

	gmem_lock(gm, GMEM_GIVE);
	swap_closed(sw->area, (uint32_t)(op->file.offset / SPACE_CHUNK_BYTES), !op->file.result);
	sw->is_closing = false;
	if (!op->file.result)
		swapped_settle(gm);
	gmem_unlock(gm);
}

void swapped_settle(struct gmem *gm)
{
	struct swapped *sw = &gm->swapped;
	uint32_t chunk;

	if (sw->is_closing || !swap_close(sw->area, &chunk))
		return;
	sw->is_closing = true;
	sw->closing.done = closed;
	sw->closing.file.type = FILE_PUNCH;
	sw->closing.file.offset = swap_chunk_offset(chunk);
	sw->closing.file.len = SPACE_CHUNK_BYTES;
	swap_io_submit(sw->io, &sw->closing);
}

/* ---- audit ---- */

unsigned int swapped_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx)
{
	struct audit a = { report, ctx, 0 };
	struct gmem_run run = { 0 };
	struct swap_stats stats;
	uint64_t pages = 0, lost = 0;

	if (!gm->swapped.area)
		return 0;
	while (gmem_each_run(gm, &run)) {
		if (run.page.state != PG_SWAPPED)
			continue;
		pages += run.nr;
		for (uint64_t i = 0; i < run.nr; i++)
			lost += !swap_copy_of(gm->swapped.area, run.gfn + i).needed;
	}
	swap_stats(gm->swapped.area, &stats);
	audit_expect(&a, stats.needed_pages, pages, "pages in the swap area");
	audit_expect(&a, 0, lost, "swapped pages without a copy");
	/* While pages leave, units are taken that no copy has yet. */
	return a.faults + (gm->swapped.leaving ? 0 : swap_audit(gm->swapped.area, report, ctx));
}

/* ---- copies of pages that are here ---- */

static bool is_clean(struct gmem *gm, gfn_t gfn)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];
	struct stage2_page page;
	struct swap_copy copy;

	if (stage2_lookup(gm->s2, gfn, &page) || page.state != PG_PRIVATE)
		return false;
	copy = swap_copy_of(gm->swapped.area, gfn);
	if (!copy.units)
		return false;
	contents_copy(gm, gfn, &page, 0, bytes, sizeof(bytes));
	return swap_hash(gm->swapped.area, bytes) == copy.hash;
}

uint64_t gmem_clean(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	uint64_t bits = 0;

	if (!gm->swapped.area)
		return 0;
	gmem_lock(gm, GMEM_LOOK);
	for (uint64_t i = 0; i < nr; i++)
		bits |= (uint64_t)is_clean(gm, gfn + i) << i;
	gmem_unlock(gm);
	return bits;
}
