/* SPDX-License-Identifier: MIT */
/* Prefixes, operands, segments and tables.  emulate_decode.h says what of them. */
#include <assert.h>
#include <string.h>
#include "emulate_decode.h"
#include "registers.h"

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u

enum emulate_result emulate_fault(struct emulation *e, uint8_t vector)
{
	e->event = (struct emulate_event){ .vector = vector };
	return EMULATE_FAULT;
}

enum emulate_result emulate_fault_error(struct emulation *e, uint8_t vector, uint32_t error)
{
	e->event = (struct emulate_event){ .vector = vector, .has_error = true, .error = error };
	return EMULATE_FAULT;
}

enum emulate_result emulate_protection(struct emulation *e)
{
	return emulate_fault_error(e, e->segment == SEG_SS ? SS : GP, 0);
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

/* Prefixes and opcode, and a look at the byte behind.  Returns the map. */
static uint16_t decode_opcode(struct emulation *e)
{
	uint16_t map = 0;

	e->segment = SEG_DS;
	e->opcode = decode_prefixes(e);
	if (e->opcode == 0x0f) {
		map = 0x0f;
		e->opcode = next(e);
	}
	if (map && e->opcode == 0x38) {
		map = 0x0f38;
		e->opcode = next(e);
	}
	if (!e->prefix && e->operand16)
		e->prefix = 0x66;
	e->modrm = e->at < e->nr_bytes ? e->byte[e->at] : 0;
	return map;
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

/* ModRM and what belongs to it: SDM Vol. 2A, tables 2-2, 2-3 and section 2.2.1. */
static void decode_operand(struct emulation *e)
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

static void decode_immediate(struct emulation *e, uint32_t flags)
{
	if (flags & ROW_FAR)
		e->imm = (uint32_t)displacement(e, e->operand16 ? 2 : 4);
	else if (flags & (ROW_IMM8 | ROW_IMM16))
		e->imm = (uint32_t)displacement(e, flags & ROW_IMM8 ? 1 : 2);
	if (flags & ROW_FAR)
		e->selector = (uint16_t)displacement(e, 2);
	if (flags & ROW_IMM8)
		e->imm = (uint8_t)e->imm;
	else if ((flags & ROW_IMM16) || e->operand16)
		e->imm = (uint16_t)e->imm;
}

/* ---- where an operand is ---- */

struct kvm_segment *emulate_segment(struct emulation *e, unsigned int n)
{
	struct kvm_sregs *s = &e->sregs;
	struct kvm_segment *const segments[] = { &s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs };

	return segments[n];
}

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

bool emulate_canonical(const struct kvm_sregs *s, gva_t gva)
{
	unsigned int unused = s->cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

	return (uint64_t)((int64_t)(gva << unused) >> unused) == gva;
}

/* An operand that ends beyond what is canonical faults as a whole, before any page of it does. */
enum emulate_result emulate_linear(struct emulation *e, size_t len, bool write, gva_t *gva)
{
	const struct kvm_segment *segment = emulate_segment(e, e->segment);

	if (e->bits == 64) {
		*gva = e->offset + (e->segment >= SEG_FS ? segment->base : 0);
		return emulate_canonical(&e->sregs, *gva + len - 1) ? EMULATE_DONE :
								      emulate_protection(e);
	}
	if (!segment_allows(segment, e->offset, len, write))
		return emulate_protection(e);
	*gva = (uint32_t)(e->offset + segment->base);
	return EMULATE_DONE;
}

enum emulate_result emulate_load(struct emulation *e, void *to, size_t len)
{
	gva_t gva;
	enum emulate_result ret = emulate_linear(e, len, false, &gva);

	return ret ? ret : e->memory->read(e, gva, to, len);
}

enum emulate_result emulate_store(struct emulation *e, const void *from, size_t len)
{
	gva_t gva;
	enum emulate_result ret = emulate_linear(e, len, true, &gva);

	return ret ? ret : e->memory->write(e, gva, from, len);
}

/* ---- an instruction, by a table ---- */

void emulate_fetch(struct emulation *e)
{
	gva_t rip = emulate_rip(&e->regs, &e->sregs);

	while (!e->beyond && e->nr_bytes < EMULATE_MAX_BYTES) {
		gva_t gva = rip + e->nr_bytes;
		size_t len = min_u64(EMULATE_MAX_BYTES - e->nr_bytes,
				     QUIRE_PAGE_SIZE - gva % QUIRE_PAGE_SIZE);

		e->beyond = e->memory->fetch(e, gva, e->byte + e->nr_bytes, len);
		if (!e->beyond)
			e->nr_bytes += (unsigned int)len;
	}
	e->beyond_event = e->event;
}

static bool is_row(const struct emulate_row *r, const struct emulation *e, uint16_t map)
{
	/* There a prefix has no meaning. */
	bool any_prefix = r->flags & (ROW_NO_MODRM | ROW_LOCKABLE | ROW_ANY_PREFIX);

	return r->map == map && (r->prefix == e->prefix || any_prefix) &&
	       r->opcode == (e->opcode & r->opcode_mask) &&
	       ((r->flags & ROW_NO_MODRM) || r->modrm == (e->modrm & r->modrm_mask)) &&
	       !((r->flags & ROW_MEMORY) && !emulate_in_memory(e)) &&
	       !((r->flags & ROW_WIDE) && !(e->rex & REX_W)) &&
	       !(r->flags & (e->bits == 64 ? ROW_LEGACY : ROW_LONG));
}

static const struct emulate_row *find_row(struct emulation *e, uint16_t map,
					  const struct emulate_row *rows, unsigned int nr)
{
	unsigned int i = 0;

	while (i < nr && !is_row(&rows[i], e, map))
		i++;
	e->row = i;
	return i < nr ? &rows[i] : NULL;
}

/* Bytes that are missing are a fault of the fetch; more than 15 are a #GP. */
static enum emulate_result truncated(struct emulation *e)
{
	if (e->nr_bytes == EMULATE_MAX_BYTES)
		return emulate_fault_error(e, GP, 0);
	e->event = e->beyond_event;
	return e->beyond;
}

/* SDM Vol. 3A, section 13.1, and the exceptions of type 4 (Vol. 2A, section 2.7). */
static enum emulate_result check(struct emulation *e, const struct emulate_row *row)
{
	if ((row->features & ~e->features) || (e->lock && !(row->flags & ROW_LOCKABLE)))
		return emulate_fault(e, UD);
	if (!(row->flags & ROW_SSE))
		return EMULATE_DONE;
	if ((e->sregs.cr0 & CR0_EM) || !(e->sregs.cr4 & CR4_OSFXSR))
		return emulate_fault(e, UD);
	return e->sregs.cr0 & CR0_TS ? emulate_fault(e, NM) : e->memory->load_fpu(e);
}

static void go_past(struct emulation *e)
{
	e->regs.rip += e->at;
	if (e->bits == 32)
		e->regs.rip = (uint32_t)e->regs.rip;
	e->regs.rflags &= ~(uint64_t)FLAG_RF;
}

static void decode_rest(struct emulation *e, const struct emulate_row *row)
{
	if (row->flags & ROW_REGISTER)
		e->modrm |= 0xc0;
	if (!(row->flags & ROW_NO_MODRM))
		decode_operand(e);
	decode_immediate(e, row->flags);
}

enum emulate_result emulate_by(struct emulation *e, const struct emulate_row *rows, unsigned int nr)
{
	uint16_t map = decode_opcode(e);
	const struct emulate_row *row;
	enum emulate_result ret;

	e->row = nr;
	if (e->truncated)
		return truncated(e);
	row = find_row(e, map, rows, nr);
	if (!row || e->bits == 16 || (e->bits == 32 && e->address32))
		return EMULATE_UNKNOWN;
	decode_rest(e, row);
	if (e->truncated)
		return truncated(e);
	ret = check(e, row);
	if (!ret)
		ret = row->fn(e);
	if ((ret == EMULATE_DONE || ret == EMULATE_TRAP) && !(row->flags & ROW_JUMP))
		go_past(e);
	return ret;
}
