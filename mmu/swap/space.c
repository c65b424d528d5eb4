/* SPDX-License-Identifier: MIT */
/*
 * Space in a file.
 *
 * Each chunk has a bit for each unit.  `longest` is a bound on its runs of free units: a search
 * that fails lowers it, and units that become free raise it again.  So a chunk without room is
 * passed over without a look at its bits.
 */
#include <errno.h>
#include "mmu/base/reserve.h"
#include "space.h"

#define WORDS (SPACE_CHUNK_BYTES / SPACE_MIN_UNIT / 64)

struct chunk {
	uint64_t used[WORDS]; /* a bit for each unit */
	uint16_t free;	      /* units */
	uint16_t longest;     /* no run of free units is longer */
	uint8_t state;
};

int space_init(struct space *s, uint64_t bytes, uint32_t unit)
{
	*s = (struct space){
		.nr = (uint32_t)(bytes / SPACE_CHUNK_BYTES),
		.unit = unit,
		.per_chunk = SPACE_CHUNK_BYTES / unit,
	};
	s->chunk = reserve(s->nr * sizeof(*s->chunk));
	return s->chunk ? 0 : -ENOMEM;
}

void space_finish(struct space *s)
{
	unreserve(s->chunk, s->nr * sizeof(*s->chunk));
}

/* ---- runs of bits ---- */

/* The first unit from `from` on that is used, or is not; per_chunk if there is none. */
static uint32_t next_unit(const struct space *s, const struct chunk *c, uint32_t from, bool used)
{
	while (from < s->per_chunk) {
		uint64_t word = (used ? c->used[from / 64] : ~c->used[from / 64]) >> from % 64;

		if (word)
			return min_u64(from + (uint32_t)__builtin_ctzll(word), s->per_chunk);
		from = align_down(from, 64) + 64;
	}
	return s->per_chunk;
}

static bool find_run(const struct space *s, struct chunk *c, uint32_t nr, uint32_t *at)
{
	uint32_t longest = 0;

	for (uint32_t from = 0, end; from < s->per_chunk; from = end) {
		from = next_unit(s, c, from, false);
		end = next_unit(s, c, from, true);
		longest = max_u64(longest, end - from);
		*at = from;
		if (end - from >= nr)
			return true;
	}
	c->longest = (uint16_t)longest;
	return false;
}

static void mark(struct chunk *c, uint32_t at, uint32_t nr, bool used)
{
	for (uint32_t i = at; i < at + nr; i++)
		if (used)
			c->used[i / 64] |= 1ULL << i % 64;
		else
			c->used[i / 64] &= ~(1ULL << i % 64);
}

/* ---- units ---- */

bool space_take(struct space *s, uint32_t nr, uint32_t *at)
{
	for (uint32_t i = 0; i < s->highest; i++) {
		struct chunk *c = &s->chunk[i];

		if (c->state != CHUNK_OPEN || c->longest < nr || !find_run(s, c, nr, at))
			continue;
		mark(c, *at, nr, true);
		s->empty -= c->free == s->per_chunk;
		c->free = (uint16_t)(c->free - nr);
		s->used += nr;
		*at += i * s->per_chunk;
		return true;
	}
	return false;
}

void space_put(struct space *s, uint32_t at, uint32_t nr)
{
	struct chunk *c = &s->chunk[at / s->per_chunk];

	mark(c, at % s->per_chunk, nr, false);
	c->free = (uint16_t)(c->free + nr);
	c->longest = c->free;
	s->empty += c->free == s->per_chunk;
	s->used -= nr;
}

/* ---- chunks ---- */

bool space_next(struct space *s, uint32_t *chunk)
{
	while (s->lowest_closed < s->nr && s->chunk[s->lowest_closed].state != CHUNK_CLOSED)
		s->lowest_closed++;
	if (s->lowest_closed == s->nr)
		return false;
	*chunk = s->lowest_closed;
	s->chunk[*chunk].state = CHUNK_OPENING;
	s->highest = max_u64(s->highest, *chunk + 1);
	s->held++;
	return true;
}

static bool is_empty(const struct space *s, const struct chunk *c)
{
	return c->state == CHUNK_OPEN && c->free == s->per_chunk;
}

bool space_empty(struct space *s, uint32_t *chunk)
{
	if (s->empty < 2)
		return false;
	*chunk = s->highest - 1;
	while (!is_empty(s, &s->chunk[*chunk]))
		--*chunk;
	s->chunk[*chunk].state = CHUNK_CLOSING;
	s->empty--;
	return true;
}

void space_set(struct space *s, uint32_t chunk, enum chunk_state state)
{
	struct chunk *c = &s->chunk[chunk];

	c->state = (uint8_t)state;
	c->free = c->longest = state == CHUNK_OPEN ? (uint16_t)s->per_chunk : 0;
	s->empty += state == CHUNK_OPEN;
	if (state == CHUNK_OPEN)
		return;
	s->held--;
	s->lowest_closed = min_u64(s->lowest_closed, chunk);
	while (s->highest && s->chunk[s->highest - 1].state == CHUNK_CLOSED)
		s->highest--;
}

/* ---- audit ---- */

bool space_has(const struct space *s, uint32_t at, uint32_t nr)
{
	const struct chunk *c = &s->chunk[at / s->per_chunk];
	uint32_t first = at % s->per_chunk;

	return at / s->per_chunk < s->nr && c->state == CHUNK_OPEN &&
	       next_unit(s, c, first, false) >= first + nr;
}

static uint32_t count_free(const struct space *s, const struct chunk *c)
{
	uint32_t free = 0;

	for (uint32_t from = 0, end; from < s->per_chunk; from = end) {
		from = next_unit(s, c, from, false);
		end = next_unit(s, c, from, true);
		free += end - from;
	}
	return free;
}

void space_audit(const struct space *s, struct audit *a)
{
	uint32_t held = 0, empty = 0;
	uint64_t used = 0;

	for (uint32_t i = 0; i < s->nr; i++) {
		const struct chunk *c = &s->chunk[i];

		held += c->state != CHUNK_CLOSED;
		empty += is_empty(s, c);
		if (c->state != CHUNK_OPEN)
			continue;
		audit_expect(a, c->free, count_free(s, c), "free units of a chunk of swap");
		used += s->per_chunk - c->free;
	}
	audit_expect(a, s->used, used, "units of swap in use");
	audit_expect(a, s->held, held, "chunks of swap");
	audit_expect(a, s->empty, empty, "empty chunks of swap");
}
