/* SPDX-License-Identifier: MIT */
/*
 * The index, in lockstep with a naive model: an array by number of hash.  Hints become stale
 * behind the index's back, as they do in life; it may forget those, and nothing else.
 */
#include <stdlib.h>
#include <string.h>
#include "mmu/machine/store/index.h"
#include "tests/tap.h"

#define HASHES 60000u
#define STEPS  600000u

struct model {
	struct index_entry entry[HASHES]; /* owner INDEX_NOBODY: not there */
	bool stale[HASHES];
};

static struct model model;

/* Hash number n: some differ only in their top, some only in their low bits. */
static uint64_t hash_of(uint32_t n)
{
	return n % 3 == 0 ? n : n % 3 == 1 ? (uint64_t)n << 40 : n * 0x9e3779b97f4a7c15ULL;
}

/* The number is kept in page. */
static bool is_current(void *ctx, const struct index_entry *e)
{
	return !((struct model *)ctx)->stale[e->page];
}

static bool agrees(const struct index *x, uint32_t n)
{
	const struct index_entry *e = index_find(x, hash_of(n)), *want = &model.entry[n];

	if (!e)
		return !want->owner || (want->owner >= INDEX_MEMBER && model.stale[n]);
	return !memcmp(e, want, sizeof(*e));
}

static unsigned int compare(const struct index *x)
{
	unsigned int wrong = 0;
	uint64_t stable = 0;

	for (uint32_t n = 0; n < HASHES; n++) {
		wrong += !agrees(x, n);
		stable += model.entry[n].owner == INDEX_STABLE;
	}
	return wrong + (x->nr_stable != stable);
}

static void put(struct index *x, uint32_t n, uint32_t owner)
{
	struct index_entry e = { hash_of(n), owner, n };

	if (index_put(x, e))
		tap_bail("no memory");
	model.entry[n] = e;
	model.stale[n] = false;
}

static void test_random(uint64_t seed)
{
	unsigned int wrong = 0, differs = 0;
	struct index x;

	index_init(&x, is_current, &model);
	is(index_find(&x, 1) != NULL, false, "an empty index finds nothing");
	index_remove(&x, 1);
	for (unsigned int step = 0; step < STEPS; step++) {
		uint32_t n = tap_random(&seed) % (step < STEPS / 2 ? HASHES : HASHES / 8);

		switch (tap_random(&seed) % 8) {
		case 0:
			index_remove(&x, hash_of(n));
			model.entry[n].owner = INDEX_NOBODY;
			break;
		case 1: model.stale[n] = model.entry[n].owner >= INDEX_MEMBER; break;
		case 2: put(&x, n, INDEX_STABLE); break;
		case 3: put(&x, n, INDEX_MEMBER + tap_random(&seed) % 5); break;
		default: wrong += !agrees(&x, n);
		}
		if (step % (STEPS / 8) == 0)
			differs += compare(&x);
	}
	is(wrong, 0, "each lookup of %u finds what the model has", STEPS / 2);
	is(differs + compare(&x), 0, "and all of it was compared now and then");
	index_finish(&x);
}

/* Hints that come and go do not make it grow. */
static void test_purge(void)
{
	uint64_t bytes = 0;
	struct index x;

	memset(&model, 0, sizeof(model));
	index_init(&x, is_current, &model);
	for (uint32_t round = 0; round < 40; round++) {
		for (uint32_t n = 0; n < 1000; n++) {
			uint32_t number = (round * 1000 + n) % HASHES;

			put(&x, number, INDEX_MEMBER);
			model.stale[(number + HASHES - 1000) % HASHES] = true;
		}
		bytes = max_u64(bytes, index_bytes(&x));
	}
	ok(bytes < sizeof(x) + 256 * 32 * 16 * 2,
	   "40000 hints, 1000 at a time, never need more than %u "
	   "bytes",
	   (unsigned int)bytes);
	ok(index_find(&x, hash_of(39999)), "and the current ones are there");
	index_finish(&x);
}

static void count(void *ctx, const struct index_entry *e)
{
	*(uint64_t *)ctx += e->owner;
}

static void test_costs(uint64_t seed)
{
	uint64_t each = 0, bytes;
	struct index x;

	memset(&model, 0, sizeof(model));
	index_init(&x, is_current, &model);
	for (uint32_t i = 0; i < 1000000; i++) {
		struct index_entry e = { tap_random(&seed), INDEX_STABLE, i };

		if (index_put(&x, e))
			tap_bail("no memory");
	}
	bytes = (index_bytes(&x) - sizeof(x)) / 1000000;
	ok(bytes >= 21 && bytes <= 43, "a million entries take %u bytes each", (unsigned int)bytes);
	index_each(&x, count, &each);
	is(each, 1000000 * INDEX_STABLE, "and each is visited once");
	is(x.nr_stable, 1000000, "and counted");
	index_finish(&x);
}

/* A shard that is full of entries in use doubles once. */
static void test_growth(uint64_t seed)
{
	unsigned int sparse = 0;
	struct index x;

	memset(&model, 0, sizeof(model));
	index_init(&x, is_current, &model);
	for (uint32_t i = 0; i < 200000; i++) {
		struct index_entry e = { tap_random(&seed), INDEX_MEMBER, 0 };
		const struct index_shard *s;

		if (index_put(&x, e))
			tap_bail("no memory");
		s = &x.shard[i % INDEX_SHARDS];
		sparse += s->capacity > 32 && s->used < s->capacity / 8 * 3;
	}
	is(sparse, 0, "a shard that grew is never filled to less than 3/8");
	index_finish(&x);
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_random(seed);
	test_purge();
	test_growth(seed);
	test_costs(seed);
	return tap_done();
}
