/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_FDT_H
#define QUIRE_VMM_BOOT_FDT_H

/*
 * The flattened device tree that quire hands to a PVH guest as its last module (abi.h), with
 * what the guest can know of its host.  Built with libfdt.
 *
 * Bindings (Devicetree Specification 0.4; integers are big-endian):
 *
 *   /			compatible = "quire,vm"; #address-cells = #size-cells = 2
 *   /chosen		bootargs = the command line; stdout-path = "/serial@3f8"
 *   /memory@GPA	one for each range of RAM: device_type = "memory"; reg = <gpa bytes>.  The
 *			reserved [640K, 1M) of the PVH memory map is not taken out.
 *   /cpus/cpu@N	device_type = "cpu"; reg = <N>, the local APIC id (1 cell)
 *   /serial@3f8	compatible = "ns16550a"; interrupts = ISA interrupt line, 1 cell (no
 *			controller is described); clock-frequency
 *   /console@4f0	compatible = "quire,console": prints a text with one exit.  The guest
 *			writes a guest-physical address to the port, 32 bits wide.  There is the
 *			length of the text in bytes (u32, little-endian, at most 64 KiB), and then
 *			the text; all of it is in RAM below 4 GiB.  Other writes are ignored.  When
 *			the write is done, the memory is the guest's again.  The text comes in
 *			order with what the same CPU sends through the UART.  The port has no
 *			input and no interrupt, and reads as zero.
 *   /wait@4f4		compatible = "quire,wait": a 32-bit write of N waits N microseconds, or
 *			until a cue (abi.h); it gives the processor back meanwhile
 *   /exit@f4		compatible = "quire,exit": a write of N to it ends the VM with status N
 *   /virtio@GPA	compatible = "virtio,mmio": one for each virtio device (abi.h); reg = <gpa
 *			bytes> of its registers; interrupts = input of the I/O APIC, below 16 also
 *			an ISA interrupt line, 1 cell, edge-triggered.
 *			Without an interrupt controller there is no `interrupts`, and drivers poll
 *   /hypervisor	compatible = "quire,vm"
 *			  quire,tsc-khz   u32, frequency of the guest's TSC
 *			  quire,setup-ns  u64, from exec of quire to the guest's first instruction
 *			A property is missing if its number is not known.
 *
 * The reg of serial, console, wait and exit names I/O ports, as the ISA binding does: the first
 * address cell is 1 (I/O space), the second the port.
 */
#include <quire/error.h>
#include <quire/types.h>
#include "slot.h"

#define FDT_SERIAL_NODE	 "serial@3f8"
#define FDT_CONSOLE_NODE "console@4f0"
#define FDT_WAIT_NODE	 "wait@4f4"
#define FDT_EXIT_NODE	 "exit@f4"
#define FDT_VIRTIO	 "virtio,mmio" /* compatible */

struct fdt_config {
	const struct gfn_range *ram;
	unsigned int nr_ram;
	unsigned int nr_cpus;
	const char *bootargs;
	uint32_t tsc_khz;  /* 0: not known, and the property is left out */
	uint64_t setup_ns; /* 0: not known, and the property is left out */
	const struct virtio_slot *virtio;
	unsigned int nr_virtio;
};

/*
 * Build a tree.  *blob is malloc'd, and the caller frees it.
 * 0; -ENOMEM; -E2BIG: the command line has megabytes.
 */
int fdt_build(const struct fdt_config *config, void **blob, size_t *bytes);

#endif
