/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest that is a balloon driver by interrupt: it halts until each buffer comes back.
 *
 * One page goes into the balloon (queue 0, which the main loop serves) and out again (queue 1,
 * which the vCPU serves itself), each time with exactly one interrupt: first through the 8259s,
 * then through the I/O APIC, edge-triggered in both.  In between, interrupts that the controller
 * has masked and that the driver does not acknowledge, after which the next must come nevertheless.
 * Exit status 11; 1: no device, 2: it does not agree, 3: an interrupt too many, or for another
 * reason than used buffers, 4: a pulse never reached the controllers, 5: nothing was used.  An
 * interrupt that is lost halts it for ever.  These are added to 11 if all is well but for that:
 * 1, the processor was interrupted between sti and hlt; 2, it took an interrupt twice.
 */
#include <quire/abi.h>

#define PAGE	   0x4000000
#define ROUNDS	   200

#define PIC_IRR	   0x0a			/* the next read is of the requests */
#define PIC_OPEN   (0xff & ~(1 << QUIRE_BALLOON_IRQ))

#define IOAPIC	   0xfec00000
#define IOAPIC_WIN (IOAPIC + 0x10)
#define IOAPIC_PIN (0x10 + 2 * QUIRE_BALLOON_IRQ)
#define IO_VECTOR  0x35			/* the entry's other bits 0: edge, fixed, to APIC 0 */
#define IO_MASKED  0x10000

#define ISR	   0x060(%ebx)
#define ACK	   0x064(%ebx)
#define NOTIFY	   0x050(%ebx)

#include "balloon.h"
#include "interrupt.h"
#include "pvh32.h"
	cli
	call	find_balloon
	call	load_tables
	movl	$by_pic, %eax
	movl	$PIC_VECTOR + QUIRE_BALLOON_IRQ, %edx
	call	set_gate
	movl	$by_ioapic, %eax
	movl	$IO_VECTOR, %edx
	call	set_gate
	movl	$0x1ff, APIC_SVR
	movl	$LVT_EXTINT, APIC_LVT0
	movb	$PIC_OPEN, %cl
	call	init_pic

	/* The 8259s. */
	call	rounds
	movb	$0, acknowledging	/* the first is not acknowledged, the second comes */
	call	in_and_out
	movb	$1, acknowledging
	movl	$1, ACK
	call	in_and_out
	movb	$0xff, %al		/* masked, they remember it */
	outb	%al, $PIC1 + 1
	movl	$inflate, %esi
	call	offer
	call	wait_pulse
	movb	$PIC_OPEN, %al
	outb	%al, $PIC1 + 1
	call	wait_interrupt
	movl	$deflate, %esi
	call	round

	/* The I/O APIC.  The 8259s, masked, tell when there was a pulse. */
	movl	$LVT_MASKED, APIC_LVT0
	movl	$IOAPIC_PIN + 1, IOAPIC
	movl	$0, IOAPIC_WIN
	movl	$IO_VECTOR, %eax
	call	set_pin
	call	rounds
	movb	$0, acknowledging
	call	in_and_out
	movb	$1, acknowledging
	movl	$1, ACK
	call	in_and_out
	movb	$0xff, %cl
	call	init_pic
	movl	$IO_VECTOR | IO_MASKED, %eax
	call	set_pin
	movl	$inflate, %esi		/* masked, it forgets it: as the real one does */
	call	offer
	call	wait_pulse
	movl	$IO_VECTOR, %eax
	call	set_pin
	movl	$deflate, %esi		/* ... and is told of the next */
	call	round
	call	rounds
	movb	$11, %al
	addb	too_early, %al
	addb	twice, %al
	jmp	quit

rounds:
	movl	$ROUNDS, %edi
1:	call	in_and_out
	decl	%edi
	jnz	1b
	ret

in_and_out:
	movl	$inflate, %esi
	call	round
	movl	$deflate, %esi
	/* fall through */

/* Offer the buffer of a queue, wait until it was interrupted for and used; once. */
round:
	call	offer
	/* fall through */

wait_interrupt:
	cli
	movl	interrupts, %eax
	cmpl	seen, %eax
	je	1f
	incl	seen
	movb	$3, %al
	movl	interrupts, %edx
	cmpl	seen, %edx
	jne	quit
	movb	$5, %al
	movl	8(%esi), %ecx
	movw	2(%ecx), %dx		/* what was used is all that was offered */
	movl	4(%esi), %ecx
	cmpw	2(%ecx), %dx
	jne	quit
	ret
1:	sti				/* takes effect after the next instruction: no interrupt */
halt:	hlt				/* can come between the comparison and this */
	jmp	wait_interrupt

offer:
	movl	4(%esi), %ecx
	incw	2(%ecx)
	movl	0(%esi), %eax
	movl	%eax, NOTIFY
	ret

/* Until the 8259 has a request of our line, which is masked there. */
wait_pulse:
	movl	$1000000, %ecx
1:	movb	$PIC_IRR, %al
	outb	%al, $PIC1
	inb	$PIC1, %al
	testb	$1 << QUIRE_BALLOON_IRQ, %al
	jnz	2f
	decl	%ecx
	jnz	1b
	movb	$4, %al
	jmp	quit
2:	ret

set_pin:
	movl	$IOAPIC_PIN, IOAPIC
	movl	%eax, IOAPIC_WIN
	ret

by_pic:
	pushl	%eax
	call	handle
	movb	$PIC_EOI, %al
	outb	%al, $PIC1
	jmp	return

by_ioapic:
	pushl	%eax
	call	handle
	movl	$0, APIC_EOI
	/* fall through */

return:
	cmpl	$halt, 4(%esp)		/* it came where none can: it would halt for ever */
	jne	interrupted
	incl	4(%esp)
	movb	$1, too_early
	jmp	interrupted

handle:
	movl	ISR, %eax
	testl	%eax, %eax
	jz	3f
	incl	interrupts
	cmpl	$1, %eax		/* used buffers, and nothing else */
	jne	1f
	cmpb	$0, acknowledging
	je	2f
	movl	%eax, ACK
2:	ret
1:	movb	$3, %al
	jmp	quit
3:	movb	$2, twice
	ret

	.section .rodata
inflate: .long	0, avail0, used0	/* queue, its rings; one descriptor, which all name */
deflate: .long	1, avail1, used1

	.data
registers:
	.long	0x070, 0, 0x070, 1, 0x070, 3
	.long	0x024, 0, 0x020, 1	/* MUST_TELL_HOST */
	.long	0x024, 1, 0x020, 1	/* VERSION_1 */
	.long	0x070, 11
	.long	0x030, 0, 0x038, 4	/* queue 0, of 4 */
	.long	0x080, desc, 0x084, 0, 0x090, avail0, 0x094, 0, 0x0a0, used0, 0x0a4, 0
	.long	0x044, 1
	.long	0x030, 1, 0x038, 4	/* queue 1 */
	.long	0x080, desc, 0x084, 0, 0x090, avail1, 0x094, 0, 0x0a0, used1, 0x0a4, 0
	.long	0x044, 1
	.long	0x070, 15
	.long	-1
acknowledging: .byte 1
too_early: .byte 0
twice:	.byte	0

	.balign	4096
desc:	.long	list, 0, 4, 0
	.skip	48
avail0:	.skip	16
avail1:	.skip	16
list:	.long	PAGE >> 12
	.balign	4096
used0:	.skip	64
used1:	.skip	64

	.bss
interrupts: .skip 4			/* taken */
seen:	.skip	4			/* ... and expected */

#include "payload.h"
