/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_MAPPINGS_H
#define QUIRE_MMU_MEMORY_MAPPINGS_H

/*
 * How many mappings the kernel has for a range of pages, by what is mapped where.
 *
 * The kernel limits the mappings of a process (vm.max_map_count) and tells their number to nobody
 * in a sandbox, so the window notes what it has mapped.  Two neighbouring pages are in one mapping
 * if
 *
 *   both are at home, and both managed singly or both in whole blocks;
 *   or both are mapped from one file, at offsets that follow each other;
 *   or both are mapped as zeroes.
 *
 * The kernel keeps two such mappings apart if both ever had private copies of the guest's pages.
 * That is rare: a mapping gets copies if the guest writes in the moment in which pages are sent
 * away, or if the host took a page from the page table (window.c).  Linux before 6.4 also keeps
 * apart blocks that were the end of a larger mapping when userfaultfd came or went.  What the
 * kernel then has more than this count is not counted; some mappings are left to that.
 *
 * Memory: an array of 4 bytes a page and one of a byte a block, touched only where something other
 * than home was ever mapped.
 *
 * Locking: there is none inside.
 */
#include <quire/types.h>

/* Where a page is mapped from: one of these, or mapping_of_file(). */
#define MAPPING_HOME   0u
#define MAPPING_ZEROES 1u

struct mappings {
	const struct gfn_range *ram; /* borrowed */
	unsigned int nr_ram;
	uint64_t span;	/* pages, from gfn 0 to the end of RAM and beyond it to that of a block */
	uint32_t *from; /* by gfn + 1: where it is mapped from */
	uint8_t *whole; /* by block */
};

/*
 * Everything is at home, and managed singly.  `ram` is as in stage2_create, and stays.  0; -ENOMEM:
 * no address space (mappings_finish is to be called all the same).
 */
int mappings_init(struct mappings *m, const struct gfn_range *ram, unsigned int nr_ram);
void mappings_finish(struct mappings *m);

/* Page `from` of the file fd, in bytes. */
uint32_t mapping_of_file(int fd, uint64_t from);

/*
 * [gfn, gfn + nr), in blocks that are managed singly, is mapped from `from` on; or so many blocks
 * are at home, and whole or not.  Both return how many mappings there are more than before.
 */
int64_t mappings_set(struct mappings *m, gfn_t gfn, uint64_t nr, uint32_t from);
int64_t mappings_set_whole(struct mappings *m, gfn_t block, uint64_t blocks, bool whole);

/*
 * How many mappings there would be more if [gfn, gfn + nr), in blocks that are managed singly, came
 * home.  It may be negative.
 */
int64_t mappings_home_costs(const struct mappings *m, gfn_t gfn, uint64_t nr);

/* The mapping that gfn is in. */
struct gfn_range mappings_at(const struct mappings *m, gfn_t gfn);

/* Is any page of [gfn, gfn + nr) not at home? */
bool mappings_any_away(const struct mappings *m, gfn_t gfn, uint64_t nr);

/* Count the mappings anew, and the pages that are not at home. */
uint64_t mappings_count(const struct mappings *m, uint64_t *away);

/* How many mappings vm.max_map_count leaves to a range of this process. */
uint64_t mappings_most(void);

#endif
