/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VCPU_STATE_H
#define QUIRE_VMM_VM_VCPU_STATE_H

/* A vCPU's registers, read by its own thread between two entries of the guest. */
#include <linux/kvm.h>
#include <stdint.h>

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint32_t mp_state; /* KVM_MP_STATE_*: has it halted, does it wait to be started? */
	uint32_t zero;
};

#endif
