/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest that works with locked instructions on pages that a host merges: two halves of 2048
 * pages are equal, and stay nearly so.  It adds 0 to pages at random, and every 256th time 1 to the
 * second word of one, all with LOCK, until there is input.  In the end the second words must add up
 * to what was added: exit status 11, else 1.  At ring 0, where some hosts emulate each
 * instruction.
 */
#include <quire/abi.h>

#define BASE  0x1000000
#define PAGES 4096

#include "pvh32.h"
	movl	$BASE, %edi
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	andl	$(PAGES / 2 - 1), %eax
	incl	%eax
	movl	%eax, (%edi)
	addl	$4096, %edi
	incl	%ecx
	cmpl	$PAGES, %ecx
	jne	1b

	movl	$12345, %ebx
	xorl	%ecx, %ecx		/* turns */
	xorl	%esi, %esi		/* what was added */
2:	imull	$1664525, %ebx, %ebx
	addl	$1013904223, %ebx
	movl	%ebx, %edi
	shrl	$8, %edi
	andl	$((PAGES - 1) * 4096), %edi
	lock addl $0, BASE(%edi)
	testl	$0xff, %ecx
	jnz	3f
	lock incl BASE + 4(%edi)
	incl	%esi
	testl	$0xfff, %ecx
	jnz	3f
	movw	$(QUIRE_UART_PORT + 5), %dx
	inb	%dx, %al
	testb	$1, %al
	jnz	4f
3:	incl	%ecx
	jmp	2b

4:	movl	$BASE, %edi
	xorl	%eax, %eax
	movl	$PAGES, %ecx
5:	addl	4(%edi), %eax
	addl	$4096, %edi
	decl	%ecx
	jnz	5b
	cmpl	%esi, %eax
	movb	$11, %al
	je	quit
	movb	$1, %al
	jmp	quit

#include "payload.h"
