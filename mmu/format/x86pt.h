/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_FORMAT_X86PT_H
#define QUIRE_MMU_FORMAT_X86PT_H

/*
 * The guest's own page tables: the four paging modes of x86.
 *
 * Intel SDM Vol. 3A, chapter "Paging": tables "Format of a 32-Bit Page-Directory Entry that
 * Maps a 4-MByte Page", "Format of a PAE Page-Directory-Pointer-Table Entry", "Format of a
 * PML4 Entry (PML4E) that References a Page-Directory-Pointer Table" and their neighbours.
 * M is MAXPHYADDR.  Bits ascending:
 *
 * 4-level and 5-level paging, 8 bytes
 *   bits    name               PML5E PML4E   PDPTE/PDE   1G/2M leaf   4K leaf
 *   0       P present               x            x           x           x
 *   1       W writable              x            x           x           x
 *   2       U user                  x            x           x           x
 *   4:3     PWT PCD                 x            x           x           x
 *   5       A accessed              x            x           x           x
 *   6       D dirty              ignored      ignored        x           x
 *   7       PS page size         reserved        0           1          PAT
 *   8       G global            ignored (*)   ignored        x           x
 *   11:9    ignored
 *   12      address                 x            x          PAT          x
 *   M-1:13  address                 x            x      reserved below   x
 *                                                       the page's size
 *   51:M    reserved
 *   62:52   ignored (62:59 protection key in a leaf)
 *   63      NX no execute     x if EFER.NXE, else reserved
 *
 * PS in a PDPTE is reserved on processors without 1 GiB pages.  (*) AMD's processors reserve
 * bit 8 here (AMD64 APM Vol. 2, "Long-Mode Page Translation"), Intel's ignore it.
 *
 * PAE paging, 8 bytes: PDE and PTE as above but for
 *   62:M    reserved (none is ignored)
 * and its PDPTE is unlike all others.  It grants everything and is never marked accessed:
 *   0       P present
 *   2:1     reserved
 *   4:3     PWT PCD
 *   8:5     reserved
 *   11:9    ignored
 *   M-1:12  address
 *   63:M    reserved
 *
 * 32-bit paging, 4 bytes
 *   bits    name             PDE      4M leaf        4K leaf
 *   6:0     as above          x          x              x
 *   7       PS page size      0          1             PAT
 *   8       G global       ignored       x              x
 *   11:9    ignored
 *   12      address           x         PAT             x
 *   20:13   address           x     bits 39:32 (+)      x
 *   21      address           x      reserved           x
 *   31:22   address           x          x              x
 *
 * PS in a PDE is ignored if CR4.PSE is clear.  (+) That is PSE-36: with M below 40 the
 * bits of 20:13 that would name address bits M and up are reserved.
 */
#include <assert.h>
#include "pgtable.h"

#define X86_P	      (1ULL << 0)
#define X86_W	      (1ULL << 1)
#define X86_U	      (1ULL << 2)
#define X86_A	      (1ULL << 5)
#define X86_D	      (1ULL << 6)
#define X86_PS	      (1ULL << 7)
#define X86_G	      (1ULL << 8)
#define X86_NX	      (1ULL << 63)
#define X86_ADDR_MASK 0x000ffffffffff000ULL /* 51:12 */
#define X86_LEAF_PAT  (1ULL << 12)	    /* in a leaf that is not a PTE */

#define X86_PDPTE_PAE_RESERVED 0x1e6ULL /* 8:5, 2:1 */

#define X86_PSE_MASK	   0xffc00000ULL /* 31:22 of a 4 MiB leaf, in place */
#define X86_PSE_HIGH_SHIFT 13		 /* 20:13 are address bits 39:32 */
#define X86_PSE_HIGH_BITS  8

static_assert(!(X86_PDPTE_PAE_RESERVED & (X86_P | X86_ADDR_MASK)),
	      "the PDPTE's reserved bits are neither its P bit nor its address");

#endif
