/* SPDX-License-Identifier: MIT */
/* Prefixes, operands and segments.  emulate_decode.h says what of them. */
#include <assert.h>
#include <string.h>
#include "emulate_decode.h"

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u

enum { SS = 12, GP = 13 };

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

enum emulate_result emulate_protection(struct emulation *e)
{
	e->event = (struct emulate_event){
		.vector = e->segment == SEG_SS ? SS : GP,
		.has_error = true,
	};
	return EMULATE_FAULT;
}

/* ---- decoding ---- */

static uint8_t next(struct emulation *e)
{
	if (e->at < e->nr_bytes)
		return e->byte[e->at++];
	e->truncated = true;
	return 0;
}

static int64_t displacement(struct emulation *e, unsigned int bytes)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint32_t)next(e) << 8 * i;
	return bytes == 1 ? (int8_t)value : (int32_t)value;
}

uint64_t *emulate_gpr(struct emulation *e, unsigned int n)
{
	struct kvm_regs *r = &e->regs;
	__u64 *const low[] = { &r->rax, &r->rcx, &r->rdx, &r->rbx,
			       &r->rsp, &r->rbp, &r->rsi, &r->rdi };

	static_assert(sizeof(__u64) == sizeof(uint64_t), "the same, by another name");
	return (uint64_t *)(n < 8 ? low[n] : &r->r8 + (n - 8));
}

static bool is_segment_prefix(struct emulation *e, uint8_t byte)
{
	static const uint8_t prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	const uint8_t *found = memchr(prefix, byte, sizeof(prefix));

	if (found && (e->bits < 64 || byte >= 0x64)) { /* the others mean nothing in long mode */
		e->segment = (unsigned int)(found - prefix);
		e->override = true;
	}
	return found;
}

/* Prefixes and REX.  Returns the byte behind them. */
static uint8_t decode_prefixes(struct emulation *e)
{
	for (;;) {
		uint8_t byte = next(e);

		if (byte == 0x66)
			e->operand16 = true;
		else if (byte == 0x67)
			e->address32 = true;
		else if (byte == 0xf0)
			e->lock = true;
		else if (byte == 0xf2 || byte == 0xf3)
			e->prefix = byte;
		else if (e->bits == 64 && (byte & 0xf0) == 0x40)
			e->rex = byte;
		else if (!is_segment_prefix(e, byte))
			return byte;
		if ((byte & 0xf0) != 0x40) /* REX counts only right before the opcode */
			e->rex = 0;
	}
}

bool emulate_opcode(struct emulation *e)
{
	bool two_bytes;

	e->segment = SEG_DS;
	e->opcode = decode_prefixes(e);
	two_bytes = e->opcode == 0x0f;
	if (two_bytes)
		e->opcode = next(e);
	if (!e->prefix && e->operand16)
		e->prefix = 0x66;
	e->modrm = e->at < e->nr_bytes ? e->byte[e->at] : 0;
	return two_bytes;
}

/* A base of RSP or RBP makes the stack segment the default one. */
static uint64_t base(struct emulation *e, unsigned int low)
{
	if (!e->override && (low == 4 || low == 5) && !(e->rex & REX_B))
		e->segment = SEG_SS;
	return *emulate_gpr(e, low | (e->rex & REX_B ? 8 : 0));
}

static uint64_t sib(struct emulation *e)
{
	uint8_t byte = next(e);
	unsigned int index = (byte >> 3 & 7) | (e->rex & REX_X ? 8 : 0);
	uint64_t offset = index == 4 ? 0 : *emulate_gpr(e, index) << (byte >> 6);

	if ((byte & 7) == 5 && e->modrm < 0x40)
		return offset + (uint64_t)displacement(e, 4);
	return offset + base(e, byte & 7);
}

/* SDM Vol. 2A, tables 2-2, 2-3 and section 2.2.1. */
void emulate_operand(struct emulation *e)
{
	unsigned int mod = e->modrm >> 6, low = e->modrm & 7;

	(void)next(e); /* ModRM */
	e->reg = (e->modrm >> 3 & 7) | (e->rex & REX_R ? 8 : 0);
	e->rm = low | (e->rex & REX_B ? 8 : 0);
	if (mod == 3)
		return;
	if (low == 4)
		e->offset = sib(e);
	else if (low == 5 && mod == 0)
		e->offset = (uint64_t)displacement(e, 4);
	else
		e->offset = base(e, low);
	if (low == 5 && mod == 0 && e->bits == 64)
		e->offset += e->regs.rip + e->at;
	else if (mod == 1 || mod == 2)
		e->offset += (uint64_t)displacement(e, mod == 1 ? 1 : 4);
	if (e->bits == 32 || e->address32)
		e->offset = (uint32_t)e->offset;
}

/* ---- where an operand is ---- */

/* Type and limit of a segment outside long mode (SDM Vol. 3A, sections 5.3 and 5.5). */
static bool segment_allows(const struct kvm_segment *s, uint64_t offset, size_t len, bool write)
{
	bool code = s->type & 8, second = s->type & 2; /* writable data, or readable code */

	if (s->unusable || !s->present || (code ? write || !second : write && !second))
		return false;
	if (!code && (s->type & 4)) /* expands down */
		return offset > s->limit && offset + len - 1 <= (s->db ? UINT32_MAX : UINT16_MAX);
	return offset + len - 1 <= s->limit;
}

enum emulate_result emulate_linear(struct emulation *e, size_t len, bool write, gva_t *gva)
{
	const struct kvm_sregs *s = &e->sregs;
	const struct kvm_segment *const segments[] = { &s->es, &s->cs, &s->ss,
						       &s->ds, &s->fs, &s->gs };
	const struct kvm_segment *segment = segments[e->segment];

	if (e->bits == 64) {
		*gva = e->offset + (e->segment >= SEG_FS ? segment->base : 0);
		return EMULATE_DONE;
	}
	if (!segment_allows(segment, e->offset, len, write))
		return emulate_protection(e);
	*gva = (uint32_t)(e->offset + segment->base);
	return EMULATE_DONE;
}
