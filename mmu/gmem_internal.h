/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_GMEM_INTERNAL_H
#define QUIRE_MMU_GMEM_INTERNAL_H

/* What gmem.c and pager.c share. */
#include <quire/gmem.h>
#include "locks.h"
#include "window.h"

/* [I] immutable after create   [g] LOCK_GMEM   [p] the pager thread alone */
struct gmem {
	struct gmem_config config;	/* [I] with ram pointing at: */
	struct gfn_range ram[8];	/* [I] */
	struct window window;		/* [I] */
	struct stage2 *s2;		/* [g] */
	struct lock lock;
	unsigned int iov_maps;		/* [g] guest_map_iov not yet unmapped */
	struct gmem_stats stats;	/* [g] all but .s2 */

	pthread_t pager;		/* [I] */
	int stop_event;			/* [I] eventfd that ends the pager */
	bool host_failed;		/* [p] on_host_failure was called */
	gfn_t next_block;		/* [p] the block a sequential guest touches next */
	int direction;			/* [p] +1, -1, or 0: no sequence seen */
	unsigned int streak;		/* [p] faults in sequence */
};

/*
 * Bring gfn, which is absent, in, with as much around it as the policy says: its block if
 * wholly absent and huge pages are on, else the absent pages of its group of 16.
 * 0 with the range brought in; -EDQUOT: not one page's credit at hand (then gmem_wait, with the
 * lock dropped, and try again); or the host's -errno.  Caller holds LOCK_GMEM.
 */
int gmem_bring_in(struct gmem *gm, gfn_t gfn, struct gfn_range *in);

/* Is the block at gfn (multiple of 512) wholly inside RAM and wholly absent? */
bool gmem_block_is_absent(const struct gmem *gm, gfn_t gfn);

/* Wait for credits to bring something in.  0, or -EDQUOT for good.  No lock held. */
int gmem_wait(struct gmem *gm);

/* Bring in the wholly absent block at gfn as one; as gmem_bring_in.  Caller holds LOCK_GMEM. */
int gmem_bring_in_block(struct gmem *gm, gfn_t gfn);

int pager_start(struct gmem *gm, struct quire_error *err);
void pager_stop(struct gmem *gm);

#endif
