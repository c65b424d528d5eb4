/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_GUEST_TABLES_H
#define QUIRE_MMU_MERGE_GUEST_TABLES_H

/* Finding the frames in which a guest keeps its page tables, in whatever format it uses. */
#include "mmu/memory/gmem.h"

#define GUEST_TABLES_MAX 16384u /* so many tables map 32 GiB in pages of 4 KiB */

/*
 * Call `each` for every frame of RAM that holds a table which one of these processors would walk.
 * These are the trees below their CR3s, upper levels first, and at most GUEST_TABLES_MAX tables.  A
 * frame that serves as a table of two levels is named twice.
 *
 * The guest may change its tables meanwhile.  Whatever it has there, the work is bounded: loops,
 * tables outside RAM, trees of nothing but tables.
 *
 * Returns how many tables there were.  GUEST_TABLES_MAX means that there may be more.  0 is also
 * the answer if there is no memory to look with.
 */
unsigned int guest_tables(struct gmem *gm, const struct walk_cpu *cpu, unsigned int nr_cpus,
			  void (*each)(void *arg, gfn_t gfn), void *arg);

#endif
