/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_H
#define QUIRE_VMM_VM_H

/*
 * One virtual machine: guest memory, KVM's VM, its vCPU threads and devices.
 *
 * Threads (docs/architecture.md): each vCPU has one, which alone issues ioctls on its vCPU;
 * guest memory has its pager; everything else (console input, control socket, timeout,
 * signals) is the main loop's, in the thread that called vm_run().
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include <quire/gmem.h>

struct vm;

/* A vCPU's registers, read by its own thread between two entries of the guest. */
struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

struct gmem *vm_gmem(struct vm *vm);
const char *vm_name(const struct vm *vm);
unsigned int vm_nr_vcpus(const struct vm *vm);

/*
 * Interrupt vCPU `cpu`, copy its registers, let it go on.  Main loop only.
 * 0; -ENOENT (no such vCPU); -ETIMEDOUT (it is stuck inside KVM_RUN for timeout_ms).
 */
int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state);

/* The paging-relevant part of a state, for walk_2d. */
void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out);

#endif
