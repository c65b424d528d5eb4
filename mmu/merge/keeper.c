/* SPDX-License-Identifier: MIT */
/*
 * The keeper: its thread, its passes and its pace.
 *
 * A pass.  The keeper begins to watch every region that has pages, is not being filled and is not
 * hot (watch.c).  It waits for an epoch.  Then it visits each watched region: it fetches what was
 * written since the last visit, and looks at pages that were not written (scan.c).  Where nothing
 * was written and nothing is pending, a visit is that one question.  At the end the keeper asks the
 * machine for news.
 *
 * The pace.  Unless a number of pages a second was asked for, a pass is to take AIM_NS.  The keeper
 * may use between MIN_PERCENT and MAX_PERCENT of a processor for that.  So little memory is
 * merged at leisure, and much at the full share.  A pass that somebody asked for
 * (keeper_request_pass) does not pause.
 *
 * The pause between passes is one epoch.  It doubles with each pass that merged nothing and had
 * only a few pages to look at, to 2^MAX_CALM epochs.  Once nothing is left that a later pass
 * could want (is_settled), it grows to 2^MAX_STILL.  A page that the guest brings in or takes
 * home ends such a long pause.  Only after a pass that had more to do are the vCPUs asked for
 * their registers: to ask wakes the guest, and a guest that wakes up writes something.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "keeper_internal.h"

#define REGION_PAGES   (64 * MiB / QUIRE_PAGE_SIZE) /* the size of regions without a log */
#define MAX_CALM       2u	   /* calm passes are at most 2^2 epochs apart ... */
#define MAX_STILL      5u	   /* ... and 2^5 in a VM that has settled */
#define FEW_PAGES      16u	   /* what such a VM does with so few pages does not matter */
#define FIRST_NS       NS_PER_S	   /* before the first pass: guests that end soon are left alone */
#define EPOCH_NS       NS_PER_S	   /* pages that were not written for so long are looked at */
#define HURRIED_NS     10000000ULL /* the same in a pass that somebody waits for */
#define NEWS_NS	       5000000ULL  /* such a pass asks for news so often at its end ... */
#define NEWS_QUIET     4u	   /* ... until there were none so many times */
#define AIM_NS	       (10 * NS_PER_S) /* a pass is to take so long */
#define MIN_PERCENT    1u	       /* of a processor */
#define MAX_PERCENT    20u
#define TABLES_NS      2000000ULL  /* before the first pages are looked at, the keeper asks ... */
#define TABLES_TRIES   100u	   /* ... so often, and in such intervals, where page tables are */
#define COLLAPSES      8u	   /* a pass makes at most so many blocks of a region whole again */
#define CREDITS_NS     20000000ULL /* the machine may take so long to grant more credits ... */
#define CREDITS_TRIES  10u	   /* ... or so often as long, where it is busy */
#define FIRST_GUESS_NS 1500u	   /* a page costs so much, until that has been measured */

/* ---- waiting ---- */

static uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Is there something better to do than to wait? */
static bool is_wanted(const struct keeper *k)
{
	return k->quitting || k->mode != k->obeyed || k->wanted_pass > k->passes_done;
}

/* Wait so long, or until something is wanted; hurried: only the end is.  False: it is wanted. */
static bool rest(struct keeper *k, uint64_t ns, bool hurried)
{
	struct timespec until = ns_to_timespec(monotonic_ns() + ns);
	bool over = false, wanted;

	lock(&k->lock);
	while (!over && !(hurried ? k->quitting : is_wanted(k)))
		over = pthread_cond_timedwait(&k->changed, &k->lock.mutex, &until) == ETIMEDOUT;
	wanted = !over;
	unlock(&k->lock);
	return !wanted;
}

/*
 * Wait so long, or until something is wanted, or an epoch if guest memory stirs.  Returns whether
 * it stirred.
 *
 * Whoever takes dozer->still away says `stirred` afterwards.  The wait for that keeps the keeper
 * alive until the pager has let go of it.
 */
