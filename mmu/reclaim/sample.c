/* SPDX-License-Identifier: MIT */
/*
 * Sampling: which pages are there, and which were used.
 *
 * A policy is told of pages block by block.  What is private now and was not known has come in;
 * what was known and is private no more has gone for another reason than being chosen.  Its touches
 * are forgotten then, so that the next sample finds new ones.
 *
 * To forget a touch costs the guest a fault of the host's, or two, at the next one.  So a page that
 * was used at the last look is passed over once, then for 3 passes, and in the end for 7; it counts
 * as used meanwhile.  Its *heat* says how often it was, less how often not.  All pages are cold
 * again when one in four of the hottest is found unused: then the guest does something else now.
 *
 * The refault distance of a page that comes back is how many pages were chosen since it was.
 */
#include <string.h>
#include "reclaimer_internal.h"

#define HEAT_MOST  3u
#define HOT_LEAST  16u /* so many hot pages are to be looked at before they say something */
#define HOT_UNUSED 4u  /* one in so many of them */
#define STAGGER	   16u /* pages that are looked at in the same pass */

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
		r->heat.of_page[gfn] = 0;
	}
}

static void went(struct reclaimer *r, uint64_t word, uint64_t bits)
{
	for (; bits; bits &= bits - 1)
		reclaim_drop(r->policy, word * 64 + (unsigned int)__builtin_ctzll(bits));
}

/* Is a page looked at in that pass: are its touches forgotten then? */
static bool is_due(const struct reclaimer *r, uint64_t pass, gfn_t gfn)
{
	return !((pass + gfn / STAGGER) & ((1u << r->heat.of_page[gfn]) - 1));
}

/* Pages were known at the last pass.  Those that were looked at since become hotter, or colder. */
static void take_heat(struct reclaimer *r, uint64_t pass, uint64_t word, uint64_t bits,
		      uint64_t touched)
{
	for (; bits; bits &= bits - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(bits);
		uint8_t *heat = &r->heat.of_page[word * 64 + i];
		bool used = touched >> i & 1;

		if (!is_due(r, pass - 1, word * 64 + i))
			continue;
		r->heat.hottest += *heat == HEAT_MOST;
		r->heat.unused += *heat == HEAT_MOST && !used;
		if (used)
			*heat += *heat < HEAT_MOST;
		else
			*heat -= *heat > 0;
	}
}

/* Which of the pages `bits` are looked at in that pass. */
static uint64_t due(const struct reclaimer *r, uint64_t pass, uint64_t word, uint64_t bits)
{
	uint64_t which = 0;

	for (; bits; bits &= bits - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(bits);

		which |= (uint64_t)is_due(r, pass, word * 64 + i) << i;
	}
	return which;
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

static void sample_block(struct reclaimer *r, uint64_t pass, gfn_t gfn, uint64_t nr)
{
	uint64_t which[QUIRE_BLOCK_PAGES / 64] = { 0 }, any = 0;
	struct gmem_touched t;

	gmem_touched(r->gm, GMEM_RECLAIMER, gfn, nr, &t);
	for (unsigned int i = 0; i * 64 < nr; i++) {
		uint64_t word = gfn / 64 + i, known = reclaim_resident(r->policy, word);

		take_heat(r, pass, word, known & t.resident[i], t.touched[i]);
		reconcile(r, word, t.resident[i], t.touched[i]);
		which[i] = t.large ? t.touched[i] : due(r, pass, word, t.touched[i]);
		any |= which[i];
	}
	if (any)
		gmem_forget_these(r->gm, GMEM_RECLAIMER, gfn, nr, which);
}

void reclaimer_sample(struct reclaimer *r)
{
	uint64_t pass = r->stats.passes + 1;
	unsigned int nr_ram;
	const struct gfn_range *ram = gmem_ram(r->gm, &nr_ram);

	reclaimer_age_begin(r);
	r->heat.hottest = r->heat.unused = 0;
	for (unsigned int i = 0; i < nr_ram; i++)
		for (gfn_t at = ram[i].start, end; at < ram[i].end; at = end) {
			end = min_u64(ram[i].end, at + QUIRE_BLOCK_PAGES);
			sample_block(r, pass, at, end - at);
		}
	if (r->heat.hottest >= HOT_LEAST && r->heat.unused * HOT_UNUSED > r->heat.hottest)
		memset(r->heat.of_page, 0, r->policy->nr_pages);
	r->sampled_at = r->policy->nr_chosen;
	r->sampled = true;
	reclaimer_age_end(r);
	reclaimer_count(&r->stats.passes, 1);
	__atomic_store_n(&r->stats.known_pages, r->policy->nr_resident, __ATOMIC_RELAXED);
}
