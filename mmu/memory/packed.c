/* SPDX-License-Identifier: MIT */
/*
 * Compressed pages.
 *
 * A page becomes compressed by these steps.  Nobody but the guest can write meanwhile, and its
 * writes wait for our lock from the first on.
 *
 *   1. write-protect the run            as in share.c
 *   2. pack the pages                   into a buffer; what does not pack stays
 *   3. plan which go (pool_plan)        so that the pool needs no more pages than come free
 *   4. punch holes                      their credits go into the purse
 *   5. put the packs into the pool      which is paid from the purse
 *   6. tell stage 2
 *
 * So memory that is used up does not keep us from freeing some.  What cannot be freed at 4 is
 * written again, and there is a plan anew; what it leaves out gets its frame back before the pool
 * takes any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/reserve.h"
#include "away.h"
#include "packed.h"
#include "ramfile.h"

#define SECTION 64u /* pages in one section of LOCK_GMEM, which takes about 1 ms; divides a block */
#define AHEAD	16u /* pages that come home at once for a guest that goes on from page to page */
#define SPARE	(2 * POOL_MOST_PAGES) /* credits that the pool may have before pages go for it */

static uint64_t file_page(const struct gmem *gm, uint64_t offset)
{
	return gpa_to_gfn(gm->window.span + offset);
}

/* ---- the pool's memory ---- */

/* It is paid from the purse alone. */
static int bring(void *ctx, uint64_t offset, uint64_t pages)
{
	struct gmem *gm = ctx;
	gfn_t at = file_page(gm, offset);
	uint64_t done;
	int err;

	if (gm->packed.purse < pages)
		return -EDQUOT;
	err = window_fill_holes(&gm->window, at, pages, &done);
	if (err)
		ramfile_punch(gm->window.ram_fd, gfn_to_gpa(at), gfn_to_gpa(pages));
	else
		gm->packed.purse -= pages;
	return err;
}

/* These are single pages that nobody else has mapped, so the host can free them. */
static void take(void *ctx, uint64_t offset, uint64_t pages)
{
	struct gmem *gm = ctx;
	int err = ramfile_punch(gm->window.ram_fd, gm->window.span + offset, gfn_to_gpa(pages));

	assert(!err);
	gm->packed.purse += pages;
}

static void empty_purse(struct gmem *gm)
{
	gmem_put(gm, gm->packed.purse);
	gm->packed.purse = 0;
}

int packed_init(struct gmem *gm)
{
	const struct pool_backing backing = {
		.base = gm->window.alias + gm->window.span,
		.bring = bring,
		.take = take,
		.ctx = gm,
	};

	gm->packed.batch = calloc(PACKED_BATCH, sizeof(*gm->packed.batch));
	gm->packed.refusals = reserve(gm->window.span >> QUIRE_PAGE_SHIFT);
	if (!gm->packed.batch || !gm->packed.refusals)
		return -ENOMEM;
	return pool_create(&backing, gm->window.span >> QUIRE_PAGE_SHIFT, &gm->packed.pool);
}

void packed_finish(struct gmem *gm)
{
	pool_destroy(gm->packed.pool);
	unreserve(gm->packed.refusals, gm->window.span >> QUIRE_PAGE_SHIFT);
	free(gm->packed.batch);
}

uint64_t packed_pool_pages(const struct gmem *gm)
{
	struct pool_stats stats;

	pool_stats(gm->packed.pool, &stats);
	return stats.pool_pages;
}

/* How many pages of the RAM file are in use. */
static uint64_t used_pages(const struct gmem *gm)
{
	return stage2_resident(gm->s2) + packed_pool_pages(gm);
}

/* ---- away ---- */

/*
 * A page that does not compress is remembered: it is put off one time, then 3, 7, 15 and 31 times,
 * before it is tried again.  For it may have been written since.
 */
#define REFUSALS_MASK 0x07u
#define REFUSALS_MOST 5u
#define PUT_OFF_SHIFT 3

