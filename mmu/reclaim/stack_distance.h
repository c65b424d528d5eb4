/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_STACK_DISTANCE_H
#define QUIRE_MMU_RECLAIM_STACK_DISTANCE_H

/*
 * The faults of LRU for every number of frames, in one pass over a trace.
 *
 * LRU has the stack property: what n frames hold, n + 1 frames hold too.  So one number says for
 * which memories an access is a fault: its stack distance d, the number of different pages since
 * the last access to its page, this page included.  It is a hit with d frames or more.  R. L.
 * Mattson, J. Gecsei, D. R. Slutz and I. L. Traiger, "Evaluation Techniques for Storage
 * Hierarchies", IBM Systems Journal 9(2), 1970.
 */
#include "trace.h"

/*
 * Count the accesses of each distance: nr_at[d] for 1 <= d <= nr_pages, and in nr_at[0] first
 * accesses, which are faults with any memory.  nr_at has nr_pages + 1 zeroes.
 *
 * It takes O(log nr_pages) for each access, and 12 bytes of memory for each page.
 * 0; -ENOMEM, with a line in *err.
 */
int stack_distances(const struct trace *t, uint64_t *nr_at, struct quire_error *err);

#endif
