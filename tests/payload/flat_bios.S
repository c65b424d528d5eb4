/* SPDX-License-Identifier: MIT */
/*
 * A boot sector that believes in a BIOS.  It prints with int 10h, reads a key with int 16h, waits
 * for three ticks of the PIT that it did not program, and at last reads from a disk, for which
 * there is nobody.  A key that is no "d" ends it by a division by zero instead.
 */
#include <quire/abi.h>

	.text
	.code16
	.globl	_start
_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$QUIRE_BOOT_SECTOR, %sp
	movw	$0x0003, %ax		/* mode 3 */
	int	$0x10
	movb	$0x0f, %ah
	int	$0x10
	cmpw	$0x5003, %ax
	jne	9f
	movw	$0x1301, %ax		/* a string */
	movw	$hello, %bp
	movw	$6, %cx
	int	$0x10
	movb	$1, %ah			/* a key is there, and stays there */
1:	int	$0x16
	jz	1b
	movb	$0, %ah
	int	$0x16
	movb	%al, %bl
	movb	$0x0e, %ah
	int	$0x10
	movb	$1, %ah			/* ... and is gone now: it was the only one */
	int	$0x16
	jnz	9f
	cmpb	$'d', %bl
	jne	3f
	sti
	movl	0x46c, %ebx
2:	hlt
	movl	0x46c, %eax
	subl	%ebx, %eax
	cmpl	$3, %eax
	jb	2b
	movw	$0x0e2e, %ax
	int	$0x10
	movw	$0x0201, %ax
disk:	int	$0x13
9:	movb	$9, %al
	outb	%al, $QUIRE_EXIT_PORT
3:	xorw	%cx, %cx
	divw	%cx

hello:	.ascii	"hello "

	.org	_start + 510
	.word	0xaa55
	.section .note.GNU-stack, "", @progbits
