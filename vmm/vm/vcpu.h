/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VCPU_H
#define QUIRE_VMM_VM_VCPU_H

/*
 * A virtual processor: a thread that does nothing but KVM_RUN and what its exits ask for.
 *
 * Interrupting it.  A thread that wants something of a vCPU calls vcpu_kick(), which sets a bit in
 * `requests`, then run->immediate_exit, and then sends a signal.  The signal ends a KVM_RUN that is
 * under way; immediate_exit ends one that is about to begin.  The vCPU clears immediate_exit before
 * it reads `requests`, so no request is lost.
 *
 * At most one signal is under way.  A vCPU that waits for the pager inside KVM's instruction
 * emulator cannot be interrupted: a pending signal only makes it spin until the pager is done,
 * where it would sleep.  Such a vCPU needs its page; a second signal never helps.
 *
 * Pausing it.  While vm->paused is set, a vCPU that has left the guest for a request does not enter
 * it again, but waits in vcpu_park().  A request wakes it.  Then KVM_RUN returns at once, because
 * immediate_exit is set, and the vCPU serves the request and parks again (vm_pause.c).
 */
#include <stdatomic.h>
#include "mmu/base/thread.h"
#include "vmm/monitor/emulate.h"
#include "kvm.h"
#include "silence.h"
#include "vm.h"

/* Requests: bits of vcpu.requests. */
#define VCPU_STOP  0x1u	 /* leave the loop for good */
#define VCPU_STATE 0x2u	 /* copy the registers to `state`, and set state_ready */
#define VCPU_PARK  0x4u	 /* leave the guest, and see that the VM is paused */
#define VCPU_REST  0x8u	 /* as VCPU_STATE; and copy to `rest` what can wake the vCPU */
#define VCPU_FLUSH 0x10u /* leave the guest, and enter it again */

struct vcpu;

/* How the guest's processor is made: KVM's own, or one on shadow tables (vm_shadow.h). */
struct vcpu_ops {
	/* vcpu_set_start(), with these registers in run->s.regs. */
	int (*start)(struct vcpu *vcpu, struct quire_error *err);
	/* KVM_RUN: 0, or a positive errno. */
	int (*run)(struct vcpu *vcpu);
	/* vcpu_read_state(). */
	int (*read_state)(struct vcpu *vcpu, struct vcpu_state *state);
	/* KVM_EXIT_IO; KVM_EXIT_MMIO, after the access; KVM's emulator gave up (exit.c). */
	bool (*port_io)(struct vcpu *vcpu);
	bool (*after_mmio)(struct vcpu *vcpu);
	bool (*finish)(struct vcpu *vcpu);
};
extern const struct vcpu_ops vcpu_kvm_ops;

/* [I] immutable after create   [v] the vCPU's thread   [l] vm->lock   [a] atomic */
struct vcpu {
	struct vm *vm;	      /* [I] */
	unsigned int id;      /* [I] also its APIC id */
	int fd;		      /* [v] -1: none */
	uint32_t features;    /* [I] EMULATE_* that the guest's CPUID offers */
	struct kvm_run *run;  /* [v], atomically; except immediate_exit: [a] */
	struct thread thread; /* the main loop starts and joins it */

	const struct vcpu_ops *ops; /* [v] */
	struct vcpu_shadow *shadow; /* [I] NULL: it is KVM's own */

	atomic_uint requests; /* [a] */
	atomic_bool kicked;   /* [a] a signal is under way */

	atomic_int clock; /* [a] clockid_t of its thread's processor time; 0: it does not run */

	bool done;		 /* [l] the thread has left its loop */
	uint64_t cpu_ns;	 /* [l] once done: processor time of the thread */
	bool parked;		 /* [l] it waits for the end of a pause */
	bool state_ready;	 /* [l] */
	struct vcpu_state state; /* [l] while state_ready */
	struct silence_cpu rest; /* [l] the same, after VCPU_REST */

