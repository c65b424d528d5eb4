/* SPDX-License-Identifier: MIT */
/*
 * IN, OUT, INS and OUTS: who may (SDM Vol. 1, section 19.5), and the strings.
 *
 * A repeated instruction is done piece by piece: as many elements as fit in CHUNK.  RIP stays until
 * RCX is 0, so the guest comes here again, and may be interrupted in between.
 */
#include "descriptor.h"
#include "mmu/format/walk.h"
#include "registers.h"

#define CHUNK	   1024u
#define TSS_BITMAP 102u /* where a TSS says where its I/O bitmap is */
#define TYPE_TSS16 1u

static unsigned int port_bytes(const struct emulation *e)
{
	return !(e->opcode & 1) ? 1 : e->operand16 ? 2 : 4;
}

/* The bitmap is read two bytes at a time, and all of them must be within the TSS. */
static enum emulate_result ask_bitmap(struct work *w, uint16_t port, unsigned int bytes)
{
	const struct kvm_segment *tr = &w->e.sregs.tr;
	uint16_t base, bits, want = (uint16_t)(((1u << bytes) - 1) << port % 8);
	enum emulate_result ret;
	uint32_t at;

	if (tr->unusable || (tr->type & ~2u) == TYPE_TSS16 || tr->limit < TSS_BITMAP + 1)
		return emulate_fault_error(&w->e, GP, 0);
	ret = work_read(w, tr->base + TSS_BITMAP, &base, sizeof(base));
	if (ret)
		return ret;
	at = base + port / 8u;
	if (at + 1 > tr->limit)
		return emulate_fault_error(&w->e, GP, 0);
	ret = work_read(w, tr->base + at, &bits, sizeof(bits));
	if (ret)
		return ret;
	return bits & want ? emulate_fault_error(&w->e, GP, 0) : EMULATE_DONE;
}

static enum emulate_result may_access(struct work *w, uint16_t port, unsigned int bytes)
{
	unsigned int iopl = (w->e.regs.rflags & FLAG_IOPL) / (FLAG_IOPL & -FLAG_IOPL);

	return w->e.cpl <= iopl ? EMULATE_DONE : ask_bitmap(w, port, bytes);
}

static enum emulate_result do_io(struct work *w, bool out, uint16_t port, unsigned int bytes,
				 void *data, unsigned int nr)
{
	return w->cpu->bus->io(w->cpu->ctx, out, port, bytes, data, nr);
}

/* ---- one element ---- */

/* Bit 3 of the opcode says that the port is in DX. */
static uint16_t port_of(const struct emulation *e)
{
	return e->opcode & 8 ? (uint16_t)e->regs.rdx : (uint16_t)e->imm;
}

enum emulate_result port_in(struct emulation *e)
{
	struct work *w = work_of(e);
	unsigned int bytes = port_bytes(e);
	enum emulate_result ret = may_access(w, port_of(e), bytes);
	uint32_t value = UINT32_MAX;

	if (!ret)
		ret = do_io(w, false, port_of(e), bytes, &value, 1);
	if (!ret)
		work_set_gpr(w, GPR_RAX, bytes, value);
	return ret;
}

enum emulate_result port_out(struct emulation *e)
{
	struct work *w = work_of(e);
	unsigned int bytes = port_bytes(e);
	enum emulate_result ret = may_access(w, port_of(e), bytes);
	uint32_t value = (uint32_t)e->regs.rax;

	return ret ? ret : do_io(w, true, port_of(e), bytes, &value, 1);
}

/* ---- strings ---- */

struct string {
	unsigned int bytes, nr; /* of an element, and elements in this piece */
	__u64 *index;		/* RSI or RDI */
	size_t width;		/* of the index and of RCX */
	bool repeat;
};

static uint64_t cut(const struct string *s, uint64_t value)
{
	return s->width == 8 ? value : (uint32_t)value;
}

/* How many elements from e->offset upwards are in its page; one may lie in two. */
static uint64_t in_page(struct emulation *e, unsigned int bytes)
{
	bool based = e->bits != 64 || e->segment >= SEG_FS;
	gva_t gva = e->offset + (based ? emulate_segment(e, e->segment)->base : 0);

	return max_u64((QUIRE_PAGE_SIZE - gva % QUIRE_PAGE_SIZE) / bytes, 1);
}

/* No piece leads into another page, which may be missing.  Downwards it goes by single elements. */
static void begin_string(struct work *w, struct string *s, unsigned int segment, __u64 *index)
{
	struct emulation *e = &w->e;
	uint64_t nr;

	s->bytes = port_bytes(e);
	s->index = index;
	s->width = e->bits == 64 && !e->address32 ? 8 : 4;
	s->repeat = e->prefix == 0xf2 || e->prefix == 0xf3;
	nr = s->repeat ? cut(s, e->regs.rcx) : 1;
	e->segment = segment;
	e->offset = cut(s, *index);
	nr = min_u64(nr, min_u64(CHUNK / s->bytes, in_page(e, s->bytes)));
	s->nr = (unsigned int)(e->regs.rflags & FLAG_DF ? min_u64(nr, 1) : nr);
}

static void end_string(struct work *w, const struct string *s)
{
	struct emulation *e = &w->e;
	uint64_t moved = (uint64_t)s->nr * s->bytes, left;

	work_set_gpr(w, s->index == &e->regs.rsi ? GPR_RSI : GPR_RDI, s->width,
		     e->regs.rflags & FLAG_DF ? *s->index - moved : *s->index + moved);
	left = s->repeat ? cut(s, e->regs.rcx) - s->nr : 0;
	if (s->repeat)
		work_set_gpr(w, GPR_RCX, s->width, left);
	if (!left)
		work_jump(w, e->regs.rip + e->at);
}

enum emulate_result port_outs(struct emulation *e)
{
	struct work *w = work_of(e);
	uint16_t port = (uint16_t)e->regs.rdx;
	uint8_t data[CHUNK];
	struct string s;
	enum emulate_result ret;

	begin_string(w, &s, e->segment, &e->regs.rsi);
	ret = may_access(w, port, s.bytes);
	if (!ret && s.nr)
		ret = emulate_load(e, data, (size_t)s.nr * s.bytes);
	if (!ret && s.nr)
		ret = do_io(w, true, port, s.bytes, data, s.nr);
	if (!ret)
		end_string(w, &s);
	return ret;
}

/*
 * What a port has given is lost if it cannot be written.  So what is there is first written to its
 * own place, which meets every fault there is.
 */
enum emulate_result port_ins(struct emulation *e)
{
	struct work *w = work_of(e);
	uint16_t port = (uint16_t)e->regs.rdx;
	uint8_t data[CHUNK];
	struct string s;
	enum emulate_result ret;
	size_t len;

	begin_string(w, &s, SEG_ES, &e->regs.rdi);
	len = (size_t)s.nr * s.bytes;
	ret = may_access(w, port, s.bytes);
	if (!ret && len)
		ret = emulate_load(e, data, len);
	if (ret == EMULATE_FAULT && e->event.vector == PF)
		e->event.error |= PF_W;
	if (!ret && len)
		ret = emulate_store(e, data, len);
	if (!ret && len)
		ret = do_io(w, false, port, s.bytes, data, s.nr);
	if (!ret && len)
		ret = emulate_store(e, data, len);
	if (!ret)
		end_string(w, &s);
	return ret;
}