static bool is_put_off(struct gmem *gm, gfn_t gfn)
{
	uint8_t *memory = &gm->packed.refusals[gfn];

	if (*memory >> PUT_OFF_SHIFT == 0)
		return false;
	*memory -= 1u << PUT_OFF_SHIFT;
	gm->stats.put_off_pages++;
	return true;
}

static void remember(struct gmem *gm, gfn_t gfn, bool compresses)
{
	uint8_t *memory = &gm->packed.refusals[gfn];
	unsigned int refusals = *memory & REFUSALS_MASK;

	refusals = compresses ? 0 : (unsigned int)min_u64(refusals + 1, REFUSALS_MOST);
	*memory = (uint8_t)(((1u << refusals) - 1) << PUT_OFF_SHIFT | refusals);
}

uint8_t packed_refusals(const struct gmem *gm, gfn_t gfn)
{
	return gm->packed.refusals[gfn] & REFUSALS_MASK;
}

/* A page that is protected.  False: it does not compress. */
static bool pack(struct gmem *gm, gfn_t gfn, struct pool_packed *out)
{
	const struct stage2_page page = { .state = PG_PRIVATE, .level = 1, .mapped = true };
	uint8_t bytes[QUIRE_PAGE_SIZE];

	return !contents_read(gm, gfn, &page, bytes) && pool_pack(bytes, out);
}

/* To a hole of the RAM file.  If the host has no memory, that is the end of the VM (backend.h). */
static void write_home(struct gmem *gm, gfn_t gfn, const uint8_t *bytes)
{
	if (window_write(&gm->window, gfn, 1, bytes))
		atomic_store(&gm->backend->lost, gfn);
}

/* Pages at home, write-protected, in the order of their gfns; and which of them go. */
struct batch {
	gfn_t gfn[PACKED_BATCH];
	unsigned int nr;
	bool go[PACKED_BATCH];
	const struct pool_packed *packed;
};

/*
 * How many credits of the purse may be spent before any page of a batch has gone.  They are taken
 * if they are at hand and the file has room for their pages.
 */
static uint64_t take_spare(struct gmem *gm)
{
	uint64_t most = gm->window.span >> QUIRE_PAGE_SHIFT, room;
	uint64_t used = used_pages(gm) + gm->packed.purse;

	if (gm->packed.purse < SPARE) {
		room = most - min_u64(used, most);
		gm->packed.purse += gmem_take_some(gm, min_u64(room, SPARE - gm->packed.purse));
	}
	return min_u64(gm->packed.purse, SPARE);
}

/* The page lost its frame, and gets one again. */
static void stay(struct gmem *gm, const struct batch *b, unsigned int i)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];

	assert(gm->packed.purse);
	pool_unpack(&b->packed[i], bytes);
	write_home(gm, b->gfn[i], bytes);
	gm->packed.purse--;
}

/* Has the host freed page i?  If not, it has zeroed it: then it is written again. */
static bool is_freed(struct gmem *gm, const struct batch *b, unsigned int i)
{
	gpa_t at = gfn_to_gpa(b->gfn[i]), end = at + QUIRE_PAGE_SIZE;
	uint8_t bytes[QUIRE_PAGE_SIZE];

	if (ramfile_next_data(gm->window.ram_fd, at, end) == end)
		return true;
	pool_unpack(&b->packed[i], bytes);
	contents_write(gm, at, bytes, sizeof(bytes));
	return false;
}

/* How many pages of the batch follow each other from page i on and, if `going`, all go. */
static unsigned int run_at(const struct batch *b, unsigned int i, bool going)
{
	unsigned int run = 0;

	while (i + run < b->nr && b->gfn[i + run] == b->gfn[i] + run && (!going || b->go[i + run]))
		run++;
	return run;
}

