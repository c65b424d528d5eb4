/* SPDX-License-Identifier: MIT */
/* What guests are told of their processor, for processors that are made up here. */
#include <stdlib.h>
#include <string.h>
#include "vmm/vm/cpuid.h"
#include "tests/tap.h"

#define ALL 0xffffffffu

static struct kvm_cpuid2 *table;

static void add(uint32_t function, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	table->entries[table->nent++] = (struct kvm_cpuid_entry2){
		.function = function, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx
	};
}

/* A processor of this vendor that has every feature. */
static void begin(const char *vendor, uint32_t max)
{
	uint32_t word[3];

	memcpy(word, vendor, 12);
	memset(table, 0, cpuid_bytes(128));
	add(0, max, word[0], word[2], word[1]);
	for (uint32_t leaf = 1; leaf <= max; leaf++)
		add(leaf, ALL, ALL, ALL, ALL);
	add(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d); /* KVM's own */
	add(0x40000001, ALL, 0, 0, ALL);
	for (uint32_t leaf = 0x80000001; leaf <= 0x80000022; leaf++)
		add(leaf, ALL, ALL, ALL, ALL);
}

static const struct kvm_cpuid_entry2 *leaf(uint32_t function)
{
	static const struct kvm_cpuid_entry2 none;
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, function, 0);

	return e ? e : &none;
}

static void test_taken(const char *vendor)
{
	const struct cpuid_config config = { .nr_cpus = 2, .irqchip = true, .tsc_deadline = true };
	static const uint32_t gone[] = { 0xa, 0x14, 0x1c, 0x8000000a, 0x80000022 };

	begin(vendor, 0x1f);
	cpuid_filter(table, &config);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		ok(!cpuid_find(table, gone[i], 0), "%.12s: there is no leaf %#x", vendor, gone[i]);
	is_hex(leaf(1)->ecx, ALL & ~0x8024u, "leaf 1 ecx: no VMX, no debug store, no counters");
	is_hex(leaf(1)->edx, ALL & ~0x200000u, "leaf 1 edx: no debug store");
	is_hex(leaf(7)->ebx, ALL & ~0x2000000u, "leaf 7 ebx: no processor trace");
	is_hex(leaf(7)->edx, ALL & ~0x80000u, "leaf 7 edx: no branch records");
	is_hex(leaf(0x80000001)->ecx, ALL & ~0x11800004u, "0x80000001 ecx: no SVM, no counters");
	ok(!cpuid_find(table, 0x40000001, 0), "KVM's leaves are gone");
	ok(!memcmp(&leaf(0x40000000)->ebx, "QuireQuire\0\0", 4), "ours is there");
}

/* Without XSAVE nobody can turn on what AVX and its kin need: their instructions would fault. */
static void test_kin_of_xsave(void)
{
	const struct cpuid_config config = { .nr_cpus = 1 };
	uint32_t avx512;

	begin("GenuineIntel", 0xd);
	cpuid_filter(table, &config);
	cpuid_settle(table);
	ok(leaf(1)->ecx & 1u << 28 && leaf(7)->ebx & 1u << 5, "with XSAVE there is AVX");
	cpuid_find(table, 1, 0)->ecx &= ~(1u << 26);
	cpuid_settle(table);
	is_hex(leaf(1)->ecx & 0x38001000, 0, "without it no AVX, FMA, F16C");
	is_hex(leaf(1)->ecx & 0x02980202, 0x02980202, "... but all of SSE");
	avx512 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 |
		 1u << 31;
	is_hex(leaf(7)->ebx & (avx512 | 1u << 5 | 1u << 14), 0, "... no AVX2, MPX, AVX-512");
	is_hex(leaf(7)->ebx & 0x20180308, 0x20180308, "... but BMI, ADX, SMAP, SHA");
	is_hex(leaf(7)->ecx & 0x5e42, 0, "... no VAES and vectors of AVX-512");
	is_hex(leaf(7)->ecx & 0x10108, 0x10108, "... but GFNI, PKU, 57 bits");
	is_hex(leaf(7)->edx & 0x03c0010c, 0, "... no AMX");
	is_hex(leaf(0x80000001)->ecx & 0x18800, 0, "... no XOP, LWP, FMA4");
}

/* As Linux computes it from leaf 0x15: in 32 bits, and in kHz. */
static void test_ratios(void)
{
	unsigned int bad = 0;

	for (uint32_t khz = 400000; khz < 6000000; khz += 77773) {
		uint32_t got;

		cpuid_set_tsc(table, khz);
		got = leaf(0x15)->ecx / 1000 * leaf(0x15)->ebx / leaf(0x15)->eax;
		bad += got < khz - khz / 9000 || got > khz + khz / 9000;
	}
	is(bad, 0, "... also in arithmetic of 32 bits, for 72 frequencies");
}

static void test_frequency(void)
{
	const struct cpuid_config config = { .nr_cpus = 1 };
	uint64_t hz;

	begin("GenuineIntel", 0xd);
	cpuid_filter(table, &config);
	cpuid_set_tsc(table, 2599998);
	is(leaf(0x40000010)->eax, 2599998, "leaf 0x40000010 has the frequency");
	is(leaf(0x40000010)->ebx, 1000000, "... and that of the local APIC");
	ok(leaf(0x40000000)->eax >= 0x40000010, "the highest leaf says that it is there");
	is_hex(leaf(0)->eax, 0x16, "Intel: leaves up to 0x16");
	hz = (uint64_t)leaf(0x15)->ecx * leaf(0x15)->ebx / leaf(0x15)->eax;
	ok(hz / 1000 >= 2599996 && hz / 1000 <= 2600000, "leaf 0x15 has the frequency");
	is(leaf(0x15)->ecx, 1000000000, "... in terms of the local APIC's clock");
	is(leaf(0x16)->eax, 2600, "leaf 0x16 has it in MHz");

	test_ratios();

	begin("AuthenticAMD", 0xd);
	cpuid_filter(table, &config);
	cpuid_set_tsc(table, 999986);
	is_hex(leaf(0)->eax, 0xd, "AMD: no such leaves");
	is(leaf(0x40000010)->eax, 999986, "but 0x40000010");
}

int main(void)
{
	tap_init();
	table = malloc(cpuid_bytes(128));
	if (!table)
		tap_bail("no memory");
	test_taken("GenuineIntel");
	test_taken("AuthenticAMD");
	test_kin_of_xsave();
	test_frequency();
	free(table);
	return tap_done();
}
