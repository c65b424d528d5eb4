/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_PACKED_H
#define QUIRE_MMU_MEMORY_PACKED_H

/*
 * Compressed pages: private pages that are not used lose their frames, and the pool (mmu/pool) has
 * their bytes.
 *
 * The pool's pages are pages of the RAM file, in its second half.  They cost credits like others.
 * So the kernel's count of the file is still private pages and pool, and the VM never has more of
 * both than its RAM: the pool always has fewer pages than objects (packed_settle).
 *
 * All with LOCK_GMEM held.
 */
#include "mmu/pool/pool.h"
#include "stage2.h"

struct gmem;

/* How many pages lose their frames before the pool gets them: it is paid with their credits. */
#define PACKED_BATCH 16u

/* [g] LOCK_GMEM for all of it */
struct packed {
	struct pool *pool;
	struct pool_packed *batch; /* PACKED_BATCH of them */
	uint8_t *refusals;	   /* by gfn: what is remembered of pages that did not compress */
	uint64_t purse;		   /* credits of pages that are on their way in or out */
};

/* Set up gm->packed.  0, or -ENOMEM (packed_finish is to be called all the same). */
int packed_init(struct gmem *gm);
void packed_finish(struct gmem *gm);

/*
 * If the pool has as many pages as objects, bring some home.  That takes no credits: as many come
 * free.  To be called after pages have left the pool.
 */
void packed_settle(struct gmem *gm);

/*
 * A compressed page came home to a guest that goes on from page to page: the compressed pages that
 * follow *in come home too, up to `around` in all, as long as there are credits.  They are added to
 * *in.
 */
void packed_bring_ahead(struct gmem *gm, struct gfn_range *in, uint64_t around);

/* How often in a row gfn did not compress, at most 5. */
uint8_t packed_refusals(const struct gmem *gm, gfn_t gfn);

/* How many pages of the RAM file the pool has. */
uint64_t packed_pool_pages(const struct gmem *gm);

/*
 * Compare the pool with stage 2, and count it anew.  Describes each fault through report (may be
 * NULL).  Returns their number.
 */
unsigned int packed_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx);

#endif
