/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <linux/kvm.h>
#include "doing.h"
#include "vmm/monitor/emulate.h"

#define RFLAGS_IF (1u << 9)

#define HLT_BYTES  1   /* RIP is behind it */
#define LOOP_BYTES 256 /* code that is no longer than this, and is never left, is a loop */

unsigned int doing_bits(const struct vcpu_state *state)
{
	return emulate_bits(&state->sregs);
}

unsigned int doing_cpl(const struct vcpu_state *state)
{
	return emulate_cpl(&state->sregs);
}

gva_t doing_rip(const struct vcpu_state *state)
{
	return emulate_rip(&state->regs, &state->sregs);
}

bool doing_anything(const struct vcpu_state *state)
{
	return state->mp_state != KVM_MP_STATE_UNINITIALIZED &&
	       state->mp_state != KVM_MP_STATE_INIT_RECEIVED;
}

static void print_place(FILE *f, const struct vcpu_state *sample, unsigned int nr)
{
	gva_t last = doing_rip(&sample[nr - 1]), low = last, high = last;

	for (unsigned int i = 0; i < nr; i++) {
		low = min_u64(low, doing_rip(&sample[i]));
		high = max_u64(high, doing_rip(&sample[i]));
	}
	if (sample[nr - 1].mp_state == KVM_MP_STATE_HALTED)
		fprintf(f, "halted at %#" PRIx64, last - HLT_BYTES);
	else if (nr > 1 && low == high)
		fprintf(f, "stays at %#" PRIx64, last);
	else if (nr > 1 && high - low < LOOP_BYTES)
		fprintf(f, "loops in [%#" PRIx64 ", %#" PRIx64 "], now at %#" PRIx64, low, high,
			last);
	else
		fprintf(f, "runs, now at %#" PRIx64, last);
}

void doing_print(FILE *f, unsigned int cpu, const struct vcpu_state *sample, unsigned int nr,
		 const char *name)
{
	const struct vcpu_state *last = &sample[nr - 1];

	fprintf(f, "vCPU %u: ", cpu);
	if (!doing_anything(last)) {
		fputs("waits to be started\n", f);
		return;
	}
	print_place(f, sample, nr);
	fprintf(f, "%s%s%s; CPL %u, %u-bit, interrupts %s\n", name ? " <" : "", name ? name : "",
		name ? ">" : "", doing_cpl(last), doing_bits(last),
		last->regs.rflags & RFLAGS_IF ? "on" : "off");
}
