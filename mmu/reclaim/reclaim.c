/* SPDX-License-Identifier: MIT */
/*
 * What is common to all replacement policies: the table of them, and which pages are resident.
 *
 * The bitmap of resident pages is kept here, so that no policy has to ask.  Reports of use are
 * late by nature, because sampling and eviction go on side by side: a page may have left between
 * its use and the report, and another drop of it may follow.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "reclaim.h"

const struct reclaim_policy *const reclaim_policies[RECLAIM_NR_POLICIES] = {
	[RECLAIM_CLOCK] = &reclaim_clock,   [RECLAIM_LRU] = &reclaim_lru,
	[RECLAIM_LFU] = &reclaim_lfu,	    [RECLAIM_FIFO] = &reclaim_fifo,
	[RECLAIM_RANDOM] = &reclaim_random, [RECLAIM_GEN] = &reclaim_gen,
};

static bool is_resident(const struct reclaim *r, gfn_t gfn)
{
	return r->resident[gfn / 64] >> gfn % 64 & 1;
}

static void set_resident(struct reclaim *r, gfn_t gfn)
{
	r->resident[gfn / 64] |= 1ULL << gfn % 64;
	r->nr_resident++;
}

static void clear_resident(struct reclaim *r, gfn_t gfn)
{
	r->resident[gfn / 64] &= ~(1ULL << gfn % 64);
	r->nr_resident--;
}

int reclaim_create(struct reclaim **result, const struct reclaim_policy *policy, gfn_t nr_pages,
		   uint64_t seed)
{
	struct reclaim *r;

	*result = NULL;
	if (nr_pages > RECLAIM_MAX_PAGES)
		return -EINVAL;
	r = calloc(1, policy->size);
	if (!r)
		return -ENOMEM;
	r->policy = policy;
	r->nr_pages = nr_pages;
	r->resident = calloc(nr_pages / 64 + 1, sizeof(uint64_t));
	if (!r->resident || policy->init(r, seed)) {
		reclaim_destroy(r);
		return -ENOMEM;
	}
	*result = r;
	return 0;
}

void reclaim_destroy(struct reclaim *r)
{
	if (!r)
		return;
	r->policy->finish(r);
	free(r->resident);
	free(r);
}

void reclaim_load(struct reclaim *r, gfn_t gfn, uint64_t distance)
{
	assert(gfn < r->nr_pages && !is_resident(r, gfn));
	r->policy->load(r, gfn, distance);
	set_resident(r, gfn);
}

void reclaim_used(struct reclaim *r, uint64_t word, uint64_t bits)
{
	assert(word <= r->nr_pages / 64);
	if (!r->policy->used)
		return;
	for (bits &= r->resident[word]; bits; bits &= bits - 1)
		r->policy->used(r, word * 64 + (unsigned int)__builtin_ctzll(bits));
}

void reclaim_drop(struct reclaim *r, gfn_t gfn)
{
	assert(gfn < r->nr_pages);
	if (!is_resident(r, gfn))
		return;
	r->policy->drop(r, gfn);
	clear_resident(r, gfn);
}

uint64_t reclaim_choose(struct reclaim *r, gfn_t *victim, uint64_t nr)
{
	uint64_t i;

	for (i = 0; i < nr && r->nr_resident; i++) {
		victim[i] = r->policy->choose(r);
		assert(is_resident(r, victim[i]));
		clear_resident(r, victim[i]);
		r->nr_chosen++;
	}
	return i;
}
