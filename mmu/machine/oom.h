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

#define OOM_SCORE_ADJ_MIN (-1000)
#define OOM_SCORE_ADJ_MAX 1000
#define OOM_NEVER	  INT64_MIN

/* The pages that the end of a VM would win. */
uint64_t oom_pages(const struct machine_holding *h);

/* The badness of a VM; OOM_NEVER if it must not be killed. */
int64_t oom_badness(const struct machine_holding *h, uint64_t memory_pages);

#endif
