/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest with pages of zeroes, of which every second was written once: 1, and then 0 again.
 * It goes chunk by chunk: it reads all of one, then writes every second page of it, and gives the
 * host 2^31 cycles of the TSC to merge.  Exit status 11.
 */
#include <quire/abi.h>

#define BASE   0x1000000
#define CHUNK  0x400000
#define CHUNKS 4

#include "pvh32.h"
	movl	$BASE, %edi
	movl	$CHUNKS, %ebp
1:	leal	CHUNK(%edi), %ebx
	movl	%edi, %esi
2:	movl	(%esi), %eax
	addl	$4096, %esi
	cmpl	%ebx, %esi
	jb	2b
	leal	4096(%edi), %esi
3:	movl	$1, (%esi)
	movl	$0, (%esi)
	addl	$8192, %esi
	cmpl	%ebx, %esi
	jb	3b
	movl	%ebx, %edi
	rdtsc
	movl	%eax, %ecx
4:	rdtsc
	subl	%ecx, %eax
	cmpl	$(1 << 31), %eax
	jb	4b
	decl	%ebp
	jnz	1b
	movb	$11, %al
	jmp	quit

#include "payload.h"
