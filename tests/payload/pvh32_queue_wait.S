/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest whose every touch of new memory is made by a device: for each page from 16 MiB to
 * 63 MiB it resets the balloon and makes a queue ready whose used ring lies there.  Exit status 11.
 */
#include <quire/abi.h>
#include "pvh32.h"
	movl	$QUIRE_BALLOON_BASE, %ebx
	movl	$0x1000000, %edi
1:	movl	$0, 0x070(%ebx)
	movl	$1, 0x070(%ebx)
	movl	$3, 0x070(%ebx)
	movl	$1, 0x024(%ebx)
	movl	$1, 0x020(%ebx)
	movl	$11, 0x070(%ebx)
	movl	$0, 0x030(%ebx)
	movl	$4, 0x038(%ebx)
	movl	$desc, 0x080(%ebx)
	movl	$0, 0x084(%ebx)
	movl	$avail, 0x090(%ebx)
	movl	$0, 0x094(%ebx)
	movl	%edi, 0x0a0(%ebx)
	movl	$0, 0x0a4(%ebx)
	movl	$1, 0x044(%ebx)
	addl	$0x1000, %edi
	cmpl	$0x3f00000, %edi
	jb	1b
	movb	$11, %al
	jmp	quit
	.data
	.balign	4096
desc:	.skip	64
avail:	.skip	16
#include "payload.h"
