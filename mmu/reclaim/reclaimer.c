/* SPDX-License-Identifier: MIT */
/*
 * The reclaimer: its thread, and what it is asked for.
 *
 * Direct reclaim.  An access that waits for a credit is a fault of the guest that stands still.
 * Mostly the machine grants more within microseconds, so the reclaimer lets GRACE_NS pass.  If it
 * had to help just before, memory is short, and it helps at once.
 *
 * How often it samples.  A sample of all of RAM costs the guest a fault of the host's for each page
 * that it uses.  So there is one before the first page leaves, and then whenever half as many pages
 * have been chosen as there are, or the policy knows of none.  In between a page that was used
 * again is found at the moment when it is about to leave (evict.c).
 *
 * Nothing can go.  When as many pages were chosen as there are, and next to none became free, those
 * go that were used just now.  If they cannot, either, nothing is tried for DRY_NS, and others hear
 * for EMPTY_NS that there is nothing: to kill somebody is better than to crawl.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "reclaimer_internal.h"

#define GRACE_NS    (100 * NS_PER_MS) /* the machine may take so long to grant credits */
#define SHORT_NS    NS_PER_S	      /* memory is short for so long after it was */
#define DRY_NS	    (500 * NS_PER_MS)
#define EMPTY_NS    (10 * NS_PER_S)  /* others hear for so long that nothing can go */
#define WORTH	    16u		     /* of so many chosen pages one at least is to become free */
#define TELL_NS	    (50 * NS_PER_MS) /* records are so far apart while it works */
#define LOOK_NS	    (30 * NS_PER_S)  /* the working set is what is used in so long, as in ESX */
#define FIRST_NS    (2 * NS_PER_S)   /* guests that end soon are left alone */
#define SAMPLE_PART 2u		     /* a sample when half as many pages were chosen as there are */

/* ---- what others are told ---- */

static bool has_more(const struct reclaimer *r, uint64_t now)
{
	return now >= r->empty_until_ns;
}

static void tell(struct reclaimer *r, uint64_t now)
{
	struct reclaim_record record = { .on = 1, .more = has_more(r, now) };
	struct gmem_stats gs;

	r->told_ns = now;
	r->told_more = record.more;
	if (!r->config.tell)
		return;
	gmem_stats(r->gm, &gs);
	record.still_asked = atomic_load(&r->asked);
	record.compressed = gs.s2.pages[PG_COMPRESSED];
	record.pool = gs.pool.pool_pages;
	record.swapped = gs.s2.pages[PG_SWAPPED];
	record.working_set = r->has_estimate ? r->stats.working_set_pages :
					       reclaimer_used_at_most(r);
	record.working_set_error = r->stats.working_set_error_pages;
	record.freed = r->stats.freed_pages + r->stats.given_pages;
	record.refaults = r->stats.refault_pages;
	record.some_ns = gs.stall.total_ns[STALL_SOME];
	record.full_ns = gs.stall.total_ns[STALL_FULL];
	r->config.tell(r->config.ctx, &record);
}

/* ---- what is wanted ---- */

/* How many pages accesses wait for that have waited long enough. */
static uint64_t wanted_by_accesses(struct reclaimer *r, uint64_t now)
{
	uint64_t since = gmem_waiting_since(r->gm);

	if (!since || (now < since + GRACE_NS && now > r->helped_ns + SHORT_NS))
		return 0;
	return max_u64(gmem_nr_waiting(r->gm), 1);
}

static bool is_time_to_sample(const struct reclaimer *r)
{
	const struct reclaim *policy = r->policy;

	return !r->sampled || !policy->nr_resident ||
	       policy->nr_chosen - r->sampled_at > policy->nr_resident / SAMPLE_PART;
}

/* Some of what was asked for is done.  What accesses of our own have taken does not count. */
void reclaimer_done(struct reclaimer *r, uint64_t pages)
{
	unsigned long long asked = atomic_load(&r->asked);

	while (asked &&
	       !atomic_compare_exchange_weak(&r->asked, &asked, asked - min_u64(asked, pages)))
		;
}

/* Free some pages of `want`.  False: none can go. */
static bool free_some(struct reclaimer *r, uint64_t want)
{
	uint64_t freed, chosen;
	bool any;

	if (is_time_to_sample(r))
		reclaimer_sample(r);
	any = r->fruitless > r->policy->nr_resident;
	freed = reclaimer_evict(r, want, any, &chosen);
	freed += reclaimer_spill(r, want, !freed);
	if (!gmem_waiting_since(r->gm))
		reclaimer_done(r, freed);
	r->fruitless += chosen;
	r->fruitless -= min_u64(r->fruitless, WORTH * freed);
	if ((chosen || freed) && r->fruitless <= 2 * r->policy->nr_resident)
		return true;
	r->fruitless = 0;
	return false;
}

static void serve(struct reclaimer *r)
{
	for (; !atomic_load(&r->quitting); reclaimer_swap_by_hand(r)) {
		uint64_t now = monotonic_ns(), direct = wanted_by_accesses(r, now);
		uint64_t want = max_u64(direct, reclaimer_weigh(r, atomic_load(&r->asked), now));

		if (!want || now < r->dry_until_ns)
			return;
		if (direct) {
			reclaimer_count(&r->stats.direct, now - r->helped_ns > SHORT_NS);
			r->helped_ns = now;
		}
		if (free_some(r, want)) {
			r->empty_until_ns = 0;
		} else {
			r->dry_until_ns = now + DRY_NS;
			r->empty_until_ns = now + EMPTY_NS;
		}
		if (now >= r->told_ns + TELL_NS || has_more(r, now) != r->told_more)
			tell(r, now);
	}
}

