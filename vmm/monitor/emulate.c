/* SPDX-License-Identifier: MIT */
/* What each instruction does, by its page in the SDM, Vol. 2; and the table, at the end. */
#include <assert.h>
#include <string.h>
#include "emulate_decode.h"
#include "registers.h"

#define FSW_ES 0x80u

static enum emulate_result misaligned(struct emulation *e)
{
	return emulate_fault_error(e, GP, 0);
}

static void set_flags(struct emulation *e, uint64_t which, uint64_t values)
{
	e->regs.rflags = (e->regs.rflags & ~which) | values;
}

/* ---- instructions ---- */

static enum emulate_result int3(struct emulation *e)
{
	e->event = (struct emulate_event){ .vector = BP };
	return e->cpl ? EMULATE_UNKNOWN : EMULATE_TRAP;
}

static enum emulate_result fwait(struct emulation *e)
{
	enum emulate_result ret;

	if ((e->sregs.cr0 & CR0_MP) && (e->sregs.cr0 & CR0_TS))
		return emulate_fault(e, NM);
	ret = e->memory->load_fpu(e);
	if (ret || !(e->fpu.fsw & FSW_ES))
		return ret;
	return e->sregs.cr0 & CR0_NE ? emulate_fault(e, MF) : EMULATE_UNKNOWN; /* by interrupt 13 */
}

static enum emulate_result clac_stac(struct emulation *e)
{
	if (e->cpl)
		return emulate_fault(e, UD);
	set_flags(e, FLAG_AC, e->modrm == 0xcb ? FLAG_AC : 0);
	return EMULATE_DONE;
}

static enum emulate_result popcnt(struct emulation *e)
{
	size_t len = e->rex & REX_W ? 8 : e->operand16 ? 2 : 4;
	enum emulate_result ret = EMULATE_DONE;
	uint64_t value = 0, *to = emulate_gpr(e, e->reg), result;

	if (emulate_in_memory(e))
		ret = emulate_load(e, &value, len);
	else
		memcpy(&value, emulate_gpr(e, e->rm), len);
	if (ret)
		return ret;
	result = (uint64_t)__builtin_popcountll(value);
	*to = len == 2 ? (*to & ~0xffffULL) | result : result;
	set_flags(e, FLAG_ARITH, value ? 0 : FLAG_ZF);
	return EMULATE_DONE;
}

static enum emulate_result cmpxchg16b(struct emulation *e)
{
	uint64_t want[2] = { e->regs.rax, e->regs.rdx }, was[2] = { want[0], want[1] };
	const uint64_t new[2] = { e->regs.rbx, e->regs.rcx };
	enum emulate_result ret;
	gva_t gva;

	ret = emulate_linear(e, sizeof(want), true, &gva);
	if (!ret && gva % sizeof(want))
		ret = misaligned(e);
	if (!ret)
		ret = e->memory->exchange(e, gva, was, new);
	if (ret)
		return ret;
	e->regs.rax = was[0];
	e->regs.rdx = was[1];
	set_flags(e, FLAG_ZF, memcmp(was, want, sizeof(was)) ? 0 : FLAG_ZF);
	return EMULATE_DONE;
}

/* MOVSS, MOVSD: from memory they clear the rest of the register, from a register they do not. */
static enum emulate_result move_scalar(struct emulation *e)
{
	size_t len = e->prefix == 0xf3 ? 4 : 8;
	uint64_t *reg = e->fpu.xmm[e->reg], *rm = e->fpu.xmm[e->rm], value[2] = { 0 };
	enum emulate_result ret = EMULATE_DONE;
	bool storing = e->opcode & 1;

	if (emulate_in_memory(e) && storing)
		return emulate_store(e, reg, len);
	if (emulate_in_memory(e))
		ret = emulate_load(e, value, len);
	if (ret)
		return ret;
	if (emulate_in_memory(e))
		memcpy(reg, value, sizeof(value));
	else if (storing)
		memcpy(rm, reg, len);
	else
		memcpy(reg, rm, len);
	e->fpu_changed = true;
	return EMULATE_DONE;
}

/* MOVLPS, MOVHPS and so on: half a register; between registers MOVHLPS and MOVLHPS. */
static enum emulate_result move_half(struct emulation *e)
{
	unsigned int high = e->opcode >> 2 & 1;
	uint64_t *reg = &e->fpu.xmm[e->reg][high], value;
	enum emulate_result ret = EMULATE_DONE;

	if (!emulate_in_memory(e) && ((e->opcode & 1) || e->prefix))
		return emulate_fault(e, UD);
	if (e->opcode & 1)
		return emulate_store(e, reg, sizeof(*reg));
	if (emulate_in_memory(e))
		ret = emulate_load(e, &value, sizeof(value));
	else
		value = e->fpu.xmm[e->rm][!high];
	if (ret)
		return ret;
	*reg = value;
	e->fpu_changed = true;
	return EMULATE_DONE;
}

/* MOVD and MOVQ, between an SSE register and a general one or memory. */
static enum emulate_result move_general(struct emulation *e)
{
	size_t len = e->rex & REX_W ? 8 : 4;
	uint64_t *xmm = e->fpu.xmm[e->reg], value = 0;
	enum emulate_result ret = EMULATE_DONE;

	if (e->opcode == 0x7e && emulate_in_memory(e))
		return emulate_store(e, xmm, len);
	if (e->opcode == 0x7e) {
		memcpy(&value, xmm, len);
		*emulate_gpr(e, e->rm) = value;
		return EMULATE_DONE;
	}
	if (emulate_in_memory(e))
		ret = emulate_load(e, &value, len);
	else
		memcpy(&value, emulate_gpr(e, e->rm), len);
	if (ret)
		return ret;
	xmm[0] = value;
	xmm[1] = 0;
	e->fpu_changed = true;
	return EMULATE_DONE;
}

