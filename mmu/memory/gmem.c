/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: stage 2 decides, the window makes it real.
 *
 * Each operation takes LOCK_GMEM and asks stage 2 what the pages are.  Then it changes the host's
 * side (backend.h), and then stage 2.  The order is one in which a guest access that slips in
 * between does no harm:
 *
 *   bring in   The file and the page tables come first, stage 2 next (bring_in.c).
 *   give back  The file is punched first, stage 2 is told next (give_back.c).  A touch in between
 *              raises an event.  The pager looks at it when it gets the lock, and then the page is
 *              absent.
 *   split      The block is registered first.  All its pages exist, so that changes nothing for the
 *              guest.  From then on single pages may go.
 *   collapse   The block is unregistered first.  All its pages exist, and none can go while we hold
 *              the lock.
 *   share      Write-protect, compare, map, punch; stage 2 comes last (share.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/audit.h"
#include "mmu/base/clock.h"
#include "archived.h"
#include "away.h"
#include "ramfile.h"

/* --- create and destroy ------------------------------------------------------------------ */

static bool ranges_valid(const struct gmem_config *config)
{
	if (config->nr_ram == 0 || config->nr_ram > ARRAY_SIZE(((struct gmem *)0)->ram))
		return false;
	for (unsigned int i = 0; i < config->nr_ram; i++) {
		const struct gfn_range *r = &config->ram[i];
		bool last = i + 1 == config->nr_ram;

		if (r->start % QUIRE_BLOCK_PAGES || (!last && r->end % QUIRE_BLOCK_PAGES))
			return false;
	}
	return true;
}

static int create_shadow(struct gmem *gm, struct quire_error *err)
{
	const struct walk_stage2 s2 = gmem_walk_stage2(gm);
	const struct walk_memory memory = gmem_walk_memory(gm);
	int error = shadow_window_create(&gm->shadow, &gm->window, &gm->config, &s2, &memory, err);

	if (!error)
		gm->backend = &gm->shadow.backend;
	return error;
}

static int create_history(struct gmem *gm)
{
	return history_init(&gm->history, gpa_to_gfn(gm->window.span));
}

/* What is known of pages that are, or may go, away.  A part that failed is to be finished, too. */
static const struct {
	int (*init)(struct gmem *gm);
	const char *problem;
} parts[] = {
	{ share_init, "no address space for notes on all of RAM; raise the limit (ulimit -v)" },
	{ create_history,
	  "no address space for the history of pages; raise the limit (ulimit -v)" },
	{ packed_init, "no memory for a pool of compressed pages" },
	{ swapped_init, "cannot set up swap" },
	{ touched_init, "no memory to note what the guest touches" },
};

static int create_parts(struct gmem *gm, struct quire_error *err)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		int error = parts[i].init(gm);

		if (error)
			return quire_fail(err, error, "%s: %s", parts[i].problem, strerror(-error));
	}
	return 0;
}

static void finish_parts(struct gmem *gm)
{
	touched_finish(gm);
	swapped_finish(gm);
	packed_finish(gm);
	history_finish(&gm->history);
	share_finish(gm);
}

