/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include "index.h"

#define CAPACITY_MIN 32u

void index_init(struct index *x, bool (*is_current)(void *ctx, const struct index_entry *hint),
		void *ctx)
{
	*x = (struct index){ .is_current = is_current, .ctx = ctx };
	if (getrandom(&x->secret, sizeof(x->secret), GRND_NONBLOCK) != sizeof(x->secret))
		x->secret = (uint64_t)time(NULL) ^ (uintptr_t)x;
}

void index_finish(struct index *x)
{
	for (unsigned int i = 0; i < INDEX_SHARDS; i++)
		free(x->shard[i].entry);
	*x = (struct index){ 0 };
}

/*
 * The finalizer of splitmix64.  Its top byte is the shard, its low bits are the place in the shard.
 */
static uint64_t mix(const struct index *x, uint64_t hash)
{
	uint64_t z = hash ^ x->secret;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint32_t home(const struct index *x, const struct index_shard *s, uint64_t hash)
{
	return (uint32_t)mix(x, hash) & (s->capacity - 1);
}

/* Where a hash is, or the empty entry where it would be.  There is always an empty entry. */
static uint32_t probe(const struct index *x, const struct index_shard *s, uint64_t hash)
{
	uint32_t i = home(x, s, hash);

	while (s->entry[i].owner && s->entry[i].hash != hash)
		i = (i + 1) & (s->capacity - 1);
	return i;
}

static struct index_shard *shard_of(const struct index *x, uint64_t hash)
{
	return (struct index_shard *)&x->shard[mix(x, hash) >> 56];
}

void index_prefetch(const struct index *x, uint64_t hash)
{
	const struct index_shard *s = shard_of(x, hash);

	if (s->capacity)
		__builtin_prefetch(&s->entry[home(x, s, hash)]);
}

const struct index_entry *index_find(const struct index *x, uint64_t hash)
{
	const struct index_shard *s = shard_of(x, hash);
	const struct index_entry *e;

	if (!s->capacity)
		return NULL;
	e = &s->entry[probe(x, s, hash)];
	return e->owner ? e : NULL;
}

static bool is_worth_keeping(const struct index *x, const struct index_entry *e)
{
	return e->owner == INDEX_STABLE || (e->owner && x->is_current(x->ctx, e));
}

static uint32_t count_kept(const struct index *x, const struct index_shard *s)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < s->capacity; i++)
		nr += is_worth_keeping(x, &s->entry[i]);
	return nr;
}

/* A capacity of which nr entries fill 3/16 to 3/8, if it is not the smallest. */
static uint32_t capacity_for(uint32_t nr)
{
	uint32_t capacity = CAPACITY_MIN;

	while (nr > capacity / 8 * 3)
		capacity *= 2;
	return capacity;
}

static bool rebuild(struct index *x, struct index_shard *s)
{
	struct index_shard old = *s;
	uint32_t capacity = capacity_for(count_kept(x, s));
	struct index_entry *table = calloc(capacity, sizeof(*table));

	if (!table)
		return false;
	*s = (struct index_shard){ .entry = table, .capacity = capacity };
	for (uint32_t i = 0; i < old.capacity; i++) {
		if (!is_worth_keeping(x, &old.entry[i]))
			continue;
		s->entry[probe(x, s, old.entry[i].hash)] = old.entry[i];
		s->used++;
	}
	free(old.entry);
	return true;
}

void index_trim(struct index *x, unsigned int shard)
{
	struct index_shard *s = &x->shard[shard];

	if (s->capacity > CAPACITY_MIN && count_kept(x, s) < s->used / 2)
		rebuild(x, s);
}

/*
 * Make room for one more entry.  Without memory for a larger table the shard fills up, but the last
 * entry stays empty, so that probes end.
 */
static bool make_room(struct index *x, struct index_shard *s)
{
	if (s->used < s->capacity / 4 * 3)
		return true;
	return rebuild(x, s) || s->used + 1 < s->capacity;
}

static void set(struct index *x, struct index_entry *e, struct index_entry value)
{
	x->nr_stable -= e->owner == INDEX_STABLE;
	*e = value;
	x->nr_stable += e->owner == INDEX_STABLE;
}

int index_put(struct index *x, struct index_entry entry)
{
	struct index_shard *s = shard_of(x, entry.hash);
	uint32_t i;

	if (s->capacity) {
		i = probe(x, s, entry.hash);
		if (s->entry[i].owner) {
			set(x, &s->entry[i], entry);
			return 0;
		}
	}
	if (!make_room(x, s))
		return -ENOMEM;
	set(x, &s->entry[probe(x, s, entry.hash)], entry);
	s->used++;
	return 0;
}

/* Move entries that follow the hole into it, where they can still be reached from their home. */
static void close_hole(const struct index *x, struct index_shard *s, uint32_t hole)
{
	uint32_t mask = s->capacity - 1;

	for (uint32_t i = (hole + 1) & mask; s->entry[i].owner; i = (i + 1) & mask) {
		uint32_t from_home = (i - home(x, s, s->entry[i].hash)) & mask;

		if (from_home < ((i - hole) & mask))
			continue;
		s->entry[hole] = s->entry[i];
		hole = i;
	}
	s->entry[hole] = (struct index_entry){ 0 };
}

void index_remove(struct index *x, uint64_t hash)
{
	struct index_shard *s = shard_of(x, hash);
	uint32_t i;

	if (!s->capacity)
		return;
	i = probe(x, s, hash);
	if (!s->entry[i].owner)
		return;
	set(x, &s->entry[i], (struct index_entry){ 0 });
	s->used--;
	close_hole(x, s, i);
}

void index_each(const struct index *x, void (*each)(void *ctx, const struct index_entry *e),
		void *ctx)
{
	for (unsigned int i = 0; i < INDEX_SHARDS; i++)
		for (uint32_t j = 0; j < x->shard[i].capacity; j++)
			if (x->shard[i].entry[j].owner)
				each(ctx, &x->shard[i].entry[j]);
}

uint64_t index_bytes(const struct index *x)
{
	uint64_t bytes = sizeof(*x);

	for (unsigned int i = 0; i < INDEX_SHARDS; i++)
		bytes += x->shard[i].capacity * sizeof(struct index_entry);
	return bytes;
}