/* MOVQ between SSE registers, or one and memory: it clears the upper half. */
static enum emulate_result move_quad(struct emulation *e)
{
	bool storing = e->opcode == 0xd6;
	uint64_t *to = e->fpu.xmm[storing ? e->rm : e->reg], value;
	enum emulate_result ret = EMULATE_DONE;

	if (storing && emulate_in_memory(e))
		return emulate_store(e, e->fpu.xmm[e->reg], sizeof(value));
	if (emulate_in_memory(e))
		ret = emulate_load(e, &value, sizeof(value));
	else
		value = e->fpu.xmm[storing ? e->reg : e->rm][0];
	if (ret)
		return ret;
	to[0] = value;
	to[1] = 0;
	e->fpu_changed = true;
	return EMULATE_DONE;
}

/* PXOR, XORPS, XORPD: how compilers clear a register. */
static enum emulate_result exclusive_or(struct emulation *e)
{
	enum emulate_result ret = EMULATE_DONE;
	uint64_t value[2];
	gva_t gva;

	if (emulate_in_memory(e))
		ret = emulate_linear(e, sizeof(value), false, &gva);
	if (!ret && emulate_in_memory(e) && gva % sizeof(value))
		ret = misaligned(e);
	if (!ret && emulate_in_memory(e))
		ret = e->memory->read(e, gva, value, sizeof(value));
	else if (!ret)
		memcpy(value, e->fpu.xmm[e->rm], sizeof(value));
	if (ret)
		return ret;
	e->fpu.xmm[e->reg][0] ^= value[0];
	e->fpu.xmm[e->reg][1] ^= value[1];
	e->fpu_changed = true;
	return EMULATE_DONE;
}

/* ---- the table ---- */

#define ONE  ROW_NO_MODRM
#define MEM  ROW_MEMORY
#define WIDE ROW_WIDE
#define LOCK ROW_LOCKABLE
#define SSE  ROW_SSE

/* clang-format off */
static const struct emulate_row rows[EMULATE_NR_ROWS] = {
	/* name            prefix map   opcode      modrm       flags, features */
	{ "int3",         0,    0,    0xcc, 0xff, 0,    0,    ONE, 0, int3 },
	{ "fwait",        0,    0,    0x9b, 0xff, 0,    0,    ONE, 0, fwait },
	{ "clac",         0,    0x0f, 0x01, 0xff, 0xca, 0xff, 0, EMULATE_SMAP, clac_stac },
	{ "stac",         0,    0x0f, 0x01, 0xff, 0xcb, 0xff, 0, EMULATE_SMAP, clac_stac },
	{ "popcnt",       0xf3, 0x0f, 0xb8, 0xff, 0,    0,    0, EMULATE_POPCNT, popcnt },
	{ "cmpxchg16b",   0,    0x0f, 0xc7, 0xff, 0x08, 0x38, MEM | WIDE | LOCK,
	  EMULATE_CX16, cmpxchg16b },
	{ "movss",        0xf3, 0x0f, 0x10, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_scalar },
	{ "movsd",        0xf2, 0x0f, 0x10, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_scalar },
	{ "movlps",       0,    0x0f, 0x12, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movhps",       0,    0x0f, 0x16, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movlpd",       0x66, 0x0f, 0x12, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movhpd",       0x66, 0x0f, 0x16, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movd",         0x66, 0x0f, 0x6e, 0xef, 0,    0,    SSE, EMULATE_SSE2, move_general },
	{ "movq",         0xf3, 0x0f, 0x7e, 0xff, 0,    0,    SSE, EMULATE_SSE2, move_quad },
	{ "movq_store",   0x66, 0x0f, 0xd6, 0xff, 0,    0,    SSE, EMULATE_SSE2, move_quad },
	{ "xorps",        0,    0x0f, 0x57, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
	{ "xorpd",        0x66, 0x0f, 0x57, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
	{ "pxor",         0x66, 0x0f, 0xef, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
};
/* clang-format on */

const char *emulate_name(unsigned int row)
{
	return rows[row].name;
}

/* SDM Vol. 2A, CPUID. */
uint32_t emulate_features(const struct kvm_cpuid_entry2 *one, const struct kvm_cpuid_entry2 *seven)
{
	uint32_t features = 0;

	if (one)
		features = (one->ecx >> 13 & 1 ? EMULATE_CX16 : 0) |
			   (one->ecx >> 23 & 1 ? EMULATE_POPCNT : 0) |
			   (one->edx >> 26 & 1 ? EMULATE_SSE2 : 0);
	if (seven)
		features |= (seven->ebx >> 20 & 1 ? EMULATE_SMAP : 0) |
			    (seven->ebx >> 10 & 1 ? EMULATE_INVPCID : 0);
	return features;
}

unsigned int emulate_bits(const struct kvm_sregs *s)
{
	if ((s->efer & EFER_LMA) && s->cs.l)
		return 64;
	return (s->cr0 & CR0_PE) && s->cs.db ? 32 : 16;
}

unsigned int emulate_cpl(const struct kvm_sregs *s)
{
	return s->cr0 & CR0_PE ? s->cs.selector & 3 : 0;
}

gva_t emulate_rip(const struct kvm_regs *r, const struct kvm_sregs *s)
{
	return emulate_bits(s) == 64 ? r->rip : (uint32_t)(r->rip + s->cs.base);
}

enum emulate_result emulate(struct emulation *e)
{
	return emulate_by(e, rows, EMULATE_NR_ROWS);
}
