/* SPDX-License-Identifier: MIT */
/*
 * Swapped pages: how they leave.
 *
 * A batch of pages goes by these steps.  Whoever wants LOCK_GMEM has it during 2 and 4.
 *
 *   1. copy the pages           private ones, and compressed ones from the pool
 *   2. hash and pack them       a page that has not changed since it came home need not be written
 *   3. take space in the area   all pages of the batch side by side if that can be had
 *   4. write
 *   5. write-protect each run of private pages, and compare it with what was copied at 1
 *   6. free the frames of the pages that are the same, and tell stage 2
 *
 * So the guest can use its pages until 5, and a page that it writes meanwhile stays.  Only 5 and 6
 * keep its writes waiting, as in packed.c, and no disk is involved there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "away.h"
#include "mmu/base/reserve.h"
#include "ramfile.h"
#include "swapped.h"
#include "touched.h"

#define BATCH	32u  /* pages */
#define SECTION 128u /* pages that are looked at in one section of LOCK_GMEM */

#define BYTES (BATCH * QUIRE_PAGE_SIZE)

/* A page of the batch. */
struct leaver {
	gfn_t gfn;
	struct swap_copy copy; /* the one that it will have */
	bool clean;	       /* it has this copy */
	bool stored;	       /* its copy is in the file */
	bool go;
};

/* Pages of the batch that lie side by side in the file, and are written at once. */
struct group {
	struct swap_op op; /* first, so that it is a group */
	struct gmem *gm;
	unsigned int first, nr; /* pages */
	uint32_t at, units;	/* in the file */
};

struct swap_batch {
	struct leaver page[BATCH];
	struct group group[BATCH];
	unsigned int nr, groups;
	unsigned int writing; /* operations that are not done */
	uint64_t freed;	      /* credits */
	int err;	      /* why a page could not be written */
	uint8_t *bytes;	      /* of the pages ... */
	uint8_t *packed;      /* ... and as they are stored */
};

int swap_batch_create(struct swap_batch **out)
{
	struct swap_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->bytes = reserve(2 * BYTES);
	b->packed = b->bytes + BYTES;
	if (b->bytes) {
		*out = b;
		return 0;
	}
	free(b);
	return -ENOMEM;
}

void swap_batch_destroy(struct swap_batch *b)
{
	if (b)
		unreserve(b->bytes, 2 * BYTES);
	free(b);
}

static uint8_t *bytes_of(const struct swap_batch *b, unsigned int i)
{
	return b->bytes + i * QUIRE_PAGE_SIZE;
}

/* ---- 1: who leaves ---- */

static bool is_held(const struct gmem *gm, gfn_t gfn)
{
	uint64_t one = 1;

	return gmem_is_held(gm, gfn, &one);
}

static bool is_touched(struct gmem *gm, gfn_t gfn, enum gmem_watcher unless)
{
	return unless != GMEM_NR_WATCHERS && touched_since(gm, unless, gfn, 1) & 1;
}

/* A page of one word takes no memory where it is. */
static bool is_one_word(const uint8_t *bytes)
{
	return !memcmp(bytes, bytes + 4, QUIRE_PAGE_SIZE - 4);
}

static void add(struct gmem *gm, gfn_t gfn, const struct stage2_page *page)
{
	struct swap_batch *b = gm->swapped.batch;
	uint8_t *bytes = bytes_of(b, b->nr);

	if (contents_read(gm, gfn, page, bytes))
		return;
	if (page->state == PG_COMPRESSED && is_one_word(bytes))
		return;
	b->page[b->nr++] = (struct leaver){
		.gfn = gfn,
		.copy = swap_copy_of(gm->swapped.area, gfn),
	};
}

static void consider(struct gmem *gm, gfn_t gfn, enum gmem_watcher unless, struct gmem_swapped *out)
{
	struct stage2_page page;

	stage2_lookup(gm->s2, gfn, &page);
	if (page.state == PG_COMPRESSED) {
		add(gm, gfn, &page);
	} else if (page.state == PG_PRIVATE && is_touched(gm, gfn, unless)) {
		out->touched++;
	} else if (page.state == PG_PRIVATE) {
		if (is_held(gm, gfn) ||
		    (page.level == 2 && gmem_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES))))
			out->kept++;
		else
			add(gm, gfn, &page);
	}
}

