/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_VM_SHADOW_H
#define QUIRE_VMM_VM_VM_SHADOW_H

/*
 * A VM whose guest runs on shadow tables (vmm/monitor/world.h): its monitor, and its vCPUs.
 *
 * vm_shadow.c has what belongs to the VM, vcpu_shadow.c what a vCPU does between two exits,
 * vcpu_real.c what one that is started by INIT and SIPI does before,
 * vcpu_bus.c the ports and MSRs that its instructions reach.
 */
#include "vmm/monitor/cpu.h"
#include "vmm/monitor/flush.h"
#include "vmm/monitor/world.h"
#include "vcpu.h"

/* [I] immutable once the vCPUs run */
struct vm_shadow {
	struct vm *vm;			  /* [I] */
	struct world *world;		  /* [I] */
	struct flush *flush;		  /* [I] */
	struct monitor_features features; /* [I] */
};

/* Its vCPU.  [v] the vCPU's thread   [c] it counts with vcpu_count(); any thread may read */
struct vcpu_shadow {
	/*
	 * KVM waits for INIT and SIPI to it, or has reset it.  Its real registers are none of ours,
	 * and are the virtual ones.
	 */
	bool waits;		   /* [v] */
	struct vcpu_real *real;	   /* [I] NULL: it starts in no other way than the image does */
	struct monitor_cpu cpu;	   /* [v] */
	enum world_place place;	   /* [v] where KVM_RUN left the vCPU */
	bool trapped;		   /* [v] ... in a gate, and nobody has looked why */
	struct world_trap trap;	   /* [v] then: why */
	enum world_way way;	   /* [v] how it was entered last */
	bool halted;		   /* [v] the guest waits for an interrupt */
	bool accepted;		   /* [v] one has come, and is not delivered yet ... */
	uint8_t vector;		   /* [v] ... its vector */
	maddr_t root;		   /* [v] the tables in use; 0: none yet */
	struct walk_cpu of;	   /* [v] ... and for which registers ... */
	bool of_user;		   /* [v] ... and view */
	struct shadow_exits count; /* [c] */
};

/* Make the monitor, after create_kvm().  0 or -errno with *err. */
int vm_shadow_create(struct vm *vm, struct quire_error *err);

/* What gmem_create() needs to know. */
struct gmem_shadow vm_shadow_memory(struct vm *vm);

/* Give KVM the monitor and the page of zeroes, after kvm_set_memory().  0 or -errno with *err. */
int vm_shadow_set_memory(struct vm *vm, struct quire_error *err);

/* Take out of CPUID what a guest cannot use here. */
void vm_shadow_filter_cpuid(struct vm *vm);

/* Note what it can, by the CPUID that KVM shows it: some hosts cannot hide all that they have. */
void vm_shadow_set_features(struct vm *vm, struct kvm_cpuid2 *seen);

/* Undo vm_shadow_create(), also if it was not called. */
void vm_shadow_destroy(struct vm *vm);

/* Make vcpu->shadow.  0 or -errno with *err. */
int vcpu_shadow_init(struct vcpu *vcpu, struct quire_error *err);

/* monitor_bus.io and msr; ctx is the vCPU (vcpu_bus.c). */
enum emulate_result vcpu_bus_io(void *ctx, bool out, uint16_t port, unsigned int bytes, void *data,
				unsigned int nr);
bool vcpu_bus_msr(void *ctx, bool write, uint32_t index, uint64_t *value);

/* Undo vcpu_shadow_init(), also if it was not called. */
void vcpu_shadow_finish(struct vcpu *vcpu);

/* Has KVM reset the vCPU, which thus waits?  The vCPU's thread, after KVM_RUN. */
bool vcpu_shadow_was_reset(struct vcpu *vcpu);

/* The virtual registers are complete: enter the guest with them next.  The vCPU's thread. */
void vcpu_shadow_begin(struct vcpu *vcpu);

extern const struct vcpu_ops vcpu_shadow_ops;

/* ---- vcpu_real.c ---- */

/* How much of RAM, from 0 on, code in real mode can reach. */
uint64_t vcpu_real_bytes(const struct vm *vm);

/* Make s->real, or undo it; NULL is fine.  0 or -errno with *err. */
int vcpu_real_init(struct vcpu *vcpu, struct quire_error *err);
void vcpu_real_finish(struct vcpu_real *real);

/* The descriptor that it needs; -1: none. */
int vcpu_real_descriptor(const struct vcpu *vcpu);

/*
 * The vCPU was sent SIPI: run what it is to do in real mode, by vcpu_real_ops, until its registers
 * are such that it can go on by vcpu_shadow_ops.  0 or -errno: RAM cannot be held.
 */
int vcpu_real_begin(struct vcpu *vcpu);

extern const struct vcpu_ops vcpu_real_ops;

#endif
