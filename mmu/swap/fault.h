/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_FAULT_H
#define QUIRE_MMU_SWAP_FAULT_H

/*
 * Faults of a disk, made on purpose: fault.c has the table.  What a swap area does when its disk
 * fails can only be seen when it does.
 */
#include <quire/error.h>
#include "mmu/base/file_io.h"

enum swap_fault {
	SWAP_FAULT_READ_ERROR,
	SWAP_FAULT_WRITE_ERROR,
	SWAP_FAULT_FULL,
	SWAP_FAULT_READ_SHORT,
	SWAP_FAULT_WRITE_SHORT,
	SWAP_FAULT_CORRUPT,
	SWAP_FAULT_STALL,
	SWAP_FAULT_DEAD,
	SWAP_NR_FAULTS
};

/* All zeroes: none. */
struct swap_faults {
	uint32_t every[SWAP_NR_FAULTS]; /* the n-th operation that it can befall; 0: none */
	uint32_t seen[SWAP_NR_FAULTS];	/* such operations since the last fault */
};

#define SWAP_STALL_NS 200000000u
#define SWAP_DEAD_NS  UINT64_MAX /* for ever */

/*
 * Read "NAME=N,...": each N-th operation has that fault.  0; -EINVAL with *err (may be NULL).
 */
int swap_faults_parse(const char *text, struct swap_faults *f, struct quire_error *err);

/* Will any operation fail? */
bool swap_faults_any(const struct swap_faults *f);

/*
 * An operation came out: let its faults befall it.  Returns for how many ns it is to be held back,
 * or SWAP_DEAD_NS.
 */
uint64_t swap_faults_apply(struct swap_faults *f, struct file_op *op);

#endif
