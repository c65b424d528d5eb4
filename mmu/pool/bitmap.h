/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_POOL_BITMAP_H
#define QUIRE_MMU_POOL_BITMAP_H

/*
 * A set of numbers below some bound, whose least member is found fast: a tree of words, in which a
 * bit of an upper level says that the word below has one.  A set of 2^24 numbers has four levels.
 */
#include <stdbool.h>
#include <stdint.h>

#define BITMAP_LEVELS 6 /* for 2^36 numbers */
#define BITMAP_NONE   UINT64_MAX

struct bitmap {
	uint64_t *level[BITMAP_LEVELS]; /* [0] has the numbers themselves */
	unsigned int levels;
};

/* How many words a set of numbers below nr needs. */
uint64_t bitmap_words(uint64_t nr);

/* Set it up over that many words, which are 0: the set is empty. */
void bitmap_init(struct bitmap *b, uint64_t nr, uint64_t *words);

void bitmap_set(struct bitmap *b, uint64_t n);
void bitmap_clear(struct bitmap *b, uint64_t n);
bool bitmap_has(const struct bitmap *b, uint64_t n);

/* The least member, or BITMAP_NONE. */
uint64_t bitmap_first(const struct bitmap *b);

#endif
