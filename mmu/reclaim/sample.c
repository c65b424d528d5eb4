/* SPDX-License-Identifier: MIT */
/*
 * Sampling: which pages are there, and which were used.
 *
 * A policy is told of pages block by block.  What is private now and was not known has come in;
 * what was known and is private no more has gone for another reason than being chosen.  Its touches
 * are forgotten then, so that the next sample finds new ones.
 *
 * The refault distance of a page that comes back is how many pages were chosen since it was.
 */
#include "reclaimer_internal.h"

static uint64_t distance(const struct reclaimer *r, gfn_t gfn)
{
	uint32_t at = r->chosen_at[gfn];

	return at ? (uint32_t)(r->policy->nr_chosen + 1) - at : RECLAIM_NEW;
}

static void came(struct reclaimer *r, uint64_t word, uint64_t bits)
{
	for (; bits; bits &= bits - 1) {
		gfn_t gfn = word * 64 + (unsigned int)__builtin_ctzll(bits);
		uint64_t refault = distance(r, gfn);

		reclaim_load(r->policy, gfn, refault);
		if (refault != RECLAIM_NEW)
			reclaimer_refault(r, refault);
		reclaimer_mark(r, gfn, 0);
	}
}

static void went(struct reclaimer *r, uint64_t word, uint64_t bits)
{
	for (; bits; bits &= bits - 1)
		reclaim_drop(r->policy, word * 64 + (unsigned int)__builtin_ctzll(bits));
}

/* What is known of 64 pages is made to agree with what is there. */
static void reconcile(struct reclaimer *r, uint64_t word, uint64_t resident, uint64_t touched)
{
	uint64_t known = reclaim_resident(r->policy, word);

	went(r, word, known & ~resident);
	reclaim_used(r->policy, word, known & touched);
	came(r, word, resident & ~known);
	reclaimer_age(r, word, resident, touched);
}

static void sample_block(struct reclaimer *r, gfn_t gfn, uint64_t nr)
{
	struct gmem_touched t;
	uint64_t any = 0;

	gmem_touched(r->gm, GMEM_RECLAIMER, gfn, nr, &t);
	for (unsigned int i = 0; i * 64 < nr; i++) {
		reconcile(r, gfn / 64 + i, t.resident[i], t.touched[i]);
		any |= t.touched[i];
	}
	if (any)
		gmem_forget_touches(r->gm, GMEM_RECLAIMER, gfn, nr);
}

void reclaimer_sample(struct reclaimer *r)
{
	unsigned int nr_ram;
	const struct gfn_range *ram = gmem_ram(r->gm, &nr_ram);

	reclaimer_age_begin(r);
	for (unsigned int i = 0; i < nr_ram; i++)
		for (gfn_t at = ram[i].start, end; at < ram[i].end; at = end) {
			end = min_u64(ram[i].end, at + QUIRE_BLOCK_PAGES);
			sample_block(r, at, end - at);
		}
	r->sampled_at = r->policy->nr_chosen;
	r->sampled = true;
	reclaimer_age_end(r);
	reclaimer_count(&r->stats.passes, 1);
	__atomic_store_n(&r->stats.known_pages, r->policy->nr_resident, __ATOMIC_RELAXED);
}
