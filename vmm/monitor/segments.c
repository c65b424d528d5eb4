/* SPDX-License-Identifier: MIT */
/* Instructions that load segment registers, descriptor tables, LDTR and TR, or store these. */
#include <string.h>
#include "descriptor.h"
#include "registers.h"

#define TYPE_LDT      2u
#define TYPE_TSS_BUSY 2u /* a bit of the type of a TSS */
#define TYPE_TSS16    1u
#define TYPE_TSS      9u

/* ---- segment registers ---- */

/* DS, ES, FS and GS. */
static enum emulate_result load_data(struct work *w, struct kvm_segment *to, uint16_t selector)
{
	unsigned int rpl = selector & SELECTOR_RPL, least = rpl > w->e.cpl ? rpl : w->e.cpl;
	struct descriptor d;
	enum emulate_result ret;

	if (is_null(selector)) {
		*to = descriptor_null(selector);
		return EMULATE_DONE;
	}
	ret = descriptor_read(w, selector, GP, 0, &d);
	if (ret)
		return ret;
	if (!d.s.s || (is_code(&d.s) && !(d.s.type & 2)) ||
	    (!is_conforming(&d.s) && d.s.dpl < least))
		return descriptor_fault(w, GP, selector, 0);
	if (!d.s.present)
		return descriptor_fault(w, NP, selector, 0);
	ret = descriptor_accessed(w, &d);
	*to = d.s;
	return ret;
}

static enum emulate_result load_segment(struct work *w, unsigned int n, uint16_t selector)
{
	struct kvm_segment *to = emulate_segment(&w->e, n);

	if (n == SEG_SS)
		return descriptor_stack(w, selector, w->e.cpl, w->e.bits == 64, GP, 0, to);
	return load_data(w, to, selector);
}

/* After a load of SS: no interrupt before the next instruction, which most often loads RSP. */
static enum emulate_result shadow_after_ss(struct work *w, unsigned int n, enum emulate_result ret)
{
	if (!ret && n == SEG_SS)
		w->new.shadow_rip = w->e.regs.rip + w->e.at;
	return ret;
}

enum emulate_result mov_segment(struct emulation *e)
{
	struct work *w = work_of(e);
	unsigned int n = e->reg & 7;
	enum emulate_result ret = EMULATE_DONE;
	uint16_t selector;

	if (n == SEG_CS || n >= NR_SEGMENTS)
		return emulate_fault(e, UD);
	if (emulate_in_memory(e))
		ret = emulate_load(e, &selector, sizeof(selector));
	else
		selector = (uint16_t)*emulate_gpr(e, e->rm);
	if (!ret)
		ret = load_segment(w, n, selector);
	return shadow_after_ss(w, n, ret);
}

/* POP DS, ES and SS: bits 5:3 of the opcode; FS and GS: the same, behind 0x0f. */
enum emulate_result pop_segment(struct emulation *e)
{
	struct work *w = work_of(e);
	unsigned int n = e->opcode >> 3 & 7, bytes = e->operand16 ? 2 : e->bits == 64 ? 8 : 4;
	uint16_t selector;
	enum emulate_result ret = work_pop(w, 0, &selector, sizeof(selector));
	uint64_t rsp = work_stack_pointer(w) + bytes;

	if (!ret)
		ret = load_segment(w, n, selector);
	if (!ret)
		work_set_stack_pointer(w, rsp);
	return shadow_after_ss(w, n, ret);
}

/* LSS, LFS, LGS: bits 2:0 of the opcode; LES is 0xc4, LDS 0xc5. */
enum emulate_result load_far_pointer(struct emulation *e)
{
	unsigned int n = e->opcode == 0xc4 ? SEG_ES : e->opcode == 0xc5 ? SEG_DS : e->opcode & 7;
	struct work *w = work_of(e);
	size_t bytes = work_operand_bytes(w);
	uint8_t pointer[10];
	enum emulate_result ret = emulate_load(e, pointer, bytes + 2);
	uint16_t selector;
	uint64_t offset = 0;

	if (ret)
		return ret;
	memcpy(&offset, pointer, bytes);
	memcpy(&selector, pointer + bytes, sizeof(selector));
	ret = load_segment(w, n, selector);
	if (!ret)
		work_set_gpr(w, e->reg, bytes, offset);
	return ret;
}

