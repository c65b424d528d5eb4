/* SPDX-License-Identifier: MIT */
/*
 * What hostile.c stands on: the way from the PVH entry into long mode, tables that map
 * 64 MiB of RAM for the kernel alone, and a way in and out of code that may do anything.
 */
#define PVH_CMDLINE 24			/* offset in the start info */
#define CR4_BOOT    0x620		/* PAE OSFXSR OSXMMEXCPT */
#define CR0_BOOT    0x80010033		/* PG WP NE ET MP PE */
#define EFER_BOOT   0x900		/* LME NXE */
#define MSR_EFER    0xc0000080

#include "pvh32.h"

	movl	PVH_CMDLINE(%ebx), %esi
	movl	$CR4_BOOT, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	movl	$EFER_BOOT, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$CR0_BOOT, %eax
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $long_mode

	.code64
long_mode:
	movl	$16, %eax
	movw	%ax, %ss
	movw	%ax, %ds
	movw	%ax, %es
	movl	$stack, %esp
	movl	%esi, %edi
	call	hostile

/* run(struct cpu *): load all of it, and come back at the exception that ends it. */
	.globl	run
run:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, saved(%rip)
	movq	%rdi, %rsp
	jmp	restore

	.globl	come_back
come_back:
	movq	saved(%rip), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* One way for all exceptions, on a stack of their own: struct cpu is what lies there. */
common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	cld
	call	on_exception		/* returns if the code is to go on */
	movq	%rax, %rsp
restore:
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq

/* 16 bytes for each vector. */
	.balign	16
	.globl	vectors
vectors:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	(vector >= 32) || !((0x60227d00 >> (vector & 31)) & 1)
	pushq	$0
	.endif
	pushq	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

	.data
	.balign	4096
	.globl	pml4, pdpt
pml4:	.quad	pdpt + 0x67
	.fill	511, 8, 0
pdpt:	.quad	pd + 0x63
	.fill	511, 8, 0
pd:	.set	at, 0
	.rept	32
	.quad	at + 0xe3
	.set	at, at + 0x200000
	.endr
	.fill	480, 8, 0

gdt_pointer:
	.word	127
	.long	gdt

	.bss
	.balign	16
saved:	.skip	16
	.skip	16384
stack:
	.section .note.GNU-stack, "", @progbits
