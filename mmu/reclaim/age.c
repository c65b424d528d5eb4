/* SPDX-License-Identifier: MIT */
/*
 * Ages: how long ago each page was last found used.
 *
 * A byte a page says how many samples in a row have found it unused, and a ring has the times of
 * the last samples.  So an age is that of a sample: the page was used after the one before it.
 * Pages that came in since the last sample were used since then.
 */
#include "mmu/base/clock.h"
#include "reclaimer_internal.h"

#define OLDEST (AGE_SAMPLES - 1)

static uint64_t now_s(const struct reclaimer *r)
{
	return (monotonic_ns() - r->age.began_ns) / NS_PER_S;
}

void reclaimer_age_begin(struct reclaimer *r)
{
	r->age.counts = (struct age_counts){ 0 };
	__atomic_store_n(&r->age.time_s[r->stats.passes % AGE_SAMPLES], (uint32_t)now_s(r),
			 __ATOMIC_RELAXED);
}

static void look_at(struct reclaimer *r, gfn_t gfn, bool used)
{
	uint8_t idle = used ? 0 : (uint8_t)min_u64(r->age.idle[gfn] + 1u, OLDEST);

	__atomic_store_n(&r->age.idle[gfn], idle, __ATOMIC_RELAXED);
	r->age.counts.by_idle[idle]++;
}

void reclaimer_age(struct reclaimer *r, uint64_t word, uint64_t resident, uint64_t used)
{
	struct age_counts *c = &r->age.counts;
	uint64_t clean = resident ? gmem_clean(r->gm, word * 64, 64) & resident : 0;

	c->active += (uint64_t)__builtin_popcountll(resident & used);
	c->inactive += (uint64_t)__builtin_popcountll(resident & ~used);
	c->active_clean += (uint64_t)__builtin_popcountll(clean & used);
	c->inactive_clean += (uint64_t)__builtin_popcountll(clean & ~used);
	for (uint64_t bits = resident; bits; bits &= bits - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(bits);

		look_at(r, word * 64 + i, used >> i & 1);
	}
}

/* How long before now the sample was that so many have followed, the last of all being `last`. */
static uint64_t age_s(const struct reclaimer *r, uint64_t last, unsigned int idle)
{
	uint64_t at = last - min_u64(last, idle);

	return now_s(r) - __atomic_load_n(&r->age.time_s[at % AGE_SAMPLES], __ATOMIC_RELAXED);
}

static unsigned int bucket_of(uint64_t value, unsigned int buckets)
{
	return (unsigned int)min_u64(value ? 64 - (unsigned int)__builtin_clzll(value) : 0,
				     buckets - 1);
}

static void publish(uint64_t *counter, uint64_t value)
{
	__atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

void reclaimer_age_end(struct reclaimer *r)
{
	const struct age_counts *c = &r->age.counts;
	uint64_t pages[RECLAIM_AGES] = { 0 };

	for (unsigned int i = 0; i < AGE_SAMPLES; i++)
		pages[bucket_of(age_s(r, r->stats.passes, i), RECLAIM_AGES)] += c->by_idle[i];
	for (unsigned int i = 0; i < RECLAIM_AGES; i++)
		publish(&r->stats.age_pages[i], pages[i]);
	publish(&r->stats.active_pages, c->active);
	publish(&r->stats.inactive_pages, c->inactive);
	publish(&r->stats.active_clean_pages, c->active_clean);
	publish(&r->stats.inactive_clean_pages, c->inactive_clean);
}

void reclaimer_refault(struct reclaimer *r, uint64_t distance)
{
	reclaimer_count(&r->stats.refault_pages, 1);
	reclaimer_count(&r->stats.refault_distances[bucket_of(distance, RECLAIM_DISTANCES)], 1);
}

void reclaimer_look(const struct reclaimer *r, gfn_t gfn, struct reclaimer_page *out)
{
	uint64_t passes = __atomic_load_n(&r->stats.passes, __ATOMIC_RELAXED);
	uint64_t chosen = __atomic_load_n(&r->stats.chosen_pages, __ATOMIC_RELAXED);
	uint32_t at = __atomic_load_n(&r->chosen_at[gfn], __ATOMIC_RELAXED);
	uint8_t idle = __atomic_load_n(&r->age.idle[gfn], __ATOMIC_RELAXED);
	uint32_t since = (uint32_t)chosen + 1 - at;

	*out = (struct reclaimer_page){ .passes = passes,
					.idle_passes = idle,
					.chosen_since = RECLAIM_NEW };
	if (passes)
		out->unused_s = age_s(r, passes - 1, idle);
	/* The batch of which it is may not be counted yet. */
	if (at)
		out->chosen_since = (int32_t)since > 0 ? since : 0;
}
