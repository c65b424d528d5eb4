/* SPDX-License-Identifier: MIT */
/* What each instruction does, by its page in the SDM, Vol. 2; and the table, at the end. */
#include <assert.h>
#include <string.h>
#include "emulate_decode.h"

#define CR0_PE	   (1u << 0)
#define CR0_MP	   (1u << 1)
#define CR0_EM	   (1u << 2)
#define CR0_TS	   (1u << 3)
#define CR0_NE	   (1u << 5)
#define CR4_OSFXSR (1u << 9)
#define EFER_LMA   (1u << 10)

#define FLAG_ZF	   (1u << 6)
#define FLAG_AC	   (1u << 18)
#define FLAG_RF	   (1u << 16)
#define FLAG_ARITH 0x8d5u /* OF SF ZF AF PF CF */

#define FSW_ES 0x80u

enum { BP = 3, UD = 6, NM = 7, GP = 13, MF = 16 };

static enum emulate_result fault(struct emulation *e, uint8_t vector)
{
	e->event = (struct emulate_event){ .vector = vector };
	return EMULATE_FAULT;
}

static enum emulate_result misaligned(struct emulation *e)
{
	e->event = (struct emulate_event){ .vector = GP, .has_error = true };
	return EMULATE_FAULT;
}

/* ---- operands ---- */

static enum emulate_result load(struct emulation *e, void *to, size_t len)
{
	gva_t gva;
	enum emulate_result ret = emulate_linear(e, len, false, &gva);

	return ret ? ret : e->memory->read(e, gva, to, len);
}

static enum emulate_result store(struct emulation *e, const void *from, size_t len)
{
	gva_t gva;
	enum emulate_result ret = emulate_linear(e, len, true, &gva);

	return ret ? ret : e->memory->write(e, gva, from, len);
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
		return fault(e, NM);
	ret = e->memory->load_fpu(e);
	if (ret || !(e->fpu.fsw & FSW_ES))
		return ret;
	return e->sregs.cr0 & CR0_NE ? fault(e, MF) : EMULATE_UNKNOWN; /* by interrupt 13 */
}

static enum emulate_result clac_stac(struct emulation *e)
{
	if (e->cpl)
		return fault(e, UD);
	set_flags(e, FLAG_AC, e->modrm == 0xcb ? FLAG_AC : 0);
	return EMULATE_DONE;
}

static enum emulate_result popcnt(struct emulation *e)
{
	size_t len = e->rex & REX_W ? 8 : e->operand16 ? 2 : 4;
	enum emulate_result ret = EMULATE_DONE;
	uint64_t value = 0, *to = emulate_gpr(e, e->reg), result;