/* Fill the batch from gfn on.  Returns where it ended. */
static gfn_t collect(struct gmem *gm, gfn_t gfn, gfn_t end, enum gmem_watcher unless,
		     struct gmem_swapped *out)
{
	struct swap_batch *b = gm->swapped.batch;
	gfn_t stop = min_u64(end, gfn + gmem_section(gm, SECTION));

	b->nr = b->groups = 0;
	b->err = 0;
	gmem_await_filled(gm, gfn, stop);
	for (; gfn < stop && b->nr < BATCH; gfn++)
		consider(gm, gfn, unless, out);
	return gfn;
}

/* ---- 2: what is to be written ---- */

/* It needs no lock: the batch is ours, and so is the packing. */
static void pack(struct gmem *gm, struct swap_batch *b)
{
	struct swap *area = gm->swapped.area;
	uint8_t *to = b->packed;

	for (unsigned int i = 0; i < b->nr; i++) {
		struct leaver *l = &b->page[i];
		uint64_t hash = swap_hash(area, bytes_of(b, i));

		l->clean = l->copy.units && l->copy.hash == hash;
		if (l->clean)
			continue;
		l->copy.hash = hash;
		l->copy.units = swap_pack(area, gm->swapped.zpack, bytes_of(b, i), to);
		to += swap_offset(area, l->copy.units);
	}
}

/* ---- 3 and 4: the disk ---- */

static void written(struct swap_op *op)
{
	struct group *g = (struct group *)op;
	struct gmem *gm = g->gm;

	gmem_lock(gm, GMEM_GIVE);
	gm->swapped.batch->writing--;
	pthread_cond_broadcast(&gm->swapped.changed);
	gmem_unlock(gm);
}

static void await_disk(struct gmem *gm)
{
	while (gm->swapped.batch->writing)
		swapped_await(gm);
}

static void begin(struct gmem *gm, struct group *g)
{
	g->gm = gm;
	g->op.done = written;
	gm->swapped.batch->writing++;
	swap_io_submit(gm->swapped.io, &g->op);
}

/* Have the host allocate a chunk. */
static int open_chunk(struct gmem *gm, uint32_t chunk)
{
	struct group *g = &gm->swapped.batch->group[BATCH - 1];
	int64_t err;

	g->op.file = (struct file_op){
		.type = FILE_ALLOCATE,
		.offset = swap_chunk_offset(chunk),
		.len = SPACE_CHUNK_BYTES,
	};
	begin(gm, g);
	await_disk(gm);
	err = g->op.file.result;
	/* A file system that cannot allocate ahead does so when it is written to. */
	swap_opened(gm->swapped.area, chunk, !err || err == -EOPNOTSUPP);
	return err == -EOPNOTSUPP ? 0 : (int)err;
}

static int take_space(struct gmem *gm, uint32_t units, uint32_t *at)
{
	int err;

	while ((err = swap_take(gm->swapped.area, units, at)) == -EAGAIN) {
		err = open_chunk(gm, *at);
		if (err)
			return gm->swapped.batch->err = err;
	}
	return err;
}

/* Give the pages of [first, first + nr) their places, side by side if there is such space. */
static void place(struct gmem *gm, unsigned int first, unsigned int nr)
{
	struct swap_batch *b = gm->swapped.batch;
	uint32_t units = 0, at;
	int err;

	for (unsigned int i = first; i < first + nr; i++)
		units += b->page[i].clean ? 0 : b->page[i].copy.units;
	if (!units)
		return;
	err = take_space(gm, units, &at);
	if (err && nr > 1 && !b->err) {
		place(gm, first, nr / 2);
		place(gm, first + nr / 2, nr - nr / 2);
		return;
	}
	if (err) {
		b->err = err;
		return;
	}
	b->group[b->groups++] =
		(struct group){ .first = first, .nr = nr, .at = at, .units = units };
	for (unsigned int i = first; i < first + nr; i++)
		if (!b->page[i].clean) {
			b->page[i].copy.at = at;
			b->page[i].stored = true;
			at += b->page[i].copy.units;
		}
}

