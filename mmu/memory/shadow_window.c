/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/base/reserve.h"
#include "ramfile.h"
#include "shadow_window.h"
#include "store_view.h"

static const struct backend_ops shadow_ops;

const void *gmem_shadow_zeroes(void)
{
	return zero_page;
}

/* --- create and destroy ------------------------------------------------------------------ */

static uint64_t away_bytes(const struct shadow_window *w)
{
	return align_up(w->window->span >> QUIRE_PAGE_SHIFT, 64) / 8;
}

static maddr_t frame(void *ctx, pfn_t pfn)
{
	(void)ctx;
	if (pfn == STAGE2_ZERO_PFN)
		return SHADOW_ZERO_PAGE;
	if (pfn < STAGE2_STORE_PFN)
		return gfn_to_gpa(pfn) + (gfn_to_gpa(pfn) < SHADOW_LOW_END ? SHADOW_LOW_RAM : 0);
	return SHADOW_STORE_BASE + gfn_to_gpa(pfn - STAGE2_STORE_PFN);
}

static void flush(void *ctx, const struct shadow_stale *stale)
{
	struct shadow_window *w = ctx;

	w->config.flush(w->config.ctx, stale);
}

int shadow_window_create(struct shadow_window *w, struct window *window,
			 const struct gmem_config *config, const struct walk_stage2 *s2,
			 const struct walk_memory *memory, struct quire_error *err)
{
	const struct gmem_shadow *shadow = config->shadow;
	struct shadow_config tables = {
		.arena = shadow->arena,
		.arena_maddr = shadow->arena_maddr,
		.arena_pages = shadow->arena_pages,
		.monitor_entry = shadow->monitor_entry,
		.maxphyaddr = shadow->maxphyaddr,
		.ram = config->ram,
		.nr_ram = config->nr_ram,
		.stage2 = *s2,
		.memory = *memory,
		.frame = frame,
		.flush = flush,
		.ctx = w,
	};
	int error;

	*w = (struct shadow_window){
		.backend = { &shadow_ops, .mappings = window->backend.mappings,
			     .max_mappings = window->backend.max_mappings,
			     .lost = BACKEND_NOTHING_LOST },
		.config = *shadow,
		.window = window,
	};
	w->away = reserve(away_bytes(w));
	error = w->away ? shadow_create(&tables, &w->shadow) : -ENOMEM;
	if (!error)
		return 0;
	shadow_window_destroy(w);
	return quire_fail(err, error,
			  "cannot set up shadow tables for %llu MiB of guest RAM: %s; use a "
			  "smaller -m, at most %llu GiB, or raise the limit on address space "
			  "(ulimit -v)",
			  (unsigned long long)(window->span >> 20), strerror(-error),
			  (unsigned long long)(SHADOW_GUEST_END / GiB));
}

void shadow_window_destroy(struct shadow_window *w)
{
	if (!w->window)
		return;
	shadow_destroy(w->shadow);
	unreserve(w->away, away_bytes(w));
	w->shadow = NULL;
	w->away = NULL;
}

int shadow_window_segment(void *ctx, unsigned int place, const void *bytes)
{
	const struct gmem_shadow *config = &((struct shadow_window *)ctx)->config;

	return config->segment(config->ctx, SHADOW_STORE_BASE + place * STORE_SEGMENT_BYTES, bytes,
			       STORE_SEGMENT_BYTES);
}

/* --- pages ------------------------------------------------------------------------------- */

static struct shadow_window *shadow_of(struct backend *b)
{
	return (struct shadow_window *)((char *)b - offsetof(struct shadow_window, backend));
}

/* The window's own operations, as far as they concern the RAM file. */
static struct backend *file_of(struct backend *b)
{
	return &shadow_of(b)->window->backend;
}

static void note_away(struct shadow_window *w, gfn_t gfn, uint64_t nr, bool away)
{
	for (gfn_t g = gfn; g < gfn + nr; g++) {
		if (away)
			w->away[g / 64] |= 1ULL << g % 64;
		else
			w->away[g / 64] &= ~(1ULL << g % 64);
	}
}

/* The alias is exact where the host would bring in more than is asked for (window.h). */
static bool fill_at_once(struct window *w, gfn_t gfn, uint64_t nr)
{
	return w->exact < 0 &&
	       !madvise(w->alias + gfn_to_gpa(gfn), nr << QUIRE_PAGE_SHIFT, MADV_POPULATE_WRITE);
}

static int shadow_fill(struct backend *b, gfn_t gfn, uint64_t nr, uint64_t *done)
{
	struct window *w = shadow_of(b)->window;

	*done = nr;
	return fill_at_once(w, gfn, nr) ? 0 : window_fill_holes(w, gfn, nr, done);
}

static int shadow_fill_block(struct backend *b, gfn_t gfn)
{
	return backend_fill_block(file_of(b), gfn);
}

static void unmap(struct shadow_window *w, gfn_t gfn, uint64_t nr)
{
	shadow_forget(w->shadow, gfn, nr);
	shadow_flush(w->shadow);
}

