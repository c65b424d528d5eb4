/* SPDX-License-Identifier: MIT */
/*
 * The simulator: a memory of so many frames, and what a VM's guest memory is to a policy.
 *
 * A page takes its number in the trace as its gfn.  What the simulator knows of each is whether it
 * is resident, whether it was written since it came in, and after how many choices it last left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "opt.h"
#include "reclaim.h"
#include "simulate.h"
#include "stack_distance.h"

_Static_assert(SIM_NR_POLICIES == RECLAIM_NR_POLICIES + 1, "OPT is the last");

struct memory {
	const struct trace *t;
	const struct sim *sim;
	struct reclaim *r;
	struct spool next; /* OPT: the future */
	uint64_t now;	   /* the present access */
	uint8_t *state;	   /* of each page */
	uint32_t *left;	   /* of each: nr_chosen, modulo 2^32, when it had been chosen */
	uint64_t *used;	   /* in batches: a bit for each page, not reported yet */
	gfn_t *victim;
	uint32_t seen; /* pages that were accessed; the next new one has this number */
	struct sim_result *result;
};

enum {
	RESIDENT = 1,
	WRITTEN = 2,
};

static const struct reclaim_policy *policy_of(unsigned int policy)
{
	return policy < RECLAIM_NR_POLICIES ? reclaim_policies[policy] : &reclaim_opt;
}

const char *sim_name(unsigned int policy)
{
	return policy_of(policy)->name;
}

unsigned int sim_page_bytes(unsigned int policy)
{
	return policy_of(policy)->page_bytes;
}

static bool is_opt(const struct sim *sim)
{
	return policy_of(sim->policy) == &reclaim_opt;
}

static bool is_exact(const struct sim *sim)
{
	return !sim->batch || is_opt(sim);
}

/* ---- one access ---- */

static void report(struct memory *m)
{
	for (uint64_t word = 0; word <= m->t->nr_pages / 64; word++) {
		if (m->used[word])
			reclaim_used(m->r, word, m->used[word]);
		m->used[word] = 0;
	}
}

static void evict(struct memory *m)
{
	uint64_t nr;

	if (!is_exact(m->sim))
		report(m);
	nr = reclaim_choose(m->r, m->victim, is_exact(m->sim) ? 1 : m->sim->batch);
	for (uint64_t i = 0; i < nr; i++) {
		gfn_t gfn = m->victim[i];

		m->result->evictions++;
		m->result->write_backs += (m->state[gfn] & WRITTEN) != 0;
		m->state[gfn] = 0;
		m->left[gfn] = (uint32_t)(m->r->nr_chosen - nr + i + 1);
	}
}

/* Pages are numbered by their first accesses, so a page that was never seen is the next. */
static uint64_t distance_of(struct memory *m, uint32_t page)
{
	if (page < m->seen)
		return (uint32_t)m->r->nr_chosen - m->left[page];
	m->seen++;
	return RECLAIM_NEW;
}

static void fault(struct memory *m, uint32_t page)
{
	m->result->faults++;
	if (m->r->nr_resident == m->sim->frames)
		evict(m);
	reclaim_load(m->r, page, distance_of(m, page));
	m->state[page] = RESIDENT;
}

static void use(struct memory *m, uint32_t page)
{
	if (is_exact(m->sim))
		reclaim_used(m->r, page / 64, 1ULL << page % 64);
	else
		m->used[page / 64] |= 1ULL << page % 64;
}

static void access_page(struct memory *m, uint32_t page, bool write)
{
	if (m->state[page] & RESIDENT)
		use(m, page);
	else
		fault(m, page);
	if (write)
		m->state[page] |= WRITTEN;
}

/* ---- the whole ---- */

static int begin(struct memory *m, struct quire_error *err)
{
	uint64_t nr = m->t->nr_pages;
	uint64_t batch = m->sim->batch ? m->sim->batch : 1;
	int code = 0;

	m->state = calloc(nr, sizeof(*m->state));
	m->left = calloc(nr, sizeof(*m->left));
	m->used = calloc(nr / 64 + 1, sizeof(*m->used));
	m->victim = calloc(min_u64(batch, nr), sizeof(*m->victim));
	if (!m->state || !m->left || !m->used || !m->victim ||
	    reclaim_create(&m->r, policy_of(m->sim->policy), nr, m->sim->seed))
		return quire_fail(err, -ENOMEM, "no memory for %u pages", m->t->nr_pages);
	if (is_opt(m->sim)) {
		code = opt_look_ahead(m->t, &m->next, err);
		opt_foresee(m->r, &m->next, &m->now);
	}
	return code;
}

static void end(struct memory *m)
{
	reclaim_destroy(m->r);
	spool_finish(&m->next);
	free(m->state);
	free(m->left);
	free(m->used);
	free(m->victim);
}

int sim_run(const struct trace *t, const struct sim *sim, struct sim_result *result,
	    struct quire_error *err)
{
	struct memory m = { .t = t, .sim = sim, .result = result };
	int code = begin(&m, err);

	*result = (struct sim_result){ 0 };
	for (; m.now < trace_length(t) && !code; m.now++)
		access_page(&m, trace_page(t, m.now), trace_writes(t, m.now));
	end(&m);
	return code;
}

/* ---- miss-ratio curves ---- */

static int lru_curve(const struct trace *t, const uint32_t *frames, unsigned int nr,
		     uint64_t *faults, struct quire_error *err)
{
	uint64_t *nr_at = calloc(t->nr_pages + 1ULL, sizeof(*nr_at));
	int code = nr_at ? stack_distances(t, nr_at, err) :
			   quire_fail(err, -ENOMEM, "no memory for %u pages", t->nr_pages);

	memset(faults, 0, nr * sizeof(*faults));
	for (unsigned int i = 0; i < nr && !code; i++) {
		faults[i] = nr_at[0];
		for (uint64_t d = frames[i] + 1ULL; d <= t->nr_pages; d++)
			faults[i] += nr_at[d];
	}
	free(nr_at);
	return code;
}

int sim_curve(const struct trace *t, const struct sim *sim, const uint32_t *frames, unsigned int nr,
	      uint64_t *faults, struct quire_error *err)
{
	struct sim at = *sim;
	struct sim_result result;
	int code = 0;

	if (policy_of(sim->policy) == &reclaim_lru && is_exact(sim))
		return lru_curve(t, frames, nr, faults, err);
	for (unsigned int i = 0; i < nr && !code; i++) {
		at.frames = frames[i];
		code = sim_run(t, &at, &result, err);
		faults[i] = result.faults;
	}
	return code;
}

/* All up to ALL_POINTS; and then 2^n and 3/2 * 2^n, with the last. */
#define ALL_POINTS 24u

unsigned int sim_points(uint32_t nr_pages, uint32_t *frames)
{
	unsigned int nr = 0;
	uint64_t step = 1, at;

	for (at = 1; at < nr_pages; at += step) {
		frames[nr++] = (uint32_t)at;
		if (nr_pages > ALL_POINTS && at >= 4 && !(at & (at - 1)))
			step = at / 2;
	}
	frames[nr++] = nr_pages;
	return nr;
}
