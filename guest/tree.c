/* SPDX-License-Identifier: MIT */
/*
 * The flattened device tree, read with libfdt.  It wins over the memory map and the command line
 * of the start info.  What it leaves out stays as they said.
 *
 *	/memory@...	device_type = "memory": reg, ranges of RAM
 *	/cpus/...	device_type = "cpu": counted
 *	/chosen		bootargs
 *	(any)		compatible = "virtio,mmio": reg, where its registers are
 *	(any)		compatible = "quire,console": the text port, "quire,wait": the wait port
 *	/hypervisor	compatible = "quire,vm": quire,tsc-khz (u32), quire,setup-ns (u64)
 */
#include <quire/abi.h>
#include "kernel.h"
#include <libfdt.h>

/* A number of one or two cells, or `otherwise` if there is none. */
static uint64_t number(const void *blob, int node, const char *name, uint64_t otherwise)
{
	int len;
	const void *value = fdt_getprop(blob, node, name, &len);

	if (value && len == 4)
		return fdt32_ld(value);
	if (value && len == 8)
		return fdt64_ld(value);
	return otherwise;
}

static bool has_type(const void *blob, int node, const char *type)
{
	const char *value = fdt_getprop(blob, node, "device_type", NULL);

	return value && !strcmp(value, type);
}

/* One or two cells, most significant first. */
static uint64_t take_cells(const fdt32_t **reg, int cells)
{
	uint64_t value = 0;

	for (; cells; cells--)
		value = value << 32 | fdt32_ld((*reg)++);
	return value;
}

static void read_memory(const void *blob, int node, struct boot_info *info)
{
	int address = fdt_address_cells(blob, 0), size = fdt_size_cells(blob, 0), len;
	const fdt32_t *reg = fdt_getprop(blob, node, "reg", &len);

	if (!reg || address < 1 || address > 2 || size < 1 || size > 2)
		return;
	for (int pair = (address + size) * 4; len >= pair; len -= pair) {
		uint64_t start = take_cells(&reg, address), bytes = take_cells(&reg, size);

		if (bytes && info->nr_ram < MAX_RAM_RANGES)
			info->ram[info->nr_ram++] = (struct ram_range){ start, start + bytes };
	}
}

static void read_memories(const void *blob, struct boot_info *info)
{
	int node;
	bool first = true;

	fdt_for_each_subnode(node, blob, 0)
	{
		if (!has_type(blob, node, "memory"))
			continue;
		if (first)
			info->nr_ram = 0;
		first = false;
		read_memory(blob, node, info);
	}
}

static void read_cpus(const void *blob, struct boot_info *info)
{
	int cpus = fdt_path_offset(blob, "/cpus"), node;
	unsigned int n = 0;

	if (cpus < 0)
		return;
	fdt_for_each_subnode(node, blob, cpus) n += has_type(blob, node, "cpu");
	if (n)
		info->nr_cpus = n;
}

static void read_bootargs(const void *blob, struct boot_info *info)
{
	int chosen = fdt_path_offset(blob, "/chosen"), len;
	const char *args = chosen < 0 ? NULL : fdt_getprop(blob, chosen, "bootargs", &len);
	size_t n;

	if (!args)
		return;
	n = strnlen(args, (size_t)len < CMDLINE_BYTES ? (size_t)len : CMDLINE_BYTES - 1);
	memcpy(info->cmdline, args, n);
	info->cmdline[n] = 0;
}

static void read_virtio(const void *blob, int node, struct boot_info *info)
{
	int bus = fdt_parent_offset(blob, node), len;
	int address = fdt_address_cells(blob, bus), size = fdt_size_cells(blob, bus);
	const fdt32_t *reg = fdt_getprop(blob, node, "reg", &len);
	uint64_t start, bytes;

	if (!reg || address < 1 || address > 2 || size < 1 || size > 2 ||
	    len < (address + size) * 4)
		return;
	start = take_cells(&reg, address);
	bytes = take_cells(&reg, size);
	if (bytes && info->nr_virtio < MAX_VIRTIO)
		info->virtio[info->nr_virtio++] = (struct mmio_range){ start, start + bytes };
}

static void read_virtios(const void *blob, struct boot_info *info)
{
	int node = -1;

	while ((node = fdt_node_offset_by_compatible(blob, node, "virtio,mmio")) >= 0)
		read_virtio(blob, node, info);
}

/* The TSS grants fixed ports only (boot.S): is the device at this one, in I/O space? */
static bool has_port(const void *blob, const char *compatible, uint32_t port)
{
	int node = fdt_node_offset_by_compatible(blob, -1, compatible), len;
	const fdt32_t *reg = node < 0 ? NULL : fdt_getprop(blob, node, "reg", &len);

	return reg && len >= 8 && fdt32_ld(reg) == 1 && fdt32_ld(reg + 1) == port;
}

bool tree_parse(const void *blob, struct boot_info *info)
{
	int vm;

	if (fdt_check_header(blob))
		return false;
	info->tree_bytes = fdt_totalsize(blob);
	read_memories(blob, info);
	read_cpus(blob, info);
	read_bootargs(blob, info);
	read_virtios(blob, info);
	info->text_port = has_port(blob, "quire,console", QUIRE_CONSOLE_PORT);
	info->wait_port = has_port(blob, "quire,wait", QUIRE_WAIT_PORT);
	vm = fdt_path_offset(blob, "/hypervisor");
	if (vm >= 0) {
		info->tsc_khz = (uint32_t)number(blob, vm, "quire,tsc-khz", 0);
		info->setup_ns = number(blob, vm, "quire,setup-ns", 0);
	}
	return true;
}