int gmem_create(const struct gmem_config *config, struct gmem **out, struct quire_error *err)
{
	struct gmem *gm;
	int error;

	if (!ranges_valid(config))
		return quire_fail(err, -EINVAL, "RAM ranges must be sorted and 2 MiB-aligned");
	gm = calloc(1, sizeof(*gm));
	if (!gm)
		return quire_fail(err, -ENOMEM, "out of memory");
	gm->config = *config;
	if (config->swap) {
		gm->swap_config = *config->swap;
		gm->config.swap = &gm->swap_config;
	}
	gm->config.ram = memcpy(gm->ram, config->ram, config->nr_ram * sizeof(*config->ram));
	lock_init(&gm->lock, LOCK_GMEM);
	gmem_stall_init(gm);
	bring_in_init(gm);
	gm->pager_event = -1;

	error = stage2_create(gm->ram, config->nr_ram, &gm->s2);
	if (error) {
		quire_fail(err, error,
			   "cannot set up stage-2 tables: %s; use a smaller -m, or raise "
			   "the limit on address space (ulimit -v) or the sysctl "
			   "vm.max_map_count",
			   strerror(-error));
		goto free_gm;
	}
	error = window_create(&gm->window, gm->ram, config->nr_ram,
			      config->hugepages == GMEM_HUGE_AUTO, !config->shadow, config->ram_fd,
			      err);
	if (error)
		goto destroy_s2;
	gm->backend = &gm->window.backend;
	error = config->shadow ? create_shadow(gm, err) : 0;
	if (error)
		goto destroy_window;
	if (config->max_mappings)
		gm->backend->max_mappings =
			min_u64(gm->backend->max_mappings, config->max_mappings);
	error = create_parts(gm, err);
	if (error)
		goto finish_parts;
	if (config->shadow) {
		gm->share.store.tell = shadow_window_segment;
		gm->share.store.ctx = &gm->shadow;
	}
	*out = gm;
	return 0;

finish_parts:
	finish_parts(gm);
	shadow_window_destroy(&gm->shadow);
destroy_window:
	window_destroy(&gm->window);
destroy_s2:
	stage2_destroy(gm->s2);
free_gm:
	bring_in_finish(gm);
	lock_finish(&gm->lock);
	free(gm);
	return error;
}

struct gmem_dozer *gmem_dozer(struct gmem *gm, enum gmem_who_dozes who)
{
	return &gm->dozer[who];
}

void gmem_set_helper(struct gmem *gm, void (*wanted)(void *ctx), void *ctx)
{
	gm->wanted = wanted;
	gm->helper = ctx;
}

unsigned int gmem_nr_waiting(const struct gmem *gm)
{
	return atomic_load_explicit(&gm->waiting.nr, memory_order_relaxed) +
	       atomic_load_explicit(&gm->sleepers, memory_order_relaxed);
}

uint64_t gmem_waiting_since(const struct gmem *gm)
{
	uint64_t sleepers = atomic_load(&gm->sleepers) ? atomic_load(&gm->sleepers_since) : 0;
	uint64_t seeking = atomic_load(&gm->seeking_since);

	return !sleepers || !seeking ? sleepers | seeking : min_u64(sleepers, seeking);
}

int gmem_start(struct gmem *gm, struct quire_error *err)
{
	int error = swapped_start(gm);

	if (error)
		return quire_fail(err, error, "cannot start the thread of the swap file: %s",
				  strerror(-error));
	return gm->shadow.shadow ? 0 : pager_start(gm, err);
}

void gmem_destroy(struct gmem *gm)
{
	if (!gm)
		return;
	swapped_stop(gm);
	if (gm->pager.started)
		pager_stop(gm);
	gmem_lock(gm, GMEM_LOOK);
	gm->share.store.tell = NULL;
	share_finish(gm);
	shadow_window_destroy(&gm->shadow);
	gmem_unlock(gm);
	touched_finish(gm);
	swapped_finish(gm);
	packed_finish(gm);
	history_finish(&gm->history);
	window_destroy(&gm->window);
	stage2_destroy(gm->s2);
	bring_in_finish(gm);
	lock_finish(&gm->lock);
	free(gm);
}

void *gmem_hva(const struct gmem *gm, gpa_t gpa)
{
	assert(gpa < gm->window.span);
	return gm->window.base + gpa;
}

/* The file is opened anew: a duplicate of the descriptor could write, as the original can. */
int gmem_open_ram(const struct gmem *gm)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", gm->window.ram_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

unsigned int gmem_descriptors(const struct gmem *gm, int fds[GMEM_MAX_DESCRIPTORS])
{
	int all[GMEM_MAX_DESCRIPTORS] = {
		gm->window.uffd, gm->window.ram_fd, gm->window.pagemap, gm->window.exact, -1, -1, -1
	};
	unsigned int nr = 0;

	if (gm->swapped.io) {
		all[4] = gm->swap_config.fd;
		swap_io_descriptors(gm->swapped.io, &all[5]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] >= 0)
			fds[nr++] = all[i];
	return nr;
}

