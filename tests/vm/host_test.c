/* SPDX-License-Identifier: MIT */
/* What is asked of a host's KVM, and the processor that guests are shown.  Needs no KVM. */
#include <errno.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/vm/cpuid.h"
#include "vmm/vm/kvm.h"
#include "vmm/vm/kvm_exit.h"
#include "tests/tap.h"

/* A KVM that has everything but one capability. */
static int all_but(void *ctx, int cap)
{
	return cap == *(int *)ctx ? 0 : 0x7fffffff;
}

static int needs(int cap, bool irqchip, struct quire_error *err)
{
	return kvm_check(all_but, &cap, irqchip, err);
}

static void capabilities(void)
{
	struct quire_error err = { "" };

	ok(!needs(-1, true, &err), "a KVM with everything will do");
	ok(needs(KVM_CAP_IMMEDIATE_EXIT, false, &err) == -EOPNOTSUPP, "without one it will not");
	ok(strstr(err.text, "KVM_CAP_IMMEDIATE_EXIT") && strstr(err.text, "4.12"),
	   "and the line names it and the kernel that has it: %s", err.text);
	ok(needs(KVM_CAP_SYNC_REGS, false, NULL) == -EOPNOTSUPP, "register sets are checked");
	ok(needs(KVM_CAP_PIT2, true, NULL) == -EOPNOTSUPP, "a PIT is needed with an irqchip");
	ok(needs(KVM_CAP_IRQFD, true, NULL) == -EOPNOTSUPP, "and a descriptor for interrupts");
	ok(!needs(KVM_CAP_PIT2, false, NULL) && !needs(KVM_CAP_IRQFD, false, NULL),
	   "and not without");
}

static struct kvm_cpuid2 *host_table(void)
{
	static const struct kvm_cpuid_entry2 host[] = {
		{ .function = 0, .eax = 0xd },
		{ .function = 1, .ebx = 0xff200800, .ecx = 0xffffffff, .edx = 0xffffffff },
		{ .function = 4, .index = 1, .flags = 1, .eax = 0xfc000121 },
		{ .function = 0xb, .index = 0, .flags = 1, .eax = 9, .ebx = 9, .edx = 9 },
		{ .function = 0xb, .index = 1, .flags = 1, .eax = 9, .ebx = 9, .edx = 9 },
		{ .function = 0xb, .index = 2, .flags = 1, .eax = 9, .ebx = 9, .edx = 9 },
		{ .function = 0x40000000, .ebx = 0x4b4d564b },
		{ .function = 0x40000001, .eax = 0xffffffff },
		{ .function = 0x4fffffff, .eax = 1 },
		{ .function = 0x80000001, .ecx = 0xffffffff, .edx = 1u << 26 },
		{ .function = 0x80000008, .eax = 0x302e },
	};
	struct kvm_cpuid2 *table =
		calloc(1, sizeof(*table) + sizeof(host) + CPUID_ROOM * sizeof(host[0]));

	if (!table)
		tap_bail("no memory");
	table->nent = ARRAY_SIZE(host);
	memcpy(table->entries, host, sizeof(host));
	return table;
}

static void without_irqchip(void)
{
	struct cpuid_config config = { .nr_cpus = 1 };
	struct kvm_cpuid2 *t = host_table();
	struct kvm_cpuid_entry2 *e;
	char name[13] = "";

	cpuid_filter(t, &config);
	e = cpuid_find(t, 0x40000000, 0);
	memcpy(name, &e->ebx, 4);
	memcpy(name + 4, &e->ecx, 4);
	memcpy(name + 8, &e->edx, 4);
	ok(!strcmp(name, "QuireQuire"), "the hypervisor's name is QuireQuire");
	is_hex(e->eax, 0x40000010, "and its last leaf tells the frequency of the TSC");
	ok(!cpuid_find(t, 0x40000001, 0) && !cpuid_find(t, 0x4fffffff, 0), "KVM's leaves are gone");
	e = cpuid_find(t, 1, 0);
	is_hex(e->ecx & (1u << 5 | 1u << 21 | 1u << 24), 0, "no VMX, x2APIC, TSC deadline");
	ok(e->ecx >> 31, "a hypervisor is present");
	is_hex(e->edx & (1u << 9 | 1u << 28), 0, "no local APIC, no second thread");
	is_hex(cpuid_find(t, 0x80000001, 0)->ecx & 4, 0, "no SVM");
	ok(cpuid_maxphyaddr(t) == 46 && cpuid_pages_1g(t), "address width and page sizes are read");
	free(t);
}

static void with_irqchip(void)
{
	struct cpuid_config config = { .nr_cpus = 6, .irqchip = true, .tsc_deadline = true };
	struct kvm_cpuid2 *t = host_table();
	struct kvm_cpuid_entry2 *e;

	cpuid_filter(t, &config);
	cpuid_set_apic_id(t, 5);
	e = cpuid_find(t, 1, 0);
	ok((e->ecx & 1u << 21) && (e->ecx & 1u << 24) && (e->edx & 1u << 9), "APIC, x2APIC, timer");
	is_hex(e->ebx, 0x05060800, "APIC id 5 of 6");
	e = cpuid_find(t, 0xb, 0);
	ok(e->eax == 0 && e->ebx == 1 && e->ecx == 0x100 && e->edx == 5, "one thread a core");
	e = cpuid_find(t, 0xb, 1);
	ok(e->eax == 3 && e->ebx == 6 && e->ecx == 0x201 && e->edx == 5, "six cores in 3 bits");
	ok(!cpuid_find(t, 0xb, 2), "no level above");
	is(cpuid_find(t, 4, 1)->eax >> 26, 5, "the caches know of six cores");
	free(t);
}

static void vendor(void)
{
	static const struct {
		const char *name;
		bool amd;
	} vendors[] = {
		{ "AuthenticAMD", true },  { "HygonGenuine", true },  { "GenuineIntel", false },
		{ "CentaurHauls", false }, { "AuthenticAMd", false }, { "xuthenticAMD", false },
		{ "AuthxnticAMD", false },
	};
	struct kvm_cpuid2 *t = host_table();
	struct kvm_cpuid_entry2 *e = cpuid_find(t, 0, 0);

	for (size_t i = 0; i < ARRAY_SIZE(vendors); i++) {
		memcpy(&e->ebx, vendors[i].name, 4);
		memcpy(&e->edx, vendors[i].name + 4, 4);
		memcpy(&e->ecx, vendors[i].name + 8, 4);
		ok(cpuid_is_amd(t) == vendors[i].amd, "%s is %sAMD or Hygon", vendors[i].name,
		   vendors[i].amd ? "" : "not ");
	}
	memcpy(&e->ebx, "AuthenticAMD", 12);
	ok(!cpuid_is_amd(t), "a name in the order of register numbers is none");
	t->nent = 0;
	ok(!cpuid_is_amd(t), "nor is a table without leaf 0 AMD's");
	free(t);
}

int main(void)
{
	tap_init();
	capabilities();
	without_irqchip();
	with_irqchip();
	vendor();
	ok(!strcmp(kvm_exit_name(KVM_EXIT_MMIO), "KVM_EXIT_MMIO"), "exits have names");
	ok(!strcmp(kvm_exit_name(12345), "unknown"), "even unknown ones");
	return tap_done();
}
