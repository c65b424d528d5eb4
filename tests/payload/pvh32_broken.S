/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest whose driver breaks its disk twice: a queue of three.  Exit status 11; 1: the device
 * does not say that it needs a reset.
 */
#include <quire/abi.h>
#include "pvh32.h"
	movl	$QUIRE_VIRTIO_BASE(1), %ebx
	movl	$2, %ecx
1:	movl	$0, 0x070(%ebx)
	movl	$1, 0x070(%ebx)
	movl	$3, 0x070(%ebx)
	movl	$1, 0x024(%ebx)
	movl	$1, 0x020(%ebx)
	movl	$11, 0x070(%ebx)
	movl	$0, 0x030(%ebx)
	movl	$3, 0x038(%ebx)
	movl	$1, 0x044(%ebx)
	movb	$1, %al
	testl	$64, 0x070(%ebx)
	jz	quit
	loop	1b
	movb	$11, %al
	jmp	quit
#include "payload.h"
