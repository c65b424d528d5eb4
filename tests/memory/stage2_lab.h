/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_STAGE2_LAB_H
#define QUIRE_TESTS_MEMORY_STAGE2_LAB_H

/* A naive model of stage 2, for whatever table of states the program is linked with. */
#include "mmu/memory/stage2.h"

/* What the table of states says, once more. */
struct stage2_model {
	bool (*legal)(enum page_state from, enum page_state to);
	pfn_t (*first_pfn)(enum page_state to, gfn_t gfn); /* for a run that begins at gfn */
	uint32_t follows; /* bit n: in state n, frame or payload rise by one from page to page */
};

/* Stage 2 and the model in lockstep, which are four tests. */
void stage2_lockstep(const struct stage2_model *model, uint64_t seed);

/* For stage2_audit: print what it found. */
void stage2_lab_describe(void *ctx, const char *what);

#endif
