/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_EMULATE_DECODE_H
#define QUIRE_VMM_MONITOR_EMULATE_DECODE_H

/*
 * The decoder of emulate.c: prefixes, ModRM and SIB (SDM Vol. 2A, chapter 2), without 16-bit
 * addresses.  No instruction of the table has an immediate, so RIP-relative addresses count from
 * the end of the displacement.
 */
#include "emulate.h"

#define REX_W 8u

/* Decode prefixes and opcode, and look at the byte behind.  Does the opcode follow 0x0f? */
bool emulate_opcode(struct emulation *e);

/* Decode ModRM and what belongs to it: reg, rm, segment and offset. */
void emulate_operand(struct emulation *e);

static inline bool emulate_in_memory(const struct emulation *e)
{
	return e->modrm < 0xc0;
}

/* The general register of that number. */
uint64_t *emulate_gpr(struct emulation *e, unsigned int n);

/*
 * Where the operand in memory is, which has len bytes.  EMULATE_DONE with *gva, or EMULATE_FAULT:
 * its segment does not allow the access.
 */
enum emulate_result emulate_linear(struct emulation *e, size_t len, bool write, gva_t *gva);

#endif
