/* SPDX-License-Identifier: MIT */
/*
 * A multiboot 2 guest that is linked at 1 MiB and wants to be at 32 MiB.  It exits with the number
 * of the MiB where it is; with 1 if it is not where it was told, with 2 if it was not told.
 */
#include <quire/abi.h>

#define MAGIC	  0xe85250d6
#define LOAD_BASE 21

	.section .multiboot, "ax"
	.code32
	.balign	8
header:
	.long	MAGIC, 0, header_end - header, -(MAGIC + header_end - header)
	.word	10, 0			/* relocatable */
	.long	24, 32 << 20, 0xffffffff, 2 << 20, 1
	.word	0, 0
	.long	8
header_end:

	.globl	start
start:
	leal	8(%ebx), %esi		/* the first tag */
1:	movl	(%esi), %eax
	testl	%eax, %eax
	movb	$2, %dl
	jz	quit
	cmpl	$LOAD_BASE, %eax
	je	2f
	movl	4(%esi), %ecx
	addl	$7, %ecx
	andl	$~7, %ecx
	addl	%ecx, %esi
	jmp	1b
2:	movl	8(%esi), %edi
	leal	(stack - header)(%edi), %esp
	call	3f
3:	popl	%eax
	subl	$(3b - header), %eax	/* where the header is */
	movb	$1, %dl
	cmpl	%edi, %eax
	jne	quit
	movl	%edi, %edx
	shrl	$20, %edx
quit:	movb	%dl, %al
	outb	%al, $QUIRE_EXIT_PORT

	.skip	64
stack:
