/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_TOUCHED_H
#define QUIRE_MMU_MEMORY_TOUCHED_H

/* Who looks at what the guest touches: see touched.c.  All with LOCK_GMEM held. */
#include "gmem.h"

struct touch_watcher {
	bool looks;	  /* it has had touches forgotten */
	uint64_t *missed; /* a bit for each page */
};

/* Set up gm->watcher.  0, or -ENOMEM (touched_finish is to be called all the same). */
int touched_init(struct gmem *gm);
void touched_finish(struct gmem *gm);

/*
 * Which of the private pages of [gfn, gfn + nr), at most BACKEND_TOUCHED, the guest has touched
 * since `who` had that forgotten, or is not known not to have: bit n is page gfn + n.
 */
uint64_t touched_since(struct gmem *gm, enum gmem_watcher who, gfn_t gfn, uint64_t nr);

#endif
