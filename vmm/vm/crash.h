/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CRASH_H
#define QUIRE_VMM_VM_CRASH_H

/*
 * The report on a guest that cannot go on: one headline, then registers, segments, control
 * registers by name, the instructions around RIP, the 2D walk of RIP and of CR2, and the
 * stage-2 state of the pages that those walks touched.
 *
 * Everything in it comes from a guest that has just gone wrong, so nothing is believed:
 * memory is read through the accessors, walks are bounded, text is escaped.
 */
#include <stdio.h>
#include "vm.h"

#define CRASH_MAX_DATA 16

struct crash {
	char what[160]; /* the headline, without newline */
	char hint[200]; /* what to make of it; may be empty */
	unsigned int cpu;
	bool have_state;
	struct vcpu_state state;
	unsigned int nr_data; /* KVM's own numbers */
	uint64_t data[CRASH_MAX_DATA];
};

/* The guest's memory is looked at as it is now; its vCPUs should be stopped. */
void crash_report(FILE *f, struct vm *vm, const struct crash *crash);

#endif
