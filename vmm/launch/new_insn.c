/* SPDX-License-Identifier: MIT */
/*
 * Kernels try them to see whether they are there, and hosts that emulate kernels trip over them.
 * Intel SDM Vol. 2, AMD APM Vol. 3.
 */
#include "new_insn.h"

enum operand { NONE, REG32, REG64, REG_BY_W }; /* REG_BY_W: 64 bits with REX.W */

#define REX	  0x40
#define REX_B	  0x01
#define REX_W	  0x08
#define MODRM_REG 0xc0 /* the operand is a register */

/*
 * prefix, REX if there is an operand, 0f, opcode, and a last byte: all of it, or the ModRM byte
 * without its low three bits, which are the operand.
 */
static const struct {
	uint8_t prefix, opcode, last;
	enum operand operand;
	const char *name, *wide; /* wide: with REX.W; NULL: the same */
} insns[] = {
	{ 0xf3, 0x1e, MODRM_REG | 1 << 3, REG_BY_W, "rdsspd", "rdsspq" },
	{ 0xf3, 0xae, MODRM_REG | 5 << 3, REG_BY_W, "incsspd", "incsspq" },
	{ 0xf3, 0xae, MODRM_REG | 6 << 3, REG64, "umonitor", NULL },
	{ 0xf2, 0xae, MODRM_REG | 6 << 3, REG32, "umwait", NULL },
	{ 0x66, 0xae, MODRM_REG | 6 << 3, REG32, "tpause", NULL },
	{ 0xf3, 0xc7, MODRM_REG | 7 << 3, REG64, "rdpid", NULL },
	{ 0x00, 0x01, 0xc6, NONE, "wrmsrns", NULL },
	{ 0xf3, 0x01, 0xc6, NONE, "wrmsrlist", NULL },
	{ 0xf2, 0x01, 0xc6, NONE, "rdmsrlist", NULL },
	{ 0x66, 0x01, 0xcc, NONE, "tdcall", NULL },
	{ 0x00, 0x01, 0xe8, NONE, "serialize", NULL },
	{ 0xf3, 0x01, 0xe8, NONE, "setssbsy", NULL },
	{ 0xf3, 0x01, 0xea, NONE, "saveprevssp", NULL },
	{ 0xf3, 0x01, 0xec, NONE, "uiret", NULL },
	{ 0xf3, 0x01, 0xed, NONE, "testui", NULL },
	{ 0x00, 0x01, 0xee, NONE, "rdpkru", NULL },
	{ 0xf3, 0x01, 0xee, NONE, "clui", NULL },
	{ 0x00, 0x01, 0xef, NONE, "wrpkru", NULL },
	{ 0xf3, 0x01, 0xef, NONE, "stui", NULL },
	{ 0x00, 0x01, 0xfc, NONE, "clzero", NULL },
	{ 0x00, 0x01, 0xfd, NONE, "rdpru", NULL },
	{ 0x00, 0x01, 0xfe, NONE, "invlpgb", NULL },
	{ 0xf3, 0x01, 0xfe, NONE, "rmpadjust", NULL },
	{ 0x00, 0x01, 0xff, NONE, "tlbsync", NULL },
	{ 0xf2, 0x01, 0xff, NONE, "pvalidate", NULL },
	{ 0xf3, 0x01, 0xff, NONE, "psmash", NULL },
};

static const char *const reg32[16] = {
	"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
	"r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d",
};
static const char *const reg64[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static bool is_wide(enum operand operand, uint8_t rex, bool mode64)
{
	return operand == REG_BY_W ? rex & REX_W : operand == REG64 && mode64;
}

bool new_insn(const uint8_t *byte, size_t left, bool mode64, struct new_insn *out)
{
	for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		uint8_t mask = insns[i].operand == NONE ? 0xff : 0xf8, rex = 0;
		unsigned int number;
		size_t at = 0;
		bool wide;

		if (insns[i].prefix && (!left || byte[at++] != insns[i].prefix))
			continue;
		if (insns[i].operand != NONE && mode64 && at < left && (byte[at] & 0xf0) == REX)
			rex = byte[at++];
		if (left - at < 3 || byte[at] != 0x0f || byte[at + 1] != insns[i].opcode ||
		    (byte[at + 2] & mask) != insns[i].last)
			continue;
		wide = is_wide(insns[i].operand, rex, mode64);
		number = (byte[at + 2] & 7) | (rex & REX_B) << 3;
		*out = (struct new_insn){
			.bytes = at + 3,
			.name = wide && insns[i].wide ? insns[i].wide : insns[i].name,
			.operand = insns[i].operand == NONE ? "" :
				   wide			    ? reg64[number] :
							      reg32[number],
		};
		return true;
	}
	return false;
}
