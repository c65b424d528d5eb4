/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_PAYLOAD_H
#define QUIRE_TESTS_PAYLOAD_H

/*
 * What the 32-bit payloads share, for inclusion at the end of a .S file.  Everything runs at
 * ring 0 with paging off; only plain integer instructions, because some KVM back ends emulate
 * ring 0 and do not know all others.
 *
 *   puts      print the string at esi
 *   putu      print eax in decimal
 *   quit      end the VM with status al
 *
 * All but quit keep ebx, edi and ebp.
 */
#include <quire/abi.h>

#define LSR_THRE 0x20		/* the transmitter takes a byte */

	.text
	.code32
putc:					/* print al */
	movb	%al, %cl
	movw	$(QUIRE_UART_PORT + 5), %dx
1:	inb	%dx, %al
	testb	$LSR_THRE, %al
	jz	1b
	movb	%cl, %al
	movw	$QUIRE_UART_PORT, %dx
	outb	%al, %dx
	ret

puts:
	movb	(%esi), %al
	testb	%al, %al
	jz	1f
	call	putc
	incl	%esi
	jmp	puts
1:	ret

putu:					/* digits on the stack, last first, over a 0 */
	movl	$10, %ecx
	pushl	$0
1:	xorl	%edx, %edx
	divl	%ecx
	addl	$'0', %edx
	pushl	%edx
	testl	%eax, %eax
	jnz	1b
2:	popl	%eax
	testl	%eax, %eax
	jz	3f
	call	putc
	jmp	2b
3:	ret

quit:
	movw	$QUIRE_EXIT_PORT, %dx
	outb	%al, %dx
1:	cli
	hlt
	jmp	1b

	.bss
	.balign	16
	.skip	4096
stack:

	.section .note.GNU-stack, "", @progbits

#endif