static bool doze(struct keeper *k, uint64_t ns)
{
	uint64_t now = monotonic_ns(), epoch = now + EPOCH_NS;
	struct timespec until = ns_to_timespec(now + ns);
	struct gmem_dozer *dozer = gmem_dozer(k->gm, GMEM_DOZER_KEEPER);
	bool over = false;

	k->stirred = false;
	atomic_store(&dozer->still, true);
	lock(&k->lock);
	while (!over && !is_wanted(k) && !k->stirred)
		over = pthread_cond_timedwait(&k->changed, &k->lock.mutex, &until) == ETIMEDOUT;
	if (!atomic_exchange(&dozer->still, false))
		while (!k->stirred)
			pthread_cond_wait(&k->changed, &k->lock.mutex);
	unlock(&k->lock);
	now = monotonic_ns();
	if (now < epoch)
		rest(k, epoch - now, false);
	return k->stirred;
}

static void on_stir(void *ctx)
{
	struct keeper *k = ctx;

	lock(&k->lock);
	k->stirred = true;
	pthread_cond_broadcast(&k->changed);
	unlock(&k->lock);
}

/* The pause after a pass.  A long one ends early when guest memory stirs. */
static void pause_between(struct keeper *k)
{
	if (k->obeyed == KEEPER_OFF)
		rest(k, AIM_NS, false);
	else if (k->calm <= MAX_CALM)
		rest(k, EPOCH_NS << k->calm, false);
	else if (doze(k, EPOCH_NS << k->calm))
		k->calm = 0;
}

static bool is_hurried(struct keeper *k)
{
	bool hurried;

	lock(&k->lock);
	hurried = is_wanted(k);
	unlock(&k->lock);
	return hurried;
}

/* Rest so that the pace is kept, after looking at nr pages for ns of processor time. */
static void keep_pace(struct keeper *k, uint64_t nr, uint64_t ns)
{
	uint64_t pause, rate = k->config.pages_per_s;

	if (!nr)
		return;
	k->ns_per_page = (7 * k->ns_per_page + ns / nr) / 8;
	if (rate) {
		pause = nr * NS_PER_S / rate;
		pause = pause > ns ? pause - ns : 0;
	} else {
		pause = ns * (100 - k->percent) / k->percent;
	}
	if (pause && !is_hurried(k))
		rest(k, pause, false);
}

/* ---- visiting regions ---- */

static bool is_interrupted(struct keeper *k)
{
	bool interrupted;

	lock(&k->lock);
	interrupted = k->mode != k->obeyed || k->quitting;
	unlock(&k->lock);
	return interrupted;
}

/*
 * Take news during a pass if there is a packet full.  So we merge what others find at the same time
 * as they do, and not afterwards.  Returns how many there were.
 */
static uint64_t hear_some(struct keeper *k)
{
	if (k->news_waiting < MERGE_BATCH)
		return 0;
	scan_finish(k);
	return link_take_news(k);
}

static void visit(struct keeper *k, struct watch_region *w, uint64_t pass)
{
	gfn_t end;

	if (is_interrupted(k))
		return;
	if (!watch_fetch(k, w)) {
		watch_end(k, w);
		return;
	}
	for (gfn_t at = w->range.start; at < w->range.end; at = end) {
		uint64_t *written = &k->bitmap[(at - w->range.start) / 64];
		uint64_t cpu = cpu_ns(), nr;

		end = min_u64(w->range.end, align_down(at, QUIRE_BLOCK_PAGES) + QUIRE_BLOCK_PAGES);
		nr = scan_pages(k, at, end, written, pass) + hear_some(k);
		k->looked += nr;
		keep_pace(k, nr, cpu_ns() - cpu);
		if (is_interrupted(k)) {
			scan_finish(k);
			watch_put_back(k, w, end);
			return;
		}
	}
	scan_finish(k);
	watch_judge(k, w, pass);
}

