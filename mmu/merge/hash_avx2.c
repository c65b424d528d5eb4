/* SPDX-License-Identifier: MIT */
/* Built with -mavx2 (Makefile). */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "hash.h"

uint64_t page_hash_avx2(const void *page)
{
	return XXH3_64bits(page, QUIRE_PAGE_SIZE);
}
