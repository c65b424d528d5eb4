/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_FORMAT_EPT_H
#define QUIRE_MMU_FORMAT_EPT_H

/*
 * Extended page tables, the format of stage 2.
 *
 * Intel SDM Vol. 3C, "EPT Translation Mechanism", tables "Format of an EPT PML4 Entry" to
 * "Format of an EPT Page-Table Entry that Maps a 4-KByte Page".  Bits ascending:
 *
 *   bits    name              PML5E PML4E  PDPTE/PDE   1G/2M leaf  4K leaf   owner
 *   0       R read                x            x           x          x      hw
 *   1       W write               x            x           x          x      hw
 *   2       X execute             x            x           x          x      hw
 *   5:3     MT memory type     reserved     reserved       x          x      hw
 *   6       IPAT               reserved     reserved       x          x      hw
 *   7       leaf (page size)   reserved        0           1       ignored   hw
 *   8       A accessed            x            x           x          x      hw, if EPTP.6
 *   9       D dirty            ignored      ignored        x          x      hw, if EPTP.6
 *   10      XU user execute       x            x           x          x      hw, if MBEC
 *   11      ignored
 *   N-1:12  address               x            x        aligned       x      hw
 *   51:N    reserved
 *   54:52   state of the page                              x          x      sw (stage2.h)
 *   62:55   ignored or for features we do not use
 *   63      suppress #VE                                   x          x      hw, unused
 *
 * An entry with R = W = X = 0 is not present.  Hardware ignores all its other bits, so it carries
 * the state of its page too, and in place of an address a number for us (a payload, stage2.h).
 */
#include <assert.h>
#include "pgtable.h"

#define EPT_R	      (1ULL << 0)
#define EPT_W	      (1ULL << 1)
#define EPT_X	      (1ULL << 2)
#define EPT_RWX	      (EPT_R | EPT_W | EPT_X)
#define EPT_MT_SHIFT  3
#define EPT_MT_MASK   (7ULL << EPT_MT_SHIFT)
#define EPT_MT_WB     (6ULL << EPT_MT_SHIFT)
#define EPT_IPAT      (1ULL << 6)
#define EPT_LARGE     (1ULL << 7)
#define EPT_A	      (1ULL << 8)
#define EPT_D	      (1ULL << 9)
#define EPT_ADDR_MASK 0x000ffffffffff000ULL /* 51:12 */
#define EPT_SW_SHIFT  52
#define EPT_SW_MASK   (7ULL << EPT_SW_SHIFT) /* 54:52 */

static_assert(!(EPT_SW_MASK & EPT_ADDR_MASK), "software bits lie above the address");
static_assert(!(EPT_SW_MASK & (EPT_RWX | EPT_MT_MASK | EPT_IPAT | EPT_LARGE)),
	      "software bits are ignored by hardware");

static inline bool ept_present(uint64_t e)
{
	return e & EPT_RWX;
}

/* Is e a leaf, seen at level?  Meaningful for present entries only. */
static inline bool ept_leaf(uint64_t e, unsigned int level)
{
	return level == 1 || (level <= 3 && (e & EPT_LARGE));
}

static inline pfn_t ept_pfn(uint64_t e)
{
	return (e & EPT_ADDR_MASK) >> QUIRE_PAGE_SHIFT;
}

#endif