/* The pages of a group that are not clean follow each other, where pack() put them. */
static void write_group(struct gmem *gm, struct group *g, uint8_t *from)
{
	struct swap *area = gm->swapped.area;

	g->op.file = (struct file_op){
		.type = FILE_WRITE,
		.buf = from,
		.offset = swap_offset(area, g->at),
		.len = swap_offset(area, g->units),
	};
	begin(gm, g);
}

/* Where pack() put page n of the batch. */
static uint64_t packed_before(const struct gmem *gm, unsigned int n)
{
	const struct swap_batch *b = gm->swapped.batch;
	uint64_t units = 0;

	for (unsigned int i = 0; i < n; i++)
		units += b->page[i].clean ? 0 : b->page[i].copy.units;
	return swap_offset(gm->swapped.area, (uint32_t)units);
}

static void write_out(struct gmem *gm)
{
	struct swap_batch *b = gm->swapped.batch;

	place(gm, 0, b->nr);
	for (struct group *g = b->group; g < b->group + b->groups; g++)
		write_group(gm, g, b->packed + packed_before(gm, g->first));
	await_disk(gm);
	for (struct group *g = b->group; g < b->group + b->groups; g++) {
		if (!g->op.file.result)
			continue;
		b->err = (int)g->op.file.result;
		for (unsigned int i = g->first; i < g->first + g->nr; i++) {
			struct leaver *l = &b->page[i];

			if (l->stored)
				swap_put(gm->swapped.area, l->copy.at, l->copy.units);
			l->stored = false;
		}
	}
}

/* ---- 5 and 6: gone ---- */

/* Is the copy of page i in the area, and is it still what is in the page? */
static bool may_go(struct gmem *gm, unsigned int i, const struct stage2_page *page)
{
	struct swap_batch *b = gm->swapped.batch;
	const struct leaver *l = &b->page[i];
	const struct swap_copy now = swap_copy_of(gm->swapped.area, l->gfn);
	uint8_t bytes[QUIRE_PAGE_SIZE];

	if (!l->stored &&
	    !(l->clean && now.units && now.at == l->copy.at && now.hash == l->copy.hash))
		return false;
	return !contents_read(gm, l->gfn, page, bytes) &&
	       !memcmp(bytes, bytes_of(b, i), QUIRE_PAGE_SIZE);
}

static void gone(struct gmem *gm, struct leaver *l)
{
	const struct swap_copy *c = &l->copy;

	swap_gone(gm->swapped.area, l->gfn, c->at, l->clean ? 0 : c->units, c->hash);
	gmem_set(gm, l->gfn, 1, PG_SWAPPED, STAGE2_UNMAPPED | l->gfn);
}

/* The host has zeroed a page that it could not free: write it again. */
static bool is_freed(struct gmem *gm, unsigned int i)
{
	gpa_t at = gfn_to_gpa(gm->swapped.batch->page[i].gfn), end = at + QUIRE_PAGE_SIZE;

	if (ramfile_next_data(gm->window.ram_fd, at, end) == end)
		return true;
	contents_write(gm, at, bytes_of(gm->swapped.batch, i), QUIRE_PAGE_SIZE);
	return false;
}

static void free_frames(struct gmem *gm, unsigned int first, unsigned int nr)
{
	struct swap_batch *b = gm->swapped.batch;
	gfn_t gfn = b->page[first].gfn;

	backend_leave(gm->backend, gfn, nr);
	if (ramfile_punch(gm->window.ram_fd, gfn_to_gpa(gfn), gfn_to_gpa(nr)))
		for (unsigned int i = first; i < first + nr; i++)
			b->page[i].go = is_freed(gm, i);
	for (unsigned int i = first; i < first + nr; i++) {
		if (!b->page[i].go)
			continue;
		gone(gm, &b->page[i]);
		b->freed++;
	}
}

/* A run of private pages, of which none is held. */
static void commit_private(struct gmem *gm, unsigned int first, unsigned int nr)
{
	const struct stage2_page page = { .state = PG_PRIVATE, .level = 1, .mapped = true };
	struct leaver *l = gm->swapped.batch->page;
	gfn_t gfn = l[first].gfn;
	unsigned int run = 0;

	if (backend_protect(gm->backend, gfn, nr, true))
		return;
	for (unsigned int i = first; i <= first + nr; i++) {
		if (i < first + nr)
			l[i].go = may_go(gm, i, &page);
		if (i < first + nr && l[i].go) {
			run++;
		} else if (run) {
			free_frames(gm, i - run, run);
			run = 0;
		}
	}
	backend_protect(gm->backend, gfn, nr, false);
}

