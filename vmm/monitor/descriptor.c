/* SPDX-License-Identifier: MIT */
#include "descriptor.h"
#include "registers.h"

#define LDT 4u /* the selector's table indicator */

enum emulate_result descriptor_fault(struct work *w, uint8_t vector, uint16_t selector,
				     uint32_t ext)
{
	return emulate_fault_error(&w->e, vector, (selector & SELECTOR_MASK) | ext);
}

static struct kvm_segment unpack(uint64_t low, uint64_t high, uint16_t selector)
{
	struct kvm_segment s = {
		.base = (low >> 16 & 0xffffff) | (low >> 56) << 24,
		.limit = (uint32_t)((low & 0xffff) | (low >> 48 & 0xf) << 16),
		.selector = selector,
		.type = low >> 40 & 0xf,
		.s = low >> 44 & 1,
		.dpl = low >> 45 & 3,
		.present = low >> 47 & 1,
		.avl = low >> 52 & 1,
		.l = low >> 53 & 1,
		.db = low >> 54 & 1,
		.g = low >> 55 & 1,
	};

	if (s.g)
		s.limit = s.limit << 12 | 0xfff;
	if (!s.s)
		s.base |= high << 32;
	return s;
}

enum emulate_result descriptor_read(struct work *w, uint16_t selector, uint8_t vector, uint32_t ext,
				    struct descriptor *d)
{
	const struct kvm_sregs *s = &w->e.sregs;
	bool local = selector & LDT;
	uint32_t limit = local ? s->ldt.limit : s->gdt.limit, index = selector & ~7u;
	uint64_t raw[2] = { 0 };
	enum emulate_result ret;

	if ((local && (s->ldt.unusable || is_null(s->ldt.selector))) || index + 7 > limit)
		return descriptor_fault(w, vector, selector, ext);
	d->at = (local ? s->ldt.base : s->gdt.base) + index;
	ret = work_read(w, d->at, &raw[0], sizeof(raw[0]));
	/* In long mode that of a system segment has 16 bytes. */
	if (!ret && !(raw[0] >> 44 & 1) && work_long_mode(w)) {
		if (index + 15 > limit)
			return descriptor_fault(w, vector, selector, ext);
		ret = work_read(w, d->at + 8, &raw[1], sizeof(raw[1]));
	}
	d->s = unpack(raw[0], raw[1], selector);
	return ret;
}

enum emulate_result descriptor_accessed(struct work *w, struct descriptor *d)
{
	uint8_t access;
	enum emulate_result ret;

	if (d->s.type & 1)
		return EMULATE_DONE;
	d->s.type |= 1;
	ret = work_read(w, d->at + 5, &access, sizeof(access));
	access |= 1;
	return ret ? ret : work_write(w, d->at + 5, &access, sizeof(access));
}

enum emulate_result descriptor_code(struct work *w, const struct descriptor *d, uint32_t ext)
{
	if (!is_code(&d->s) || (work_long_mode(w) && d->s.l && d->s.db))
		return descriptor_fault(w, GP, d->s.selector, ext);
	return d->s.present ? EMULATE_DONE : descriptor_fault(w, NP, d->s.selector, ext);
}

void descriptor_set_cs(struct work *w, const struct descriptor *d, unsigned int cpl)
{
	w->e.sregs.cs = d->s;
	w->e.sregs.cs.selector = (uint16_t)((d->s.selector & SELECTOR_MASK) | cpl);
	w->e.cpl = cpl;
	w->e.bits = emulate_bits(&w->e.sregs);
}

struct kvm_segment descriptor_null(uint16_t selector)
{
	return (struct kvm_segment){
		.selector = selector,
		.dpl = selector & SELECTOR_RPL,
		.unusable = 1,
	};
}

enum emulate_result descriptor_stack(struct work *w, uint16_t selector, unsigned int cpl,
				     bool to_64_bits, uint8_t vector, uint32_t ext,
				     struct kvm_segment *ss)
{
	unsigned int rpl = selector & SELECTOR_RPL;
	struct descriptor d;
	enum emulate_result ret;

	if (is_null(selector)) {
		*ss = descriptor_null(selector);
		return to_64_bits && cpl < 3 && rpl == cpl ?
			       EMULATE_DONE :
			       emulate_fault_error(&w->e, vector, ext);
	}
	ret = descriptor_read(w, selector, vector, ext, &d);
	if (ret)
		return ret;
	if (rpl != cpl || d.s.dpl != cpl || !is_writable_data(&d.s))
		return descriptor_fault(w, vector, selector, ext);
	if (!d.s.present)
		return descriptor_fault(w, SS, selector, ext);
	ret = descriptor_accessed(w, &d);
	*ss = d.s;
	return ret;
}