	if (emulate_in_memory(e))
		ret = load(e, &value, len);
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
		return store(e, reg, len);
	if (emulate_in_memory(e))
		ret = load(e, value, len);
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
		return fault(e, UD);
	if (e->opcode & 1)
		return store(e, reg, sizeof(*reg));
	if (emulate_in_memory(e))
		ret = load(e, &value, sizeof(value));
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
		return store(e, xmm, len);
	if (e->opcode == 0x7e) {
		memcpy(&value, xmm, len);
		*emulate_gpr(e, e->rm) = value;
		return EMULATE_DONE;
	}
	if (emulate_in_memory(e))
		ret = load(e, &value, len);
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
		return store(e, e->fpu.xmm[e->reg], sizeof(value));
	if (emulate_in_memory(e))
		ret = load(e, &value, sizeof(value));
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

#define NO_MODRM 0x1u
#define MEMORY	 0x2u /* not between registers */
#define SSE	 0x4u
#define WIDE	 0x8u  /* with REX.W only */
#define LOCKABLE 0x10u /* LOCK is no #UD */

struct row {
	const char *name;
	uint8_t prefix;		     /* mandatory; 0: none of them */
	bool two_bytes;		     /* the opcode follows 0x0f */
	uint8_t opcode, opcode_mask; /* equal where the mask has bits */
	uint8_t modrm, modrm_mask;
	uint32_t flags, features;
	enum emulate_result (*fn)(struct emulation *e);
};

/* clang-format off */
static const struct row rows[EMULATE_NR_ROWS] = {
	/* name		prefix	0f     opcode	    modrm	flags		   features */
	{ "int3",	0,    false, 0xcc, 0xff, 0,    0,    NO_MODRM,		   0, int3 },
	{ "fwait",	0,    false, 0x9b, 0xff, 0,    0,    NO_MODRM,		   0, fwait },
	{ "clac",	0,    true,  0x01, 0xff, 0xca, 0xff, 0, EMULATE_SMAP, clac_stac },
	{ "stac",	0,    true,  0x01, 0xff, 0xcb, 0xff, 0, EMULATE_SMAP, clac_stac },
	{ "popcnt",	0xf3, true,  0xb8, 0xff, 0,    0,    0, EMULATE_POPCNT, popcnt },
	{ "cmpxchg16b",	0,    true,  0xc7, 0xff, 0x08, 0x38, MEMORY | WIDE | LOCKABLE,
	  EMULATE_CX16, cmpxchg16b },
	{ "movss",	0xf3, true,  0x10, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_scalar },
	{ "movsd",	0xf2, true,  0x10, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_scalar },
	{ "movlps",	0,    true,  0x12, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movhps",	0,    true,  0x16, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movlpd",	0x66, true,  0x12, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movhpd",	0x66, true,  0x16, 0xfe, 0,    0,    SSE, EMULATE_SSE2, move_half },
	{ "movd",	0x66, true,  0x6e, 0xef, 0,    0,    SSE, EMULATE_SSE2, move_general },
	{ "movq",	0xf3, true,  0x7e, 0xff, 0,    0,    SSE, EMULATE_SSE2, move_quad },
	{ "movq_store",	0x66, true,  0xd6, 0xff, 0,    0,    SSE, EMULATE_SSE2, move_quad },
	{ "xorps",	0,    true,  0x57, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
	{ "xorpd",	0x66, true,  0x57, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
	{ "pxor",	0x66, true,  0xef, 0xff, 0,    0,    SSE, EMULATE_SSE2, exclusive_or },
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
	return features | (seven && (seven->ebx >> 20 & 1) ? EMULATE_SMAP : 0);
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

static bool is_row(const struct row *r, const struct emulation *e, bool two_bytes)
{
	bool any_prefix = r->flags & (NO_MODRM | LOCKABLE); /* it has no meaning there */

	return r->two_bytes == two_bytes && (r->prefix == e->prefix || any_prefix) &&
	       r->opcode == (e->opcode & r->opcode_mask) &&
	       ((r->flags & NO_MODRM) || r->modrm == (e->modrm & r->modrm_mask)) &&
	       !((r->flags & MEMORY) && !emulate_in_memory(e)) &&
	       !((r->flags & WIDE) && !(e->rex & REX_W));
}

static const struct row *find_row(struct emulation *e, bool two_bytes)
{
	unsigned int i = 0;

	while (i < EMULATE_NR_ROWS && !is_row(&rows[i], e, two_bytes))
		i++;
	e->row = i;
	return i < EMULATE_NR_ROWS ? &rows[i] : NULL;
}

/* Bytes that are missing are a fault of the fetch; more than 15 are a #GP. */
static enum emulate_result truncated(struct emulation *e)
{
	if (e->nr_bytes == EMULATE_MAX_BYTES)
		return misaligned(e);
	e->event = e->beyond_bytes;
	return EMULATE_FAULT;
}

/* SDM Vol. 3A, section 13.1, and the exceptions of type 4 (Vol. 2A, section 2.7). */
static enum emulate_result check(struct emulation *e, const struct row *row)
{
	if ((row->features & ~e->features) || (e->lock && !(row->flags & LOCKABLE)))
		return fault(e, UD);
	if (!(row->flags & SSE))
		return EMULATE_DONE;
	if ((e->sregs.cr0 & CR0_EM) || !(e->sregs.cr4 & CR4_OSFXSR))
		return fault(e, UD);
	return e->sregs.cr0 & CR0_TS ? fault(e, NM) : e->memory->load_fpu(e);
}

static void go_past(struct emulation *e)
{
	e->regs.rip += e->at;
	if (e->bits == 32)
		e->regs.rip = (uint32_t)e->regs.rip;
	e->regs.rflags &= ~(uint64_t)FLAG_RF;
}

enum emulate_result emulate(struct emulation *e)
{
	bool two_bytes;
	enum emulate_result ret;
	const struct row *row;

	two_bytes = emulate_opcode(e);
	row = find_row(e, two_bytes);
	if (!row || e->bits == 16 || (e->bits == 32 && e->address32))
		return EMULATE_UNKNOWN;
	if (!(row->flags & NO_MODRM))
		emulate_operand(e);
	if (e->truncated)
		return truncated(e);
	ret = check(e, row);
	if (!ret)
		ret = row->fn(e);
	if (ret == EMULATE_DONE || ret == EMULATE_TRAP)
		go_past(e);
	return ret;
}
