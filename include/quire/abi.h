/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_ABI_H
#define QUIRE_ABI_H

/*
 * What host and guest agree on.  Only #defines above the __ASSEMBLER__ line, so that it
 * works from .S files too.
 *
 * Guest physical memory (PVH and multiboot boots):
 *
 *   4 GiB + x  RAM beyond the hole, up to -m
 *   4 GiB      --------------------------------------------------------------
 *              hole: local APIC, I/O APIC, devices at QUIRE_MMIO_BASE; never RAM
 *   3 GiB      --------------------------------------------------------------
 *              RAM: image where its headers say; boot data (start info, memory
 *              map, command line, modules, device tree) in free RAM above it
 *   1 MiB      ------
 *              RAM (there is no BIOS; what one leaves: vmm/boot/bios.h)
 *   0          ------
 */

#define QUIRE_GAP_START	 0xc0000000 /* [3 GiB, 4 GiB) is never RAM */
#define QUIRE_GAP_END	 0x100000000
#define QUIRE_MMIO_BASE	 0xd0000000 /* virtio-mmio devices, QUIRE_MMIO_BYTES of registers each */
#define QUIRE_MMIO_BYTES 0x200

/*
 * Virtio devices are in slots.  Slot 0 is the balloon's.  The interrupt of each is an ISA line of
 * its own, which a kernel without ACPI can use too: those that nothing else has, and the likeliest
 * to be asked for by drivers of old devices last.  All are edges, and come only with an interrupt
 * controller; without one, drivers poll.
 */
#define QUIRE_VIRTIO_SLOTS   9
#define QUIRE_VIRTIO_BASE(n) (QUIRE_MMIO_BASE + (n)*QUIRE_MMIO_BYTES)
#define QUIRE_VIRTIO_IRQS    0xfec673ba5 /* hexadecimal digit n, from the right: slot n's line */
#define QUIRE_VIRTIO_IRQ(n)  ((unsigned int)(QUIRE_VIRTIO_IRQS >> 4 * (n)&15))

#define QUIRE_BALLOON_BASE QUIRE_VIRTIO_BASE(0)
#define QUIRE_BALLOON_IRQ  5

#define QUIRE_UART_PORT	   0x3f8 /* 16550, COM1 */
#define QUIRE_UART_IRQ	   4
#define QUIRE_CONSOLE_PORT 0x4f0   /* 32-bit write of a gpa: print the text there */
#define QUIRE_CONSOLE_MAX  0x10000 /* a text: u32 length, at most this, then the bytes */
/*
 * A 32-bit write of N waits N microseconds, or until a cue: input on the console, a buffer
 * or a configuration change of a virtio device.  A cue since the last wait ends one at once.  It
 * may also end early for no reason that the guest can see.  Other writes are ignored; reads give
 * zero.
 */
#define QUIRE_WAIT_PORT	   0x4f4
#define QUIRE_WAIT_FOREVER 0xffffffff /* no limit: until a cue */
/*
 * Without a BIOS, its entries for real-mode guests end here (vmm/boot/bios_rom.c): cs:ip of the
 * caller is written to the port, and then ax and the vector, as high and low word, to the port + 4.
 */
#define QUIRE_BIOS_PORT 0x4f8
#define QUIRE_EXIT_PORT 0xf4  /* value written = exit status; 8, 16 or 32 bits */
#define QUIRE_QEMU_EXIT 0x501 /* the same, but the status is value << 1 | 1 */

/*
 * ACPI's fixed hardware, where QEMU's `pc` machine has it: PM1 status and enable (2 bytes each),
 * PM1 control (2, at +4), PM timer (4, at +8).  Sleep type 0 is S5, the power-off.
 */
#define QUIRE_PM_PORT	   0x600
#define QUIRE_PM_IRQ	   9	 /* ACPI's SCI, which nothing raises */
#define QUIRE_RESET_PORT   0xcf9 /* 8-bit write with bit 2 set: reset */
#define QUIRE_RESET_VALUE  0x06	 /* ... as the FADT says it */
#define QUIRE_PANIC_PORT   0x505 /* QEMU's pvpanic: 8-bit write with bit 0: a kernel's panic */
#define QUIRE_CMOS_PORT	   0x70	 /* MC146818 clock: index, and data at +1 */
#define QUIRE_CMOS_IRQ	   8	 /* which nothing raises */
#define QUIRE_CMOS_CENTURY 0x32	 /* the register of the century */

/* ACPI's tables, for a guest with an interrupt controller; the RSDP is at the base. */
#define QUIRE_ACPI_BASE 0xe0000

#define QUIRE_BOOT_SECTOR 0x7c00 /* flat images are loaded and entered here, real mode */

/* CPUID leaf 0x40000000: EBX ECX EDX spell this. */
#define QUIRE_CPUID_SIGNATURE "QuireQuire\0\0"

/* Command line of the PVH module that is the flattened device tree; it is the last module. */
#define QUIRE_FDT_MODULE "quire.dtb"

/* Exit statuses of `quire run`; below 100 is the guest's own. */
#define QUIRE_STATUS_USAGE     2
#define QUIRE_STATUS_GUEST_MAX 99
#define QUIRE_STATUS_DIFFERENT 119 /* --paging=both: the runs differ */
#define QUIRE_STATUS_REFUSED   120
#define QUIRE_STATUS_HOST      121 /* host or KVM error */
#define QUIRE_STATUS_CRASH     122 /* the guest crashed */
#define QUIRE_STATUS_OOM       123
#define QUIRE_STATUS_TIMEOUT   124
#define QUIRE_STATUS_INTERNAL  125

#endif
