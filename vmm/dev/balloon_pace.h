/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_PACE_H
#define QUIRE_VMM_DEV_BALLOON_PACE_H

/*
 * How often the balloon's driver is asked for statistics.  To ask wakes the guest, so a guest that
 * does nothing is asked ever more rarely: each time that nothing has changed since it was asked
 * last, the period doubles.  It is the shortest again as soon as something changes: the target, the
 * balloon, what the guest says of its memory, or pages that it touches.
 */
#include <stdbool.h>
#include "mmu/base/balloon_record.h"

/* What counts as a change of a size that the guest tells: more than so large a part of RAM. */
#define BALLOON_PACE_PART 128u

struct balloon_pace {
	uint64_t shortest_ns, longest_ns; /* set by the owner */
	uint64_t ram_pages;		  /* set by the owner */
	uint64_t period_ns;		  /* 0: not begun */
	uint64_t next_ns;		  /* when the driver is to be asked */
	struct balloon_record last;	  /* as it was when something changed last */
};

/* There is no driver. */
void balloon_pace_stop(struct balloon_pace *p);

/*
 * Look at the balloon.  stirred: the guest has touched pages that it did not have.  Returns whether
 * the driver is to be asked now; p->next_ns is when to look again at the latest.
 */
bool balloon_pace_look(struct balloon_pace *p, const struct balloon_record *now, bool stirred,
		       uint64_t now_ns);

#endif
