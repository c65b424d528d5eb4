/* SPDX-License-Identifier: MIT */
/*
 * Traps, nucleus calls and upcalls.
 *
 * The nucleus hands a trap from CPL 3 back to CPL 3 at once: an *upcall*, as in an exokernel.  It
 * saves CR2 and leaves through a ready-made frame, which takes about a dozen instructions.  The
 * trap stack is mapped for the user, so upcall_entry reads the frame where the CPU pushed it.
 * upcall_entry also returns to the interrupted code without the nucleus:
 *
 *	CPL 3   instruction        upcall_entry  trap_handle()  popfq, ret
 *	             \               ^
 *	CPL 0         stub, trap, iretq
 *
 * There is one upcall at a time.  upcall_busy says that the frame on the trap stack, or the upcall
 * stack, is in use.  A second trap meanwhile is a bug: it ends in nucleus_report() and a triple
 * fault.
 *
 * The return writes the interrupted rip below the red zone (128 bytes) of the interrupted stack,
 * switches stacks and leaves with `ret $128`.  So it loses no register.  It needs no iretq, which
 * at CPL 3 does not find the guest's selectors under every host.
 *
 * A nucleus call is the `ud2` at nucleus_gate.  Each call is a line or two in this file, so that
 * it takes nine instructions at CPL 0.
 *
 * A fault at CPL 0 is a bug too, except in CALL_PROBE and CALL_CR4.  There it is the answer.
 */
#include "layout.h"

	.macro	save_registers
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%r11
	push	%r10
	push	%r9
	push	%r8
	push	%rdi
	push	%rsi
	push	%rbp
	push	%rdx
	push	%rcx
	push	%rbx
	push	%rax
	.endm

	.macro	restore_registers
	pop	%rax
	pop	%rbx
	pop	%rcx
	pop	%rdx
	pop	%rbp
	pop	%rsi
	pop	%rdi
	pop	%r8
	pop	%r9
	pop	%r10
	pop	%r11
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	.endm

	.section .nucleus.vectors, "ax", @progbits
	.set	vector, 0
	.rept	NR_VECTORS
	.balign	16
	.if	vector == VECTOR_UD
	jmp	trap_ud
	.else
	/* #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and #SX push an error code. */
	.if	!((0x60227d00 >> vector) & 1)
	push	$0
	.endif
	push	$vector
	jmp	trap
	.endif
	.set	vector, vector + 1
	.endr

	.section .nucleus.text, "ax", @progbits
trap_ud:
	cmpl	$nucleus_gate, (%rsp)
	je	call
	push	$0
	push	$VECTOR_UD
trap:					/* vector, error, rip, cs, rflags, rsp, ss */
	testb	$3, 24(%rsp)
	jz	nucleus_fault
	cmpb	$0, upcall_busy
	jne	panic
	movb	$1, upcall_busy
	push	%rax
	mov	%cr2, %rax
	mov	%rax, upcall_cr2
	pop	%rax
	mov	$upcall_frame, %esp
	iretq

call:
	addq	$2, (%rsp)
	cmp	$NR_CALLS, %edi
	jae	panic_call
	jmp	*call_table(, %rdi, 8)

call_invlpg:
	invlpg	(%rsi)
	iretq
call_cr3:
	mov	%rsi, %cr3
	iretq
call_wp:
	mov	%cr0, %rax
	btr	$16, %rax
	shl	$16, %esi
	or	%rsi, %rax
	mov	%rax, %cr0
	iretq
call_halt:
	cli
1:	hlt
	jmp	1b
call_vmcall:
	vmcall
	iretq
call_int3:
	int3
	iretq
call_cr4:
	mov	%cr4, %rcx
	xor	%rcx, %rsi
	mov	$PROBE_OK, %eax
set_cr4:
	mov	%rsi, %cr4
	iretq
call_efer:
	mov	$0xc0000080, %ecx
	rdmsr
	xor	%esi, %eax
	wrmsr
	iretq
