/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CRASH_H
#define QUIRE_VMM_VM_CRASH_H

/*
 * The report on a guest that cannot go on.  It begins with a headline.  Then come registers,
 * segments, control registers by name, the 2D walks of RIP and of CR2, and the stage-2 state of the
 * pages that those walks touched; or why there are no registers.  The code around RIP is handed
 * out, to be disassembled by somebody else.
 *
 * All of this comes from a guest that has just gone wrong, so the report believes nothing: it reads
 * memory through the accessors, bounds its walks and escapes text.
 */
#include <stdio.h>
#include "code.h"
#include "vm.h"

#define CRASH_MAX_DATA 16

struct crash {
	char what[160]; /* the headline, without newline */
	char hint[200]; /* what to make of it; may be empty */
	unsigned int cpu;
	const char *no_state; /* why there are no registers; or NULL */
	struct vcpu_state state;
	unsigned int nr_data; /* numbers that KVM gave, valid in data[] */
	uint64_t data[CRASH_MAX_DATA];
};

/*
 * Print the report.  It shows the guest's memory as it is now, so its vCPUs should be stopped.
 * *code becomes the code around RIP; its `bits` are 0 if there are no registers.
 */
void crash_report(FILE *f, struct vm *vm, const struct crash *crash, struct code *code);

/* Read the code around RIP of a vCPU with these registers. */
void crash_code(struct vm *vm, unsigned int cpu, const struct vcpu_state *state, struct code *code);

#endif
