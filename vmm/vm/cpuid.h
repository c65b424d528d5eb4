/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CPUID_H
#define QUIRE_VMM_VM_CPUID_H

/*
 * The processor that guests see: the host's as far as KVM can virtualise it, less what we do
 * not offer (nested virtualisation, KVM's paravirtual interfaces, a local APIC where there is
 * none), plus our own signature at leaf 0x40000000.
 */
#include <linux/kvm.h>
#include <quire/error.h>
#include <quire/types.h>

struct cpuid_config {
	unsigned int nr_cpus;
	bool irqchip;	   /* there are local APICs */
	bool tsc_deadline; /* ... with TSC-deadline timers */
};

/*
 * Read what KVM supports (KVM_GET_SUPPORTED_CPUID on /dev/kvm) into *out, malloc'd, with room
 * for CPUID_ROOM more leaves.  0 or -errno with *err.
 */
#define CPUID_ROOM 8
int cpuid_read(int kvm_fd, struct kvm_cpuid2 **out, struct quire_error *err);

/* Make a table that cpuid_read() gave the guest's.  At most CPUID_ROOM leaves are added. */
void cpuid_filter(struct kvm_cpuid2 *table, const struct cpuid_config *config);

/* Write APIC id `cpu` wherever the table has one. */
void cpuid_set_apic_id(struct kvm_cpuid2 *table, unsigned int cpu);

/* A leaf (with subleaf index, where it has them), or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *table, uint32_t function, uint32_t index);

/* Width of guest-physical addresses; whether 1 GiB pages exist (leaves 0x80000001, -8). */
unsigned int cpuid_maxphyaddr(struct kvm_cpuid2 *table);
bool cpuid_pages_1g(struct kvm_cpuid2 *table);

/* Is the vendor (leaf 0) AMD or Hygon, whose page tables differ in a reserved bit (walk.h)? */
bool cpuid_is_amd(struct kvm_cpuid2 *table);

#endif
