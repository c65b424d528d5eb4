/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CODE_H
#define QUIRE_VMM_VM_CODE_H

/* The code around RIP of a vCPU.  It comes from the guest, so it may be anything. */
#include <stdint.h>

#define CODE_BEFORE 32u
#define CODE_AFTER  64u

struct code {
	uint64_t rip;				/* linear */
	uint32_t bits;				/* 16, 32 or 64: how it is decoded */
	uint32_t cpl;				/* 0 or 3 */
	uint32_t cpu;				/* the vCPU */
	uint32_t before;			/* bytes known before rip, at most CODE_BEFORE, */
	uint32_t after;				/* and from it on, at most CODE_AFTER */
	uint8_t byte[CODE_BEFORE + CODE_AFTER]; /* that of rip is at CODE_BEFORE */
};

#endif
