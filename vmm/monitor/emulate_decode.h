/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_MONITOR_EMULATE_DECODE_H
#define QUIRE_VMM_MONITOR_EMULATE_DECODE_H

/*
 * How instructions are found and taken apart: tables with a row for each, and the decoder of
 * prefixes, ModRM and SIB (SDM Vol. 2A, chapter 2), without 16-bit addresses.  No instruction has
 * both ModRM and an immediate, so RIP-relative addresses count from the end of the displacement.
 */
#include "emulate.h"

#define REX_W 8u

#define ROW_NO_MODRM   0x1u
#define ROW_MEMORY     0x2u /* not between registers */
#define ROW_SSE	       0x4u
#define ROW_WIDE       0x8u   /* with REX.W only */
#define ROW_LOCKABLE   0x10u  /* LOCK is no #UD */
#define ROW_ANY_PREFIX 0x20u  /* 0x66, 0xf2 and 0xf3 select no other instruction */
#define ROW_REGISTER   0x40u  /* ModRM.mod is taken as 3 */
#define ROW_LEGACY     0x80u  /* not in code of 64 bits */
#define ROW_LONG       0x100u /* only in code of 64 bits */
#define ROW_IMM8       0x200u /* `imm` has so many bits ... */
#define ROW_IMM16      0x400u
#define ROW_FAR	       0x800u  /* ... or an offset, of 16 or 32 bits; and then a selector */
#define ROW_JUMP       0x1000u /* it sets RIP */

struct emulate_row {
	const char *name;
	uint8_t prefix;		     /* mandatory; 0: none of them */
	uint16_t map;		     /* what the opcode follows: 0, 0x0f, 0x0f38 */
	uint8_t opcode, opcode_mask; /* equal where the mask has bits */
	uint8_t modrm, modrm_mask;
	uint32_t flags, features; /* ROW_*, EMULATE_* */
	enum emulate_result (*fn)(struct emulation *e);
};

/*
 * Do the instruction, if one of nr rows is it.  e->row is its number, or nr.  fn is called with
 * e->at behind the instruction and RIP at it, and then RIP goes past it.
 */
enum emulate_result emulate_by(struct emulation *e, const struct emulate_row *rows,
			       unsigned int nr);

/* #UD, #GP(0) and so on: set e->event, and return EMULATE_FAULT. */
enum emulate_result emulate_fault(struct emulation *e, uint8_t vector);
enum emulate_result emulate_fault_error(struct emulation *e, uint8_t vector, uint32_t error);

/* Read or write the operand in memory, of len bytes. */
enum emulate_result emulate_load(struct emulation *e, void *to, size_t len);
enum emulate_result emulate_store(struct emulation *e, const void *from, size_t len);

static inline bool emulate_in_memory(const struct emulation *e)
{
	return e->modrm < 0xc0;
}

/* The general register of that number. */
uint64_t *emulate_gpr(struct emulation *e, unsigned int n);

/* Segment registers, by their numbers in instructions. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGMENTS };
struct kvm_segment *emulate_segment(struct emulation *e, unsigned int n);

/*
 * Where the operand in memory is, which has len bytes.  EMULATE_DONE with *gva, or EMULATE_FAULT:
 * its segment does not allow the access.
 */
enum emulate_result emulate_linear(struct emulation *e, size_t len, bool write, gva_t *gva);

#endif
