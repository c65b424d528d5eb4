/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_MERGE_SAVED_H
#define QUIRE_VMM_LOOK_MERGE_SAVED_H

/*
 * What merging saves now, in one line that keeps three numbers apart: pages that share a frame,
 * the frames that they share, and the difference, which is what is saved.  A page of zeroes has no
 * frame and is saved whole.
 */
#include "vmm/vm/vm_info.h"

struct merge_saved {
	uint64_t pages;	     /* of VMs, that share frames of a store */
	uint64_t frames;     /* that they share */
	uint64_t zero_pages; /* of VMs, that have no frame */
};

/*
 * Of these VMs now: all pages of their domains, which only their machines know, and the VMs' own
 * pages of zeroes.  *unknown becomes the number of VMs whose machine is not found, and whose
 * shared pages are therefore not in it.  0, or -errno with *err.
 */
int merge_saved_find(const struct vm_info *const *vm, unsigned int nr, struct merge_saved *out,
		     unsigned int *unknown, struct quire_error *err);

/* "12046 pages WORD 6023 frames: 23.5 MiB saved; 2268 pages of zeroes: 8.9 MiB saved", a line. */
void merge_saved_text(FILE *f, const struct merge_saved *saved, const char *word);

#endif
