/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STAGE2_INTERNAL_H
#define QUIRE_MMU_MEMORY_STAGE2_INTERNAL_H

/* What stage2.c, which changes the tree, and stage2_audit.c, which recounts it, share. */
#include "stage2.h"
#include "mmu/format/ept.h"

#define STAGE2_FORMAT	  (&ept4_format)
#define STAGE2_ENTRIES	  512u
#define STAGE2_MAX_RANGES 8u

/* Beside each table of the arena. */
struct table_info {
	uint16_t used;	    /* entries that are not 0 */
	uint32_t next_free; /* list of given-back tables */
};

struct stage2 {
	struct gfn_range ram[STAGE2_MAX_RANGES];
	unsigned int nr_ram;
	uint64_t ram_pages;

	uint64_t (*table)[STAGE2_ENTRIES]; /* the arena */
	struct table_info *info;
	size_t max_tables;
	uint32_t fresh; /* tables never handed out start here */
	uint32_t free;	/* given-back tables; 0: none (0 is the root) */

	/* Kept by entry_store and the table allocator. */
	uint64_t pages[PG_NR_STATES]; /* [PG_ABSENT] is derived, not kept */
	uint64_t large_leaves, tables;
	uint64_t splits, collapses;
};

static inline enum page_state entry_state(uint64_t e)
{
	return (e & EPT_SW_MASK) >> EPT_SW_SHIFT;
}

static inline bool entry_is_table(uint64_t e, unsigned int level)
{
	return ept_present(e) && !ept_leaf(e, level);
}

/* Pages that one entry of a level stands for. */
static inline uint64_t level_pages(unsigned int level)
{
	return 1ULL << (9 * (level - 1));
}

#endif
