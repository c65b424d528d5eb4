/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_DOING_H
#define QUIRE_VMM_VM_DOING_H

/*
 * What a vCPU is doing, as far as some samples of its registers tell.  `quire why` takes them from
 * outside, a VM that runs into --timeout from itself.
 */
#include <quire/types.h>
#include <stdbool.h>
#include <stdio.h>
#include "vcpu_state.h"

#define DOING_SAMPLES 8
#define DOING_GAP_US  500 /* between two samples */
#define DOING_CPUS    4	  /* so many are shown with walks and code; the others get a line */

/* Of a vCPU: how it decodes code (16, 32 or 64 bits), its CPL, and RIP as a linear address. */
unsigned int doing_bits(const struct vcpu_state *state);
unsigned int doing_cpl(const struct vcpu_state *state);
gva_t doing_rip(const struct vcpu_state *state);

/* Does it execute anything?  No: it waits to be started. */
bool doing_anything(const struct vcpu_state *state);

/*
 * Print a line: halted, looping, or where it was last; CPL, bits and RFLAGS.IF.  nr is at least 1.
 * `name` is the symbol of the last RIP, or NULL.
 */
void doing_print(FILE *f, unsigned int cpu, const struct vcpu_state *sample, unsigned int nr,
		 const char *name);

#endif
