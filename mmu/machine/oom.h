/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_OOM_H
#define QUIRE_MMU_MACHINE_OOM_H

/*
 * Whom to kill when memory below the min watermark does not come back in time.
 *
 * Badness as in Linux's oom_badness() (mm/oom_kill.c): what killing it frees, in pages, plus
 * oom_score_adj thousandths of the machine; -1000 means never.
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

/* Points, more is worse; OOM_NEVER if it must not be killed. */
int64_t oom_badness(const struct oom_candidate *c, uint64_t memory_pages);

/* Index of the worst of nr (the first among equals), or -1 if none may be killed. */
int oom_choose(const struct oom_candidate *c, unsigned int nr, uint64_t memory_pages);

#endif