const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr)
{
	*nr = gm->config.nr_ram;
	return gm->ram;
}

/* --- changes of state -------------------------------------------------------------------- */

int gmem_set(struct gmem *gm, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn)
{
	int err;

	assert_held(&gm->lock);
	err = stage2_set(gm->s2, gfn, nr, to, pfn);
	gm->changes++;
	assert(!err);
	history_note(&gm->history, gfn, nr, to);
	if (to == PG_PRIVATE) {
		share_note_written(gm, gfn, nr);
		backend_changed(gm->backend, gfn, nr);
	}
	waiting_settle(gm, gfn, nr);
	return err;
}

int gmem_set_large(struct gmem *gm, gfn_t block)
{
	int err = stage2_set_large(gm->s2, block, block);

	share_note_written(gm, block, QUIRE_BLOCK_PAGES);
	backend_changed(gm->backend, block, QUIRE_BLOCK_PAGES);
	waiting_settle(gm, block, QUIRE_BLOCK_PAGES);
	return err;
}

/* --- blocks ------------------------------------------------------------------------------ */

int gmem_split(struct gmem *gm, gfn_t block)
{
	int err = backend_make_single(gm->backend, block, 1);

	return err ? err : stage2_split(gm->s2, block);
}

/*
 * The host copies 2 MiB, so this is done with the lock dropped.  Meanwhile the block counts as
 * being filled: no page of it can go.  Whoever reads or writes its pages does no harm.
 */
static int collapse_unlocked(struct gmem *gm, gfn_t block)
{
	enum gmem_holder who = gm->holder;
	int err;

	gm->filling = block;
	gmem_unlock(gm);
	err = backend_collapse(gm->backend, block);
	gmem_lock(gm, who);
	gm->filling = NO_BLOCK;
	pthread_cond_broadcast(&gm->filled);
	return err;
}

int gmem_collapse(struct gmem *gm, gfn_t block)
{
	enum page_state state;
	struct stage2_page page;
	int err;

	while (gm->filling != NO_BLOCK)
		gmem_wait_for_fill(gm);
	stage2_lookup(gm->s2, block, &page);
	if (page.level == 2)
		return -EEXIST;
	if (stage2_run(gm->s2, block, block + QUIRE_BLOCK_PAGES, &state) != QUIRE_BLOCK_PAGES ||
	    state != PG_PRIVATE)
		return -EBUSY;
	err = away_has_room(gm) ? backend_make_whole(gm->backend, block) : -ENOMEM;
	if (err)
		return err;
	err = collapse_unlocked(gm, block);
	/* All of its pages exist.  So if it cannot become single again, it is whole. */
	if (err && !backend_make_single(gm->backend, block, 1))
		return err;
	return gmem_set_large(gm, block);
}

uint64_t gmem_repair(struct gmem *gm)
{
	uint64_t changes;

	gmem_lock(gm, GMEM_ACCESS);
	gm->stats.efaults++;
	changes = gm->changes;
	gmem_unlock(gm);
	return changes;
}

bool gmem_each_run(const struct gmem *gm, struct gmem_run *run)
{
	gfn_t next = run->gfn + run->nr;

	for (unsigned int i = 0; i < gm->config.nr_ram; i++) {
		const struct gfn_range *ram = &gm->ram[i];

		if (next >= ram->end)
			continue;
		run->gfn = max_u64(next, ram->start);
		run->ram_end = ram->end;
		run->nr = stage2_linear_run(gm->s2, run->gfn, ram->end, &run->page);
		return true;
	}
	return false;
}

/* --- faults ------------------------------------------------------------------------------ */

void gmem_count_fault(struct gmem *gm, const struct gfn_range *in)
{
	gm->stats.faults++;
	gm->stats.faults_spurious += in->start == in->end;
	gm->stats.faulted_in_pages += in->end - in->start;
	gm->stats.faulted_in_blocks += in->end - in->start == QUIRE_BLOCK_PAGES;
}

