/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_STORE_BUDDY_H
#define QUIRE_MMU_MACHINE_STORE_BUDDY_H

/*
 * Which frames of one segment of the store are free: a buddy allocator in bitmaps.
 *
 * A block of order o is 2^o frames at an index that is a multiple of 2^o; bit i of order o is set
 * if block i of that order is free as a whole and its buddy is not.  A summary has one bit for
 * each word of bits that is not 0, so that the lowest free block is found in at most 64 steps.
 * Two bits a frame, whatever is free.
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

/* Everything is free.  b is all zeroes. */
void buddy_init(struct buddy *b);

/* The smallest order, at least `order`, of which there is a free block; BUDDY_ORDERS: none. */
unsigned int buddy_fit(const struct buddy *b, unsigned int order);

/* The largest order of which there is a free block; BUDDY_ORDERS: nothing is free. */
unsigned int buddy_largest(const struct buddy *b);

/*
 * Take n frames, at most 2^order, from the start of the lowest free block of exactly this order,
 * of which there is one.  Returns the index of the first.
 */
uint32_t buddy_take(struct buddy *b, unsigned int order, uint32_t n);

/* Frames [index, index + n) are free again. */
void buddy_free(struct buddy *b, uint32_t index, uint32_t n);

/* Free frames, counted block by block. */
uint32_t buddy_count(const struct buddy *b);

#endif
