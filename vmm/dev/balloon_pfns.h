/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_PFNS_H
#define QUIRE_VMM_DEV_BALLOON_PFNS_H

/*
 * A balloon driver names pages one by one and in any order.  Here they are made into runs.  A PFN
 * counts units of 4 KiB, whatever the size of the guest's pages is.  So it is a gfn.
 */
#include <quire/types.h>

#define PFN_BATCH 4096u /* eight blocks of 2 MiB */

struct pfn_batch {
	uint32_t pfn[PFN_BATCH];
	uint32_t scratch[PFN_BATCH];
	unsigned int nr;
};

/*
 * Sort the batch, and call `run` for each maximal run of consecutive pages, ascending.  The batch
 * is empty afterwards.  Returns the number of duplicates: PFNs beyond the first of each.
 */
unsigned int pfn_batch_runs(struct pfn_batch *b, void (*run)(void *ctx, gfn_t gfn, uint64_t nr),
			    void *ctx);

#endif
