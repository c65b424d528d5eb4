/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include "buddy.h"

/* Where the words of an order begin: after 4096 + 2048 + ... words of the orders before it. */
static uint64_t *words(struct buddy *b, unsigned int order)
{
	return b->bits + (2 * BUDDY_WORDS - (2 * BUDDY_WORDS >> order));
}

static bool is_free(struct buddy *b, unsigned int order, uint32_t block)
{
	return words(b, order)[block / 64] >> (block % 64) & 1;
}

static void set(struct buddy *b, unsigned int order, uint32_t block)
{
	words(b, order)[block / 64] |= 1ULL << (block % 64);
	b->summary[order][block / 4096] |= 1ULL << (block / 64 % 64);
	b->nr_free[order]++;
}

static void clear(struct buddy *b, unsigned int order, uint32_t block)
{
	uint64_t *word = &words(b, order)[block / 64];

	*word &= ~(1ULL << (block % 64));
	if (!*word)
		b->summary[order][block / 4096] &= ~(1ULL << (block / 64 % 64));
	b->nr_free[order]--;
}

static uint32_t lowest(struct buddy *b, unsigned int order)
{
	uint32_t word, i = 0;

	while (!b->summary[order][i])
		i++;
	word = i * 64 + (uint32_t)__builtin_ctzll(b->summary[order][i]);
	return word * 64 + (uint32_t)__builtin_ctzll(words(b, order)[word]);
}

void buddy_init(struct buddy *b)
{
	for (uint32_t i = 0; i < MERGE_SEGMENT_FRAMES >> BUDDY_MAX_ORDER; i++)
		set(b, BUDDY_MAX_ORDER, i);
}

unsigned int buddy_fit(const struct buddy *b, unsigned int order)
{
	while (order < BUDDY_ORDERS && !b->nr_free[order])
		order++;
	return order;
}

unsigned int buddy_largest(const struct buddy *b)
{
	for (unsigned int order = BUDDY_ORDERS; order-- > 0;)
		if (b->nr_free[order])
			return order;
	return BUDDY_ORDERS;
}

uint32_t buddy_take(struct buddy *b, unsigned int order, uint32_t n)
{
	uint32_t block = lowest(b, order), index = block << order;

	assert(n && n <= 1u << order);
	clear(b, order, block);
	if (n < 1u << order)
		buddy_free(b, index + n, (1u << order) - n);
	return index;
}

static void free_block(struct buddy *b, unsigned int order, uint32_t block)
{
	for (; order < BUDDY_MAX_ORDER && is_free(b, order, block ^ 1); order++, block /= 2)
		clear(b, order, block ^ 1);
	set(b, order, block);
}

/* The order of the largest block that may begin at index and has at most n frames. */
static unsigned int order_at(uint32_t index, uint32_t n)
{
	unsigned int order = 31 - (unsigned int)__builtin_clz(n);
	unsigned int alignment = index ? (unsigned int)__builtin_ctz(index) : BUDDY_MAX_ORDER;

	order = order < alignment ? order : alignment;
	return order < BUDDY_MAX_ORDER ? order : BUDDY_MAX_ORDER;
}

void buddy_free(struct buddy *b, uint32_t index, uint32_t n)
{
	while (n) {
		unsigned int order = order_at(index, n);

		free_block(b, order, index >> order);
		index += 1u << order;
		n -= 1u << order;
	}
}

uint32_t buddy_count(const struct buddy *b)
{
	uint32_t frames = 0;

	for (unsigned int order = 0; order < BUDDY_ORDERS; order++)
		frames += b->nr_free[order] << order;
	return frames;
}
