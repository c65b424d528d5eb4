/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_SHARE_H
#define QUIRE_MMU_MEMORY_SHARE_H

/*
 * Sharing: what guest memory keeps for it, and how a private page becomes shared.
 *
 * zero.h is the same for pages of zeroes; away.h says how both come home.
 */
#include "gmem.h"
#include "note.h"
#include "store_view.h"

/* [g] LOCK_GMEM for all of it */
struct share {
	struct store_view store; /* where the bytes of shared pages are */
	uint8_t *note;		 /* by gfn: note.h */
	bool any_backoff;	 /* some note may say that its page was un-shared */
	uint64_t *written;	 /* bit n: page n was written, and not by the guest */
	bool zero_reads;	 /* an absent page that is read becomes zero, not private */

	uint32_t *dropped; /* references to give back to the machine */
	uint64_t nr_dropped, dropped_room;

	uint64_t reserve;  /* credits that only a page on its way home may have */
	gfn_t streak_next; /* a sequential writer would break this page next ... */
	uint64_t streak;   /* ... and so many were broken at once last time */
	gfn_t relief_next; /* where the next mapping to be won is looked for */
};

/*
 * Set up gm->share.  0, or -ENOMEM: no address space (share_finish is to be called all the same).
 */
int share_init(struct gmem *gm);

/* Free it, and put the reserve back.  Caller holds LOCK_GMEM, or no other thread knows gm. */
void share_finish(struct gmem *gm);

/*
 * [gfn, gfn + nr) was changed, and the log of the guest's writes does not know.  Caller holds
 * LOCK_GMEM.
 */
void share_note_written(struct gmem *gm, gfn_t gfn, uint64_t nr);

/* Give [gfn, gfn + nr) this reason (enum note_reason).  Caller holds LOCK_GMEM. */
void share_note(struct gmem *gm, gfn_t gfn, uint64_t nr, unsigned int reason);

/* A run of pages that shall become PG_SHARED, with frames from pfn on, or PG_ZERO (pfn ignored). */
struct share_run {
	gfn_t gfn;
	uint64_t nr;
	enum page_state to;
	pfn_t pfn;
};

struct share_result {
	uint64_t merged;  /* pages that are shared, or zero, now */
	uint64_t differ;  /* ... that had other bytes */
	uint64_t no_room; /* ... for which no mapping was left, or which could not leave just now */
};

/*
 * Share the pages of a run to PG_SHARED: those that are private, managed singly, not held, and have
 * the bytes of their frames.  *res is added to.  The run brings one reference for each of its
 * frames; references that are not used are dropped.  Caller holds LOCK_GMEM.
 *
 * Returns 0; -ENOMEM: there is no memory to note what is to be dropped.  Then nothing changed, and
 * the machine counts the run's references until the VM ends.
 */
int share_commit(struct gmem *gm, const struct share_run *run, struct share_result *res);

/*
 * Note references to the nr frames from pfn on, which no entry of stage 2 names, as to be given
 * back.  0, or -ENOMEM as above.  Caller holds LOCK_GMEM.
 */
int share_drop(struct gmem *gm, pfn_t pfn, uint64_t nr);

/*
 * Take references that are to be given back to the machine off the list: at most max of them go to
 * out, as the machine's frame numbers.  Returns how many.  Caller holds LOCK_GMEM.
 */
unsigned int share_take_dropped(struct gmem *gm, uint32_t *out, unsigned int max);

/* --- for mmu/memory --- */

/*
 * Have room to note all references that we hold, and `more`, as to be given back: so a break never
 * needs memory for its books.  0, or -ENOMEM.  Caller holds LOCK_GMEM.
 */
int share_make_room(struct gmem *gm, uint64_t more);

/* Entries of stage 2 that named the nr frames from pfn on, one each, do not any more. */
void share_let_go_frames(struct gmem *gm, pfn_t pfn, uint64_t nr);

/*
 * How many pages of the run, from its page i on, all have their frame's bytes, or all have not:
 * *same says which.  A run to PG_ZERO is compared with zeroes.  Caller holds LOCK_GMEM; the pages
 * are private.
 */
uint64_t share_stretch(const struct gmem *gm, const struct share_run *run, uint64_t i, bool *same);

#endif
