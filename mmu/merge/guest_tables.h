/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_GUEST_TABLES_H
#define QUIRE_MMU_MERGE_GUEST_TABLES_H

/* Where a guest keeps its page tables: the frames behind CR3, in whatever format it uses. */
#include "mmu/memory/gmem.h"

#define GUEST_TABLES_MAX 16384u /* as many as map 32 GiB by 4 KiB */

/*
 * Call each for every frame of RAM that holds a table which one of these processors would walk:
 * the trees below their CR3s, upper levels first, at most GUEST_TABLES_MAX tables.  A frame that
 * serves as tables of two levels is named twice.  The guest may change its tables meanwhile, and
 * whatever it has there is bounded: loops, tables outside RAM, trees of nothing but tables.
 *
 * Returns how many there were; GUEST_TABLES_MAX means that there may be more.  0 also if there is
 * no memory to look with.
 */
unsigned int guest_tables(struct gmem *gm, const struct walk_cpu *cpu, unsigned int nr_cpus,
			  void (*each)(void *arg, gfn_t gfn), void *arg);

#endif