/* ---- GDTR and IDTR: bit 3 of ModRM says IDTR ---- */

static struct kvm_dtable *table(struct emulation *e)
{
	return e->modrm & 8 ? &e->sregs.idt : &e->sregs.gdt;
}

enum emulate_result load_table(struct emulation *e)
{
	struct work *w = work_of(e);
	uint8_t operand[10];
	size_t bytes = e->bits == 64 ? 8 : 4;
	enum emulate_result ret = work_need_cpl(w, 0);
	struct kvm_dtable new = { 0 };

	if (!ret)
		ret = emulate_load(e, operand, bytes + 2);
	if (ret)
		return ret;
	memcpy(&new.limit, operand, 2);
	memcpy(&new.base, operand + 2, bytes);
	if (e->bits != 64 && e->operand16)
		new.base &= 0xffffff;
	if (!work_canonical(w, new.base))
		return emulate_fault_error(e, GP, 0);
	*table(e) = new;
	return EMULATE_DONE;
}

/* CR4.UMIP keeps what a kernel's tables are from its users. */
static enum emulate_result may_store(struct work *w)
{
	return w->e.sregs.cr4 & CR4_UMIP ? work_need_cpl(w, 0) : EMULATE_DONE;
}

enum emulate_result store_table(struct emulation *e)
{
	enum emulate_result ret = may_store(work_of(e));
	const struct kvm_dtable *t = table(e);
	uint8_t operand[10];

	memcpy(operand, &t->limit, 2);
	memcpy(operand + 2, &t->base, 8);
	return ret ? ret : emulate_store(e, operand, e->bits == 64 ? 10 : 6);
}

/* ---- LDTR and TR: bit 3 of ModRM says TR ---- */

static enum emulate_result set_busy(struct work *w, struct descriptor *d)
{
	uint8_t access;
	enum emulate_result ret = work_read(w, d->at + 5, &access, sizeof(access));

	access |= TYPE_TSS_BUSY;
	d->s.type |= TYPE_TSS_BUSY;
	return ret ? ret : work_write(w, d->at + 5, &access, sizeof(access));
}

static bool is_system(const struct work *w, const struct kvm_segment *s, bool tr)
{
	if (s->s)
		return false;
	if (!tr)
		return s->type == TYPE_LDT;
	return s->type == TYPE_TSS || (s->type == TYPE_TSS16 && !work_long_mode(w));
}

enum emulate_result lldt_ltr(struct emulation *e)
{
	struct work *w = work_of(e);
	bool tr = e->modrm & 8;
	struct kvm_segment *to = tr ? &e->sregs.tr : &e->sregs.ldt;
	enum emulate_result ret = work_need_cpl(w, 0);
	struct descriptor d;
	uint16_t selector = 0;

	if (!ret && emulate_in_memory(e))
		ret = emulate_load(e, &selector, sizeof(selector));
	else if (!ret)
		selector = (uint16_t)*emulate_gpr(e, e->rm);
	if (ret)
		return ret;
	if (is_null(selector) && !tr) {
		*to = descriptor_null(selector);
		return EMULATE_DONE;
	}
	if (is_null(selector) || (selector & 4)) /* an LDT describes neither */
		return descriptor_fault(w, GP, is_null(selector) ? 0 : selector, 0);
	ret = descriptor_read(w, selector, GP, 0, &d);
	if (ret)
		return ret;
	if (!is_system(w, &d.s, tr) || !work_canonical(w, d.s.base))
		return descriptor_fault(w, GP, selector, 0);
	if (!d.s.present)
		return descriptor_fault(w, NP, selector, 0);
	if (tr)
		ret = set_busy(w, &d);
	*to = d.s;
	return ret;
}

enum emulate_result sldt_str(struct emulation *e)
{
	struct work *w = work_of(e);
	enum emulate_result ret = may_store(w);
	uint16_t selector = e->modrm & 8 ? e->sregs.tr.selector : e->sregs.ldt.selector;

	if (ret)
		return ret;
	if (emulate_in_memory(e))
		return emulate_store(e, &selector, sizeof(selector));
	work_set_gpr(w, e->rm, work_operand_bytes(w), selector);
	return EMULATE_DONE;
}
