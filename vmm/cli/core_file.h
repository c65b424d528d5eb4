/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_CORE_FILE_H
#define QUIRE_VMM_CLI_CORE_FILE_H

/*
 * The format of a dump: an ELF64 core file as QEMU's dump-guest-memory writes it (QEMU,
 * dump/dump.c and target/i386/arch_dump.c), which gdb(1) and crash(8) read.
 *
 *   ELF header, program headers
 *   PT_NOTE   for each vCPU NT_PRSTATUS, of name CORE, and its state, of name QEMU and type 0;
 *             then what the guest's kernel says of itself, of name VMCOREINFO and type 0
 *   PT_LOAD   for each range of RAM, ascending; p_paddr and p_vaddr are its gpa
 *
 * The ranges begin at a page of the file, in order and without gaps.
 */
#include <stddef.h>
#include <quire/types.h>
#include "vmm/vm/vcpu_state.h"

struct core_file {
	const struct gfn_range *ram; /* ascending, disjoint */
	unsigned int nr_ram;
	const struct vcpu_state *cpu;
	unsigned int nr_cpus;
	const char *vmcoreinfo; /* text, or NULL */
	size_t vmcoreinfo_bytes;
};

/*
 * All that precedes RAM in the file: *bytes bytes, a multiple of 4 KiB, for the caller to free.
 * NULL: there is no memory.
 */
void *core_file_head(const struct core_file *core, size_t *bytes);

#endif
