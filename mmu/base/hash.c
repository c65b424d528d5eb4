/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>
#include "hash.h"

uint64_t page_hash(const struct hash_secret *secret, const void *page)
{
	static int avx2 = -1; /* a benign race: all threads find the same */

	if (__atomic_load_n(&avx2, __ATOMIC_RELAXED) < 0)
		__atomic_store_n(&avx2, !!__builtin_cpu_supports("avx2"), __ATOMIC_RELAXED);
	if (__atomic_load_n(&avx2, __ATOMIC_RELAXED))
		return page_hash_avx2(secret, page);
	return XXH3_64bits_withSecret(page, QUIRE_PAGE_SIZE, secret->byte, HASH_SECRET_BYTES);
}

/* Most pages that are not zero show it in their first 32 bytes. */
bool page_is_zero(const void *page)
{
	const uint64_t *word = page;

	if (word[0] | word[1] | word[2] | word[3])
		return false;
	return !memcmp(page, (const char *)page + 32, QUIRE_PAGE_SIZE - 32);
}
