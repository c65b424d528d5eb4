/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest that has its virtio-rng fill a buffer, with all lines masked at the 8259s, and exits
 * with the number of the line that these have a request of then.  1: there is no such device, 2: it
 * does not agree, 3: no line.
 */
#include <quire/abi.h>

#define RNG	4
#define IGNORE	(1 << 0 | 1 << 2 | 1 << QUIRE_UART_IRQ)	/* timer, the second 8259, console */

#include "interrupt.h"
#include "pvh32.h"
	cli
	movb	$0xff, %cl
	call	init_pic
	movl	$QUIRE_MMIO_BASE, %ebx
1:	cmpl	$RNG, 0x008(%ebx)
	je	2f
	addl	$QUIRE_MMIO_BYTES, %ebx
	cmpl	$QUIRE_VIRTIO_BASE(QUIRE_VIRTIO_SLOTS), %ebx
	jb	1b
	movb	$1, %al
	jmp	quit
2:	movl	$registers, %esi
3:	movl	(%esi), %edx
	cmpl	$-1, %edx
	je	4f
	movl	4(%esi), %eax
	movl	%eax, (%ebx,%edx)
	addl	$8, %esi
	jmp	3b
4:	movb	$2, %al
	cmpl	$15, 0x070(%ebx)
	jne	quit
	movw	$1, avail + 2
	movl	$0, 0x050(%ebx)		/* notify */
	movl	$1000000, %ecx
5:	call	requests
	testl	%eax, %eax
	jnz	6f
	decl	%ecx
	jnz	5b
	movb	$3, %al
	jmp	quit
6:	bsfl	%eax, %eax
	jmp	quit

/* Those of both 8259s, in eax. */
requests:
	movb	$0x0a, %al
	outb	%al, $PIC1
	outb	%al, $PIC2
	xorl	%eax, %eax
	inb	$PIC2, %al
	shll	$8, %eax
	inb	$PIC1, %al
	andl	$~IGNORE, %eax
	ret

	.data
registers:
	.long	0x070, 0, 0x070, 1, 0x070, 3
	.long	0x024, 0, 0x020, 0, 0x024, 1, 0x020, 1	/* VERSION_1 */
	.long	0x070, 11
	.long	0x030, 0, 0x038, 4	/* queue 0, of 4 */
	.long	0x080, desc, 0x084, 0, 0x090, avail, 0x094, 0, 0x0a0, used, 0x0a4, 0
	.long	0x044, 1
	.long	0x070, 15
	.long	-1

	.balign	16
desc:	.long	buffer, 0, 64
	.word	2, 0			/* to be written */
	.skip	48

	.bss
	.balign	16
avail:	.skip	64
used:	.skip	64
buffer:	.skip	64

	.text
#include "payload.h"