/* ---- around a pass ---- */

static void mark_table(void *arg, gfn_t gfn)
{
	struct keeper *k = arg;
	uint8_t *note = &k->gm->share.note[gfn];

	if (k->nr_tables == MAX_TABLES || !stage2_is_ram(k->gm->s2, gfn, 1))
		return;
	gmem_lock(k->gm, GMEM_KEEPER);
	*note = note_with(*note, NOTE_PAGE_TABLE);
	gmem_unlock(k->gm);
	k->table[k->nr_tables++] = gfn;
}

/* Note which pages are page tables of the guest.  False: that is not known yet. */
static bool mark_tables(struct keeper *k)
{
	if (!k->config.page_tables)
		return true;
	gmem_lock(k->gm, GMEM_KEEPER);
	for (unsigned int i = 0; i < k->nr_tables; i++) {
		uint8_t *note = &k->gm->share.note[k->table[i]];

		if (note_reason(*note) == NOTE_PAGE_TABLE)
			*note = note_with(*note, NOTE_VOLATILE);
	}
	gmem_unlock(k->gm);
	k->nr_tables = 0;
	return k->config.page_tables(k->config.ctx, mark_table, k);
}

/* Wait until page tables are known: the first time the VM may take a moment to tell. */
static void await_tables(struct keeper *k)
{
	for (unsigned int i = 0; i < TABLES_TRIES && !mark_tables(k) && !is_interrupted(k); i++)
		rest(k, TABLES_NS, true);
}

/* Was every page of a private block looked at, with nothing that may soon be shared? */
static bool is_unshareable(const struct gmem *gm, gfn_t block)
{
	for (gfn_t g = block; g < block + QUIRE_BLOCK_PAGES; g++)
		switch (note_reason(gm->share.note[g])) {
		case NOTE_UNIQUE:
		case NOTE_VOLATILE:
		case NOTE_PAGE_TABLE: break;
		default: return false;
		}
	return true;
}

/* Make blocks whole again that were split and are private once more. */
static void collapse_some(struct keeper *k, const struct watch_region *w)
{
	struct gmem *gm = k->gm;
	gfn_t at = align_up(w->range.start, QUIRE_BLOCK_PAGES);

	for (unsigned int n = 0; at + QUIRE_BLOCK_PAGES <= w->range.end && n < COLLAPSES;
	     at += QUIRE_BLOCK_PAGES) {
		struct stage2_page page;
		enum page_state state;
		int err = -EBUSY;

		gmem_lock(gm, GMEM_KEEPER);
		stage2_lookup(gm->s2, at, &page);
		if (page.state == PG_PRIVATE && page.level == 1 && is_unshareable(gm, at) &&
		    stage2_run(gm->s2, at, at + QUIRE_BLOCK_PAGES, &state) == QUIRE_BLOCK_PAGES) {
			err = gmem_collapse(gm, at);
			n++;
		}
		gmem_unlock(gm);
		keeper_add(&k->stats.collapsed_blocks, !err);
		k->stir += !err;
	}
}

/* Set the share of a processor with which a pass takes AIM_NS. */
static void set_percent(struct keeper *k)
{
	struct stage2_counters c;
	uint64_t percent;

	gmem_lock(k->gm, GMEM_KEEPER);
	stage2_counters(k->gm->s2, &c);
	gmem_unlock(k->gm);
	percent = c.pages[PG_PRIVATE] * k->ns_per_page * 100 / AIM_NS;
	k->percent = (unsigned int)min_u64(max_u64(percent, MIN_PERCENT), MAX_PERCENT);
	__atomic_store_n(&k->stats.pages_per_s,
			 k->config.pages_per_s ? k->config.pages_per_s :
						 NS_PER_S / k->ns_per_page * k->percent / 100,
			 __ATOMIC_RELAXED);
}

/* ---- the thread ---- */

