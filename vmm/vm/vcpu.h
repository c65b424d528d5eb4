/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VCPU_H
#define QUIRE_VMM_VM_VCPU_H

/*
 * A virtual processor: a thread that does nothing but KVM_RUN and what its exits ask for.
 *
 * Interrupting it.  Another thread that wants something sets a bit in `requests`, then
 * run->immediate_exit, then sends one signal (vcpu_kick).  The signal ends a KVM_RUN under
 * way; immediate_exit ends one about to begin.  The vCPU clears immediate_exit first and reads
 * `requests` after, so nothing is lost.  At most one signal is under way: a vCPU that waits for
 * the pager inside KVM's instruction emulator cannot be interrupted, and a pending signal
 * makes it spin instead of sleep until the pager is done.  The remedy for such a vCPU is its
 * page, never a second signal.
 *
 * Pausing it.  While vm->paused a vCPU that leaves the guest for a request does not enter it
 * again, but waits in vcpu_park(); a request wakes it, KVM_RUN returns at once for the sake of
 * immediate_exit, and when the request is served it parks again (vm_pause.c).
 */
#include <stdatomic.h>
#include "mmu/base/thread.h"
#include "kvm.h"
#include "vm.h"

#define VCPU_STOP  0x1u /* leave the loop for good */
#define VCPU_STATE 0x2u /* copy the registers to `state`, set state_ready */
#define VCPU_PARK  0x4u /* come out and see that the VM is paused */

/* [I] immutable after create   [v] the vCPU's thread   [l] vm->lock   [a] atomic */
struct vcpu {
	struct vm *vm;	      /* [I] */
	unsigned int id;      /* [I] also its APIC id */
	int fd;		      /* [I] -1: none */
	struct kvm_run *run;  /* [v] but for immediate_exit: [a] */
	struct thread thread; /* the main loop starts and joins it */

	atomic_uint requests; /* [a] */
	atomic_bool kicked;   /* [a] a signal is under way */

	bool done;		 /* [l] the thread has left its loop */
	uint64_t cpu_ns;	 /* [l] once done: processor time of the thread */
	bool parked;		 /* [l] it waits for the end of a pause */
	bool state_ready;	 /* [l] */
	struct vcpu_state state; /* [l] while state_ready */

	/* [v] Counted by its own thread with vcpu_count(), read by any. */
	uint64_t exits[KVM_NR_EXITS];
	uint64_t interrupts;  /* KVM_RUN ended by a signal or immediate_exit */
	uint64_t mmio_on_ram; /* exits that asked us to do an access to RAM */

	/* [v] Guard against -EFAULT for ever (exit.c). */
	unsigned int efaults_in_place;
	struct kvm_regs efault_regs;
};

/* 0 or -errno with *err.  finish: its thread must be done or never started. */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned int id, struct quire_error *err);
void vcpu_finish(struct vcpu *vcpu);

/* Start state of an image (not started yet). */
int vcpu_set_start(struct vcpu *vcpu, const struct image_plan *plan, struct quire_error *err);

int vcpu_start(struct vcpu *vcpu, struct quire_error *err);

/* From any other thread. */
void vcpu_kick(struct vcpu *vcpu, unsigned int request);

/* Own thread, or before it started, or when it is done: read all registers. */
int vcpu_read_state(struct vcpu *vcpu, struct vcpu_state *state);

/* Own thread, out of KVM_RUN: wait until the VM is not paused, ends, or has another request. */
void vcpu_park(struct vcpu *vcpu);

/* There is one writer, so this need not be one step; readers see old or new, never half. */
static inline void vcpu_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* exit.c: run the guest until it or the VM ends. */
void vcpu_loop(struct vcpu *vcpu);

#endif
