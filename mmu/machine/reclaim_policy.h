/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_RECLAIM_POLICY_H
#define QUIRE_MMU_MACHINE_RECLAIM_POLICY_H

/*
 * The reclaim policy decides how much of a shortage each VM is to free.  Which pages go is decided
 * by the VM itself (mmu/reclaim).
 *
 * The scheme is that of the balloon policy (balloon_policy.h): memory is taken from the VM with the
 * fewest shares per page, where an idle page counts for more than one of the working set:
 *
 *	charge = (1 - tau) * active + idle
 *
 * The next page is taken where charge / shares is largest.
 *
 * A VM loses idle pages first.  A guest that stands still gives all it has, whatever is short.
 *
 * The working set is the VM's own word.  With tau = 3/4 a VM that lies about it has up to four
 * times the memory of another with equal shares that is all idle, and never more than that other
 * would have if it used its memory.
 *
 * There is no clock, no allocation, no I/O and no floating point: equal input gives equal output.
 */
#include <quire/types.h>

#define RECLAIM_TAX_PERMILLE 750u /* tau */
#define RECLAIM_KEEP_PAGES   256u /* 1 MiB, without which no guest gets anywhere */

/* A VM as it is now. */
struct reclaim_input {
	uint64_t held_pages;   /* what it costs the machine */
	uint64_t active_pages; /* of these: its working set */
	uint32_t shares;       /* not 0 */
	bool able;	       /* it can free pages */
	bool still;	       /* its guest stands still */
};

/*
 * Split `demand` pages: give[i] becomes what VM i is to free of in[i].held_pages, for nr VMs.
 * Returns their sum, which is at least demand, or all that VMs can give: each keeps
 * RECLAIM_KEEP_PAGES.
 *
 * The split is exact to a 64th of the demand, or 16 pages if that is more.  The cost is
 * O(64 * nr).
 */
uint64_t reclaim_split(const struct reclaim_input *in, uint64_t *give, unsigned int nr,
		       uint64_t demand);

#endif