void gmem_fail(struct gmem *gm, gpa_t gpa, int err)
{
	enum gmem_holder who = gm->holder;

	gmem_unlock(gm);
	if (gm->config.on_host_failure)
		gm->config.on_host_failure(gm->config.ctx, gpa, err);
	gmem_lock(gm, who);
}

void gmem_stir(struct gmem *gm)
{
	for (struct gmem_dozer *d = gm->dozer; d < gm->dozer + GMEM_NR_DOZERS; d++)
		if (atomic_load(&d->still) && atomic_exchange(&d->still, false))
			d->stir(d->ctx);
}

/* --- looking ----------------------------------------------------------------------------- */

/* [gfn, gfn + nr) lies in one block: where all of it is RAM, a run costs what a page does. */
static void states_in_block(const struct stage2 *s2, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	bool ram = stage2_is_ram(s2, gfn, nr);
	struct stage2_page page;
	enum page_state state;

	for (uint64_t i = 0, run; i < nr; i += run) {
		run = 1;
		states[i] = PG_NR_STATES;
		if (stage2_lookup(s2, gfn + i, &page))
			continue;
		if (ram)
			run = stage2_run(s2, gfn + i, gfn + nr, &state);
		memset(states + i, page.state | (page.level == 2 ? GMEM_STATE_LARGE : 0), run);
	}
}

void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	uint64_t part;

	gmem_lock(gm, GMEM_LOOK);
	for (uint64_t i = 0; i < nr; i += part) {
		part = min_u64(nr - i, QUIRE_BLOCK_PAGES - (gfn + i) % QUIRE_BLOCK_PAGES);
		gmem_let_others(gm);
		states_in_block(gm->s2, gfn + i, part, states + i);
	}
	gmem_unlock(gm);
}

int gmem_lookup(struct gmem *gm, gfn_t gfn, struct stage2_page *page)
{
	int err;

	gmem_lock(gm, GMEM_LOOK);
	err = stage2_lookup(gm->s2, gfn, page);
	gmem_unlock(gm);
	return err;
}

void gmem_stats(struct gmem *gm, struct gmem_stats *out)
{
	gmem_lock(gm, GMEM_LOOK);
	*out = gm->stats;
	out->mappings = gm->backend->mappings;
	out->max_mappings = gm->backend->max_mappings;
	out->waiting_pages = gm->waiting.nr + gm->vcpus_waiting;
	if (gm->waiting.nr)
		out->waiting_ns = monotonic_ns() - gm->waiting.page[0].since_ns;
	else if (gm->vcpus_waiting)
		out->waiting_ns = monotonic_ns() - gm->vcpus_waiting_since;
	stall_read(&gm->stall, monotonic_ns(), &out->stall);
	pool_stats(gm->packed.pool, &out->pool);
	if (gm->swapped.area)
		swap_stats(gm->swapped.area, &out->swap);
	out->orphan_pages = store_view_orphan_pages(&gm->share.store);
	stage2_counters(gm->s2, &out->s2);
	gmem_unlock(gm);
}

struct gmem_frame gmem_frame_at(struct gmem *gm, pfn_t pfn)
{
	return (struct gmem_frame){
		.segment = store_view_segment(&gm->share.store, pfn)->name,
		.index = store_view_offset(pfn) >> QUIRE_PAGE_SHIFT,
	};
}

int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame)
{
	struct stage2_page page;
	int err;

	gmem_lock(gm, GMEM_LOOK);
	err = stage2_lookup(gm->s2, gfn, &page);
	if (!err && page.state != PG_SHARED)
		err = -ENOENT;
	if (!err)
		*frame = gmem_frame_at(gm, page.pfn);
	gmem_unlock(gm);
	return err;
}

