/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest that is a balloon driver of the smallest kind: polled, one buffer, known addresses.
 *
 * It writes eight pages at 64 MiB, gives up the last six in a list
 * out of order, waits until the device has used the list, and looks at all: the two that it kept
 * must be as they were, the others zero.  Exit status 11; 1: no device, 2: it does not agree,
 * 3: a page is not as it should be.
 */
#include <quire/abi.h>

#define PAGES 0x4000000

#include "balloon.h"
#include "pvh32.h"
	call	find_balloon

	movl	$PAGES, %edi		/* each page begins with its address */
3:	movl	%edi, (%edi)
	addl	$4096, %edi
	cmpl	$(PAGES + 8 * 4096), %edi
	jne	3b
	movw	$1, avail + 2		/* the list is available */
	movl	$0, 0x050(%ebx)
4:	cmpw	$1, used + 2
	jne	4b

	movb	$3, %al
	movl	$PAGES, %edi
	cmpl	%edi, (%edi)
	jne	quit
	addl	$4096, %edi
	cmpl	%edi, (%edi)
	jne	quit
6:	addl	$4096, %edi
	cmpl	$(PAGES + 8 * 4096), %edi
	je	7f
	cmpl	$0, (%edi)
	je	6b
	jmp	quit
7:	movb	$11, %al
	jmp	quit

	.data
registers:
	.long	0x070, 0, 0x070, 1, 0x070, 3
	.long	0x024, 0, 0x020, 1	/* MUST_TELL_HOST */
	.long	0x024, 1, 0x020, 1	/* VERSION_1 */
	.long	0x070, 11
	.long	0x030, 0, 0x038, 4	/* queue 0, of 4 */
	.long	0x080, desc, 0x084, 0, 0x090, avail, 0x094, 0, 0x0a0, used, 0x0a4, 0
	.long	0x044, 1
	.long	0x070, 15
	.long	-1

	.balign	4096
desc:	.long	list, 0, list_end - list, 0
	.skip	48
avail:	.skip	16
	.balign	4
used:	.skip	40
	.balign	4096
list:	.long	(PAGES >> 12) + 4, (PAGES >> 12) + 2, (PAGES >> 12) + 3
	.long	(PAGES >> 12) + 7, (PAGES >> 12) + 5, (PAGES >> 12) + 6, 0xd0000
list_end:

#include "payload.h"
