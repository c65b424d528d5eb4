/* SPDX-License-Identifier: MIT */
/*
 * The hash of a page, against XXH3 itself; and what a guest can do that knows, or does not know,
 * the secret under which pages are hashed: make two unequal pages with one hash.
 */
#define XXH_INLINE_ALL
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>
#include "mmu/base/hash.h"
#include "tests/tap.h"

#define WORDS (QUIRE_PAGE_SIZE / sizeof(uint64_t))

/* The secret that everybody knows: it is in the library's header. */
static struct hash_secret public_secret(void)
{
	struct hash_secret s;

	_Static_assert(sizeof(XXH3_kSecret) == sizeof(s), "XXH3's own secret is of this size");
	memcpy(&s, XXH3_kSecret, sizeof(s));
	return s;
}

static struct hash_secret random_secret(void)
{
	struct hash_secret s;

	if (getrandom(&s, sizeof(s), 0) != sizeof(s))
		tap_bail("no random bytes");
	return s;
}

static void fill(uint64_t *page, uint64_t seed)
{
	for (unsigned int i = 0; i < WORDS; i++)
		page[i] = tap_random(&seed);
}

/*
 * XXH3 multiplies the halves of each word, after an exclusive or with a word of the secret, and
 * adds the word itself to the neighbouring sum.  Where the lower half becomes 0 so does the
 * product, whatever the upper half.  Then two words can differ and leave both sums as they were.
 */
static void forge(uint64_t *page, uint64_t *twin, const struct hash_secret *known)
{
	const unsigned int lane = 3, stripe[2] = { 5, 11 };

	memcpy(twin, page, QUIRE_PAGE_SIZE);
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int word = stripe[i] * 8 + lane;
		uint64_t key;

		memcpy(&key, known->byte + (stripe[i] + lane) * sizeof(key), sizeof(key));
		page[word] = (page[word] & ~0xffffffffULL) | (uint32_t)key;
		twin[word] = page[word] + (i ? -(1ULL << 32) : 1ULL << 32);
	}
}

static void test_known_answers(void)
{
	struct hash_secret s = public_secret();
	uint64_t page[WORDS] = { 0 };

	is(page_hash(&s, page), 0x93d76fe148c689baULL, "the hash of zeroes under XXH3's secret");
	fill(page, 1);
	is(page_hash(&s, page), XXH3_64bits(page, sizeof(page)), "and of any page: it is XXH3");
	s = random_secret();
	is(page_hash(&s, page), XXH3_64bits_withSecret(page, sizeof(page), s.byte, sizeof(s.byte)),
	   "under another secret too");
	if (__builtin_cpu_supports("avx2"))
		is(page_hash_avx2(&s, page), page_hash(&s, page), "with AVX2 as without");
	else
		tap_skip("this processor has no AVX2");
}

/* A guest that knows nothing but the library. */
static void test_forgeries(uint64_t seed)
{
	struct hash_secret public = public_secret(), secret = random_secret();
	unsigned int fooled = 0, fooled_public = 0;
	uint64_t page[WORDS], twin[WORDS];

	for (unsigned int i = 0; i < 1000; i++) {
		fill(page, seed + i);
		forge(page, twin, &public);
		fooled_public += page_hash(&public, page) == page_hash(&public, twin);
		fooled += page_hash(&secret, page) == page_hash(&secret, twin);
	}
	is(fooled_public, 1000, "whoever knows the secret makes unequal pages with one hash");
	is(fooled, 0, "under a secret that is not known these have different hashes");
}

int main(int argc, char **argv)
{
	tap_init();
	test_known_answers();
	test_forgeries(tap_seed(argc, argv));
	return tap_done();
}