static uint64_t begin_pass(struct keeper *k)
{
	uint64_t pass;

	lock(&k->lock);
	pass = ++k->passes_begun;
	unlock(&k->lock);
	return pass;
}

static void end_pass(struct keeper *k, uint64_t pass)
{
	gmem_lock(k->gm, GMEM_KEEPER);
	store_view_sweep(&k->gm->share.store);
	gmem_unlock(k->gm);
	__atomic_store_n(&k->stats.cpu_ns, cpu_ns(), __ATOMIC_RELAXED);
	lock(&k->lock);
	k->passes_done = pass;
	unlock(&k->lock);
}

/*
 * Take the news at the end of a pass.  If somebody waits for this pass, other VMs are probably in
 * the middle of one and find our pages, so ask for news until there are none.
 */
static void hear_news(struct keeper *k)
{
	unsigned int quiet = 0;
	size_t nr;

	while ((nr = link_take_news(k)) || (is_hurried(k) && ++quiet < NEWS_QUIET)) {
		k->stir += nr;
		if (nr < MERGE_BATCH ? !rest(k, NEWS_NS, true) : is_interrupted(k))
			return;
	}
}

/* Connect.  A machine that was not asked before knows none of our pages: look them up again. */
static void join(struct keeper *k)
{
	if (k->obeyed != KEEPER_ON || !link_join(k) || !k->unasked)
		return;
	for (unsigned int i = 0; i < k->nr_regions; i++)
		watch_anew(k, &k->region[i]);
	k->unasked = false;
}

/* Undo what this mode does not allow.  Credits come in batches: go on until none come. */
static void unmerge(struct keeper *k)
{
	bool some;

	for (unsigned int idle = 0;
	     !scan_unmerge(k, &some) && idle < CREDITS_TRIES && !is_interrupted(k);
	     idle = some ? 0 : idle + 1)
		rest(k, CREDITS_NS, true);
}

/*
 * Is there nothing that a later pass could want: no region that rests, no machine to be found, and
 * but for a few no page that backs off, or was quiet until it was written?  A guest writes such a
 * few each time that it wakes up to say how it is.
 */
static bool is_settled(const struct keeper *k, uint64_t pass)
{
	for (unsigned int i = 0; i < k->nr_regions; i++)
		if (k->region[i].rest_until > pass)
			return false;
	return k->backing_off <= FEW_PAGES && k->fresh <= FEW_PAGES &&
	       (k->obeyed != KEEPER_ON || k->link >= 0 || !k->config.join);
}

/* After a pass: how long may the pause be?  wanted: the pass came early and says little. */
static void set_calm(struct keeper *k, uint64_t pass, bool wanted)
{
	bool still = !wanted && !k->memory_short && is_settled(k, pass);
	unsigned int most = still ? MAX_STILL : MAX_CALM;

	k->calm = k->stir || k->looked > CALM_PAGES ? 0 : (unsigned int)min_u64(k->calm + 1, most);
}

/* One pass.  wanted: the mode is new, or somebody waits for the pass. */
static void run_pass(struct keeper *k, bool wanted)
{
	uint64_t pass = begin_pass(k);

	k->stir = k->looked = k->fresh = 0;
	if (wanted && k->obeyed == KEEPER_ZERO)
		unmerge(k);
	join(k);
	if (wanted || !k->calm)
		mark_tables(k);
	if (watch_all(k, pass, is_hurried(k))) {
		if (!rest(k, EPOCH_NS, false))
			rest(k, HURRIED_NS, true);
		await_tables(k);
	}
	set_percent(k);
	for (unsigned int i = 0; i < k->nr_regions; i++) {
		if (k->region[i].watched)
			visit(k, &k->region[i], pass);
		if (k->region[i].watched && k->gm->config.hugepages == GMEM_HUGE_AUTO)
			collapse_some(k, &k->region[i]);
	}
	hear_news(k);
	archive_look(k);
	scan_relax(k, pass);
	watch_count(k);
	set_calm(k, pass, wanted);
	keeper_add(&k->stats.full_scans, 1);
	link_tell_pass(k);
	end_pass(k, pass);
}