static int shadow_make_whole(struct backend *b, gfn_t gfn)
{
	struct shadow_window *w = shadow_of(b);

	unmap(w, gfn, QUIRE_BLOCK_PAGES);
	note_away(w, gfn, QUIRE_BLOCK_PAGES, false);
	backend_populate(file_of(b), gfn, QUIRE_BLOCK_PAGES);
	return 0;
}

static int shadow_make_single(struct backend *b, gfn_t gfn, uint64_t blocks)
{
	struct shadow_window *w = shadow_of(b);

	shadow_split(w->shadow, gfn, blocks * QUIRE_BLOCK_PAGES);
	shadow_flush(w->shadow);
	return 0;
}

static int shadow_collapse(struct backend *b, gfn_t gfn)
{
	return backend_collapse(file_of(b), gfn);
}

static bool shadow_is_huge(struct backend *b, gfn_t gfn)
{
	return backend_is_huge(file_of(b), gfn);
}

static int shadow_protect_pages(struct backend *b, gfn_t gfn, uint64_t nr, bool on)
{
	struct shadow_window *w = shadow_of(b);

	if (on)
		shadow_protect(w->shadow, gfn, nr);
	else
		shadow_unprotect(w->shadow, gfn, nr);
	shadow_flush(w->shadow);
	return 0;
}

/* Whoever reads meanwhile waits for the lock, and then finds what stage 2 says. */
static int send_away(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct shadow_window *w = shadow_of(b);

	unmap(w, gfn, nr);
	note_away(w, gfn, nr, true);
	return 0;
}

static int shadow_send_to_file(struct backend *b, gfn_t gfn, uint64_t nr, int fd, uint64_t from)
{
	(void)fd;
	(void)from;
	return send_away(b, gfn, nr);
}

static int shadow_send_to_zero(struct backend *b, gfn_t gfn, uint64_t nr)
{
	return send_away(b, gfn, nr);
}

static int shadow_home(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct shadow_window *w = shadow_of(b);

	unmap(w, gfn, nr);
	note_away(w, gfn, nr, false);
	return 0;
}

static void shadow_leave(struct backend *b, gfn_t gfn, uint64_t nr)
{
	struct shadow_window *w = shadow_of(b);

	unmap(w, gfn, nr);
	shadow_written(w->shadow, gfn, nr);
}

static void shadow_changed(struct backend *b, gfn_t gfn, uint64_t nr)
{
	shadow_written(shadow_of(b)->shadow, gfn, nr);
}

static void shadow_populate(struct backend *b, gfn_t gfn, uint64_t nr)
{
	backend_populate(file_of(b), gfn, nr);
}

/* Nobody sleeps here: a vCPU waits for the lock, or for credits. */
static void shadow_wake(struct backend *b, gfn_t gfn, uint64_t nr)
{
	(void)b;
	(void)gfn;
	(void)nr;
}

static int64_t shadow_home_costs(struct backend *b, gfn_t gfn, uint64_t nr)
{
	(void)b;
	(void)gfn;
	(void)nr;
	return 0;
}

static struct gfn_range shadow_mapping_at(struct backend *b, gfn_t gfn)
{
	(void)b;
	return (struct gfn_range){ gfn, gfn + 1 };
}

/*
 * An entry that goes is made again by the next touch.  With it come the entries of a few pages
 * around, which count as touched, too.
 */
static void shadow_forget_touches(struct backend *b, gfn_t gfn, uint64_t nr)
{
	unmap(shadow_of(b), gfn, nr);
}

static uint64_t shadow_touched(struct backend *b, gfn_t gfn, uint64_t nr)
{
	uint64_t touched = 0;

	for (uint64_t i = 0; i < nr; i++)
		touched |= shadow_is_mapped(shadow_of(b)->shadow, gfn + i) ? 1ULL << i : 0;
	return touched;
}

static uint64_t shadow_recount(struct backend *b, uint64_t *away)
{
	struct shadow_window *w = shadow_of(b);
	uint64_t mappings = backend_recount(file_of(b), away);

	for (uint64_t i = 0; i < away_bytes(w) / 8; i++)
		*away += (uint64_t)__builtin_popcountll(w->away[i]);
	return mappings;
}

static const struct backend_ops shadow_ops = {
	.fill = shadow_fill,
	.fill_block = shadow_fill_block,
	.make_whole = shadow_make_whole,
	.make_single = shadow_make_single,
	.collapse = shadow_collapse,
	.is_huge = shadow_is_huge,
	.protect = shadow_protect_pages,
	.send_to_file = shadow_send_to_file,
	.send_to_zero = shadow_send_to_zero,
	.home = shadow_home,
	.leave = shadow_leave,
	.changed = shadow_changed,
	.populate = shadow_populate,
	.wake = shadow_wake,
	.home_costs = shadow_home_costs,
	.mapping_at = shadow_mapping_at,
	.forget_touches = shadow_forget_touches,
	.touched = shadow_touched,
	.recount = shadow_recount,
};
