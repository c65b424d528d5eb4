/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_MERGE_TOTALS_H
#define QUIRE_VMM_CLI_MERGE_TOTALS_H

/* What merging comes to over all VMs and machines of a roster, under the names that KSM has. */
#include "merge_domains.h"

struct merge_totals {
	unsigned int vms[KEEPER_NR_MODES]; /* by mode, of those that answer */
	unsigned int silent;
	unsigned int elsewhere; /* with a machine that is not in the roster */
	uint64_t pages_shared, pages_sharing, zero_pages, orphan_pages;
	uint64_t pages_scanned, pages_skipped, full_scans;
	uint64_t merged_pages, zeroed_pages, cow_breaks;
	uint64_t mismatches, collapsed_blocks;
	uint64_t cpu_ns, metadata_bytes;
	uint64_t private_pages;			/* the sum of all that follow: */
	uint64_t reason_pages[NOTE_NR_REASONS]; /* of VMs that merge */
	uint64_t other_domain_pages;		/* unique in its domain, but not beyond it */
	uint64_t off_pages;			/* of VMs that do not merge */
	struct merge_domains domains;
};

/* After roster_find_vms(); asks the machines again.  0 or -ENOMEM. */
int merge_totals(const struct roster *r, struct merge_totals *out);
void merge_totals_finish(struct merge_totals *t);

/* 0 or -ENOMEM. */
int merge_totals_text(FILE *f, const struct merge_totals *t, const struct roster *r);
void merge_totals_json(FILE *f, const struct merge_totals *t, const struct roster *r);

#endif
