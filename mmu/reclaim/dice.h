/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_DICE_H
#define QUIRE_MMU_RECLAIM_DICE_H

/*
 * Random numbers that can be repeated: the state is 64 bits, and any seed is a state.  The
 * generator is SplitMix64: G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom
 * Number Generators", OOPSLA 2014.
 */
#include <stdint.h>

static inline uint64_t dice_roll(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* A number in [0, n), n > 0; some numbers are more likely than others by less than n / 2^64. */
static inline uint64_t dice_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)((unsigned __int128)dice_roll(state) * n >> 64);
}

#endif
