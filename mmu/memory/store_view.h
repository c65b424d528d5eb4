/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_STORE_VIEW_H
#define QUIRE_MMU_MEMORY_STORE_VIEW_H

/*
 * What a VM sees of stores: the segments that it was given, read-only.
 *
 * A segment of the machine (merge_protocol.h) gets a *place* here.  Its frames get the machine
 * frame numbers STAGE2_STORE_PFN + place * MERGE_SEGMENT_FRAMES + index, so that an entry of stage
 * 2 says where its bytes are.
 *
 * A machine that dies leaves its segments to those that map them.  They are *orphans*: no later
 * machine knows them.  The keeper moves the VM's pages to the new machine's store.  The place of an
 * orphan is free again when none of our pages is in it and the keeper has swept.
 *
 * Locking: LOCK_GMEM for all.  But segments are added, orphaned and swept by the keeper's thread
 * alone, so that thread may call store_view_pfn without it.
 */
#include "stage2.h"
#include "mmu/base/merge_protocol.h"

struct segment_view {
	int fd;		      /* -1: the place is free */
	const uint8_t *bytes; /* all of the segment, read-only */
	uint64_t name;	      /* of its file, for everybody (gmem.h) */
	uint32_t number;      /* the machine's */
	bool orphan;	      /* its machine is gone */
	uint64_t pages;	      /* entries of stage 2 that name its frames */
};

struct store_view {
	struct segment_view segment[MERGE_MAX_SEGMENTS]; /* by place */
	/*
	 * Tell whoever must know where the bytes of a place are, NULL: nowhere any more.  0, or
	 * -errno: they cannot be used.  May be NULL.
	 */
	int (*tell)(void *ctx, unsigned int place, const void *bytes);
	void *ctx;
};

#define STORE_SEGMENT_BYTES ((uint64_t)MERGE_SEGMENT_FRAMES << QUIRE_PAGE_SHIFT)

/* Begin with all places free; and unmap and close all segments. */
void store_view_init(struct store_view *v);
void store_view_finish(struct store_view *v);

/*
 * Adopt the machine's segment `number`.  fd is taken over, also on failure.
 *
 * It must be a file on tmpfs, opened for reading, on a mount that is read-only; or a memfd without
 * write permission whose size and seals are sealed.  So nobody can write it who has only a
 * descriptor like ours, or make it shorter.
 *
 * 0; -EPERM: it is not that; -EINVAL: it is too small; -EMFILE: no place is free; or why it cannot
 * be mapped.
 */
int store_view_add(struct store_view *v, uint32_t number, int fd);

/* The machine frame number of the machine's frame `frame`; 0: we do not have its segment yet. */
pfn_t store_view_pfn(const struct store_view *v, uint32_t frame);

/* The reverse: the machine's number of frame pfn, to *frame.  False: the frame is an orphan. */
bool store_view_frame(const struct store_view *v, pfn_t pfn, uint32_t *frame);

/* The segment of frame pfn, the frame's bytes, and its offset in bytes in the segment's file. */
struct segment_view *store_view_segment(struct store_view *v, pfn_t pfn);
const uint8_t *store_view_bytes(const struct store_view *v, pfn_t pfn);
uint64_t store_view_offset(pfn_t pfn);

/* Count nr more entries (or fewer, if nr is negative) that name frames of pfn's segment. */
void store_view_count(struct store_view *v, pfn_t pfn, int64_t nr);

/* The machine is gone: every segment becomes an orphan. */
void store_view_orphan(struct store_view *v);

/*
 * Close the orphans that have none of our pages.  Only the keeper calls it, and between two passes:
 * in the sandbox no other thread may close files, and in a pass there are runs on their way to a
 * frame that are not counted yet.
 */
void store_view_sweep(struct store_view *v);

/* How many of our pages are in orphans: a new machine does not count their frames. */
uint64_t store_view_orphan_pages(const struct store_view *v);

#endif
