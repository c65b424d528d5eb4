/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STORE_VIEW_H
#define QUIRE_MMU_MEMORY_STORE_VIEW_H

/*
 * What a VM sees of stores: the segments it was given, read-only.
 *
 * A segment of the machine (merge_protocol.h) gets a *place* here, and its frames the machine
 * frame numbers STAGE2_STORE_PFN + place * MERGE_SEGMENT_FRAMES + index, so that an entry of stage 2
 * says where its bytes are.  A machine that dies leaves its segments to those that map them: they
 * are *orphans*, known to no later machine, until the keeper has moved the VM's pages to the new
 * one's store.  A place is free again when it is an orphan, none of our pages is
 * in it, and the keeper has swept.
 *
 * Locking: LOCK_GMEM for all.
 */
#include "stage2.h"
#include "mmu/base/merge_protocol.h"

struct segment_view {
	int fd;		      /* -1: the place is free */
	const uint8_t *bytes; /* all of the segment, read-only */
	uint64_t inode;	      /* its name for everybody (gmem.h) */
	uint32_t number;      /* the machine's */
	bool orphan;
	uint64_t pages; /* entries of stage 2 that name it */
};

struct store_view {
	struct segment_view segment[MERGE_MAX_SEGMENTS];
};

void store_view_init(struct store_view *v);
void store_view_finish(struct store_view *v);

/* Adopt a segment: fd is taken over, also on failure.  0; -EMFILE: no place is free; -errno: it
 * cannot be mapped or is too small. */
int store_view_add(struct store_view *v, uint32_t number, int fd);

/* Where the machine's frame is here; 0: its segment was not given to us yet. */
pfn_t store_view_pfn(const struct store_view *v, uint32_t frame);

/* The machine's number of a frame of ours; false: it is an orphan. */
bool store_view_frame(const struct store_view *v, pfn_t pfn, uint32_t *frame);

/* The segment of a frame, and what is in the frame. */
struct segment_view *store_view_segment(struct store_view *v, pfn_t pfn);
const uint8_t *store_view_bytes(const struct store_view *v, pfn_t pfn);
uint64_t store_view_offset(pfn_t pfn); /* of the frame in its segment's file */

/* nr of our entries more (or less) name frames of pfn's segment. */
void store_view_count(struct store_view *v, pfn_t pfn, int64_t nr);

/* The machine is gone: every segment is an orphan. */
void store_view_orphan(struct store_view *v);

/*
 * Let orphans go that have none of our pages.  By the keeper, between passes: whoever writes the
 * last page away may not close files (sandbox), and runs on their way to a frame are not counted
 * yet.
 */
void store_view_sweep(struct store_view *v);

/* How many of our pages are in orphans: a machine that comes will not count their frames. */
uint64_t store_view_orphan_pages(const struct store_view *v);

#endif
