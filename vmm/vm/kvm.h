/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_KVM_H
#define QUIRE_VMM_VM_KVM_H

/*
 * The kernel's side of a VM: /dev/kvm, what it can do, the VM's descriptor and what is set
 * on it before the first vCPU exists.  Nothing here knows of guest images or devices.
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include "mmu/memory/gmem.h"

struct kvm {
	int fd;		   /* /dev/kvm; -1: not open */
	int vm_fd;	   /* -1: not created */
	bool pv_enforced;  /* KVM_CAP_ENFORCE_PV_FEATURE_CPUID exists */
	bool tsc_deadline; /* the local APIC's timer has TSC-deadline mode */
	unsigned int max_vcpus;
	size_t run_bytes;			  /* size of a vCPU's shared struct kvm_run */
	struct kvm_cpuid2 *cpuid;		  /* vCPU 0's, cpuid.h; malloc'd */
	struct kvm_userspace_memory_region *slot; /* memslots by number; malloc'd */
	unsigned int nr_slots;
};

#define KVM_NONE ((struct kvm){ .fd = -1, .vm_fd = -1 })

/*
 * Open /dev/kvm, check that it can do all we use (with irqchip: also what that takes), create a
 * VM.  Then, in this order, kvm_set_memory(), kvm_create_irqchip() if wanted, vCPUs.
 * Returns 0; -errno with the reason in *err.  On failure *kvm needs no finish.
 */
int kvm_init(struct kvm *kvm, bool irqchip, struct quire_error *err);
void kvm_finish(struct kvm *kvm);

/* Everything is made: give /dev/kvm back, through which other VMs could be. */
void kvm_close_device(struct kvm *kvm);

/*
 * Give the VM its memslots (memslot.c): RAM is cut at multiples of kvm_slot_bytes(), and
 * [gpa, gpa + len) of it is the window at gmem_hva(gpa).  Both are congruent modulo 2 MiB,
 * without which KVM maps nothing huge.  0 or -errno with *err.
 */
int kvm_set_memory(struct kvm *kvm, const struct gmem *gm, struct quire_error *err);

/* Size of a slot of so much RAM: a power of two, at least 64 MiB. */
uint64_t kvm_slot_bytes(uint64_t ram_bytes);

/*
 * What the guest writes, slot by slot below nr_slots.  Once vCPUs run, one thread at a time and
 * with no lock held: kvm_slot_log() may wait for a vCPU to get its page.
 */
struct gfn_range kvm_slot_range(const struct kvm *kvm, unsigned int slot);

/* Begin or end watching; twice is fine.  0 or -errno. */
int kvm_slot_log(struct kvm *kvm, unsigned int slot, bool on);

/*
 * While watched: which pages the guest wrote since watching began or this was last called; bit n
 * is page start + n, in whole words of 64.  0 or -errno (-ENOENT: it is not watched).
 */
int kvm_slot_fetch(const struct kvm *kvm, unsigned int slot, uint64_t *bitmap);

/*
 * The kernel's PIC, I/O APIC, local APICs and PIT.  After the memory: adding a slot to a VM that
 * has an irqchip waits out a grace period of the kernel, 5 to 7 ms.
 */
int kvm_create_irqchip(struct kvm *kvm, struct quire_error *err);

/* The capability checks, for tests: 0, or -EOPNOTSUPP with *err naming the first one missing. */
int kvm_check(int (*extension)(void *ctx, int cap), void *ctx, bool irqchip,
	      struct quire_error *err);

#endif
