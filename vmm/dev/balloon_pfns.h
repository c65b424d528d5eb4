/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_PFNS_H
#define QUIRE_VMM_DEV_BALLOON_PFNS_H

/*
 * Page numbers as a balloon driver names them, one by one and in any order, made into runs.
 * A PFN counts units of 4 KiB whatever the guest's page size is, so here it is a gfn.
 */
#include <quire/types.h>

#define PFN_BATCH 4096u /* eight blocks of 2 MiB */

struct pfn_batch {
	uint32_t pfn[PFN_BATCH];
	uint32_t scratch[PFN_BATCH];
	unsigned int nr;
};

/*
 * Sort the batch and call `run` for each maximal run of consecutive pages, ascending; the batch is
 * empty after that.  Returns how many PFNs were there more than once, in duplicates.
 */
unsigned int pfn_batch_runs(struct pfn_batch *b, void (*run)(void *ctx, gfn_t gfn, uint64_t nr),
			    void *ctx);

#endif
