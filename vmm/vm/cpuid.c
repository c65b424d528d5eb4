/* SPDX-License-Identifier: MIT */
/*
 * CPUID for guests.
 *
 * KVM describes itself at leaf 0x40000000 ("KVMKVMKVM"), and offers a paravirtual clock,
 * asynchronous page faults and more.  Guests that find this opt in: they write MSRs and let the
 * kernel store into their memory behind our books.  So all hypervisor leaves go, and one of ours
 * says "QuireQuire" and offers nothing.  The hypervisor-present bit stays, because it is true.
 *
 * What has MSRs that quire does not want goes too: nested virtualisation, performance counters and
 * tracing, for which KVM would use the host's.  A guest that believes CPUID then asks for no MSR
 * that is not there.
 *
 * The frequency of the time-stamp counter is where kernels look: in leaf 0x40000010, which VMware
 * began and the BSDs read under any hypervisor; and on Intel's processors in leaves 0x15 and 0x16,
 * from which Linux takes it there.  Leaf 0x15 gives it as a multiple of a crystal's frequency, by
 * which Linux also sets the local APIC's timer: that is 1 GHz in KVM.
 *
 * The topology is simple: N cores in one package, with one thread each.  The APIC id is the number
 * of the vCPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "cpuid.h"

#define HYPERVISOR_LEAF 0x40000000u

#define TIMING_LEAF  0x40000010u
#define APIC_BUS_KHZ 1000000u
#define APIC_BUS_HZ  1000000000u

/* Leaf 1. */
#define L1_ECX_X2APIC	    (1u << 21)
#define L1_ECX_TSC_DEADLINE (1u << 24)
#define L1_ECX_XSAVE	    (1u << 26)
#define L1_ECX_HYPERVISOR   (1u << 31)
#define L1_EDX_APIC	    (1u << 9)
#define L1_EDX_HTT	    (1u << 28)
/* Leaf 0x80000001. */
#define LX1_EDX_PAGES_1G (1u << 26)

/* Features that no guest gets.  Of leaf 7, subleaf 0. */
static const struct taken {
	uint32_t function;
	uint32_t ebx, ecx, edx;
} taken[] = {
	{ .function = 1,
	  .ecx = 1u << 2 | 1u << 5 | 1u << 15, /* 64-bit debug store, VMX, PERF_CAPABILITIES */
	  .edx = 1u << 21 },		       /* debug store */
	{ .function = 7, .ebx = 1u << 25, .edx = 1u << 19 }, /* processor trace, branch records */
	{ .function = 0x80000001,
	  .ecx = 1u << 2 | 1u << 23 | 1u << 24 | 1u << 28 }, /* SVM; core, bridge, cache counters */
};

/* Leaves that describe such features. */
static const uint32_t taken_leaves[] = {
	0xa,	    /* Intel's performance counters */
	0x14,	    /* processor trace */
	0x1c,	    /* branch records */
	0x8000000a, /* SVM */
	0x80000022, /* AMD's performance counters */
};

/*
 * What has registers that the guest turns on by XCR0, and needs XSAVE for that: AVX and its kin, by
 * their VEX, EVEX or XOP prefix, and AMX.
 */
static const struct kin {
	uint32_t function, index;
	uint32_t eax, ebx, ecx, edx;
} kin_of_xsave[] = {
	{ 1, 0, .ecx = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29 }, /* FMA, OSXSAVE, AVX, F16C */
	{ 7, 0, /* AVX2, MPX and AVX-512; VAES, VPCLMULQDQ; AMX, VP2INTERSECT, FP16 */
	  .ebx = 1u << 5 | 1u << 14 | 3u << 16 | 1u << 21 | 7u << 26 | 3u << 30,
	  .ecx = 1u << 1 | 1u << 6 | 0xfu << 9 | 1u << 14, .edx = 3u << 2 | 1u << 8 | 0xfu << 22 },
	{ 7, 1, /* AVX-VNNI, BF16, AMX-FP16, AVX-IFMA; AVX-VNNI-INT8, NE-CONVERT, INT16, AVX10 */
	  .eax = 3u << 4 | 1u << 21 | 1u << 23, .edx = 3u << 4 | 1u << 10 | 1u << 19 },
	{ 0x80000001, 0, .ecx = 1u << 11 | 1u << 15 | 1u << 16 }, /* XOP, LWP, FMA4 */
};

