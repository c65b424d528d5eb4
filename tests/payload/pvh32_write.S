/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest in an ELF32 file: writes the word at 64 MiB, reads it back, and exits with status 9
 * (1: it reads otherwise).  At ring 0 with paging off, as some hosts treat that apart.
 */
#define WORD 0x4000000

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
	movl	$0x12345678, WORD
	movb	$9, %al
	cmpl	$0x12345678, WORD
	je	quit
	movb	$1, %al
	jmp	quit

#include "payload.h"
