/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_OPT_H
#define QUIRE_MMU_RECLAIM_OPT_H

/*
 * Belady's optimal replacement, called MIN and OPT: the page that is used again latest leaves.  L.
 * A. Belady, "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems
 * Journal 5(2), 1966.  R. L. Mattson, J. Gecsei, D. R. Slutz and I. L. Traiger, "Evaluation
 * Techniques for Storage Hierarchies", IBM Systems Journal 9(2), 1970, prove that nothing has fewer
 * faults.  It needs the future, so it is for the simulator only.
 *
 * A load or a use takes O(log resident pages), a choice too.
 */
#include "reclaim.h"
#include "trace.h"

#define OPT_NEVER UINT32_MAX

extern const struct reclaim_policy reclaim_opt;

/* Of each access, which one is the next to its page, or OPT_NEVER.  0, or as spool_init(). */
int opt_look_ahead(const struct trace *t, struct spool *next, struct quire_error *err);

/*
 * Tell OPT the future, before the first page is loaded: as opt_look_ahead() found it, and where to
 * read which access is the present one.  Every use must be reported at its access.  Both stay the
 * caller's.
 */
void opt_foresee(struct reclaim *r, const struct spool *next, const uint64_t *now);

#endif