call_run:
	call	*%rsi
	iretq
call_probe:
	mov	$PROBE_OK, %eax
	cmp	$1, %edx
	je	probe_write
	ja	probe_fetch
probe_read:
	mov	(%rsi), %rdx
	iretq
probe_write:
	mov	%rcx, (%rsi)
	iretq
probe_fetch:
	call	*%rsi
probe_fetched:
	mov	%rax, %rdx
	mov	$PROBE_OK, %eax
	iretq

nucleus_fault:				/* the probe's frame lies at the rsp of this one */
	cmpq	$probe_read, 16(%rsp)
	je	1f
	cmpq	$probe_write, 16(%rsp)
	je	1f
	cmpq	$set_cr4, 16(%rsp)
	je	1f
	push	%rax			/* a fetch has pushed where it came from */
	mov	48(%rsp), %rax
	cmpq	$probe_fetched, (%rax)
	pop	%rax
	jne	panic
	addq	$8, 40(%rsp)
1:	mov	8(%rsp), %rax		/* the error code is the result, and another vector */
	mov	%cr2, %rdx
	mov	(%rsp), %rcx
	mov	40(%rsp), %rsp
	cmp	$VECTOR_PF, %ecx
	je	2f
	shl	$16, %ecx
	or	%rcx, %rax
2:	iretq

panic_call:
	push	$0
	push	$VECTOR_UD
panic:
	push	%rax
	mov	%cr2, %rax
	xchg	%rax, (%rsp)
	save_registers
	mov	%rsp, %rdi
	call	nucleus_report
	mov	%rsp, %rsi
call_die:
	lidt	no_idt
	mov	%rsi, %rsp
	restore_registers
	add	$24, %rsp		/* cr2, vector, error */
	iretq

	.section .nucleus.data, "aw", @progbits
	.balign	8
call_table:
	.quad	call_invlpg, call_cr3, call_probe, call_wp
	.quad	call_halt, call_die, call_vmcall, call_int3
	.quad	call_cr4, call_efer, call_run

/* From here on, code runs at CPL 3. */
	.section .text.traps, "ax", @progbits
	.globl	nucleus_call
nucleus_call:
nucleus_gate:
	ud2
	ret

	.globl	upcall_entry
upcall_entry:
	.set	offset, 8
	.rept	TRAP_FRAME_BYTES / 8
	pushq	trap_stack_top - offset
	.set	offset, offset + 8
	.endr
	pushq	upcall_cr2
	save_registers
	cld
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	and	$-16, %rsp
	call	trap_handle
	mov	%rbx, %rsp
	mov	TRAP_RSP_OFFSET(%rsp), %rax
	mov	TRAP_RIP_OFFSET(%rsp), %rcx
	lea	-136(%rax), %rax
	mov	%rcx, (%rax)
	mov	%rax, TRAP_RSP_OFFSET(%rsp)
	restore_registers
	lea	40(%rsp), %rsp		/* cr2, vector, error, rip, cs */
	popfq
	movb	$0, upcall_busy
	pop	%rsp
	ret	$128

/*
 * bool guarded(void (*fn)(uint64_t), uint64_t arg): run fn(arg).  True if it trapped.  Then
 * trap_handle() has put the trap into guard_trap and has sent us to guard_escape.
 */
	.globl	guarded, guard_escape
guarded:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	mov	%rsp, guard_rsp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	call	*%rax
	xor	%eax, %eax
	jmp	1f
guard_escape:
	mov	$1, %eax
1:	movq	$0, guard_rsp
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.section .bss.upcall, "aw", @nobits
	.balign	8
	.globl	upcall_busy, upcall_cr2, guard_rsp
upcall_cr2:
	.skip	8
guard_rsp:
	.skip	8
upcall_busy:
	.skip	8

	.section .note.GNU-stack, "", @progbits
