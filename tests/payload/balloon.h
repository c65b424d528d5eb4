/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_BALLOON_H
#define QUIRE_TESTS_BALLOON_H

/*
 * The start of a balloon driver, for inclusion before the code of a 32-bit payload.  find_balloon
 * leaves the device's registers in ebx, and writes `registers` to them: pairs of offset and value,
 * up to offset -1.  It quits with 1 if there is no such device, and with 2 if that does not agree.
 */
	.text
	.code32
find_balloon:
	movl	$QUIRE_BALLOON_BASE, %ebx
	movb	$1, %al
	cmpl	$0x74726976, 0x000(%ebx)
	jne	quit
	cmpl	$5, 0x008(%ebx)
	jne	quit
	movl	$registers, %esi
1:	movl	(%esi), %edx
	cmpl	$-1, %edx
	je	2f
	movl	4(%esi), %eax
	movl	%eax, (%ebx,%edx)
	addl	$8, %esi
	jmp	1b
2:	movb	$2, %al
	cmpl	$15, 0x070(%ebx)	/* status */
	jne	quit
	ret

#endif
