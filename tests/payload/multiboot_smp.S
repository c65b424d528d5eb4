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

#define TRAMPOLINE 0x8000		/* a page below 1 MiB: its number is the SIPI's vector */
#define COUNTER	   0x9000		/* CPUs that have come */

#define APIC	   0xfee00000
#define APIC_SVR   (APIC + 0xf0)	/* bit 8: enable */
#define APIC_ICR   (APIC + 0x300)
#define APIC_LVT0  (APIC + 0x350)
#define ICR_INIT   0x000c4500		/* all but self, assert, INIT */
#define ICR_SIPI   (0x000c4600 | TRAMPOLINE >> 12)
#define LVT_EXTINT 0x700		/* the 8259s' line, as on a PC after its BIOS */

#define PIC1	   0x20
#define PIC2	   0xa0
#define PIC_EOI	   0x20
#define VECTOR	   0x20			/* of IRQ 0 */
#define PIT_HZ	   1193182
#define TICK_HZ	   100

#define CODE	   0x08			/* selectors of our GDT */
#define DATA	   0x10

	.text
	.code32
	.globl	start
start:
	cli
	cld
	movl	$stack, %esp
	call	load_tables
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

/* A GDT of our own, as multiboot leaves none; an IDT with the timer's gate alone. */
load_tables:
	lgdt	gdtr
	ljmp	$CODE, $1f
1:	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$tick, %eax
	movw	%ax, idt + VECTOR * 8
	movw	$CODE, idt + VECTOR * 8 + 2
	movw	$0x8e00, idt + VECTOR * 8 + 4	/* present, ring 0, 32-bit interrupt gate */
	shrl	$16, %eax
	movw	%ax, idt + VECTOR * 8 + 6
	lidt	idtr
	ret

/* The 8259s at VECTOR with only IRQ 0 open, the PIT's channel 0 as rate generator. */
start_timer:
	movl	$0x1ff, APIC_SVR
	movl	$LVT_EXTINT, APIC_LVT0
	movl	$pic_setup, %esi
1:	movzbl	(%esi), %edx
	testl	%edx, %edx
	jz	2f
	movb	1(%esi), %al
	outb	%al, %dx
	addl	$2, %esi
	jmp	1b
2:	ret

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

/*
 * The timer.  KVM's instruction emulator, which some back ends run all of ring 0 on, has no
 * 32-bit iret.  popf and ret do the same within ring 0 once the frame is turned around: the
 * flags to where cs was, eip to where the flags were.
 */
tick:
	incl	ticks
	pushl	%eax
	movb	$PIC_EOI, %al
	outb	%al, $PIC1
	movl	12(%esp), %eax		/* flags, over cs */
	movl	%eax, 8(%esp)
	movl	4(%esp), %eax		/* eip, over flags */
	movl	%eax, 12(%esp)
	popl	%eax
	addl	$4, %esp
	popfl
	ret

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

pic_setup:				/* port, value */
	.byte	PIC1, 0x11, PIC1 + 1, VECTOR, PIC1 + 1, 4, PIC1 + 1, 1, PIC1 + 1, 0xfe
	.byte	PIC2, 0x11, PIC2 + 1, VECTOR + 8, PIC2 + 1, 2, PIC2 + 1, 1, PIC2 + 1, 0xff
	.byte	0x43, 0x34, 0x40, (PIT_HZ / TICK_HZ) & 0xff, 0x40, (PIT_HZ / TICK_HZ) >> 8
	.byte	0

	.balign	8
gdt:	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
idtr:	.word	VECTOR * 8 + 7
	.long	idt

	.bss
	.balign	8
idt:	.skip	VECTOR * 8 + 8
ticks:	.skip	4			/* taken */
awaited: .skip	4

#include "payload.h"