/* Free the frames of all that go.  Those that could not be freed do not go: then it is false. */
static bool leave(struct gmem *gm, struct batch *b)
{
	bool all = true;

	for (unsigned int i = 0, run; i < b->nr; i += run ? run : 1) {
		run = run_at(b, i, true);
		if (!run)
			continue;
		backend_leave(gm->backend, b->gfn[i], run);
		ramfile_punch(gm->window.ram_fd, gfn_to_gpa(b->gfn[i]), gfn_to_gpa(run));
	}
	for (unsigned int i = 0; i < b->nr; i++) {
		if (!b->go[i])
			continue;
		b->go[i] = is_freed(gm, b, i);
		gm->packed.purse += b->go[i];
		all = all && b->go[i];
	}
	return all;
}

/* If fewer were freed than was planned, not all the others may go. */
static void plan_again(struct gmem *gm, struct batch *b, uint64_t spare)
{
	bool freed[PACKED_BATCH];

	memcpy(freed, b->go, sizeof(freed));
	pool_plan(gm->packed.pool, b->packed, b->nr, spare, b->go);
	for (unsigned int i = 0; i < b->nr; i++)
		if (freed[i] && !b->go[i])
			stay(gm, b, i);
}

static uint64_t put_in(struct gmem *gm, const struct batch *b)
{
	pool_handle_t handle;
	uint64_t in = 0;

	for (unsigned int i = 0; i < b->nr; i++) {
		if (!b->go[i])
			continue;
		if (pool_put(gm->packed.pool, &b->packed[i], b->gfn[i], &handle)) {
			stay(gm, b, i);
			continue;
		}
		gmem_set(gm, b->gfn[i], 1, PG_COMPRESSED, STAGE2_UNMAPPED | handle);
		in++;
	}
	return in;
}

/* Compress what is in the batch, which is empty then. */
static void commit_batch(struct gmem *gm, struct batch *b, struct gmem_packed *out)
{
	uint64_t spare = take_spare(gm), packed = 0, in;

	for (unsigned int i = 0; i < b->nr; i++) {
		b->go[i] = false;
		if (is_put_off(gm, b->gfn[i]))
			continue;
		b->go[i] = pack(gm, b->gfn[i], &gm->packed.batch[i]);
		remember(gm, b->gfn[i], b->go[i]);
		packed += b->go[i];
	}
	pool_plan(gm->packed.pool, b->packed, b->nr, spare, b->go);
	if (!leave(gm, b))
		plan_again(gm, b, spare);
	in = put_in(gm, b);
	for (unsigned int i = 0, run; i < b->nr; i += run) {
		run = run_at(b, i, false);
		backend_protect(gm->backend, b->gfn[i], run, false);
	}
	out->refused += b->nr - packed;
	out->compressed += in;
	out->kept += packed - in;
	b->nr = 0;
}

/* Add a run of pages at home to the batch, and compress it whenever it is full. */
static void add_run(struct gmem *gm, struct batch *b, gfn_t gfn, uint64_t nr,
		    struct gmem_packed *out)
{
	if (backend_protect(gm->backend, gfn, nr, true)) {
		out->kept += nr;
		return;
	}
	for (; nr; nr--) {
		b->gfn[b->nr++] = gfn++;
		if (b->nr == PACKED_BATCH)
			commit_batch(gm, b, out);
	}
}

/* How many pages, at most nr, have been touched or not like the first. */
static uint64_t touched_run(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher who,
			    bool *touched)
{
	uint64_t most = min_u64(nr, BACKEND_TOUCHED), run = 1;
	uint64_t bits = touched_since(gm, who, gfn, most);

	*touched = bits & 1;
	while (run < most && (bits >> run & 1) == *touched)
		run++;
	return run;
}

static void add_private(struct gmem *gm, struct batch *b, gfn_t gfn, uint64_t nr,
			enum gmem_watcher unless, struct gmem_packed *out)
{
	for (gfn_t end = gfn + nr; gfn < end; gfn += nr) {
		bool touched = false;

		nr = end - gfn;
		if (unless != GMEM_NR_WATCHERS)
			nr = touched_run(gm, gfn, nr, unless, &touched);
		if (touched)
			out->touched += nr;
		else
			add_run(gm, b, gfn, nr, out);
	}
}