size_t cpuid_bytes(uint32_t nr)
{
	return sizeof(struct kvm_cpuid2) + nr * sizeof(struct kvm_cpuid_entry2);
}

int cpuid_read(int kvm_fd, struct kvm_cpuid2 **out, struct quire_error *err)
{
	for (uint32_t nr = 128; nr <= 4096; nr *= 2) {
		struct kvm_cpuid2 *table = calloc(1, cpuid_bytes(nr + CPUID_ROOM));

		if (!table)
			return quire_fail(err, -ENOMEM, "no memory for the CPUID table");
		table->nent = nr;
		if (!ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, table)) {
			*out = table;
			return 0;
		}
		free(table);
		if (errno != E2BIG)
			break;
	}
	return quire_fail(err, -errno, "KVM: ioctl(GET_SUPPORTED_CPUID) failed: %s",
			  strerror(errno));
}

struct kvm_cpuid2 *cpuid_of_host(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_cpuid2 *table = NULL;

	if (fd < 0)
		return NULL;
	(void)cpuid_read(fd, &table, NULL);
	close(fd);
	return table;
}

struct kvm_cpuid2 *cpuid_copy(const struct kvm_cpuid2 *table)
{
	struct kvm_cpuid2 *copy = calloc(1, cpuid_bytes(table->nent + CPUID_ROOM));

	if (copy)
		memcpy(copy, table, cpuid_bytes(table->nent));
	return copy;
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *table, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return e;
	}
	return NULL;
}

static bool has_vendor(const struct kvm_cpuid_entry2 *e, const char *name)
{
	return !memcmp(&e->ebx, name, 4) && !memcmp(&e->edx, name + 4, 4) &&
	       !memcmp(&e->ecx, name + 8, 4);
}

static bool is_hypervisor_leaf(const struct kvm_cpuid_entry2 *e)
{
	return e->function >> 28 == HYPERVISOR_LEAF >> 28;
}

/* How many bits it takes to number n things. */
static unsigned int id_bits(unsigned int n)
{
	return n > 1 ? 32 - (unsigned int)__builtin_clz(n - 1) : 0;
}

/*
 * Leaves 0xb and 0x1f: subleaf 0 is about the threads of a core, of which there is 1; subleaf 1 is
 * about cores.
 */
static bool set_topology(struct kvm_cpuid_entry2 *e, unsigned int nr_cpus)
{
	if (e->index > 1)
		return false;
	e->eax = e->index ? id_bits(nr_cpus) : 0;
	e->ebx = e->index ? nr_cpus : 1;
	e->ecx = e->index | (e->index + 1) << 8; /* level type: 1 thread, 2 core */
	return true;
}

static bool is_taken_leaf(const struct kvm_cpuid_entry2 *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(taken_leaves); i++)
		if (e->function == taken_leaves[i])
			return true;
	return false;
}

static void take_features(struct kvm_cpuid_entry2 *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		if (e->function != taken[i].function || e->index)
			continue;
		e->ebx &= ~taken[i].ebx;
		e->ecx &= ~taken[i].ecx;
		e->edx &= ~taken[i].edx;
	}
}

/* Change e for the guest.  False: the guest has no such leaf. */
static bool filter_leaf(struct kvm_cpuid_entry2 *e, const struct cpuid_config *config)
{
	if (is_hypervisor_leaf(e) || is_taken_leaf(e))
		return false;
	take_features(e);
	switch (e->function) {
	case 1:
		e->ecx &= ~L1_ECX_TSC_DEADLINE;
		e->ecx |= L1_ECX_HYPERVISOR;
		if (config->tsc_deadline)
			e->ecx |= L1_ECX_TSC_DEADLINE;
		if (!config->irqchip) {
			e->ecx &= ~L1_ECX_X2APIC;
			e->edx &= ~L1_EDX_APIC;
		}
		e->ebx = (e->ebx & 0xff00ffff) | (config->nr_cpus & 0xff) << 16;
		e->edx = config->nr_cpus > 1 ? e->edx | L1_EDX_HTT : e->edx & ~L1_EDX_HTT;
		return true;
	case 4: /* caches: cores in the package */
		if (e->eax & 0x1f)
			e->eax = (e->eax & 0x03ffffff) | ((config->nr_cpus - 1) & 0x3f) << 26;
		return true;
	case 0xb:
	case 0x1f: return set_topology(e, config->nr_cpus);
	}
	return true;
}

