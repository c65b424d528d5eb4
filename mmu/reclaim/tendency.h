/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_TENDENCY_H
#define QUIRE_MMU_RECLAIM_TENDENCY_H

/*
 * What a VM does first when memory is short.  It can *give back* pages that need no frame: zeroes,
 * and pages that are equal to others.  Or it can *send away* pages that it has to load again:
 * compress them, or swap them out.
 *
 * Swappiness, from 0 to 200, weighs the two as vm.swappiness of Linux does.  There are two rules:
 *
 *  - TENDENCY_COST is that of Linux since 5.8 (mm/vmscan.c, get_scan_count).  Pages are taken from
 *    both in the proportion
 *
 *	swappiness / cost of sending : (200 - swappiness) / cost of giving
 *
 *    where a cost is what came back lately, and neither counts more than twice the other.
 *
 *  - TENDENCY_CLASSIC is that of Linux 2.6.0 to 2.6.27 (mm/vmscan.c, refill_inactive_zone): all
 *    that is needed is sent away as soon as
 *
 *	mapped_ratio / 2 + distress + swappiness >= 100
 *
 *    and nothing before.  mapped_ratio is how many of 100 pages are mapped, and distress is
 *    100 >> priority.
 *
 * The priority begins at TENDENCY_PRIORITY and falls as giving back gets nowhere.  At 0 the rules
 * do not matter any more: everything is sent away.
 *
 * There is no clock and no state here: equal input gives equal output.
 */
#include <quire/types.h>

#define TENDENCY_PRIORITY  12u /* as DEF_PRIORITY of Linux */
#define SWAPPINESS_MOST	   200u
#define SWAPPINESS_DEFAULT 60u

enum tendency_rule { TENDENCY_COST, TENDENCY_CLASSIC, TENDENCY_NR_RULES };
extern const char *const tendency_rule_name[TENDENCY_NR_RULES];

struct tendency_input {
	enum tendency_rule rule;
	unsigned int swappiness; /* at most SWAPPINESS_MOST */
	unsigned int priority;	 /* at most TENDENCY_PRIORITY */
	uint64_t ram_pages;	 /* not 0 */
	uint64_t mapped_pages;	 /* ... of them, those that have a frame of their own */
	uint64_t give_cost;	 /* pages that were given back and have come home lately */
	uint64_t send_cost;	 /* ... the same of those that were sent away */
};

/* How many of `want` pages are to be given back; the others are to be sent away. */
uint64_t tendency_to_give(const struct tendency_input *in, uint64_t want);

#endif
