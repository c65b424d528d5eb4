/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_OOM_H
#define QUIRE_MMU_MACHINE_OOM_H

/*
 * Which VM to kill when free memory is below the min watermark and does not come back in time.
 *
 * The score of a VM is that of Linux's oom_badness() (mm/oom_kill.c): the pages that killing it
 * would free, plus oom_score_adj thousandths of the machine's memory.  The highest score dies
 * first.  A VM with oom_score_adj -1000 is never killed.
 */
#include <quire/types.h>

#define OOM_SCORE_ADJ_MIN (-1000)
#define OOM_SCORE_ADJ_MAX 1000
#define OOM_NEVER	  INT64_MIN

struct oom_candidate {
	uint64_t resident_pages;
	uint64_t table_pages; /* stage-2 metadata and process overhead */
	int score_adj;
};

/* The score of a VM; OOM_NEVER if it must not be killed. */
int64_t oom_badness(const struct oom_candidate *c, uint64_t memory_pages);

/*
 * The index of the VM with the highest score among nr, the first one among equals; -1 if none may
 * be killed.
 */
int oom_choose(const struct oom_candidate *c, unsigned int nr, uint64_t memory_pages);

#endif
