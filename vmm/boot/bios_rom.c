/* SPDX-License-Identifier: MIT */
/*
 * What the interrupt vectors of a real-mode guest point at.  It is code of the guest, at
 * F000:0000, and not much of a BIOS: it does what programs of a few hundred bytes need.
 *
 *   int 8 (IRQ 0)  counts the ticks at 0040:006c, and calls int 1ch
 *   int 10h        ah = 0e, 09, 0a: a character to the serial port; 13: a string.  00 to 07 and 0b
 *                  change only how a screen looks, and do nothing; 0f says 80x25
 *   int 16h        ah = 00, 10: wait for a key, from the serial port; 01, 11: is there one?;
 *                  02, 12: no shift key is held
 *
 * Everything else tells the VM, by the port QUIRE_BIOS_PORT (abi.h), which vector was called from
 * where, and the VM ends.  Interrupts of a PIC that nobody expects are only acknowledged.
 *
 * The table at the beginning is read by bios.c.
 */
#include <quire/abi.h>
#include "bios.h"

#define TEXT_OF(x) #x
#define TEXT(x)	   TEXT_OF(x)

/* clang-format off */
__asm__(
".pushsection .rodata, \"a\"\n"
".globl bios_rom\n"
".balign 16\n"
".code16\n"
"bios_rom:\n"
"	.word irq0 - bios_rom, int10 - bios_rom, int16 - bios_rom, int1c - bios_rom\n"
"	.word stubs - bios_rom, bios_rom_end - bios_rom\n"

/* A vector's stub: 6 bytes each (BIOS_STUB_BYTES). */
"stubs:\n"
"	vector = 0\n"
".rept 256\n"
"	.byte 0x68\n"			/* push a word */
"	.word vector\n"
"	.byte 0xe9\n"			/* jump near */
"	.word missing - . - 2\n"
"	vector = vector + 1\n"
".endr\n"

"irq0:	pushw	%ax\n"
"	pushw	%ds\n"
"	xorw	%ax, %ax\n"
"	movw	%ax, %ds\n"
"	incl	0x46c\n"
"	int	$0x1c\n"
"	movb	$0x20, %al\n"		/* end of interrupt */
"	outb	%al, $0x20\n"
"	popw	%ds\n"
"	popw	%ax\n"
"int1c:	iretw\n"

"int10:	cmpb	$0x0e, %ah\n"
"	je	3f\n"
"	cmpb	$0x09, %ah\n"
"	je	3f\n"
"	cmpb	$0x0a, %ah\n"
"	je	3f\n"
"	cmpb	$0x13, %ah\n"
"	je	4f\n"
"	cmpb	$0x0f, %ah\n"
"	je	5f\n"
"	cmpb	$0x0b, %ah\n"
"	je	int1c\n"
"	cmpb	$0x07, %ah\n"
"	ja	7f\n"
"	cmpb	$0x03, %ah\n"
"	jne	int1c\n"
"	movw	$0x0607, %cx\n"		/* shape and place of the cursor */
"	xorw	%dx, %dx\n"
"	iretw\n"
"3:	call	putc\n"
"	iretw\n"
"4:	pushw	%bp\n"
"	pushw	%cx\n"
"	pushw	%ax\n"
"	jcxz	6f\n"
"1:	movb	%es:(%bp), %al\n"
"	call	putc\n"
"	incw	%bp\n"
"	loop	1b\n"
"6:	popw	%ax\n"
"	popw	%cx\n"
"	popw	%bp\n"
"	iretw\n"
"5:	movw	$0x5003, %ax\n"		/* 80 columns, mode 3 */
"	xorb	%bh, %bh\n"
"	iretw\n"
"7:	pushw	$0x10\n"
"	jmp	missing\n"

"putc:	pushw	%dx\n"
"	movw	$" TEXT(QUIRE_UART_PORT) ", %dx\n"
"	outb	%al, %dx\n"
"	popw	%dx\n"
"	ret\n"

/* A key waits at 0040:001e; 0: none.  ZF: there is none; else it is in al. */
"peek:	pushw	%ds\n"
"	pushw	%dx\n"
"	xorw	%dx, %dx\n"
"	movw	%dx, %ds\n"
"	cmpb	$0, 0x41e\n"
"	jne	1f\n"
"	movw	$" TEXT(QUIRE_UART_PORT) " + 5, %dx\n"
"	inb	%dx, %al\n"
"	testb	$1, %al\n"
"	jz	2f\n"
"	movw	$" TEXT(QUIRE_UART_PORT) ", %dx\n"
"	inb	%dx, %al\n"
"	cmpb	$10, %al\n"		/* a line end is the Enter key */
"	jne	3f\n"
"	movb	$13, %al\n"
"3:	movb	%al, 0x41e\n"
"1:	movb	0x41e, %al\n"
"	testb	%al, %al\n"
"2:	popw	%dx\n"
"	popw	%ds\n"
"	ret\n"

"int16:	sti\n"
"	testb	$0xef, %ah\n"
"	jz	2f\n"
"	pushw	%ax\n"
"	andb	$0xef, %ah\n"
"	cmpb	$1, %ah\n"
"	je	3f\n"
"	cmpb	$2, %ah\n"
"	popw	%ax\n"
"	jne	4f\n"
"	xorb	%al, %al\n"
"	iretw\n"
"4:	pushw	$0x16\n"
"	jmp	missing\n"
"1:	pushl	%eax\n"			/* wait a moment, or until there is input */
"	pushw	%dx\n"
"	movl	$20000, %eax\n"
"	movw	$" TEXT(QUIRE_WAIT_PORT) ", %dx\n"
"	outl	%eax, %dx\n"
"	popw	%dx\n"
"	popl	%eax\n"
"2:	call	peek\n"
"	jz	1b\n"
"	pushw	%ds\n"
"	pushw	$0\n"
"	popw	%ds\n"
"	movb	$0, 0x41e\n"
"	popw	%ds\n"
"	xorb	%ah, %ah\n"
"	iretw\n"
"3:	popw	%ax\n"			/* ZF of the caller's flags says whether there is one */
"	pushw	%bp\n"
"	movw	%sp, %bp\n"
"	orw	$0x40, 6(%bp)\n"
"	call	peek\n"
"	jz	5f\n"
"	andw	$~0x40, 6(%bp)\n"
"	xorb	%ah, %ah\n"
"5:	popw	%bp\n"
"	iretw\n"

/* On the stack: the vector, ip, cs, flags. */
"missing:\n"
"	pushw	%bp\n"
"	movw	%sp, %bp\n"
"	pushl	%eax\n"
"	pushw	%dx\n"
"	movw	2(%bp), %ax\n"
"	cmpw	$0x08, %ax\n"
"	jb	1f\n"
"	cmpw	$0x0f, %ax\n"
"	ja	1f\n"
"	movb	$0x0b, %al\n"		/* is an interrupt of the PIC in service? */
"	outb	%al, $0x20\n"
"	inb	$0x20, %al\n"
"	testb	%al, %al\n"
"	jz	1f\n"
"	movb	$0x20, %al\n"
"	outb	%al, $0x20\n"
"	popw	%dx\n"
"	popl	%eax\n"
"	popw	%bp\n"
"	addw	$2, %sp\n"
"	iretw\n"
"1:	movw	$" TEXT(QUIRE_BIOS_PORT) ", %dx\n"
"	movl	4(%bp), %eax\n"		/* cs:ip */
"	outl	%eax, %dx\n"
"	addw	$4, %dx\n"
"	movl	-4(%bp), %eax\n"	/* ax of the caller */
"	shll	$16, %eax\n"
"	movw	2(%bp), %ax\n"
"	outl	%eax, %dx\n"
"2:	cli\n"
"	hlt\n"
"	jmp	2b\n"
"bios_rom_end:\n"
".code64\n"
".popsection\n");
/* clang-format on */
