/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_INTERRUPT_H
#define QUIRE_TESTS_INTERRUPT_H

/*
 * Interrupts for 32-bit payloads, for inclusion before their code.
 *
 *   load_tables  load a GDT of our own, with CODE and DATA, and an IDT without gates
 *   set_gate     vector edx is handled at eax
 *   init_pic     the 8259s at PIC_VECTOR, without requests; the mask of the first is cl, the
 *                second is masked
 *   interrupted  jump here at the end of a handler that pushed eax
 */
#define APIC	   0xfee00000
#define APIC_EOI   (APIC + 0xb0)
#define APIC_SVR   (APIC + 0xf0)	/* bit 8: enable */
#define APIC_LVT0  (APIC + 0x350)
#define LVT_EXTINT 0x700		/* the 8259s' line, as on a PC after its BIOS */
#define LVT_MASKED 0x10000

#define PIC1	   0x20
#define PIC2	   0xa0
#define PIC_EOI	   0x20
#define PIC_VECTOR 0x20			/* of IRQ 0 */

#define CODE	   0x08			/* selectors of our GDT */
#define DATA	   0x10
#define GATES	   0x50

	.text
	.code32
load_tables:
	lgdt	gdtr
	ljmp	$CODE, $1f
1:	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	lidt	idtr
	ret

set_gate:
	movw	%ax, idt(, %edx, 8)
	movw	$CODE, idt + 2(, %edx, 8)
	movw	$0x8e00, idt + 4(, %edx, 8)	/* present, ring 0, 32-bit interrupt gate */
	shrl	$16, %eax
	movw	%ax, idt + 6(, %edx, 8)
	ret

init_pic:
	movl	$pic_setup, %esi
1:	movzbl	(%esi), %edx
	testl	%edx, %edx
	jz	2f
	movb	1(%esi), %al
	outb	%al, %dx
	addl	$2, %esi
	jmp	1b
2:	movb	%cl, %al
	outb	%al, $PIC1 + 1
	ret

/*
 * KVM's instruction emulator, which some back ends run all of ring 0 on, has no 32-bit iret.
 * popf and ret do the same within ring 0 once the frame is turned around: the flags to where cs
 * was, eip to where the flags were.
 */
interrupted:
	movl	12(%esp), %eax		/* flags, over cs */
	movl	%eax, 8(%esp)
	movl	4(%esp), %eax		/* eip, over flags */
	movl	%eax, 12(%esp)
	popl	%eax
	addl	$4, %esp
	popfl
	ret

	.section .rodata
pic_setup:				/* port, value */
	.byte	PIC1, 0x11, PIC1 + 1, PIC_VECTOR, PIC1 + 1, 4, PIC1 + 1, 1
	.byte	PIC2, 0x11, PIC2 + 1, PIC_VECTOR + 8, PIC2 + 1, 2, PIC2 + 1, 1, PIC2 + 1, 0xff
	.byte	0

	.balign	8
gdt:	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
idtr:	.word	GATES * 8 - 1
	.long	idt

	.bss
	.balign	8
idt:	.skip	GATES * 8

	.text

#endif