static void stop_sharing(struct keeper *k)
{
	uint64_t pass = begin_pass(k);

	for (unsigned int i = 0; i < k->nr_regions; i++)
		watch_end(k, &k->region[i]);
	unmerge(k);
	watch_count(k);
	end_pass(k, pass);
}

/* Take over the mode that is wanted now.  *changed: it is new.  False: the thread is to end. */
static bool obey(struct keeper *k, bool *changed)
{
	bool quitting;

	lock(&k->lock);
	*changed = k->mode != k->obeyed;
	k->obeyed = k->mode;
	quitting = k->quitting;
	unlock(&k->lock);
	if (!*changed)
		return !quitting;
	gmem_lock(k->gm, GMEM_KEEPER);
	k->gm->share.zero_reads = k->obeyed != KEEPER_OFF;
	gmem_unlock(k->gm);
	return !quitting;
}

static void keeper_main(void *arg)
{
	struct keeper *k = arg;
	bool changed;

	if (k->config.on_thread_start)
		k->config.on_thread_start(k->config.ctx);
	rest(k, FIRST_NS, false);
	while (obey(k, &changed)) {
		changed |= is_hurried(k);
		if (k->obeyed != KEEPER_OFF)
			run_pass(k, changed);
		else if (changed)
			stop_sharing(k);
		else
			link_take_news(k); /* others may still find pages that we looked up */
		pause_between(k);
	}
}

/* ---- the outside ---- */

static int make_regions(struct keeper *k)
{
	const struct keeper_log *log = k->config.log;
	uint64_t most = REGION_PAGES;
	unsigned int nr = 0;

	if (log) {
		nr = log->nr_regions;
	} else {
		for (unsigned int r = 0; r < k->gm->config.nr_ram; r++)
			nr += (k->gm->ram[r].end - k->gm->ram[r].start + REGION_PAGES - 1) /
			      REGION_PAGES;
	}
	k->region = calloc(nr, sizeof(*k->region));
	if (!k->region)
		return -ENOMEM;
	for (unsigned int i = 0; log && i < nr; i++) {
		k->region[i].range = log->range(log->ctx, i);
		most = max_u64(most, k->region[i].range.end - k->region[i].range.start);
	}
	for (unsigned int r = 0, i = 0; !log && r < k->gm->config.nr_ram; r++)
		for (gfn_t at = k->gm->ram[r].start; at < k->gm->ram[r].end; at += REGION_PAGES)
			k->region[i++].range = (struct gfn_range){ at, min_u64(at + REGION_PAGES,
									       k->gm->ram[r].end) };
	k->nr_regions = nr;
	k->bitmap = calloc((most + 63) / 64, sizeof(*k->bitmap));
	return k->bitmap ? 0 : -ENOMEM;
}

int keeper_create(const struct keeper_config *config, struct keeper **out, struct quire_error *err)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return quire_fail(err, -ENOMEM, "no memory for the keeper");
	k->config = *config;
	if (!k->config.hash)
		k->config.hash = page_hash;
	k->gm = config->gm;
	k->mode = k->obeyed = config->mode;
	k->link = -1;
	k->ns_per_page = FIRST_GUESS_NS;
	lock_init(&k->lock, LOCK_KEEPER);
	cond_init_monotonic(&k->changed);
	if (make_regions(k)) {
		keeper_destroy(k);
		return quire_fail(err, -ENOMEM, "no memory for the keeper");
	}
	k->stats.regions = k->nr_regions;
	gmem_lock(k->gm, GMEM_KEEPER);
	k->gm->share.zero_reads = config->mode != KEEPER_OFF;
	gmem_unlock(k->gm);
	gmem_dozer(k->gm, GMEM_DOZER_KEEPER)->stir = on_stir;
	gmem_dozer(k->gm, GMEM_DOZER_KEEPER)->ctx = k;
	*out = k;
	return 0;
}

