/* SPDX-License-Identifier: MIT */
/*
 * Each policy against its model, in lockstep: loads, reports of use, drops and choices at random,
 * as a VM would make them; every choice is compared.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/reclaim/reclaim.h"
#include "model.h"
#include "tests/tap.h"

#define STEPS 20000u

static const struct reclaim_policy *policy_named(const char *name)
{
	for (unsigned int i = 0; i < RECLAIM_NR_POLICIES; i++)
		if (!strcmp(reclaim_policies[i]->name, name))
			return reclaim_policies[i];
	tap_bail("no policy %s", name);
}

struct pair {
	const struct model_rules *rules;
	struct model m;
	struct reclaim *r;
	uint64_t left[MODEL_PAGES]; /* nr_chosen when it had been chosen */
	uint64_t seed;
};

static void load(struct pair *p)
{
	gfn_t gfn = tap_random(&p->seed) % MODEL_PAGES;
	uint64_t distance = RECLAIM_NEW;

	if (p->m.page[gfn].resident)
		return;
	if (p->left[gfn])
		distance = p->r->nr_chosen - p->left[gfn];
	model_load(p->rules, &p->m, gfn, distance);
	reclaim_load(p->r, gfn, distance);
}

/* Reports of pages that are not resident are late, and count for nothing. */
static void use(struct pair *p)
{
	uint64_t word = tap_random(&p->seed) % (MODEL_PAGES / 64);
	uint64_t bits = tap_random(&p->seed) & tap_random(&p->seed) & tap_random(&p->seed);

	for (unsigned int i = 0; i < 64; i++)
		if (bits >> i & 1)
			model_used(p->rules, &p->m, word * 64 + i);
	reclaim_used(p->r, word, bits);
}

static void drop(struct pair *p)
{
	gfn_t gfn = tap_random(&p->seed) % MODEL_PAGES;

	model_drop(&p->m, gfn);
	reclaim_drop(p->r, gfn);
}

static bool choose(struct pair *p)
{
	gfn_t victim[8];
	uint64_t want = tap_random(&p->seed) % 8 + 1;
	uint64_t nr = reclaim_choose(p->r, victim, want);
	bool same = nr == min_u64(want, model_nr_resident(&p->m));

	for (uint64_t i = 0; i < nr && same; i++) {
		same = model_choose(p->rules, &p->m) == victim[i];
		p->left[victim[i]] = p->r->nr_chosen - nr + i + 1;
	}
	return same;
}

/* Phases of growth and of shrinking, so that memory is now nearly full and now nearly empty. */
static bool step(struct pair *p, unsigned int i)
{
	unsigned int growth = i / 1000 % 2 ? 60 : 40, what = tap_random(&p->seed) % 100;

	if (what < growth)
		load(p);
	else if (what < 85)
		use(p);
	else if (what < 90)
		drop(p);
	else
		return choose(p) && p->r->nr_resident == model_nr_resident(&p->m);
	return p->r->nr_resident == model_nr_resident(&p->m);
}

static void against_model(const struct model_rules *rules, uint64_t seed)
{
	struct pair p = { .rules = rules, .seed = seed };
	unsigned int i;

	model_init(&p.m);
	if (reclaim_create(&p.r, policy_named(rules->name), MODEL_PAGES, 0))
		tap_bail("no memory");
	for (i = 0; i < STEPS && step(&p, i); i++)
		;
	is(i, STEPS, "%s chooses as its model does", rules->name);
	while (p.r->nr_resident && choose(&p))
		;
	is(p.r->nr_resident, 0, "... to the last page");
	reclaim_destroy(p.r);
}

/* Of ten pages one leaves, again and again: which one must be even, and come from the seed. */
static void random_is_even(uint64_t seed)
{
	enum { PAGES = 10, ROUNDS = 20000 };
	unsigned int nr[PAGES] = { 0 }, least = ROUNDS, same = 0;
	struct reclaim *a, *b;
	gfn_t va, vb;

	if (reclaim_create(&a, &reclaim_random, PAGES, seed) ||
	    reclaim_create(&b, &reclaim_random, PAGES, seed))
		tap_bail("no memory");
	for (gfn_t gfn = 0; gfn < PAGES; gfn++) {
		reclaim_load(a, gfn, RECLAIM_NEW);
		reclaim_load(b, gfn, RECLAIM_NEW);
	}
	for (unsigned int i = 0; i < ROUNDS; i++) {
		reclaim_choose(a, &va, 1);
		reclaim_choose(b, &vb, 1);
		same += va == vb;
		nr[va]++;
		reclaim_load(a, va, 0);
		reclaim_load(b, vb, 0);
	}
	for (unsigned int i = 0; i < PAGES; i++)
		least = (unsigned int)min_u64(least, nr[i]);
	is(same, ROUNDS, "random: equal seeds, equal choices");
	ok(least > ROUNDS / PAGES * 3 / 4, "random: no page is spared, %u of %u times at least",
	   least, (unsigned int)ROUNDS);
	reclaim_destroy(a);
	reclaim_destroy(b);
}

static void empty_ones(void)
{
	struct reclaim *r;
	gfn_t victim;

	for (unsigned int i = 0; i < RECLAIM_NR_POLICIES; i++) {
		if (reclaim_create(&r, reclaim_policies[i], 1, 0))
			tap_bail("no memory");
		reclaim_used(r, 0, ~0ULL);
		reclaim_drop(r, 0);
		ok(!reclaim_choose(r, &victim, 1), "%s: nothing is chosen of nothing",
		   reclaim_policies[i]->name);
		reclaim_load(r, 0, 0);
		ok(reclaim_choose(r, &victim, 1) == 1 && !victim, "... and the one page of one");
		reclaim_destroy(r);
		is(reclaim_create(&r, reclaim_policies[i], RECLAIM_MAX_PAGES + 1, 0), -EINVAL,
		   "... and no VM is too large unnoticed");
	}
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	for (unsigned int i = 0; i < MODEL_NR_RULES; i++)
		against_model(&model_rules[i], seed + i);
	random_is_even(seed);
	empty_ones();
	return tap_done();
}