/* A leaf that was touched stays whole, and so does one that cannot be split. */
static void add_pages(struct gmem *gm, struct batch *b, gfn_t gfn, uint64_t nr,
		      enum gmem_watcher unless, struct gmem_packed *out)
{
	struct stage2_page page;

	for (gfn_t end = gfn + nr; gfn < end; gfn += nr) {
		gfn_t block = align_down(gfn, QUIRE_BLOCK_PAGES);
		bool held, touched = false;

		nr = stage2_linear_run(gm->s2, gfn, end, &page);
		held = page.state == PG_PRIVATE && gmem_is_held(gm, gfn, &nr);
		if (page.state != PG_PRIVATE)
			continue;
		if (page.level == 2 && unless != GMEM_NR_WATCHERS)
			touched = touched_since(gm, unless, gfn, 1);
		if (touched)
			out->touched += nr;
		else if (held || (page.level == 2 && gmem_split(gm, block)))
			out->kept += nr;
		else
			add_private(gm, b, gfn, nr, unless, out);
	}
}

static void compress_section(struct gmem *gm, const gfn_t *gfn, uint64_t nr,
			     enum gmem_watcher unless, struct gmem_packed *out)
{
	struct batch b = { .packed = gm->packed.batch };
	struct gmem_packed before = *out;
	uint64_t used, run;

	gmem_await_filled(gm, gfn[0], gfn[nr - 1] + 1);
	used = used_pages(gm);
	for (uint64_t i = 0; i < nr; i += run) {
		for (run = 1; i + run < nr && gfn[i + run] == gfn[i] + run; run++)
			;
		add_pages(gm, &b, gfn[i], run, unless, out);
	}
	if (b.nr)
		commit_batch(gm, &b, out);
	out->freed += (int64_t)(used - used_pages(gm));
	gmem_give(gm, gm->packed.purse);
	gm->packed.purse = 0;
	away_fit_reserve(gm);
	gm->stats.packed_pages += out->compressed - before.compressed;
	gm->stats.unpackable_pages += out->refused - before.refused;
	out->pool_pages = packed_pool_pages(gm);
}

void gmem_compress_pages(struct gmem *gm, const gfn_t *gfn, uint64_t nr, enum gmem_watcher unless,
			 struct gmem_packed *out)
{
	for (uint64_t section; nr; gfn += section, nr -= section) {
		section = min_u64(nr, gmem_section(gm, SECTION));
		gmem_lock(gm, GMEM_GIVE);
		compress_section(gm, gfn, section, unless, out);
		gmem_unlock(gm);
	}
}

int gmem_compress(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher unless,
		  struct gmem_packed *out)
{
	gfn_t page[SECTION];
	uint64_t section;

