/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_SLOT_H
#define QUIRE_VMM_BOOT_SLOT_H

/*
 * A virtio-mmio device as a guest has to find it: by ACPI, the device tree or the command line.
 * vm_virtio_slots() (vm.h) lists those of a VM.
 */
#include <quire/types.h>

struct virtio_slot {
	const char *name;   /* the kind of device, for people */
	uint64_t base;	    /* of the registers; a gpa */
	uint64_t bytes;	    /* of the registers */
	unsigned int irq;   /* an ISA line, and so the I/O APIC's input of that number; edges */
	unsigned int index; /* 0..QUIRE_VIRTIO_SLOTS-1 (abi.h) */
};

#endif
