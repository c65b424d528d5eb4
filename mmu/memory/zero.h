/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_ZERO_H
#define QUIRE_MMU_MEMORY_ZERO_H

/*
 * Pages of zeroes: how a private page becomes zero, and how the page of zeroes is mapped.
 *
 * All with LOCK_GMEM held.
 */
#include "share.h"

/*
 * Make the pages of `nr` runs to PG_ZERO zero: those that are private, managed singly, not held,
 * and full of zeroes.  The runs are ascending and lie in one block.  Nothing is mapped for the
 * pages.  *res is added to.
 */
void zero_commit(struct gmem *gm, const struct share_run *run, unsigned int nr,
		 struct share_result *res);

/*
 * Map the page of zeroes at gfn and in the rest of *around, whose pages are all absent, or all zero
 * and not mapped.  Wakes who waits.
 *
 * Returns 0 with the part of *around that is zero and mapped now; or private, if the guest wrote
 * meanwhile;
 *   -EDQUOT  there is no credit at hand, nor in the reserve (nothing changed)
 *   -ENOSPC  the guest wrote meanwhile, and the host has no memory for it
 *   -ENOMEM  there is no mapping left (nothing changed)
 */
int zero_map(struct gmem *gm, gfn_t gfn, struct gfn_range *around);

/*
 * Make [gfn, gfn + nr), zeroes that are mapped, absent, for nr credits that the caller has taken.
 * What the guest touches meanwhile becomes private, so that no write is lost; the other credits are
 * put back.  Or the host's -errno: nothing changed, and the credits are left to the caller.
 */
int zero_unmap(struct gmem *gm, gfn_t gfn, uint64_t nr);

#endif
