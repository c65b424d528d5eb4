/* SPDX-License-Identifier: MIT */
/*
 * Archives: what goes in comes out; what is too large, or no archive, is found out.
 */
#include <errno.h>
#include <string.h>
#include "mmu/pool/archive.h"
#include "tests/tap.h"

#define MOST 64u

/* A page with so many bytes that do not pack. */
static void fill(uint8_t *page, unsigned int random, uint64_t *seed)
{
	memset(page, 0, QUIRE_PAGE_SIZE);
	for (unsigned int i = 0; i < random; i++)
		page[i] = (uint8_t)tap_random(seed);
}

/* Fill archives with pages of random sizes, and take all out again. */
static void test_round_trip(uint64_t *seed)
{
	uint8_t page[MOST][QUIRE_PAGE_SIZE], got[QUIRE_PAGE_SIZE];
	unsigned int wrong = 0, full = 0, large = 0, pages = 0;

	for (unsigned int round = 0; round < 200; round++) {
		struct archive a = { .used = 0 };
		int at[MOST], nr = 0, code = 0;

		while (nr < (int)MOST && code != -ENOSPC) {
			unsigned int random = (unsigned int)(tap_random(seed) % 2500), packed;

			fill(page[nr], random, seed);
			code = archive_add(&a, page[nr]);
			large += code == -E2BIG;
			wrong += (code == -E2BIG) != (random > ARCHIVE_MOST_BYTES - 30) &&
				 random < ARCHIVE_MOST_BYTES - 60;
			if (code >= 0)
				at[nr++] = code;
			wrong += code >= 0 &&
				 !archive_get(a.bytes, (unsigned int)code, got, &packed);
		}
		full += code == -ENOSPC;
		wrong += nr < 2;
		pages += (unsigned int)nr;
		for (int i = 0; i < nr; i++)
			wrong += !archive_get(a.bytes, (unsigned int)at[i], got, NULL) ||
				 memcmp(got, page[i], sizeof(got)) != 0;
	}
	is(wrong, 0, "%u pages come out of their archives as they went in", pages);
	ok(full > 100 && large > 100, "... %u were full, and %u pages were too large", full, large);
}

/* Any bytes may be asked for a page. */
static void test_garbage(uint64_t *seed)
{
	uint8_t bytes[QUIRE_PAGE_SIZE], page[QUIRE_PAGE_SIZE];
	unsigned int packed, refused = 0;

	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int at = (unsigned int)(tap_random(seed) % (QUIRE_PAGE_SIZE + 10));

		if (round % 100 == 0)
			fill(bytes, QUIRE_PAGE_SIZE, seed);
		if (at + 1 < QUIRE_PAGE_SIZE)
			bytes[at + 1] &= 0x0f;
		refused += !archive_get(bytes, at, page, &packed);
	}
	ok(refused > 19000, "what is no archive has no pages (%u of 20000)", refused);
	ok(!archive_get(bytes, QUIRE_PAGE_SIZE - 1, page, NULL) &&
		   !archive_get(bytes, UINT32_MAX, page, NULL),
	   "nothing begins at the last byte, or beyond");
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_round_trip(&seed);
	test_garbage(&seed);
	return tap_done();
}
