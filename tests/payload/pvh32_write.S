/* SPDX-License-Identifier: MIT */
/*
 * A PVH guest in an ELF32 file: writes the word at 64 MiB, reads it back, and exits with status 9
 * (1: it reads otherwise).  At ring 0 with paging off, as some hosts treat that apart.
 */
#define WORD 0x4000000

#include "pvh32.h"
	movl	$0x12345678, WORD
	movb	$9, %al
	cmpl	$0x12345678, WORD
	je	quit
	movb	$1, %al
	jmp	quit

#include "payload.h"