/* When to look around again although nobody says so. */
static int pause_ms(struct reclaimer *r)
{
	uint64_t now = monotonic_ns(), until = r->look_ns;

	if (gmem_waiting_since(r->gm) || atomic_load(&r->asked))
		until = min_u64(until, max_u64(r->dry_until_ns, now + DRY_NS));
	else if (!r->told_more)
		until = min_u64(until, r->empty_until_ns);
	return poll_ms(now, min_u64(until, reclaimer_weigh_until(r, now)));
}

/* Every now and then see how much the guest uses. */
static void look(struct reclaimer *r, uint64_t now)
{
	if (now < r->look_ns)
		return;
	if (r->nr_drawn) {
		reclaimer_estimate(r);
		r->has_estimate = true;
		tell(r, now);
	}
	reclaimer_draw(r);
	r->look_ns = now + LOOK_NS;
}

static void work(struct reclaimer *r)
{
	uint64_t now = monotonic_ns(), asked = atomic_load(&r->asked);

	look(r, now);
	serve(r);
	if (asked != atomic_load(&r->asked) || has_more(r, now) != r->told_more)
		tell(r, now);
}

static void reclaimer_main(void *arg)
{
	struct reclaimer *r = arg;
	struct pollfd p = { .fd = r->event, .events = POLLIN };
	eventfd_t count;

	if (r->config.on_thread_start)
		r->config.on_thread_start(r->config.ctx);
	r->look_ns = monotonic_ns() + FIRST_NS;
	tell(r, monotonic_ns());
	while (!atomic_load(&r->quitting)) {
		if (poll(&p, 1, r->config.only_by_hand ? -1 : pause_ms(r)) < 0 && errno != EINTR)
			return;
		if (p.revents && eventfd_read(r->event, &count))
			continue;
		reclaimer_swap_by_hand(r);
		if (!r->config.only_by_hand)
			work(r);
		__atomic_store_n(&r->stats.cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID),
				 __ATOMIC_RELAXED);
	}
}

/* ---- the outside ---- */

void reclaimer_wake(struct reclaimer *r)
{
	eventfd_write(r->event, 1); /* it fails before the start */
}

static void wake(void *ctx)
{
	reclaimer_wake(ctx);
}

static int fail(struct reclaimer *r, int code, struct quire_error *err)
{
	reclaimer_destroy(r);
	return quire_fail(err, code, "cannot make the reclaimer: %s", strerror(-code));
}

int reclaimer_create(const struct reclaimer_config *config, struct reclaimer **out,
		     struct quire_error *err)
{
	struct reclaimer *r = calloc(1, sizeof(*r));
	unsigned int nr_ram;
	const struct gfn_range *ram = gmem_ram(config->gm, &nr_ram);
	gfn_t span = align_up(ram[nr_ram - 1].end, 64);
	int code;

	if (!r)
		return quire_fail(err, -ENOMEM, "no memory for the reclaimer");
	r->config = *config;
	r->gm = config->gm;
	r->dice = config->seed;
	r->event = -1;
	code = reclaim_create(&r->policy, config->policy, span, config->seed);
	if (code)
		return fail(r, code, err);
	r->chosen_at = calloc(span, sizeof(*r->chosen_at));
	r->age.idle = calloc(span, 1);
	r->heat.of_page = calloc(span, 1);
	if (!r->chosen_at || !r->age.idle || !r->heat.of_page)
		return fail(r, -ENOMEM, err);
	r->age.began_ns = monotonic_ns();
	if (!config->only_by_hand)
		r->stats.metadata_bytes =
			span * (config->policy->page_bytes + sizeof(*r->chosen_at) + 2);
	*out = r;
	return 0;
}

int reclaimer_start(struct reclaimer *r, struct quire_error *err)
{
	int code;

	r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event < 0)
		return quire_fail(err, -errno, "cannot create an eventfd: %s", strerror(errno));
	if (!r->config.only_by_hand)
		gmem_set_helper(r->gm, wake, r);
	code = thread_start(&r->thread, "reclaimer", reclaimer_main, r);
	return code ? quire_fail(err, code, "cannot start the reclaimer thread: %s",
				 strerror(-code)) :
		      0;
}

void reclaimer_stop(struct reclaimer *r)
{
	atomic_store(&r->quitting, true);
	wake(r);
	thread_join(&r->thread);
}

void reclaimer_destroy(struct reclaimer *r)
{
	if (!r)
		return;
	gmem_set_helper(r->gm, NULL, NULL);
	if (r->event >= 0)
		close(r->event);
	reclaim_destroy(r->policy);
	free(r->chosen_at);
	free(r->age.idle);
	free(r->heat.of_page);
	free(r);
}

void reclaimer_ask(struct reclaimer *r, uint64_t pages)
{
	atomic_store(&r->asked, pages);
	__atomic_fetch_add(&r->stats.requests, 1, __ATOMIC_RELAXED);
	wake(r);
}

void reclaimer_stats(const struct reclaimer *r, struct reclaimer_stats *out)
{
	const uint64_t *counter = (const void *)&r->stats;
	uint64_t *copy = (void *)out;

	for (size_t i = 0; i < sizeof(*out) / sizeof(*copy); i++)
		copy[i] = __atomic_load_n(&counter[i], __ATOMIC_RELAXED);
}