	if (!nr || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	for (; nr; gfn += section, nr -= section) {
		section = min_u64(nr, SECTION - gfn % SECTION);
		for (uint64_t i = 0; i < section; i++)
			page[i] = gfn + i;
		gmem_compress_pages(gm, page, section, unless, out);
	}
	return 0;
}

/* ---- home ---- */

static bool has_too_few(const struct gmem *gm)
{
	struct pool_stats stats;

	pool_stats(gm->packed.pool, &stats);
	return stats.object_pages && stats.pool_pages >= stats.object_pages;
}

static void come(struct gmem *gm, gfn_t gfn, const uint8_t *bytes)
{
	assert(gm->packed.purse);
	write_home(gm, gfn, bytes);
	gm->packed.purse--;
	gmem_set(gm, gfn, 1, PG_PRIVATE, gfn);
	gm->stats.loaded_pages++;
}

/* All of a poor span comes home: first its pages go, and then there is a frame for each object. */
static void bring_poor_home(struct gmem *gm)
{
	uint8_t bytes[POOL_MOST_PAGES][QUIRE_PAGE_SIZE];
	pool_handle_t handle[POOL_MOST_PAGES];
	gfn_t owner[POOL_MOST_PAGES];
	unsigned int nr = pool_poor(gm->packed.pool, owner, handle);

	assert(nr);
	for (unsigned int i = 0; i < nr; i++)
		pool_get(gm->packed.pool, handle[i], bytes[i]);
	for (unsigned int i = 0; i < nr; i++)
		pool_drop(gm->packed.pool, handle[i]);
	for (unsigned int i = 0; i < nr; i++)
		come(gm, owner[i], bytes[i]);
}

void packed_settle(struct gmem *gm)
{
	assert_held(&gm->lock);
	while (has_too_few(gm))
		bring_poor_home(gm);
	empty_purse(gm);
}

/* ---- the provider ---- */

static pool_handle_t handle_of(const struct stage2_page *page)
{
	return page->pfn & ~STAGE2_UNMAPPED;
}

static int packed_show(const struct gmem *gm, const struct stage2_page *page, uint64_t nr,
		       const struct page_look *look)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++) {
		pool_get(gm->packed.pool, handle_of(page) + i, bytes);
		ret = look->fn(look->ctx, i, 1, bytes);
	}
	return ret;
}

static void packed_let_go(struct gmem *gm, const struct stage2_page *page, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		pool_drop(gm->packed.pool, handle_of(page) + i);
	empty_purse(gm);
}

/* If the file has no room for all of them at once, it has room for one. */
static int packed_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	int err = contents_take_home(gm, gfn, nr, page);

	if (err && nr > 1) {
		err = contents_take_home(gm, gfn, 1, page);
		gmem_put(gm, err ? 0 : nr - 1);
		nr = 1;
	}
	if (err)
		return err;
	packed_let_go(gm, page, nr);
	gmem_set(gm, gfn, nr, PG_PRIVATE, gfn);
	gm->stats.loaded_pages += nr;
	return 0;
}

/* They are entered for writing, all at once: KVM makes entries for several of them at one fault. */
void packed_bring_ahead(struct gmem *gm, struct gfn_range *in, uint64_t around)
{
	gfn_t start = in->end, end = in->start + min_u64(around, AHEAD);
	struct stage2_page page;

	assert_held(&gm->lock);
	while (in->end < end && !stage2_lookup(gm->s2, in->end, &page) &&
	       page.state == PG_COMPRESSED && !waiting_any(&gm->waiting) && gmem_take(gm, 1) &&
	       !away_bring_home(gm, in->end, 1))
		in->end++;
	gm->stats.load_ahead_pages += in->end - in->start - 1;
	if (in->end == start)
		return;
	backend_populate(gm->backend, start, in->end - start);
	gm->share.streak_next = in->end;
}

const struct away_provider packed_provider = {
	.show = packed_show,
	.come_home = packed_come_home,
	.let_go = packed_let_go,
};

/* ---- audit ---- */

unsigned int packed_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx)
{
	unsigned int faults = pool_audit(gm->packed.pool, report, ctx), strange = 0;
	struct gmem_run run = { 0 };
	struct pool_stats stats;
	uint64_t pages = 0;

	while (gmem_each_run(gm, &run)) {
		if (run.page.state != PG_COMPRESSED)
			continue;
		for (uint64_t i = 0; i < run.nr; i++)
			strange +=
				!pool_has(gm->packed.pool, handle_of(&run.page) + i, run.gfn + i);
		pages += run.nr;
	}
	pool_stats(gm->packed.pool, &stats);
	strange += pages != stats.object_pages + stats.filled_pages;
	strange += stats.object_pages && stats.pool_pages >= stats.object_pages;
	strange += gm->packed.purse != 0;
	if (strange && report)
		report(ctx, "compressed pages and the pool do not agree");
	return faults + strange;
}
