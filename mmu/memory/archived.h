/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_ARCHIVED_H
#define QUIRE_MMU_MEMORY_ARCHIVED_H

/*
 * Archived pages: they were shared, nobody used them, and the machine packed them once for all who
 * had them (merge_protocol.h).  The packed bytes are in a frame of a store, which we can read.  So
 * a page comes home without the machine.
 *
 * The payload is the number of that frame in stage 2, less STAGE2_STORE_PFN, times 4096, plus the
 * byte at which the page begins there.  Each page has a reference to the frame.
 *
 * All with LOCK_GMEM held.
 */
#include "gmem.h"

/* So many pages become archived in one section of LOCK_GMEM, at most. */
#define ARCHIVED_BATCH 16u

/* Where a page is packed. */
struct archived_place {
	pfn_t frame;
	unsigned int at; /* a byte of it */
};

/* The frame of a store in which an archived page is. */
static inline pfn_t archived_frame(const struct stage2_page *page)
{
	return STAGE2_STORE_PFN + ((page->pfn & ~STAGE2_UNMAPPED) >> QUIRE_PAGE_SHIFT);
}

/*
 * Make the pages [gfn, gfn + nr), at most ARCHIVED_BATCH, archived: place[i] says where page i is
 * packed.  They are one linear run of shared pages.  Bit i of the result: page i is archived, and
 * the reference to its place is its own now.  The others are shared still, or private if the guest
 * wrote them meanwhile, if the host could not free them, or if place[i] has other bytes.
 */
uint64_t archived_commit(struct gmem *gm, gfn_t gfn, uint64_t nr,
			 const struct archived_place *place);

/* How many bytes an archived page is packed into. */
unsigned int archived_bytes(const struct gmem *gm, const struct stage2_page *page);

#endif
