/* SPDX-License-Identifier: MIT */
/*
 * A boot sector that writes to a PC's text screen only.  It waits for a key, and ends with it as
 * status.
 */
#include <quire/abi.h>

	.text
	.code16
	.globl	_start
_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	$0xb800, %ax
	movw	%ax, %es
	movw	$first, %si
	xorw	%di, %di
	call	puts
	movw	$second, %si
	movw	$160, %di
	call	puts
	movw	$QUIRE_UART_PORT + 5, %dx
1:	inb	%dx, %al
	testb	$1, %al
	jz	1b
	movw	$QUIRE_UART_PORT, %dx
	inb	%dx, %al
	outb	%al, $QUIRE_EXIT_PORT

puts:	movb	$7, %ah
1:	lodsb
	testb	%al, %al
	jz	2f
	stosw
	jmp	1b
2:	ret

first:	.asciz	"text on a screen"
second:	.asciz	"its last line"

	.org	_start + 510
	.word	0xaa55
	.section .note.GNU-stack, "", @progbits
