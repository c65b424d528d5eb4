/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MERGE_TOTALS_H
#define QUIRE_VMM_MERGE_TOTALS_H

/* What merging comes to over all VMs and machines of a roster, under the names that KSM has. */
#include "roster.h"

struct merge_totals {
	unsigned int vms[KEEPER_NR_MODES];	/* by mode, of those that answer */
	unsigned int silent;
	uint64_t pages_shared, pages_sharing, zero_pages, orphan_pages;
	uint64_t pages_scanned, pages_skipped, full_scans;
	uint64_t merged_pages, zeroed_pages, cow_breaks;
	uint64_t mismatches, collapsed_blocks;
	uint64_t cpu_ns, metadata_bytes;
	uint64_t private_pages;			/* the sum of all that follow: */
	uint64_t reason_pages[KEEPER_NR_REASONS];	/* of VMs that merge */
	uint64_t other_domain_pages;		/* unique in its domain, but not beyond it */
	uint64_t off_pages;			/* of VMs that do not merge */
};

/* After roster_find_vms(); asks the machines again. */
void merge_totals(const struct roster *r, struct merge_totals *out);

void merge_totals_text(FILE *f, const struct merge_totals *t);
void merge_totals_json(FILE *f, const struct merge_totals *t);

#endif
