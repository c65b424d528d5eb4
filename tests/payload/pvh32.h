/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_PVH32_H
#define QUIRE_TESTS_PVH32_H

/*
 * How a PVH guest begins: what follows the inclusion runs first, on a stack, with ebx as it came.
 */
	.section .note.Xen, "a", @note
	.balign	4
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.text
	.code32
	.globl	start
start:
	movl	$stack, %esp

#endif
