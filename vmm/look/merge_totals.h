/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_MERGE_TOTALS_H
#define QUIRE_VMM_LOOK_MERGE_TOTALS_H

/* The totals of merging over all VMs and machines of a roster, under KSM's names. */
#include "merge_domains.h"

struct merge_totals {
	unsigned int vms[KEEPER_NR_MODES]; /* by mode, of those that answer */
	unsigned int silent;		   /* VMs that do not answer */
	unsigned int elsewhere; /* VMs that merge with a machine that is not in the roster */
	uint64_t pages_shared, pages_sharing, zero_pages, orphan_pages;
	uint64_t pages_scanned, pages_skipped, full_scans;
	uint64_t merged_pages, zeroed_pages, cow_breaks;
	uint64_t mismatches, collapsed_blocks;
	uint64_t cpu_ns, metadata_bytes;
	uint64_t private_pages;			/* the sum of the next three */
	uint64_t reason_pages[NOTE_NR_REASONS]; /* of VMs that merge */
	uint64_t other_domain_pages; /* unique in their domain, but another domain has them */
	uint64_t off_pages;	     /* of VMs that do not merge */
	struct merge_domains domains;
};

/*
 * Add everything up.  The roster has its VMs already (roster_find_vms); the machines are asked
 * again.  Returns 0 or -ENOMEM.  Either way merge_totals_finish() is to be called.
 */
int merge_totals(const struct roster *r, struct merge_totals *out);
void merge_totals_finish(struct merge_totals *t);

/* Print the totals for people.  Returns 0 or -ENOMEM. */
int merge_totals_text(FILE *f, const struct merge_totals *t, const struct roster *r);

/* Print them as quire.merge/1. */
void merge_totals_json(FILE *f, const struct merge_totals *t, const struct roster *r);

#endif
