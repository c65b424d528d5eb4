/* SPDX-License-Identifier: MIT */
#include "bitmap.h"

static uint64_t words_for(uint64_t nr)
{
	return (nr + 63) / 64;
}

uint64_t bitmap_words(uint64_t nr)
{
	uint64_t words = 0;

	do {
		nr = words_for(nr);
		words += nr;
	} while (nr > 1);
	return words;
}

void bitmap_init(struct bitmap *b, uint64_t nr, uint64_t *words)
{
	*b = (struct bitmap){ .levels = 0 };
	do {
		nr = words_for(nr);
		b->level[b->levels++] = words;
		words += nr;
	} while (nr > 1);
}

void bitmap_set(struct bitmap *b, uint64_t n)
{
	for (unsigned int i = 0; i < b->levels; i++, n /= 64)
		b->level[i][n / 64] |= 1ULL << n % 64;
}

void bitmap_clear(struct bitmap *b, uint64_t n)
{
	for (unsigned int i = 0; i < b->levels; i++, n /= 64) {
		b->level[i][n / 64] &= ~(1ULL << n % 64);
		if (b->level[i][n / 64])
			return;
	}
}

bool bitmap_has(const struct bitmap *b, uint64_t n)
{
	return b->level[0][n / 64] >> n % 64 & 1;
}

uint64_t bitmap_first(const struct bitmap *b)
{
	uint64_t n = 0;

	if (!b->level[b->levels - 1][0])
		return BITMAP_NONE;
	for (unsigned int i = b->levels; i-- > 0;)
		n = n * 64 + (uint64_t)__builtin_ctzll(b->level[i][n]);
	return n;
}