static void commit_compressed(struct gmem *gm, unsigned int i, const struct stage2_page *page)
{
	struct leaver *l = &gm->swapped.batch->page[i];

	l->go = may_go(gm, i, page);
	if (!l->go)
		return;
	packed_provider.let_go(gm, page, 1);
	gone(gm, l);
}

/* How many pages of the batch from i on are private, side by side, managed singly, and not held. */
static unsigned int private_run(struct gmem *gm, unsigned int i)
{
	const struct swap_batch *b = gm->swapped.batch;
	gfn_t gfn = b->page[i].gfn;
	struct stage2_page page;
	unsigned int n = 0;

	for (; i + n < b->nr && b->page[i + n].gfn == gfn + n; n++) {
		stage2_lookup(gm->s2, gfn + n, &page);
		if (page.state != PG_PRIVATE || page.level != 1 || is_held(gm, gfn + n))
			break;
	}
	return n;
}

static void commit(struct gmem *gm)
{
	struct swap_batch *b = gm->swapped.batch;
	struct stage2_page page;

	for (unsigned int i = 0, nr; i < b->nr; i += nr ? nr : 1) {
		gmem_await_filled(gm, b->page[i].gfn, b->page[b->nr - 1].gfn + 1);
		nr = private_run(gm, i);
		stage2_lookup(gm->s2, b->page[i].gfn, &page);
		if (nr)
			commit_private(gm, i, nr);
		else if (page.state == PG_COMPRESSED)
			commit_compressed(gm, i, &page);
	}
	gmem_give(gm, b->freed);
	b->freed = 0;
	away_fit_reserve(gm);
}

static void account(struct gmem *gm, struct gmem_swapped *out)
{
	struct swap_batch *b = gm->swapped.batch;
	struct gmem_stats *stats = &gm->stats;

	for (struct leaver *l = b->page; l < b->page + b->nr; l++) {
		out->swapped += l->go;
		out->clean += l->go && l->clean;
		out->kept += !l->go;
		stats->swapped_out_pages += l->go;
		stats->swap_clean_pages += l->go && l->clean;
		if (l->go || l->clean)
			continue;
		if (l->stored)
			swap_put(gm->swapped.area, l->copy.at, l->copy.units);
		else if (b->err == -ENOSPC)
			stats->swap_full_pages++;
		else
			stats->swap_write_errors++;
	}
	swapped_settle(gm);
}

/* ---- the whole ---- */

static void begin_leaving(struct gmem *gm)
{
	while (gm->swapped.leaving)
		swapped_await(gm);
	gm->swapped.leaving = true;
}

static void end_leaving(struct gmem *gm)
{
	gm->swapped.leaving = false;
	pthread_cond_broadcast(&gm->swapped.changed);
}

/* Steps 2 to 6.  0, or why pages could not be written. */
static int leave(struct gmem *gm, struct gmem_swapped *out)
{
	struct swap_batch *b = gm->swapped.batch;
	enum gmem_holder who = gm->holder;

	gmem_unlock(gm);
	pack(gm, b);
	gmem_lock(gm, who);
	write_out(gm);
	commit(gm);
	account(gm, out);
	return b->err;
}

int gmem_swap_out(struct gmem *gm, gfn_t gfn, uint64_t nr, enum gmem_watcher unless,
		  struct gmem_swapped *out)
{
	gfn_t end = gfn + nr;
	int err = 0;

	if (!nr || !stage2_is_ram(gm->s2, gfn, nr))
		return -EFAULT;
	if (!gm->swapped.area)
		return -ENODEV;
	gmem_lock(gm, GMEM_GIVE);
	begin_leaving(gm);
	while (gfn < end && !err) {
		gfn = collect(gm, gfn, end, unless, out);
		if (gm->swapped.batch->nr)
			err = leave(gm, out);
		gmem_let_others(gm);
	}
	end_leaving(gm);
	gmem_unlock(gm);
	return err;
}