static void add_signature(struct kvm_cpuid2 *table)
{
	static const char text[] = QUIRE_CPUID_SIGNATURE;
	struct kvm_cpuid_entry2 *e = &table->entries[table->nent++];

	*e = (struct kvm_cpuid_entry2){ .function = HYPERVISOR_LEAF, .eax = TIMING_LEAF };
	memcpy(&e->ebx, text, 4);
	memcpy(&e->ecx, text + 4, 4);
	memcpy(&e->edx, text + 8, 4);
}

void cpuid_filter(struct kvm_cpuid2 *table, const struct cpuid_config *config)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 e = table->entries[i];

		if (filter_leaf(&e, config))
			table->entries[kept++] = e;
	}
	table->nent = kept;
	add_signature(table);
}

void cpuid_settle(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *one = cpuid_find(table, 1, 0);

	if (one && one->ecx & L1_ECX_XSAVE)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kin_of_xsave); i++) {
		const struct kin *kin = &kin_of_xsave[i];
		struct kvm_cpuid_entry2 *e = cpuid_find(table, kin->function, kin->index);

		if (!e)
			continue;
		e->eax &= ~kin->eax;
		e->ebx &= ~kin->ebx;
		e->ecx &= ~kin->ecx;
		e->edx &= ~kin->edx;
	}
}

/* Put a leaf without subleaves in the place of the one that is there, if any. */
static void put_leaf(struct kvm_cpuid2 *table, struct kvm_cpuid_entry2 e)
{
	struct kvm_cpuid_entry2 *old = cpuid_find(table, e.function, 0);

	if (old)
		*old = e;
	else
		table->entries[table->nent++] = e;
}

/*
 * The best fraction n / d for khz / APIC_BUS_KHZ.  Linux multiplies the crystal's frequency in kHz
 * by n in 32 bits, so n is small.  The fraction is right to a ten-thousandth, and to a millionth if
 * it is not next to a simple one.
 */
static void find_ratio(uint32_t khz, uint32_t *n, uint32_t *d)
{
	uint64_t best = UINT64_MAX;

	for (uint64_t i = 1; i <= APIC_BUS_KHZ; i++) {
		uint64_t top = (khz * i + APIC_BUS_KHZ / 2) / APIC_BUS_KHZ;
		uint64_t has = top * APIC_BUS_KHZ, wants = khz * i,
			 error = (has > wants ? has - wants : wants - has) * APIC_BUS_KHZ / i;

		if (top > UINT32_MAX / APIC_BUS_KHZ)
			return;
		if (error < best) {
			best = error;
			*n = (uint32_t)top;
			*d = (uint32_t)i;
		}
	}
}

void cpuid_set_tsc(struct kvm_cpuid2 *table, uint32_t khz)
{
	struct kvm_cpuid_entry2 *first = cpuid_find(table, 0, 0);
	uint32_t n = 1, d = 1;

	put_leaf(table, (struct kvm_cpuid_entry2){
				.function = TIMING_LEAF, .eax = khz, .ebx = APIC_BUS_KHZ });
	if (!first || !has_vendor(first, "GenuineIntel"))
		return;
	if (first->eax < 0x16)
		first->eax = 0x16;
	find_ratio(khz, &n, &d);
	put_leaf(table, (struct kvm_cpuid_entry2){
				.function = 0x15, .eax = d, .ebx = n, .ecx = APIC_BUS_HZ });
	put_leaf(table, (struct kvm_cpuid_entry2){ .function = 0x16,
						   .eax = (khz + 500) / 1000,
						   .ebx = (khz + 500) / 1000,
						   .ecx = 100 });
}

void cpuid_set_apic_id(struct kvm_cpuid2 *table, unsigned int cpu)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function == 1)
			e->ebx = (e->ebx & 0x00ffffff) | cpu << 24;
		else if (e->function == 0xb || e->function == 0x1f)
			e->edx = cpu;
		else if (e->function == 0x8000001e)
			e->eax = cpu;
	}
}

unsigned int cpuid_maxphyaddr(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0x80000008, 0);
	unsigned int bits = e ? e->eax & 0xff : 36;

	return bits < 32 ? 32 : bits > 52 ? 52 : bits;
}

bool cpuid_pages_1g(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0x80000001, 0);

	return e && (e->edx & LX1_EDX_PAGES_1G);
}

bool cpuid_is_amd(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0, 0);

	return e && (has_vendor(e, "AuthenticAMD") || has_vendor(e, "HygonGenuine"));
}
