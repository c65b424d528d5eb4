/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_HISTORY_H
#define QUIRE_MMU_MEMORY_HISTORY_H

/*
 * What is remembered of pages that leave memory: since when one is gone, how often it came back,
 * and when it did last.
 *
 * A page is gone while its state has a payload (stage2.h): it is compressed or swapped.  It has a
 * word here, of memory that is touched only once a page has left.  A page that becomes absent
 * begins anew.
 *
 * All with LOCK_GMEM held.
 */
#include "stage2.h"

/* [g] LOCK_GMEM for all of it */
struct history {
	uint32_t *word; /* by gfn: see history.c */
	uint64_t pages; /* of these */
	uint64_t began_ns;
	bool any; /* a page has left */
};

/* For pages below `pages`.  0, or -ENOMEM (history_finish is to be called all the same). */
int history_init(struct history *h, uint64_t pages);
void history_finish(struct history *h);

/* [gfn, gfn + nr) are moving to state `to`. */
void history_note(struct history *h, gfn_t gfn, uint64_t nr, enum page_state to);

/* How often gfn came back, at most 255; and for how long it has been gone, in seconds, if it is. */
unsigned int history_returns(const struct history *h, gfn_t gfn);
uint64_t history_gone_s(const struct history *h, gfn_t gfn);

/* How many seconds ago it came back last, if it is not gone. */
uint64_t history_back_s(const struct history *h, gfn_t gfn);

#endif