/* Is frame among the nr frames from pfn on?  *n: it is the n-th. */
static bool frame_in_run(struct gmem *gm, const struct gmem_frame *frame, pfn_t pfn, uint64_t nr,
			 uint64_t *n)
{
	uint64_t first = store_view_offset(pfn) >> QUIRE_PAGE_SHIFT;

	*n = frame->index - first;
	return store_view_segment(&gm->share.store, pfn)->name == frame->segment &&
	       frame->index >= first && *n < nr;
}

uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out, uint64_t max)
{
	struct gmem_run run = { 0 };
	uint64_t users = 0, n;

	gmem_lock(gm, GMEM_LOOK);
	while (gmem_each_run(gm, &run)) {
		if (run.page.state == PG_SHARED &&
		    frame_in_run(gm, frame, run.page.pfn, run.nr, &n) && users++ < max)
			out[users - 1] = run.gfn + n;
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
	return users;
}

unsigned int gmem_shared_runs(struct gmem *gm, gfn_t gfn, struct gmem_shared_run *out,
			      unsigned int max)
{
	struct gmem_run run = { .gfn = gfn };
	unsigned int nr = 0;

	gmem_lock(gm, GMEM_LOOK);
	while (nr < max && gmem_each_run(gm, &run)) {
		if (run.page.state == PG_SHARED) {
			struct gmem_frame frame = gmem_frame_at(gm, run.page.pfn);

			/* Frames of two segments may follow each other by number. */
			run.nr = min_u64(run.nr, MERGE_SEGMENT_FRAMES - frame.index);
			out[nr++] = (struct gmem_shared_run){ run.gfn, run.nr, frame };
		}
		gmem_let_others(gm);
	}
	gmem_unlock(gm);
	return nr;
}

/* --- audit ------------------------------------------------------------------------------- */

/* The number of the segment that holds this frame of the store. */
static size_t segment_of(struct gmem *gm, pfn_t pfn)
{
	return (size_t)(store_view_segment(&gm->share.store, pfn) - gm->share.store.segment);
}

/* Count the entries that name frames of each segment. */
static void audit_segments(struct audit *a, struct gmem *gm)
{
	uint64_t pages[MERGE_MAX_SEGMENTS] = { 0 };
	struct gmem_run run = { 0 };

	while (gmem_each_run(gm, &run))
		if (run.page.state == PG_SHARED)
			pages[segment_of(gm, run.page.pfn)] += run.nr;
		else if (run.page.state == PG_ARCHIVED)
			pages[segment_of(gm, archived_frame(&run.page))] += run.nr;
	for (unsigned int i = 0; i < MERGE_MAX_SEGMENTS; i++)
		audit_expect(a, gm->share.store.segment[i].pages, pages[i],
			     "pages in a segment of the store");
}

/* What is mapped away, by our tables and by the back end's; and its count of mappings. */
static void audit_backend(struct audit *a, struct gmem *gm)
{
	uint64_t ours = 0, away, mappings = backend_recount(gm->backend, &away);
	struct gmem_run run = { 0 };

	while (gmem_each_run(gm, &run))
		ours += page_is_mapped_away(&run.page) ? run.nr : 0;
	audit_expect(a, ours, away, "pages mapped away");
	audit_expect(a, gm->backend->mappings, mappings, "mappings");
}

unsigned int gmem_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx)
{
	struct audit a = { .report = report, .ctx = ctx };
	struct stage2_counters c;
	uint64_t resident = 0;

	gmem_lock(gm, GMEM_LOOK);
	gmem_await_filled(gm, 0, UINT64_MAX);
	a.faults = stage2_audit(gm->s2, report, ctx);
	stage2_counters(gm->s2, &c);
	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		resident += page_states[state].resident ? c.pages[state] : 0;
	audit_expect(&a, resident + packed_pool_pages(gm), ramfile_pages(gm->window.ram_fd),
		     "pages resident");
	a.faults += packed_audit(gm, report, ctx);
	a.faults += swapped_audit(gm, report, ctx);
	audit_backend(&a, gm);
	if (gm->shadow.shadow)
		a.faults += shadow_audit(gm->shadow.shadow, report, ctx);
	audit_segments(&a, gm);
	gmem_unlock(gm);
	return a.faults;
}
