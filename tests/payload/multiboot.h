/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MULTIBOOT_H
#define QUIRE_TESTS_MULTIBOOT_H

/* Multiboot 0.6.96 for .S files: a header (ELF32, so without addresses), and the information. */
#define MB_MAGIC 0x1badb002
#define MB_EAX	 0x2badb002
#define MB_FLAGS 3			/* page-aligned modules, memory information */

#define MBI_MEM_UPPER 8			/* offsets */
#define MBI_CMDLINE   16

	.section .multiboot, "a"
	.balign	4
	.long	MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

#endif
