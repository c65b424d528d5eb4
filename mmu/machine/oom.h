/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_OOM_H
#define QUIRE_MMU_MACHINE_OOM_H

/*
 * Which VM to kill when free memory is below the min watermark and does not come back in time.
 *
 * The badness of a VM is the number of pages that its end would win, plus oom_score_adj thousandths
 * of the machine's memory.  That is the rule of Linux's oom_badness() (mm/oom_kill.c).  The VM with
 * the highest badness dies first.  A VM with oom_score_adj -1000 is never killed.
 *
 * What the end of a VM would win is the sum of these:
 *
 *   held       the larger of its resident pages and the credits that it holds.  Credits count
 *              although no page uses them yet, because nobody else can have these pages
 *   alone      frames of the store to which it alone has references.  They go with it
 *   share      its part of the other frames that it refers to.  Of a frame with 4 references, of
 *              which 1 is this VM's, it has a quarter.  When all who refer to the frame have ended,
 *              just one frame was won
 *   overhead   what its process and tables cost
 */
#include "mmu/base/machine_protocol.h"

/*
 * Before badness counts, those are looked for that hold more than their due, because no other VM
 * is to die for them.  A VM holds more than its due by the sum of these:
 *
 *   unpaid     resident pages beyond its credits and OOM_TOUCH_PAGES, and memory of its process
 *              beyond its overhead and OOM_SLACK_PAGES
 *   idle       credits beyond its resident pages and OOM_SPARE_PAGES.  It was asked for them, by a
 *              RECALL, and kept them
 *   ignored    pages that it was asked to free by a RECLAIM, and said it could, and did not
 *   twice      its resident pages and its part of the store together, beyond the RAM that it
 *              promised and OOM_SPARE_PAGES.  A page is in RAM or in the store, not in both
 *
 * For an instant a guest may have a run of pages whose credits are still to be found.  Overhead is
 * an estimate, and THP may round the memory of a process up: so there is the slack.  A VM that
 * brings pages in, or compares them before it shares them, has a few blocks of pages on the
 * way: so there is what it may spare.
 */
#define OOM_TOUCH_PAGES (4 * MiB / QUIRE_PAGE_SIZE)
#define OOM_SLACK_PAGES (16 * MiB / QUIRE_PAGE_SIZE)
#define OOM_SPARE_PAGES (8 * MiB / QUIRE_PAGE_SIZE)

#define OOM_SCORE_ADJ_MIN (-1000)
#define OOM_SCORE_ADJ_MAX 1000
#define OOM_NEVER	  INT64_MIN

/* The pages that the end of a VM would win. */
uint64_t oom_pages(const struct machine_holding *h);

/* What it occupies beyond what it was charged, and beyond what is forgiven. */
uint64_t oom_unpaid(const struct machine_holding *h);

/* The pages that it holds beyond its due; 0: it keeps to the rules. */
uint64_t oom_excess(const struct machine_holding *h);

/* The badness of a VM; OOM_NEVER if it must not be killed. */
int64_t oom_badness(const struct machine_holding *h, uint64_t memory_pages);

#endif
