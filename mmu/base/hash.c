/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include <cpuid.h>
#include <string.h>
#include <xxhash.h>
#include "hash.h"

/*
 * AVX2, and registers of 256 bits that the kernel keeps (Intel SDM vol. 1, 14.7.1).  The compiler's
 * __builtin_cpu_supports() would ask the processor much more, before main() begins; where that is
 * virtual, each question takes 8 us.
 */
static bool has_avx2(void)
{
	uint32_t a, b, c, d, kept, high;

	if (__get_cpuid_max(0, NULL) < 7)
		return false;
	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return false;
	__asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
	__cpuid_count(7, 0, a, b, c, d);
	return (kept & 6) == 6 && (b & bit_AVX2);
}

uint64_t page_hash(const struct hash_secret *secret, const void *page)
{
	static int avx2 = -1; /* a benign race: all threads find the same */

	if (__atomic_load_n(&avx2, __ATOMIC_RELAXED) < 0)
		__atomic_store_n(&avx2, has_avx2(), __ATOMIC_RELAXED);
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
