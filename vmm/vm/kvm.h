/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_KVM_H
#define QUIRE_VMM_VM_KVM_H

/*
 * The kernel's side of a VM: /dev/kvm and what it can do, the VM's descriptor, and what is set on
 * that before there is a vCPU.  Nothing here knows of guest images or devices.
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include "mmu/memory/gmem.h"
#include "vmm/monitor/world.h"

struct kvm {
	int fd;		   /* /dev/kvm; -1: not open */
	int vm_fd;	   /* -1: not created */
	int real_fd;	   /* kvm_create_real(); -1: not created */
	gpa_t low;	   /* RAM below it lies at SHADOW_LOW_RAM; 0: none.  Set by the owner */
	bool pv_enforced;  /* KVM_CAP_ENFORCE_PV_FEATURE_CPUID exists */
	bool tsc_deadline; /* the local APIC's timer has TSC-deadline mode */
	unsigned int max_vcpus;
	size_t run_bytes;			  /* size of a vCPU's shared struct kvm_run */
	struct kvm_cpuid2 *cpuid;		  /* of vCPU 0 (cpuid.h); malloc'd */
	struct kvm_userspace_memory_region *slot; /* memslots, by number; malloc'd */
	unsigned int nr_slots;
	const void *zeroes; /* kvm_set_monitor() */
};

#define KVM_NONE ((struct kvm){ .fd = -1, .vm_fd = -1, .real_fd = -1 })

/*
 * Open /dev/kvm, check that it can do everything that quire uses, and create a VM.  irqchip: check
 * also what an interrupt controller takes.  The caller goes on in this order: kvm_set_memory(),
 * then kvm_create_irqchip() if it wants one, then the vCPUs.
 *
 * 0; -errno with the reason in *err.  After a failure *kvm needs no kvm_finish().
 */
int kvm_init(struct kvm *kvm, bool irqchip, struct quire_error *err);

/* Give everything back.  KVM_NONE is fine. */
void kvm_finish(struct kvm *kvm);

/* Close /dev/kvm, with which other VMs could be made.  For when everything has been made. */
void kvm_close_device(struct kvm *kvm);

/*
 * Give the VM its memslots (memslot.c).  RAM is cut at multiples of kvm_slot_bytes(); the memory
 * behind [gpa, gpa + len) is the window at gmem_hva(gpa).  gpa and hva are congruent modulo 2 MiB:
 * otherwise KVM would map nothing huge.  0 or -errno with *err.
 */
int kvm_set_memory(struct kvm *kvm, const struct gmem *gm, struct quire_error *err);

/* How large the slots of so much RAM are: a power of two, at least 64 MiB. */
uint64_t kvm_slot_bytes(uint64_t ram_bytes);

/*
 * The next three calls tell what the guest writes, slot by slot; slots are numbered from 0 to
 * nr_slots - 1.  While vCPUs run, one thread at a time makes these calls, and holds no lock:
 * kvm_slot_log() may have to wait until a vCPU gets its page.
 */

/* The guest frames of a slot. */
struct gfn_range kvm_slot_range(const struct kvm *kvm, unsigned int slot);

/* Begin (on) or end watching a slot; doing so twice is fine.  0 or -errno. */
int kvm_slot_log(struct kvm *kvm, unsigned int slot, bool on);

/*
 * Which pages of a watched slot did the guest write since watching began, or since the last call?
 * Bit n of the bitmap is page start + n; whole words of 64 bits are written.
 * 0; -ENOENT: the slot is not watched; other -errno.
 */
int kvm_slot_fetch(const struct kvm *kvm, unsigned int slot, uint64_t *bitmap);

/*
 * For a guest on shadow tables (vmm/monitor/world.h), after kvm_set_memory(): let the processor
 * reach the monitor, and a page of zeroes.  0 or -errno with *err.
 */
int kvm_set_monitor(struct kvm *kvm, const struct world_memory *monitor, const void *zeroes,
		    struct quire_error *err);

/* gmem_shadow.segment.  While vCPUs run, the keeper's thread calls it. */
int kvm_set_segment(struct kvm *kvm, maddr_t at, const void *hva, uint64_t bytes);

/*
 * Make a second VM, real_fd, for code in real mode (vcpu_real.c); and give it the first `bytes` of
 * RAM, at 0.  It has no other memory.  0 or -errno with *err.
 */
int kvm_create_real(struct kvm *kvm, struct quire_error *err);
int kvm_set_real_memory(const struct kvm *kvm, const struct gmem *gm, uint64_t bytes,
			struct quire_error *err);

/*
 * Make KVM forget the tables that it has made of the shadow tables, if it makes any: it does so
 * when a slot goes, and there is one for that, of which no guest knows.  vCPUs may be in the guest:
 * KVM has them come out for a moment, and waits for it.  0 or -errno.  One thread at a time, a
 * vCPU's, outside the guest.
 */
int kvm_forget_tables(const struct kvm *kvm);

/*
 * Make the kernel's PIC, I/O APIC, local APICs and PIT.  After kvm_set_memory(): to add a slot to a
 * VM that has an irqchip takes a grace period of the kernel, 5 to 7 ms.  0 or -errno with *err.
 */
int kvm_create_irqchip(struct kvm *kvm, struct quire_error *err);

/*
 * Leave the interrupt controllers and the PIT as a BIOS does: the timer ticks.  After
 * kvm_create_irqchip(), before any vCPU runs.  0 or -errno with *err.
 */
int kvm_set_bios_timer(struct kvm *kvm, struct quire_error *err);

/*
 * Ask extension() for each capability that quire needs.  Apart from kvm_init() for the sake of
 * tests.  0; -EOPNOTSUPP: *err names the first one that is missing.
 */
int kvm_check(int (*extension)(void *ctx, int cap), void *ctx, bool irqchip,
	      struct quire_error *err);

#endif
