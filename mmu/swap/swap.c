/* SPDX-License-Identifier: MIT */
/*
 * A swap area's account.
 *
 * There is an entry of 16 bytes for each number, in an array that is touched only where there are
 * copies.
 *
 * When space is short, spares go.  A hand goes round the numbers, and a search frees at most
 * SPARES of them before space is looked for again: so much of the lowest chunks may become free
 * that what is wanted fits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/reserve.h"
#include "swap.h"
#include "zpack.h"

#define SPARES 256u

struct swap {
	struct swap_config config;
	struct hash_secret secret;
	struct space space;
	struct swap_copy *copy; /* by number */
	uint64_t hand;		/* the next number whose spare may go */
	uint64_t needed, spare; /* copies */
};

int swap_create(const struct swap_config *config, struct swap **out)
{
	struct swap *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->secret = *config->secret;
	s->copy = reserve(config->pages * sizeof(*s->copy));
	if (s->copy && !space_init(&s->space, SWAP_FILE_BYTES(config->pages), config->unit)) {
		*out = s;
		return 0;
	}
	unreserve(s->copy, config->pages * sizeof(*s->copy));
	free(s);
	return -ENOMEM;
}

static bool take_quota(struct swap *s)
{
	const struct swap_quota *q = s->config.quota;

	return !q || q->take(q->ctx, SPACE_CHUNK_PAGES);
}

static void put_quota(struct swap *s, uint32_t chunks)
{
	const struct swap_quota *q = s->config.quota;

	if (q && chunks)
		q->put(q->ctx, (uint64_t)chunks * SPACE_CHUNK_PAGES);
}

void swap_destroy(struct swap *s)
{
	if (!s)
		return;
	put_quota(s, s->space.held);
	space_finish(&s->space);
	unreserve(s->copy, s->config.pages * sizeof(*s->copy));
	free(s);
}

/* ---- copies ---- */

struct swap_copy swap_copy_of(const struct swap *s, uint64_t n)
{
	return s->copy[n];
}

uint64_t swap_hash(const struct swap *s, const void *page)
{
	return page_hash(&s->secret, page);
}

static uint64_t *count_of(struct swap *s, const struct swap_copy *c)
{
	return c->needed ? &s->needed : &s->spare;
}

void swap_drop(struct swap *s, uint64_t n)
{
	struct swap_copy *c = &s->copy[n];

	if (!c->units)
		return;
	--*count_of(s, c);
	space_put(&s->space, c->at, c->units);
	*c = (struct swap_copy){ .units = 0 };
}

void swap_gone(struct swap *s, uint64_t n, uint32_t at, uint8_t units, uint64_t hash)
{
	struct swap_copy *c = &s->copy[n];

	if (units) {
		swap_drop(s, n);
		*c = (struct swap_copy){ .hash = hash, .at = at, .units = units };
	} else {
		s->spare--;
	}
	c->needed = true;
	s->needed++;
}

void swap_back(struct swap *s, uint64_t n)
{
	s->copy[n].needed = false;
	s->needed--;
	s->spare++;
}

/* ---- space ---- */

/* Let some spares go.  False: there are none. */
static bool drop_spares(struct swap *s)
{
	uint64_t most = min_u64(s->spare, SPARES), left = s->spare - most;

	for (uint64_t i = 0; i < s->config.pages && s->spare > left; i++) {
		const struct swap_copy *c = &s->copy[s->hand];

		if (c->units && !c->needed)
			swap_drop(s, s->hand);
		s->hand = (s->hand + 1) % s->config.pages;
	}
	return most;
}

int swap_take(struct swap *s, uint32_t nr, uint32_t *at)
{
	do {
		if (space_take(&s->space, nr, at))
			return 0;
		if (!take_quota(s))
			continue;
		if (space_next(&s->space, at))
			return -EAGAIN;
		put_quota(s, 1);
	} while (drop_spares(s));
	return -ENOSPC;
}

void swap_put(struct swap *s, uint32_t at, uint32_t nr)
{
	space_put(&s->space, at, nr);
}

void swap_opened(struct swap *s, uint32_t chunk, bool done)
{
	const struct swap_quota *q = s->config.quota;

	space_set(&s->space, chunk, done ? CHUNK_OPEN : CHUNK_CLOSED);
	if (!done && q && q->give)
		q->give(q->ctx, SPACE_CHUNK_PAGES);
	else
		put_quota(s, !done);
}

bool swap_close(struct swap *s, uint32_t *chunk)
{
	return space_empty(&s->space, chunk);
}

void swap_closed(struct swap *s, uint32_t chunk, bool done)
{
	space_set(&s->space, chunk, done ? CHUNK_CLOSED : CHUNK_OPEN);
	put_quota(s, done);
}

uint64_t swap_offset(const struct swap *s, uint32_t unit)
{
	return (uint64_t)unit * s->config.unit;
}

uint64_t swap_chunk_offset(uint32_t chunk)
{
	return (uint64_t)chunk * SPACE_CHUNK_BYTES;
}

/* ---- bytes ---- */

uint8_t swap_page_units(const struct swap *s)
{
	return (uint8_t)(QUIRE_PAGE_SIZE / s->config.unit);
}

uint8_t swap_pack(const struct swap *s, struct zpack *z, const uint8_t *page, uint8_t *to)
{
	size_t most = QUIRE_PAGE_SIZE - s->config.unit;
	size_t bytes = most ? zpack_pack(z, page, to, most) : 0, whole = bytes;

	if (bytes)
		whole = align_up(bytes, s->config.unit);
	else
		memcpy(to, page, bytes = whole = QUIRE_PAGE_SIZE);
	memset(to + bytes, 0, whole - bytes);
	return (uint8_t)(whole / s->config.unit);
}

bool swap_unpack(const struct swap *s, struct zpack *z, const struct swap_copy *copy,
		 const uint8_t *from, uint8_t *page)
{
	size_t bytes = (size_t)copy->units * s->config.unit;

	if (bytes == QUIRE_PAGE_SIZE)
		memcpy(page, from, bytes);
	else if (!zpack_unpack(z, from, bytes, page))
		return false;
	return swap_hash(s, page) == copy->hash;
}

/* ---- looking ---- */

void swap_stats(const struct swap *s, struct swap_stats *out)
{
	*out = (struct swap_stats){
		.needed_pages = s->needed,
		.spare_pages = s->spare,
		.copy_bytes = s->space.used * s->config.unit,
		.file_pages = (uint64_t)s->space.held * SPACE_CHUNK_PAGES,
		.most_pages = (uint64_t)s->space.nr * SPACE_CHUNK_PAGES,
	};
}

unsigned int swap_audit(const struct swap *s, void (*report)(void *ctx, const char *what),
			void *ctx)
{
	struct audit a = { report, ctx, 0 };
	uint64_t needed = 0, spare = 0, units = 0;

	for (uint64_t n = 0; n < s->config.pages; n++) {
		const struct swap_copy *c = &s->copy[n];

		if (!c->units)
			continue;
		if (!space_has(&s->space, c->at, c->units))
			audit_fault(&a, "the copy of page %lu lies where nothing is",
				    (unsigned long)n);
		*(c->needed ? &needed : &spare) += 1;
		units += c->units;
	}
	audit_expect(&a, s->needed, needed, "copies in swap that are needed");
	audit_expect(&a, s->spare, spare, "copies in swap that are spares");
	audit_expect(&a, s->space.used, units, "units of swap with copies");
	space_audit(&s->space, &a);
	return a.faults;
}
