/* SPDX-License-Identifier: MIT */
/*
 * Compressed pages.
 *
 * A page becomes compressed by these steps.  Nobody but the guest can write meanwhile, and its
 * writes wait for our lock from the first on.
 *
 *   1. write-protect the run            as in share.c
 *   2. pack the pages                   into a buffer; what does not pack stays
 *   3. punch the hole                   their credits go into the purse
 *   4. put the packs into the pool      which is paid from the purse
 *   5. tell stage 2
 *
 * So memory that is used up does not keep us from freeing some.  If the pool has no room at 4, the
 * page is written back into its frame.  The guest finds a hole at its next access, and the bytes
 * come home.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "away.h"
#include "packed.h"
#include "ramfile.h"

#define SECTION 64u /* pages in one section of LOCK_GMEM, which takes about 1 ms; divides a block */

static uint64_t file_page(const struct gmem *gm, uint64_t offset)
{
	return gpa_to_gfn(gm->window.span + offset);
}

/* ---- the pool's memory ---- */

static int bring(void *ctx, uint64_t offset, uint64_t pages)
{
	struct gmem *gm = ctx;
	uint64_t paid = min_u64(gm->packed.purse, pages), done;
	gfn_t at = file_page(gm, offset);
	int err;

	if (!gmem_take(gm, pages - paid))
		return -EDQUOT;
	gm->packed.purse -= paid;
	err = window_fill_holes(&gm->window, at, pages, &done);
	if (!err)
		return 0;
	ramfile_punch(gm->window.ram_fd, gfn_to_gpa(at), gfn_to_gpa(pages));
	gm->packed.purse += pages;
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
	if (!gm->packed.batch)
		return -ENOMEM;
	return pool_create(&backing, gm->window.span >> QUIRE_PAGE_SHIFT, &gm->packed.pool);
}

void packed_finish(struct gmem *gm)
{
	pool_destroy(gm->packed.pool);
	free(gm->packed.batch);
}

uint64_t packed_pool_pages(const struct gmem *gm)
{
	struct pool_stats stats;

	pool_stats(gm->packed.pool, &stats);
	return stats.pool_pages;
}

/* ---- away ---- */

static int pack(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	(void)first;
	(void)nr;
	return pool_pack(bytes, ctx) ? 0 : -EFBIG;
}

/* To a hole of the RAM file.  If the host has no memory, that is the end of the VM (backend.h). */
static void write_home(struct gmem *gm, gfn_t gfn, const uint8_t *bytes)
{
	if (window_write(&gm->window, gfn, 1, bytes))
		atomic_store(&gm->backend->lost, gfn);
}

static void stay(struct gmem *gm, gfn_t gfn, const struct pool_packed *packed)
{
	uint8_t bytes[QUIRE_PAGE_SIZE];

	pool_unpack(packed, bytes);
	write_home(gm, gfn, bytes);
	gm->packed.purse--;
}

/*
 * The pages have lost their frames, or were zeroed where the host could not free them.  Returns how
 * many are in the pool.
 */
static uint64_t put_in(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct pool_packed *batch)
{
	uint64_t in = 0;
	pool_handle_t handle;

	for (uint64_t i = 0; i < nr; i++) {
		if (pool_put(gm->packed.pool, &batch[i], gfn + i, &handle)) {
			stay(gm, gfn + i, &batch[i]);
			continue;
		}
		gmem_set(gm, gfn + i, 1, PG_COMPRESSED, STAGE2_UNMAPPED | handle);
		in++;
	}
	return in;
}

/* The host may free all of the run, or only some of its pages; then those are as they were. */
static uint64_t leave(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct pool_packed *batch)
{
	int fd = gm->window.ram_fd;
	uint8_t bytes[QUIRE_PAGE_SIZE];
	uint64_t in = 0, holes;

	backend_leave(gm->backend, gfn, nr);
	ramfile_punch(fd, gfn_to_gpa(gfn), gfn_to_gpa(nr));
	for (uint64_t i = 0; i < nr; i += holes + 1) {
		gpa_t from = gfn_to_gpa(gfn + i);

		holes = gpa_to_gfn(ramfile_next_data(fd, from, gfn_to_gpa(gfn + nr)) - from);
		gm->packed.purse += holes;
		in += put_in(gm, gfn + i, holes, batch + i);
		if (i + holes == nr)
			break;
		pool_unpack(&batch[i + holes], bytes);
		contents_write(gm, gfn_to_gpa(gfn + i + holes), bytes, sizeof(bytes));
	}
	return in;
}

/* All private, write-protected, and at most PACKED_BATCH. */
static void commit_batch(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_packed *out)
{
	const struct stage2_page page = { .state = PG_PRIVATE, .level = 1, .mapped = true };
	struct pool_packed *batch = gm->packed.batch;
	uint64_t ready = 0, in;

	for (uint64_t i = 0; i <= nr; i++) {
		const struct page_look look = { pack, &batch[ready] };

		if (i < nr && !contents_show(gm, gfn + i, 1, &page, &look)) {
			ready++;
			continue;
		}
		out->refused += i < nr;
		in = leave(gm, gfn + i - ready, ready, batch);
		out->compressed += in;
		out->kept += ready - in;
		ready = 0;
	}
}

