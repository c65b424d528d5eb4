/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_SHARE_H
#define QUIRE_MMU_MEMORY_SHARE_H

/*
 * Pages without a frame in the RAM file: how a private page becomes shared or zero, and how it
 * comes back.
 *
 * All with LOCK_GMEM held; share.c says in which order and why.
 */
#include "gmem_internal.h"
#include "note.h"

int share_init(struct gmem *gm);
void share_finish(struct gmem *gm);

/* A run of pages: to PG_SHARED with frames from pfn on, or to PG_ZERO, pfn 0. */
struct share_run {
	gfn_t gfn;
	uint64_t nr;
	enum page_state to;
	pfn_t pfn;
};

struct share_result {
	uint64_t merged;  /* are shared, or zero, now */
	uint64_t differ;  /* had other bytes */
	uint64_t no_room; /* no mapping was left, or a page could not leave just now */
};

/* Is there a mapping to spare for another run? */
bool share_has_room(const struct gmem *gm);

/*
 * Send the pages of a run to PG_SHARED away as far as they are private, managed singly, and have
 * the bytes of their frames, and add to *res.  A shared run brings a reference for each of its
 * frames; those that are not used are dropped.  0, or -ENOMEM: no memory to note what is to be
 * dropped (nothing changed; the machine counts the references until the VM ends).
 */
int share_commit(struct gmem *gm, const struct share_run *run, struct share_result *res);

/*
 * The same for `nr` runs of one block, ascending, all to PG_ZERO.
 */
void share_commit_zero(struct gmem *gm, const struct share_run *run, unsigned int nr,
		       struct share_result *res);

/*
 * Make gfn, which is away, private, and with it up to max - 1 pages of the same run that follow it.
 * 0 with what came home; -EDQUOT: not one credit at hand, nor in the reserve (gmem_wait, and try
 * again); or the host's -errno.
 */
int share_break(struct gmem *gm, gfn_t gfn, uint64_t max, struct gfn_range *in);

/*
 * Make [gfn, gfn + nr), one linear run that is away, private, for nr credits that the caller has
 * taken (put back on failure).  0 or the host's -errno.
 */
int share_bring_home(struct gmem *gm, gfn_t gfn, uint64_t nr);

/* How many pages a break at gfn should bring home: more and more for a sequential writer. */
uint64_t share_break_around(struct gmem *gm, gfn_t gfn);

/* Make [gfn, gfn + nr), all away in one linear run, absent.  0 or -ENOMEM (nothing changed). */
int share_forget(struct gmem *gm, gfn_t gfn, uint64_t nr);

/*
 * Map the page of zeroes at [gfn, gfn + nr), which has no frames and is at home: all absent, or all
 * zero.  0 or -ENOMEM (nothing changed).
 */
int share_map_zero(struct gmem *gm, gfn_t gfn, uint64_t nr);

/* The references that are to be given back to the machine: at most max of them go to out. */
unsigned int share_take_dropped(struct gmem *gm, uint32_t *out, unsigned int max);

/* A reference to pfn, which no entry names, is to be given back. */
int share_drop(struct gmem *gm, pfn_t pfn, uint64_t nr);

#endif
