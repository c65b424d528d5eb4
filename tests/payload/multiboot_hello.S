/* SPDX-License-Identifier: MIT */
/* A multiboot guest: says what it was given, and exits with status 7 (1: not multiboot). */
#include "multiboot.h"

	.text
	.code32
	.globl	start
start:
	movl	$stack, %esp
	cmpl	$MB_EAX, %eax
	jne	bad
	movl	$hello, %esi
	call	puts
	movl	MBI_CMDLINE(%ebx), %esi
	call	puts
	movl	$upper, %esi
	call	puts
	movl	MBI_MEM_UPPER(%ebx), %eax
	call	putu
	movl	$newline, %esi
	call	puts
	movb	$7, %al
	jmp	quit
bad:
	movb	$1, %al
	jmp	quit

	.section .rodata
hello:	.asciz	"multiboot: cmdline="
upper:	.asciz	" mem_upper="
newline: .asciz	"\n"

#include "payload.h"
