/* SPDX-License-Identifier: MIT */
/* The Makefile builds this file with -mavx2. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "hash.h"

uint64_t page_hash_avx2(const struct hash_secret *secret, const void *page)
{
	return XXH3_64bits_withSecret(page, QUIRE_PAGE_SIZE, secret->byte, HASH_SECRET_BYTES);
}
