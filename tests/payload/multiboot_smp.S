/* SPDX-License-Identifier: MIT */
/*
 * A multiboot guest that needs KVM's interrupt controllers, its PIT, and all vCPUs.
 *
 * The first CPU takes PIT ticks through the 8259s with hlt in between; by them it paces the
 * start of the other CPUs (INIT, SIPI, SIPI to all but self, Intel SDM Vol. 3A, "MP
 * Initialization Protocol Algorithm"), each of which counts itself in and halts.  When nobody
 * new has come for a while it prints
 *
 *   smp: cpus=N ticks=N
 *
 * and exits with status 0.  ticks is how many were awaited, at 100 Hz: at least 20.
 */
#include "multiboot.h"
#include "interrupt.h"

#define TRAMPOLINE 0x8000		/* a page below 1 MiB: its number is the SIPI's vector */
#define COUNTER	   0x9000		/* CPUs that have come */

#define APIC_ICR   (APIC + 0x300)
#define ICR_INIT   0x000c4500		/* all but self, assert, INIT */
#define ICR_SIPI   (0x000c4600 | TRAMPOLINE >> 12)
#define PIT_HZ	   1193182
#define TICK_HZ	   100

	.text
	.code32
	.globl	start
start:
	cli
	cld
	movl	$stack, %esp
	call	load_tables
	movl	$tick, %eax
	movl	$PIC_VECTOR, %edx
	call	set_gate
	call	start_timer

	movl	$TRAMPOLINE, %edi
	movl	$trampoline, %esi
	movl	$(trampoline_end - trampoline), %ecx
	rep movsb
	movl	$1, COUNTER		/* this one */
	movl	$ICR_INIT, APIC_ICR
	movl	$2, %ecx
	call	wait_ticks
	movl	$ICR_SIPI, APIC_ICR
	movl	$2, %ecx
	call	wait_ticks
	movl	$ICR_SIPI, APIC_ICR

1:	movl	COUNTER, %ebx		/* until 16 ticks bring nobody new */
	movl	$16, %ecx
	call	wait_ticks
	cmpl	COUNTER, %ebx
	jne	1b

	movl	$cpus, %esi
	call	puts
	movl	%ebx, %eax
	call	putu
	movl	$ticked, %esi
	call	puts
	movl	awaited, %eax
	call	putu
	movl	$newline, %esi
	call	puts
	movb	$0, %al
	jmp	quit

/* The 8259s with only IRQ 0 open, the PIT's channel 0 as rate generator. */
start_timer:
	movl	$0x1ff, APIC_SVR
	movl	$LVT_EXTINT, APIC_LVT0
	movb	$0xfe, %cl
	call	init_pic
	movb	$0x34, %al
	outb	%al, $0x43
	movb	$((PIT_HZ / TICK_HZ) & 0xff), %al
	outb	%al, $0x40
	movb	$((PIT_HZ / TICK_HZ) >> 8), %al
	outb	%al, $0x40
	ret

/* Wait for ecx ticks. */
wait_ticks:
	addl	%ecx, awaited
	addl	ticks, %ecx
1:	cli
	cmpl	ticks, %ecx
	jle	2f
	sti				/* takes effect after the next instruction: no tick */
	hlt				/* can come between the comparison and this */
	jmp	1b
2:	ret

tick:
	incl	ticks
	pushl	%eax
	movb	$PIC_EOI, %al
	outb	%al, $PIC1
	jmp	interrupted

/* The other CPUs: real mode, cs = TRAMPOLINE >> 4. */
	.code16
trampoline:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lock incl COUNTER
1:	hlt
	jmp	1b
trampoline_end:

	.section .rodata
cpus:	.asciz	"smp: cpus="
ticked:	.asciz	" ticks="
newline: .asciz	"\n"

	.bss
ticks:	.skip	4			/* taken */
awaited: .skip	4

#include "payload.h"