	/* [v] Its own thread counts these with vcpu_count(); any thread may read them. */
	uint64_t exits[KVM_NR_EXITS];
	uint64_t interrupts;		    /* KVM_RUN ended by a signal or immediate_exit */
	uint64_t mmio_on_ram;		    /* exits that asked us to do an access to RAM */
	uint64_t finished[EMULATE_NR_ROWS]; /* instructions that KVM did not know */

	/* [v] They tell exit.c when an -EFAULT comes back for ever. */
	unsigned int efaults_in_vain; /* in a row: the guest got no further, nor did the window */
	uint64_t efault_changes;      /* ... at the last one: gmem_repair() and registers */
	struct kvm_regs efault_regs;
};

/* Make KVM's vCPU `id`, without a thread.  0 or -errno with *err. */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned int id, struct quire_error *err);

/* Frequency of its time-stamp counter in kHz; 0: KVM does not tell. */
uint32_t vcpu_tsc_khz(const struct vcpu *vcpu);

/* Set an MSR of KVM's vCPU.  Before vcpu_start().  false: KVM does not take it. */
bool vcpu_set_msr(const struct vcpu *vcpu, uint32_t index, uint64_t value);

/*
 * IA32_MISC_ENABLE at the start: fast strings, as after a BIOS, and no PEBS or BTS.  KVM has fast
 * strings off.  Where CPUID has FSRM, Linux's memmove() then runs past its end.
 */
#define VCPU_MISC_ENABLE 0x1801u

/* Give it all back.  Its thread has left its loop, or was never started. */
void vcpu_finish(struct vcpu *vcpu);

/* Set the registers with which the image starts.  Before vcpu_start().  0 or -errno with *err. */
int vcpu_set_start(struct vcpu *vcpu, const struct image_plan *plan, struct quire_error *err);

/* Start its thread, which waits for vm->lock before it enters the guest.  0 or -errno with *err. */
int vcpu_start(struct vcpu *vcpu, struct quire_error *err);

/* Processor time of all vCPUs whose threads run, in ns.  Any thread, under any lock. */
uint64_t vcpus_used_ns(const struct vm *vm);

/* Make the vCPU serve `request` (VCPU_*) soon.  From any thread but its own. */
void vcpu_kick(struct vcpu *vcpu, unsigned int request);

#define RFLAGS_IF (1u << 9)

/*
 * Read all registers.  Called by the vCPU's own thread, or while that does not exist or has left
 * its loop.  0 or -errno.
 */
int vcpu_read_state(struct vcpu *vcpu, struct vcpu_state *state);

/* Read what silence_of() wants to know, besides *state.  Called by the vCPU's thread. */
int vcpu_read_rest(struct vcpu *vcpu, const struct vcpu_state *state, struct silence_cpu *rest);

/*
 * Wait until the VM is not paused any more, ends, or has another request for this vCPU.  Called by
 * the vCPU's own thread, outside KVM_RUN.
 */
void vcpu_park(struct vcpu *vcpu);

/* Add 1.  Each counter has one writer, so readers see the old or the new value, never a mixture. */
static inline void vcpu_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

struct crash;

/*
 * End the VM with *crash, to which this adds the vCPU and its registers (exit.c).  Called by the
 * vCPU's own thread.  Returns false.
 */
bool vcpu_crash(struct vcpu *vcpu, struct crash *crash);

/*
 * Run the guest until it or the VM ends (exit.c).  vcpu_exit(): do what KVM_RUN came back for, and
 * count it.
 */
void vcpu_loop(struct vcpu *vcpu);
bool vcpu_exit(struct vcpu *vcpu);

/*
 * What exits ask for (exit.c).  Called by the vCPU's own thread; true: it is to enter the guest
 * again.  vcpu_ports(): nr elements of so many bytes, to a port or from it.
 */
bool vcpu_keeps_running(struct vcpu *vcpu);
bool vcpu_port_io(struct vcpu *vcpu);
void vcpu_serve_mmio(struct vcpu *vcpu);
bool vcpu_halted(struct vcpu *vcpu);
bool vcpu_triple_fault(struct vcpu *vcpu);
void vcpu_ports(struct vcpu *vcpu, bool out, uint16_t port, unsigned int bytes, void *data,
		unsigned int nr);

#endif
