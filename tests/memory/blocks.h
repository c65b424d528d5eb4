/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_BLOCKS_H
#define QUIRE_TESTS_MEMORY_BLOCKS_H

/* What the keeper and the devices do to blocks and ranges of guest memory, at a test's bidding. */
#include <errno.h>
#include "mmu/memory/gmem_internal.h"

/* Manage the block singly.  0; -EFAULT: no block of RAM; -ENOENT: it is no 2 MiB leaf. */
int block_split(struct gmem *gm, gfn_t block);

/* As gmem_collapse; -EFAULT: no block of RAM; -EOPNOTSUPP: huge pages are off. */
int block_collapse(struct gmem *gm, gfn_t block);

/* Make the pages private, as a device does for its rings; their neighbours may come with them. */
int range_bring_in(struct gmem *gm, gfn_t gfn, uint64_t nr);

/* Make the zeroed pages of the run zero that are in the first page's block, as the keeper does. */
void zero_some(struct gmem *gm, gfn_t gfn, uint64_t nr);

#endif
