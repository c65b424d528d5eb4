/* SPDX-License-Identifier: MIT */
/*
 * A boot sector: real mode, loaded and entered at 0x7c00.  Prints a line on the serial port and
 * exits with status 9.  It trusts no register: a BIOS leaves all but cs:ip (and dl) open.
 */
#include <quire/abi.h>

	.text
	.code16
	.globl	_start
_start:
	ljmp	$0, $1f
1:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	$hello, %si
2:	movb	(%si), %cl
	testb	%cl, %cl
	jz	4f
	movw	$(QUIRE_UART_PORT + 5), %dx
3:	inb	%dx, %al		/* until the transmitter takes a byte */
	testb	$0x20, %al
	jz	3b
	movb	%cl, %al
	movw	$QUIRE_UART_PORT, %dx
	outb	%al, %dx
	incw	%si
	jmp	2b
4:	movb	$9, %al
	movw	$QUIRE_EXIT_PORT, %dx
	outb	%al, %dx
5:	cli
	hlt
	jmp	5b

hello:	.asciz	"flat: hello from real mode\n"

	.org	_start + 510
	.word	0xaa55
	.section .note.GNU-stack, "", @progbits
