/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_HASH_H
#define QUIRE_MMU_BASE_HASH_H

/*
 * The content hash of a page: XXH3 with 64 bits under a secret, from libxxhash's header.  It is
 * compiled twice, for any x86-64 and with AVX2, which is 1.6 times as fast.  Both give the same
 * numbers.
 *
 * The secret takes the place of XXH3's own, all 192 bytes of it: with the library's default secret
 * anybody computes a page with a given hash.  XXH3 is no cryptographic hash under a secret either:
 * nobody claims that two pages with one hash cannot be found.  So no hash ever decides that two
 * pages are equal; all 4096 bytes do.  For a page and an older copy of the same one it does
 * (mmu/swap/swap.h).
 */
#include <quire/types.h>

#define HASH_SECRET_BYTES 192

struct hash_secret {
	uint8_t byte[HASH_SECRET_BYTES];
};

/* A function that hashes pages: page_hash(), or what a test has in its place. */
typedef uint64_t page_hasher(const struct hash_secret *secret, const void *page);

/* The hash of a page, the fastest way that this processor has. */
uint64_t page_hash(const struct hash_secret *secret, const void *page);

/* The same; only for processors with AVX2. */
uint64_t page_hash_avx2(const struct hash_secret *secret, const void *page);

/* Is the page all zeroes? */
bool page_is_zero(const void *page);

#endif