int keeper_start(struct keeper *k, struct quire_error *err)
{
	int error = thread_start(&k->thread, "keeper", keeper_main, k);

	return error ? quire_fail(err, error, "cannot start the keeper thread: %s",
				  strerror(-error)) :
		       0;
}

static void stop(struct keeper *k)
{
	if (!k->thread.started)
		return;
	lock(&k->lock);
	k->quitting = true;
	pthread_cond_broadcast(&k->changed);
	unlock(&k->lock);
	thread_join(&k->thread);
}

void keeper_destroy(struct keeper *k)
{
	if (!k)
		return;
	stop(k);
	if (k->link >= 0)
		close(k->link);
	pthread_cond_destroy(&k->changed);
	lock_finish(&k->lock);
	free(k->news);
	free(k->bitmap);
	free(k->region);
	free(k);
}

void keeper_set_mode(struct keeper *k, enum keeper_mode mode)
{
	lock(&k->lock);
	k->mode = mode;
	pthread_cond_broadcast(&k->changed);
	unlock(&k->lock);
}

uint64_t keeper_request_pass(struct keeper *k)
{
	uint64_t ticket;

	lock(&k->lock);
	ticket = k->wanted_pass = k->passes_begun + 1;
	pthread_cond_broadcast(&k->changed);
	unlock(&k->lock);
	return ticket;
}

uint64_t keeper_passes_done(struct keeper *k)
{
	uint64_t done;

	lock(&k->lock);
	done = k->passes_done;
	unlock(&k->lock);
	return done;
}

enum keeper_mode keeper_mode(struct keeper *k)
{
	enum keeper_mode mode;

	lock(&k->lock);
	mode = k->mode;
	unlock(&k->lock);
	return mode;
}

/* ---- numbers ---- */

uint64_t keeper_found_pages(const struct keeper *k)
{
	return __atomic_load_n(&k->stats.merged_pages, __ATOMIC_RELAXED) +
	       __atomic_load_n(&k->stats.zeroed_pages, __ATOMIC_RELAXED);
}

static void count_reasons(struct gmem *gm, uint64_t *pages)
{
	struct gmem_run run = { 0 };

	while (gmem_each_run(gm, &run)) {
		for (gfn_t g = run.gfn; g < run.gfn + run.nr && run.page.state == PG_PRIVATE; g++)
			pages[note_reason(gm->share.note[g])]++;
		gmem_let_others(gm);
	}
}

/* Copy all counters.  The keeper's thread may change them meanwhile. */
static void copy_counters(const struct keeper_stats *from, struct keeper_stats *to)
{
	size_t first = offsetof(struct keeper_stats, full_scans);
	const uint64_t *counter = (const void *)((const char *)from + first);
	uint64_t *copy = (void *)((char *)to + first);

	to->joined = __atomic_load_n(&from->joined, __ATOMIC_RELAXED);
	for (size_t i = 0; i < (sizeof(*to) - first) / sizeof(*copy); i++)
		copy[i] = __atomic_load_n(&counter[i], __ATOMIC_RELAXED);
}

void keeper_stats(struct keeper *k, struct keeper_stats *out)
{
	uint64_t span = k->gm->window.span >> QUIRE_PAGE_SHIFT;

	copy_counters(&k->stats, out);
	lock(&k->lock);
	out->mode = k->mode;
	unlock(&k->lock);
	memset(out->reason_pages, 0, sizeof(out->reason_pages));
	gmem_lock(k->gm, GMEM_LOOK);
	count_reasons(k->gm, out->reason_pages);
	out->metadata_bytes = sizeof(*k) + span + span / 8 +
			      k->gm->share.dropped_room * sizeof(*k->gm->share.dropped) +
			      __atomic_load_n(&k->news_room, __ATOMIC_RELAXED) * sizeof(*k->news);
	gmem_unlock(k->gm);
}
