/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_RECLAIM_RECLAIMER_LAB_H
#define QUIRE_TESTS_RECLAIM_RECLAIMER_LAB_H

/* A reclaimer on a small guest memory, without its thread unless the test starts it. */
#include "mmu/reclaim/reclaimer_internal.h"
#include "tests/memory/pages.h"

/* The reclaimer under test. */
extern struct reclaimer *r;

/* Creates both.  begin_with_swap(): with a swap file, and the policy FIFO. */
void begin_with(struct gmem_config memory, enum reclaim_kind kind);
void begin(enum gmem_hugepages hugepages, enum reclaim_kind kind);
void begin_with_swap(void);

/* Destroys them. */
void end(void);

struct reclaimer_stats stats(void);

/* How many pages of the guest are in this state. */
uint64_t pages_in(enum page_state state);

/* The guest reads the page. */
void touch(gfn_t gfn);

/* Does the policy know the page? */
bool is_known(gfn_t gfn);

#endif
