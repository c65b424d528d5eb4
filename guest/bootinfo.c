/* SPDX-License-Identifier: MIT */
/*
 * What the loader says: the PVH start info with its memory map, command line and modules
 * (xen/include/public/arch-x86/hvm/start_info.h).  The last module is the device tree if its
 * command line is QUIRE_FDT_MODULE.  Without a tree, virtio devices are where the command line
 * says, as QEMU's microvm and Firecracker have it.
 *
 * All of it is copied, because the memory in which it lies is free afterwards.  It must lie in the
 * first GiB, which is all that is mapped this early.
 */
#include <quire/abi.h>
#include "kernel.h"
#include "paging.h"

#define START_MAGIC 0x336ec578
#define MAP_RAM	    1

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t memmap_gpa; /* from version 1 on */
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

/* A number with an optional K or M after it. */
static uint64_t take_size(char **at)
{
	uint64_t bytes = strtoul(*at, at, 0);

	if (**at == 'K' || **at == 'M')
		bytes <<= *(*at)++ == 'K' ? 10 : 20;
	return bytes;
}

/* virtio_mmio.device=SIZE@BASE:IRQ, any number of times. */
static void find_virtio(void)
{
	static const char name[] = "virtio_mmio.device=";

	for (char *at = boot.cmdline; *at && boot.nr_virtio < MAX_VIRTIO;) {
		uint64_t bytes, start;

		if (strncmp(at, name, sizeof(name) - 1)) {
			at++;
			continue;
		}
		at += sizeof(name) - 1;
		bytes = take_size(&at);
		start = *at == '@' ? strtoul(at + 1, &at, 0) : 0;
		if (start && bytes)
			boot.virtio[boot.nr_virtio++] = (struct mmio_range){ start, start + bytes };
	}
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
	if (!boot.tree_bytes)
		find_virtio();
}
