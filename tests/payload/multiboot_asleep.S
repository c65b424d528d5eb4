/* SPDX-License-Identifier: MIT */
/*
 * A multiboot guest that sleeps in HLT for two and a half seconds, until its local APIC's timer
 * fires once.  Nothing else can wake it.  Exits with status 3.
 */
#include "multiboot.h"
#include "interrupt.h"

#define APIC_LVTT  (APIC + 0x320)
#define APIC_TMICT (APIC + 0x380)
#define APIC_TDCR  (APIC + 0x3e0)
#define BY_128	   0xa			/* KVM's timer counts nanoseconds, less this divisor */
#define COUNT	   (2500000000 / 128)
#define VECTOR	   0x40

	.text
	.code32
	.globl	start
start:
	cli
	movl	$stack, %esp
	movb	$0xff, %cl		/* the 8259s are masked */
	call	init_pic
	call	load_tables
	movl	$wake, %eax
	movl	$VECTOR, %edx
	call	set_gate
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

#include "payload.h"
