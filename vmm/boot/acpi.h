/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_ACPI_H
#define QUIRE_VMM_BOOT_ACPI_H

/*
 * ACPI's tables (ACPI Specification 6.4, chapter 5): what a guest finds out about a VM without
 * being told on its command line.
 *
 *   RSDP, XSDT   where the others are
 *   FADT         fixed hardware: PM1 registers, PM timer, how to reset.  It is the classic
 *                hardware of a PC and not the reduced one, with which a kernel expects EFI's
 *                services and no PIT
 *   MADT         a local APIC for each vCPU, the I/O APIC.  ISA interrupts are identical to its
 *                pins: KVM has the PIT on pin 0 too, so there is no override for it
 *   DSDT         sleep state S5, serial port, clock, where to tell of a panic (QEMU0001), and a
 *                device LNRO0005 for each virtio device
 *
 * There is no FACS: no memory of the guest is shared with firmware, and nothing can be waited for.
 */
#include <quire/types.h>
#include "slot.h"

struct acpi_config {
	unsigned int nr_cpus; /* 1..255; APIC ids are 0..nr_cpus - 1 */
	const struct virtio_slot *virtio;
	unsigned int nr_virtio; /* 0..QUIRE_VIRTIO_SLOTS */
};

#define ACPI_MAX_BYTES 8192

/*
 * Write the tables as they are to be at QUIRE_ACPI_BASE; the RSDP comes first.  Returns their size
 * in bytes.
 */
size_t acpi_build(const struct acpi_config *config, uint8_t out[ACPI_MAX_BYTES]);

#endif
