/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SILENCE_H
#define QUIRE_VMM_VM_SILENCE_H

/*
 * Can a halted vCPU ever run again?  A pure function of what KVM says of its interrupt controllers.
 * The answer "no" ends a guest, so it is given only if it is certain: whatever is not understood
 * here counts as something that may wake the vCPU.
 *
 * A guest is dead if each of its vCPUs is SILENCE_DEAD or SILENCE_WAITS, all at one moment: the
 * others are what could send an interrupt, an NMI, or INIT and SIPI.
 */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

enum silence {
	SILENCE_ALIVE, /* it runs, or something may wake it */
	SILENCE_DEAD,  /* it has halted, and nothing of its own or of the board can wake it */
	SILENCE_WAITS, /* for INIT or SIPI, which only another vCPU sends */
};

struct silence_cpu {
	uint32_t mp_state; /* KVM_GET_MP_STATE */
	bool interrupts;   /* RFLAGS.IF */
	bool apic;	   /* IA32_APIC_BASE says that the local APIC is on */
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
};

#define SILENCE_PIT_LINES 0x5u /* inputs 0 of the PICs and 0 and 2 of the I/O APIC */

/* Lines are inputs of the I/O APIC; the PICs have the first 16. */
struct silence_board {
	uint32_t lines; /* those that a device may still raise; without the PIT's */
	struct kvm_pit_state2 pit;
	int64_t now_ns; /* CLOCK_MONOTONIC */
	struct kvm_pic_state pic[2];
	struct kvm_ioapic_state ioapic;
};

enum silence silence_of(const struct silence_cpu *cpu, const struct silence_board *board);

#endif
