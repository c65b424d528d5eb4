/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_GMEM_INTERNAL_H
#define QUIRE_MMU_GMEM_INTERNAL_H

/* What gmem.c, bring_in.c, access.c, pager.c and filler.c share. */
#include <quire/gmem.h>
#include "locks.h"
#include "window.h"

#define NO_BLOCK UINT64_MAX

/* Who fills blocks, each through a slot of its own. */
enum { SLOT_TOUCH, SLOT_FILLER };

/* [I] immutable after create   [g] LOCK_GMEM   [p] the pager thread alone */
struct gmem {
	struct gmem_config config;	/* [I] with ram pointing at: */
	struct gfn_range ram[8];	/* [I] */
	struct window window;		/* [I] */
	struct stage2 *s2;		/* [g] */
	struct lock lock;
	unsigned int iov_maps;		/* [g] guest_map_iov not yet unmapped */
	struct gmem_stats stats;	/* [g] all but .s2 */

	gfn_t filling[WINDOW_SLOTS];	/* [g] blocks being filled, or NO_BLOCK */
	pthread_cond_t filled;		/* with LOCK_GMEM: one of them is done */

	bool pager_started;		/* [I] pager and stop_event are valid */
	pthread_t pager;		/* [I] */
	int stop_event;			/* [I] eventfd that ends the pager */
	bool host_failed;		/* [p] on_host_failure was called */

	bool filler_started;		/* [I] filler and suggested are valid */
	pthread_t filler;		/* [I] */
	bool filler_runs;		/* [g] */
	gfn_t wanted;			/* [g] what the filler should bring in next, or NO_BLOCK */
	pthread_cond_t suggested;	/* with LOCK_GMEM: wanted or filler_runs changed */
};

void bring_in_init(struct gmem *gm);
void bring_in_finish(struct gmem *gm);

/*
 * Wait until no block of [start, end) is being filled: only then does absent mean that nothing is
 * there.  Caller holds LOCK_GMEM, which may be dropped meanwhile.
 */
void bring_in_settle(struct gmem *gm, gfn_t start, gfn_t end);

/*
 * Bring gfn in, if it is absent, with as much around it as the policy says (bring_in.c).
 * 0 with the range brought in, empty if there was nothing to do; -EDQUOT: not one page's credit
 * at hand (then gmem_wait, with the lock dropped, and try again); or the host's -errno.  Caller
 * holds LOCK_GMEM, which may be dropped meanwhile.
 */
int gmem_bring_in(struct gmem *gm, gfn_t gfn, struct gfn_range *in);

/* Is the block at gfn (multiple of 512) wholly inside RAM and wholly absent? */
bool gmem_block_is_absent(const struct gmem *gm, gfn_t gfn);

/*
 * Bring in the wholly absent block at gfn, which is not being filled, as one, through a slot not
 * in use.  As gmem_bring_in; the lock is dropped meanwhile.
 */
int bring_in_block(struct gmem *gm, gfn_t gfn, unsigned int slot);

/* Wait for credits to bring something in.  0, or -EDQUOT for good.  No lock held. */
int gmem_wait(struct gmem *gm);

/* Pages are gone: give their credits back.  Caller holds LOCK_GMEM. */
void gmem_put(struct gmem *gm, uint64_t pages);

int pager_start(struct gmem *gm, struct quire_error *err);
void pager_stop(struct gmem *gm);

int filler_start(struct gmem *gm, struct quire_error *err);
void filler_stop(struct gmem *gm);

/* A touch is about to bring in `block`; maybe another should come with it.  Holds LOCK_GMEM. */
void filler_suggest(struct gmem *gm, gfn_t block);

#endif
