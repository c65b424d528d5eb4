/* SPDX-License-Identifier: MIT */
/*
 * What the selftest needs in assembly: handlers at CPL 0 that take the place of a gate's own for a
 * while, and instructions that are run one at a time.
 */
#include "layout.h"

#define FLAG_TF 0x100

	.section .nucleus.text, "ax", @progbits
/*
 * #DB: note where it would go on, and what of DR6 is always set.  After TRACE_MAX of them stepping
 * ends.
 */
	.globl	trace_debug
trace_debug:				/* rip, cs, rflags, rsp, ss */
	push	%rax
	push	%rcx
	mov	traced, %ecx
	cmp	$TRACE_MAX, %ecx
	jb	1f
	andl	$~FLAG_TF, 32(%rsp)
	jmp	2f
1:	incl	traced
	mov	16(%rsp), %rax
	mov	%rax, trace_rip(, %rcx, 8)
2:	mov	%dr6, %rax
	and	%rax, trace_dr6
	xor	%eax, %eax
	mov	%rax, %dr6
	pop	%rcx
	pop	%rax
	iretq

/*
 * #PF: note the fault, read what is to be read (which may fault, too), and then repair: store a
 * value to an entry.
 */
	.globl	nested_fault
nested_fault:				/* error, rip, cs, rflags, rsp, ss */
	push	%rax
	push	%rcx
	push	%rdx
	mov	nested_depth, %ecx
	incl	nested_depth
	shl	$6, %ecx
	mov	%cr2, %rax
	mov	%rax, nested(%rcx)
	mov	24(%rsp), %rax
	mov	%rax, nested + 8(%rcx)
	mov	40(%rsp), %rax
	mov	%rax, nested + 16(%rcx)
	mov	nested + 24(%rcx), %rax
	test	%rax, %rax
	jz	1f
	mov	(%rax), %rdx
	mov	%rdx, nested + 48(%rcx)
1:	mov	nested + 32(%rcx), %rax
	mov	nested + 40(%rcx), %rdx
	mov	%rdx, (%rax)
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$8, %rsp
	iretq

/* Stepped at CPL 0. */
	.globl	steps_nucleus
steps_nucleus:
	pushfq
	orl	$FLAG_TF, (%rsp)
	popfq
	nop
nucleus_step_1:
	mov	%cr3, %rax
nucleus_step_2:
	mov	%rax, %cr3
nucleus_step_3:
	invlpg	(%rsp)
nucleus_step_4:
	mov	%cr0, %rax
nucleus_step_5:
	pushfq
nucleus_step_6:
	andl	$~FLAG_TF, (%rsp)
nucleus_step_7:
	popfq
nucleus_step_8:
	ret

	.section .nucleus.data, "aw", @progbits
	.balign	16
	.skip	512
	.globl	nucleus_stack_top
nucleus_stack_top:

/* Stepped at CPL 3: a port, which is emulated, and a nucleus call. */
	.section .text.steps, "ax", @progbits
	.globl	steps_user
steps_user:
	mov	$0x3fd, %edx
	lea	step_bytes, %rsi
	pushfq
	orl	$FLAG_TF, (%rsp)
	popfq
	nop
user_step_1:
	inb	%dx, %al
user_step_2:
	mov	$CALL_INVLPG, %edi
user_step_3:
	call	nucleus_call
user_step_4:
	pushfq
user_step_5:
	andl	$~FLAG_TF, (%rsp)
user_step_6:
	popfq
user_step_7:
	ret

/* A string of three bytes. */
	.globl	steps_string
steps_string:
	mov	$3, %ecx
	lea	step_bytes, %rsi
	lea	step_bytes + 8, %rdi
	pushfq
	orl	$FLAG_TF, (%rsp)
	popfq
	nop
string_step_1:
	rep movsb
string_step_2:
	pushfq
string_step_3:
	andl	$~FLAG_TF, (%rsp)
string_step_4:
	popfq
string_step_5:
	ret

	.section .rodata.steps, "a", @progbits
	.balign	8
	.globl	steps_user_rips, steps_string_rips, steps_nucleus_rips, steps_end
steps_user_rips:
	.quad	user_step_1, user_step_2, user_step_3, nucleus_call, user_step_4, user_step_5
	.quad	user_step_6, user_step_7
steps_string_rips:
	.quad	string_step_1, string_step_1, string_step_1, string_step_2, string_step_3
	.quad	string_step_4, string_step_5
steps_nucleus_rips:
	.quad	nucleus_step_1, nucleus_step_2, nucleus_step_3, nucleus_step_4, nucleus_step_5
	.quad	nucleus_step_6, nucleus_step_7, nucleus_step_8
steps_end:

	.section .bss.steps, "aw", @nobits
	.balign	64
	.globl	nested, nested_depth, traced, trace_rip, trace_dr6, step_bytes
nested:
	.skip	64 * NESTED_MAX
trace_rip:
	.skip	8 * TRACE_MAX
trace_dr6:
	.skip	8
nested_depth:
	.skip	8
traced:
	.skip	8
step_bytes:
	.skip	16

	.section .note.GNU-stack, "", @progbits
