/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_FDT_H
#define QUIRE_VMM_FDT_H

/*
 * The flattened device tree that quire hands to a PVH guest as its last module (abi.h):
 * /memory nodes, /cpus, /chosen (bootargs), the UART with its fifo-size, the exit port,
 * and a /hypervisor node (compatible "quire,vm") with what the guest can know of its host:
 * "quire,tsc-khz" and "quire,setup-ns" (exec of quire to the guest's first instruction).
 * docs/memory.md has the bindings.  Built with libfdt.
 */
#include <quire/error.h>
#include <quire/types.h>

struct fdt_config {
	const struct gfn_range *ram;
	unsigned int nr_ram;
	unsigned int nr_cpus;
	const char *bootargs;
	uint32_t tsc_khz;	/* 0: unknown, property left out */
	uint64_t setup_ns;	/* 0: unknown, property left out */
};

/* Build a tree; *blob is malloc'd, the caller frees it.  0, -ENOMEM, -E2BIG. */
int fdt_build(const struct fdt_config *config, void **blob, size_t *bytes);

#endif
