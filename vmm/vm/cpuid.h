/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CPUID_H
#define QUIRE_VMM_VM_CPUID_H

/*
 * The processor that guests see.  It is the host's, as far as KVM can virtualise that.  quire takes
 * away nested virtualisation, performance counters, KVM's paravirtual interfaces, and the local
 * APIC where there is none; it adds its own signature at leaf 0x40000000, and the frequency of the
 * TSC.
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
 * Read what KVM supports (KVM_GET_SUPPORTED_CPUID on /dev/kvm).  *out becomes a table with room for
 * CPUID_ROOM more leaves, which the caller frees.  0 or -errno with *err.
 */
#define CPUID_ROOM 8
int cpuid_read(int kvm_fd, struct kvm_cpuid2 **out, struct quire_error *err);

/* The size of a table with this many leaves. */
size_t cpuid_bytes(uint32_t nr);

/*
 * Like cpuid_read(), of a /dev/kvm that is opened for it.  On a processor that is virtual itself
 * each leaf is an exit, and this takes half a millisecond.  NULL: it cannot be read.
 */
struct kvm_cpuid2 *cpuid_of_host(void);

/* A copy of a table from cpuid_read(), with as much room.  NULL: no memory. */
struct kvm_cpuid2 *cpuid_copy(const struct kvm_cpuid2 *table);

/* Turn a table from cpuid_read() into the guest's.  Adds at most CPUID_ROOM leaves. */
void cpuid_filter(struct kvm_cpuid2 *table, const struct cpuid_config *config);

/* Take what depends on a feature that the guest has not: AVX and its kin on XSAVE. */
void cpuid_settle(struct kvm_cpuid2 *table);

/* Write the frequency of the time-stamp counter wherever kernels look for it. */
void cpuid_set_tsc(struct kvm_cpuid2 *table, uint32_t khz);

/* Write APIC id `cpu` wherever the table has one. */
void cpuid_set_apic_id(struct kvm_cpuid2 *table, unsigned int cpu);

/* The entry of a leaf; `index` is its subleaf, where it has any.  NULL: there is none. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *table, uint32_t function, uint32_t index);

/* Width of guest-physical addresses in bits (leaf 0x80000008). */
unsigned int cpuid_maxphyaddr(struct kvm_cpuid2 *table);

/* Does the guest's processor have pages of 1 GiB (leaf 0x80000001)? */
bool cpuid_pages_1g(struct kvm_cpuid2 *table);

/* Is the vendor (leaf 0) AMD or Hygon?  Their page tables differ in a reserved bit (walk.h). */
bool cpuid_is_amd(struct kvm_cpuid2 *table);

#endif
