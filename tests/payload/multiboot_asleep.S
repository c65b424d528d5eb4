/* SPDX-License-Identifier: MIT */
/*
 * A multiboot guest that sleeps in HLT for two and a half seconds, until its local APIC's timer
 * fires once.  Nothing else can wake it.  Exits with status 3.
 */
#include "multiboot.h"

#define APIC	   0xfee00000
#define APIC_SVR   (APIC + 0xf0)	/* bit 8: enable */
#define APIC_LVTT  (APIC + 0x320)
#define APIC_TMICT (APIC + 0x380)
#define APIC_TDCR  (APIC + 0x3e0)
#define BY_128	   0xa			/* KVM's timer counts nanoseconds, less this divisor */
#define COUNT	   (2500000000 / 128)
#define VECTOR	   0x40
#define CODE	   0x08			/* selectors of our GDT */
#define DATA	   0x10

	.text
	.code32
	.globl	start
start:
	cli
	movl	$stack, %esp
	movb	$0xff, %al		/* the 8259s are masked */
	outb	%al, $0x21
	outb	%al, $0xa1
	lgdt	gdtr
	ljmp	$CODE, $1f
1:	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$wake, %eax
	movw	%ax, idt + VECTOR * 8
	movw	$CODE, idt + VECTOR * 8 + 2
	movw	$0x8e00, idt + VECTOR * 8 + 4	/* present, ring 0, 32-bit interrupt gate */
	shrl	$16, %eax
	movw	%ax, idt + VECTOR * 8 + 6
	lidt	idtr
	movl	$0x1ff, APIC_SVR
	movl	$BY_128, APIC_TDCR
	movl	$VECTOR, APIC_LVTT
	movl	$COUNT, APIC_TMICT
	sti
	hlt
	movb	$4, %al			/* it woke without the timer */
	jmp	quit
wake:	movb	$3, %al
	jmp	quit

	.data
	.balign	8
gdt:	.quad	0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
idtr:	.word	VECTOR * 8 + 7
	.long	idt

	.bss
	.balign	8
idt:	.skip	VECTOR * 8 + 8

#include "payload.h"