static void commit_run(struct gmem *gm, gfn_t gfn, uint64_t nr, struct gmem_packed *out)
{
	if (backend_protect(gm->backend, gfn, nr, true)) {
		out->kept += nr;
		return;
	}
	for (uint64_t i = 0; i < nr; i += PACKED_BATCH)
		commit_batch(gm, gfn + i, min_u64(nr - i, PACKED_BATCH), out);
	backend_protect(gm->backend, gfn, nr, false);
}

/* How many pages, at most nr, have been touched or not like the first. */
static uint64_t touched_run(struct gmem *gm, gfn_t gfn, uint64_t nr, bool *touched)
{
	uint64_t most = min_u64(nr, BACKEND_TOUCHED), run = 1;
	uint64_t bits = backend_touched(gm->backend, gfn, most);

	*touched = bits & 1;
	while (run < most && (bits >> run & 1) == *touched)
		run++;
	return run;
}

static void commit_private(struct gmem *gm, gfn_t gfn, uint64_t nr, bool all,
			   struct gmem_packed *out)
{
	for (gfn_t end = gfn + nr; gfn < end; gfn += nr) {
		bool touched = false;

		nr = all ? end - gfn : touched_run(gm, gfn, end - gfn, &touched);
		if (touched)
			out->touched += nr;
		else
			commit_run(gm, gfn, nr, out);
	}
}

void packed_commit(struct gmem *gm, gfn_t gfn, uint64_t nr, bool all, struct gmem_packed *out)
{
	const struct gmem_packed before = *out;
	struct stage2_page page;

	assert_held(&gm->lock);
	for (gfn_t end = gfn + nr; gfn < end; gfn += nr) {
		bool held;

		nr = stage2_linear_run(gm->s2, gfn, end, &page);
		held = page.state == PG_PRIVATE && gmem_is_held(gm, gfn, &nr);
		if (page.state == PG_PRIVATE && page.level == 1 && !held)
			commit_private(gm, gfn, nr, all, out);
		else
			out->kept += page.state == PG_PRIVATE ? nr : 0;
	}
	gmem_give(gm, gm->packed.purse);
	gm->packed.purse = 0;
	away_fit_reserve(gm);
	gm->stats.packed_pages += out->compressed - before.compressed;
	gm->stats.unpackable_pages += out->refused - before.refused;
}

/*
 * A section is part of a block.  A leaf that was touched stays whole, and so does one that cannot
 * be split: then its pages count as kept.
 */
static void compress_section(struct gmem *gm, gfn_t gfn, gfn_t end, bool all,
			     struct gmem_packed *out)
{
	struct stage2_page page;

	gmem_await_filled(gm, gfn, end);
	stage2_lookup(gm->s2, gfn, &page);
	if (page.level == 2 && !all && backend_touched(gm->backend, gfn, 1)) {
		out->touched += end - gfn;
		return;
	}
	if (page.level == 2)
		gmem_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES));
	packed_commit(gm, gfn, end - gfn, all, out);
}

int gmem_compress(struct gmem *gm, gfn_t gfn, uint64_t nr, bool all, struct gmem_packed *out)
{
	gfn_t end = gfn + nr, next;

	if (!nr || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	for (; gfn < end; gfn = next) {
		next = min_u64(end, align_down(gfn, SECTION) + SECTION);
		gmem_lock(gm, GMEM_GIVE);
		compress_section(gm, gfn, next, all, out);
		out->pool_pages = packed_pool_pages(gm);
		gmem_unlock(gm);
	}
	return 0;
}

int gmem_forget_touches(struct gmem *gm, gfn_t gfn, uint64_t nr)
{
	struct stage2_page page;

	if (!nr || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	gmem_lock(gm, GMEM_GIVE);
	for (gfn_t end = gfn + nr; gfn < end; gfn += nr) {
		nr = stage2_linear_run(gm->s2, gfn, end, &page);
		if (page.state == PG_PRIVATE)
			backend_forget_touches(gm->backend, gfn, nr);
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
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
	write_home(gm, gfn, bytes);
	gm->packed.purse--;
	gmem_set(gm, gfn, 1, PG_PRIVATE, gfn);
	backend_wake(gm->backend, gfn, 1);
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

static int packed_come_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page)
{
	int err = contents_take_home(gm, gfn, nr, page);

	if (err)
		return err;
	packed_let_go(gm, page, nr);
	gmem_set(gm, gfn, nr, PG_PRIVATE, gfn);
	backend_wake(gm->backend, gfn, nr);
	gm->stats.loaded_pages += nr;
	return 0;
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
