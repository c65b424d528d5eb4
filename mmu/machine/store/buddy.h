/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_BUDDY_H
#define QUIRE_MMU_MACHINE_STORE_BUDDY_H

/*
 * Which frames of one segment of the store are free: a buddy allocator in bitmaps.
 *
 * A block of order o is 2^o frames at an index that is a multiple of 2^o.  Bit i of order o is set
 * if block i of that order is free as a whole and its buddy is not.  The bitmaps take two bits for
 * each frame.  A summary has one bit for each word of a bitmap that is not 0, so that the lowest
 * free block is found in at most 64 steps.
 */
#include "mmu/base/merge_protocol.h"

#define BUDDY_MAX_ORDER 9u /* 512 frames: as many as a packet has entries */
#define BUDDY_ORDERS	(BUDDY_MAX_ORDER + 1)
#define BUDDY_WORDS	(MERGE_SEGMENT_FRAMES / 64) /* of order 0 */

_Static_assert(1u << BUDDY_MAX_ORDER == MERGE_BATCH, "a packet's pages fit into one block");

struct buddy {
	uint64_t bits[2 * BUDDY_WORDS]; /* order 0, then 1, ... */
	uint64_t summary[BUDDY_ORDERS][BUDDY_WORDS / 64];
	uint32_t nr_free[BUDDY_ORDERS]; /* blocks */
};

/* Begin with all frames free.  The caller has filled *b with zeroes. */
void buddy_init(struct buddy *b);

/* The smallest order from `order` on that has a free block; BUDDY_ORDERS: none has one. */
unsigned int buddy_fit(const struct buddy *b, unsigned int order);

/* The largest order that has a free block; BUDDY_ORDERS: nothing is free. */
unsigned int buddy_largest(const struct buddy *b);

/*
 * Take n frames, at most 2^order, from the start of the lowest free block of exactly this order.
 * The caller knows that there is one.  Returns the index of the first frame.
 */
uint32_t buddy_take(struct buddy *b, unsigned int order, uint32_t n);

/* Free frames [index, index + n). */
void buddy_free(struct buddy *b, uint32_t index, uint32_t n);

/* The number of free frames, counted block by block. */
uint32_t buddy_count(const struct buddy *b);

#endif
