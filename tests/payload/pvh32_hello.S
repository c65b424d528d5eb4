/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest in an ELF32 file: prints its command line, and exits with status 8 (1: no start
 * info).
 */
#define PVH_MAGIC   0x336ec578
#define PVH_CMDLINE 24			/* offset in the start info; 64 bits, the upper ones 0 */

#include "pvh32.h"
	cmpl	$PVH_MAGIC, (%ebx)
	jne	bad
	movl	$hello, %esi
	call	puts
	movl	PVH_CMDLINE(%ebx), %esi
	call	puts
	movl	$newline, %esi
	call	puts
	movb	$8, %al
	jmp	quit
bad:
	movb	$1, %al
	jmp	quit

	.section .rodata
hello:	.asciz	"pvh32: cmdline="
newline: .asciz	"\n"

#include "payload.h"
