/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_GMEM_INTERNAL_H
#define QUIRE_MMU_MEMORY_GMEM_INTERNAL_H

/*
 * What gmem.c, moves.c, bring_in.c, give_back.c, share.c, zero.c, away.c, access.c, pager.c and
 * the
 * keeper share.
 */
#include "gmem.h"
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "share.h"
#include "window.h"

#define NO_BLOCK UINT64_MAX

/* [I] immutable after create   [g] LOCK_GMEM   [p] the pager thread alone */
struct gmem {
	struct gmem_config config; /* [I] with ram pointing at: */
	struct gfn_range ram[8];   /* [I] */
	struct window window;	   /* [I] */
	struct stage2 *s2;	   /* [g] */
	struct lock lock;
	struct gfn_range held[GMEM_MAX_HELD]; /* [g] pages that stay private */
	unsigned int nr_held;		      /* [g] */
	struct gmem_stats stats;	      /* [g] all but .s2 */

	uint64_t mappings;     /* [g] of the window (moves.c) ... */
	uint64_t max_mappings; /* [I] ... that the kernel allows */

	struct share share;	     /* [g] */
	struct gfn_range last_group; /* [g] the last pages that came in as a group */

	gfn_t filling;	       /* [g] the block that is being filled, or NO_BLOCK */
	pthread_cond_t filled; /* with LOCK_GMEM: that is done */

	struct thread pager; /* [I] while it is started, stop_event is valid */
	int stop_event;	     /* [I] eventfd that ends the pager */
	bool host_failed;    /* [p] on_host_failure was called */
};

/* A step of a walk over all of RAM: a linear run, as stage2_linear_run has them. */
struct gmem_run {
	gfn_t gfn;
	uint64_t nr;
	struct stage2_page page; /* at gfn */
	gfn_t ram_end;		 /* where the range of RAM ends that the run is part of */
};

/*
 * Step to the next run of RAM, in ascending order: to the first one if *run is all zeroes.  False:
 * there is no more.  The caller may change run->nr, because the next run begins at gfn + nr, and
 * may let go of LOCK_GMEM between two steps.
 */
bool gmem_each_run(const struct gmem *gm, struct gmem_run *run);

/* moves.c */
void moves_init(struct gmem *gm);
uint64_t moves_recount(const struct gmem *gm); /* what `mappings` should be */

/*
 * stage2_set, stage2_set_large and stage2_split, which the caller knows to be legal, with what
 * hangs on them.  Caller holds LOCK_GMEM.
 */
int gmem_set(struct gmem *gm, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn);
int gmem_set_large(struct gmem *gm, gfn_t block);
int gmem_set_single(struct gmem *gm, gfn_t block);

/*
 * Free the frames of [gfn, end), private (or already mapped from elsewhere), which the host manages
 * singly: what it frees moves to state `to`, with frames from pfn on as in stage2_set; the rest is
 * zeroed, and stays private.  Returns how many moved.
 */
uint64_t gmem_punch(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to, pfn_t pfn);

/* Is gfn held?  *nr becomes how many of the *nr pages from gfn on are as it is. */
bool gmem_is_held(const struct gmem *gm, gfn_t gfn, uint64_t *nr);

/*
 * Manage the block at `block`, which is one 2 MiB leaf, singly.  0; -ENOMEM: vm.max_map_count binds.
 * Caller holds LOCK_GMEM.
 */
int gmem_split(struct gmem *gm, gfn_t block);

/*
 * Manage the block at `block`, all private, as one again, and make it one huge page of the host.
 * Caller holds LOCK_GMEM.  0; -EEXIST: it is one; -EBUSY: not all of it is private; -EAGAIN: the
 * host has no huge page now; -ENOMEM: vm.max_map_count binds.  On failure nothing changed.
 */
int gmem_collapse(struct gmem *gm, gfn_t block);

void bring_in_init(struct gmem *gm);
void bring_in_finish(struct gmem *gm);

/*
 * Wait until no block of [start, end) is being filled: only then does absent mean that nothing is
 * there.  Caller holds LOCK_GMEM, which may be dropped meanwhile.
 */
void gmem_await_filled(struct gmem *gm, gfn_t start, gfn_t end);

/*
 * Make gfn private, with as much around it as the policy says (bring_in.c, away.c); or, if
 * it is only to be read and that is wanted, zero.
 * 0 with the range brought in, empty if there was nothing to do; -EDQUOT: not one page's credit
 * at hand (then gmem_wait, with the lock dropped, and try again); or the host's -errno.  Caller
 * holds LOCK_GMEM, which may be dropped meanwhile.
 */
int gmem_bring_in(struct gmem *gm, gfn_t gfn, bool write, struct gfn_range *in);

/* Wait for credits to bring something in.  0, or -EDQUOT for good.  No lock held. */
int gmem_wait(struct gmem *gm);

/* Credits at hand for that many pages? */
bool gmem_take(struct gmem *gm, uint64_t pages);

/* More credits would be welcome, but nobody waits for them. */
void gmem_ask(struct gmem *gm);

/* Pages are gone: give their credits back.  Caller holds LOCK_GMEM. */
void gmem_put(struct gmem *gm, uint64_t pages);
void gmem_give(struct gmem *gm, uint64_t pages); /* not wanted soon */

int pager_start(struct gmem *gm, struct quire_error *err);
void pager_stop(struct gmem *gm);

#endif
