/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_FORMAT_WALK_MODEL_H
#define QUIRE_TESTS_FORMAT_WALK_MODEL_H

/*
 * The rules of x86 paging and of EPT, stated naively: a second opinion on walk_2d().
 *
 * Nothing of mmu/ is used but the structures of mmu/format/walk.h that describe inputs.  Bits
 * are tested one by one, each mode has its own list of shifts, and the text follows the
 * manual's order (Intel SDM Vol. 3A chapter "Paging", Vol. 3C "EPT Translation Mechanism"),
 * not the code's.  Slow, and meant to be read next to the manual.
 */
#include <stdbool.h>
#include <stdint.h>
#include "mmu/format/walk.h"

enum model_mode { MODEL_OFF, MODEL_32, MODEL_PAE, MODEL_4LEVEL, MODEL_5LEVEL, MODEL_IMPOSSIBLE };

struct model_ref {
	int stage, level;
	uint64_t addr, input, entry;
};

struct model {
	/* Inputs. */
	struct walk_cpu cpu;
	struct walk_access access;
	uint64_t gva;
	uint8_t *guest; /* memory by machine address */
	uint64_t guest_bytes;
	int ept_levels; /* 0: no stage 2 */
	bool ept_ad, ept_exec_only, ept_1g;
	int ept_maxphyaddr;
	uint64_t ept_root;
	const uint8_t *ept; /* stage-2 tables by table address */
	uint64_t ept_bytes;

	/* Outputs. */
	enum walk_outcome outcome;
	uint64_t gpa, maddr;
	uint32_t error_code;
	uint64_t qualification;
	int level1, level2;
	int nr_refs;
	struct model_ref ref[64];
};

/* Fills the outcome in from what was asked. */
void model_walk(struct model *m);

#endif
