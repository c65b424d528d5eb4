/* SPDX-License-Identifier: MIT */
/*
 * hello: what the machine is, what memory it has, and where the time went.  Its run from exec to
 * exit is a benchmark, so it prints everything in one burst and asks CPUID once.
 *
 * Stages, all but the first from the TSC:
 *	setup	exec of the VMM to the guest's first instruction (from the device tree)
 *	boot	first instruction to CPL 3: the nucleus
 *	parse	start info, device tree, console
 *	memory	zones, first page
 *	print	until this line was ready
 */
#include "workload.h"
#include "memory.h"
#include "start.h"

static void print_memory_map(void)
{
	for (unsigned int i = 0; i < boot.nr_ram; i++)
		print("ram: 0x%012lx-0x%012lx %lu KiB\n", boot.ram[i].start, boot.ram[i].end,
		      (boot.ram[i].end - boot.ram[i].start) / KiB);
}

static void print_cpu(void)
{
	char name[13] = { 0 };
	uint32_t reg[4];

	cpuid(0x40000000, reg);
	memcpy(name, &reg[1], 12);
	print("cpu: %u, tsc %u kHz, hypervisor %s\n", boot.nr_cpus, clock_khz(), name);
}

static void print_buddyinfo(void)
{
	for (unsigned int i = 0; i < zone_count(); i++) {
		const struct zone *z = zone_at(i);

		print("zone %u: 0x%012lx free", i, z->start * PAGE_SIZE);
		for (unsigned int order = 0; order < NR_ORDERS; order++)
			print(" %lu", z->nr_free[order]);
		print("\n");
	}
	print("free: %lu pages\n", free_page_count());
}

static void print_stages(void)
{
	uint64_t now = rdtsc();

	print("time: setup %lu boot %lu parse %lu memory %lu print %lu us\n", boot.setup_ns / 1000,
	      clock_ns(stage.cpl3 - boot.entry_tsc) / 1000,
	      clock_ns(stage.parsed - stage.cpl3) / 1000,
	      clock_ns(stage.memory - stage.parsed) / 1000, clock_ns(now - stage.memory) / 1000);
}

int hello_run(struct args *a)
{
	if (!args_done(a))
		return STATUS_USAGE;
	print("quill: hello from CPL 3\n");
	print("boot: PVH, device tree %u bytes, command line \"%s\"\n", boot.tree_bytes,
	      boot.cmdline);
	print_memory_map();
	print_cpu();
	print_buddyinfo();
	print_stages();
	return STATUS_OK;
}
