/* SPDX-License-Identifier: MIT */
/*
 * What the loader says: PVH start info, its memory map, command line and modules
 * (xen/include/public/arch-x86/hvm/start_info.h), and the device tree in the last module if
 * the module's command line is QUIRE_FDT_MODULE.
 *
 * All of it is copied: the memory it lies in is free afterwards.  It must be below
 * LOW_BYTES or in the first GiB, which is all that is mapped this early.
 */
#include <quire/abi.h>
#include "kernel.h"
#include "paging.h"

#define START_MAGIC 0x336ec578
#define MAP_RAM	    1

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t memmap_gpa;	/* from version 1 on */
	uint32_t memmap_entries, reserved;
};

struct memmap_entry {
	uint64_t start, bytes;
	uint32_t type, reserved;
};

struct module {
	uint64_t gpa, bytes, cmdline_gpa, reserved;
};

struct boot_info boot = {
	.nr_cpus = 1,
};

static const void *boot_data(uint64_t gpa)
{
	if (gpa < LOW_BYTES)
		return (const void *)(LOW_ALIAS + gpa);
	if (gpa < GiB)
		return direct(gpa);
	panic("boot data at 0x%lx is out of reach", gpa);
}

static void copy_memmap(const struct memmap_entry *e, uint32_t entries)
{
	for (; entries && boot.nr_ram < MAX_RAM_RANGES; entries--, e++) {
		struct ram_range ram = { e->start, e->start + e->bytes };

		if (e->type == MAP_RAM && e->bytes)
			boot.ram[boot.nr_ram++] = ram;
	}
}

static void copy_cmdline(const char *cmdline)
{
	memcpy(boot.cmdline, cmdline, strnlen(cmdline, CMDLINE_BYTES - 1));
}

static void find_tree(const struct module *last)
{
	const void *blob;

	if (!last->cmdline_gpa || strcmp(boot_data(last->cmdline_gpa), QUIRE_FDT_MODULE))
		return;
	blob = boot_data(last->gpa);
	if (!tree_parse(blob, &boot))
		panic("the device tree of %lu bytes is not sound", last->bytes);
}

void boot_parse(uint64_t start_info, uint64_t entry_tsc)
{
	const struct start_info *s = boot_data(start_info);

	boot.entry_tsc = entry_tsc;
	if (s->magic != START_MAGIC || s->version < 1 || !s->memmap_entries)
		panic("no PVH start info with a memory map at 0x%lx", start_info);
	copy_memmap(boot_data(s->memmap_gpa), s->memmap_entries);
	direct_map(0);
	if (s->cmdline_gpa)
		copy_cmdline(boot_data(s->cmdline_gpa));
	if (s->nr_modules)
		find_tree((const struct module *)boot_data(s->modlist_gpa) + s->nr_modules - 1);
}
