/* SPDX-License-Identifier: MIT */
/*
 * Far transfers: JMP, CALL, RET, IRET, and the four system call instructions.  SDM Vol. 2, and
 * Vol. 3A, section 5.8.  Call gates and tasks are not known.
 */
#include <string.h>
#include "descriptor.h"
#include "registers.h"

/* What POPF and IRET load at CPL 0, with operands of 32 bits and more. */
#define FLAGS_LOADED \
	(FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC | \
	 FLAG_VIF | FLAG_VIP | FLAG_ID)

#define CALL_GATE64 0xcu

static enum emulate_result protection(struct work *w)
{
	return emulate_fault_error(&w->e, GP, 0);
}

static bool is_long(const struct work *w, const struct kvm_segment *cs)
{
	return work_long_mode(w) && cs->l;
}

/* Is RIP a place in that code? */
static enum emulate_result check_rip(struct work *w, const struct kvm_segment *cs, uint64_t rip)
{
	bool good = is_long(w, cs) ? work_canonical(w, rip) : rip <= cs->limit;

	return good ? EMULATE_DONE : protection(w);
}

/* ---- JMP and CALL ---- */

/* Task and call gates, and TSSs, of both widths.  In long mode only call gates lead anywhere. */
static bool is_gate(const struct work *w, const struct kvm_segment *s)
{
	if (s->s || work_long_mode(w))
		return !s->s && s->type == CALL_GATE64;
	return s->type == 5 || (s->type & 7) == 4 || (s->type & 5) == 1;
}

/* The code segment that a jump or call may go to, without a change of CPL. */
static enum emulate_result find_code(struct work *w, uint16_t selector, struct descriptor *d)
{
	enum emulate_result ret;
	bool allowed;

	if (is_null(selector))
		return protection(w);
	ret = descriptor_read(w, selector, GP, 0, d);
	if (ret)
		return ret;
	if (is_gate(w, &d->s))
		return EMULATE_UNKNOWN;
	allowed = is_conforming(&d->s) ?
			  d->s.dpl <= w->e.cpl :
			  d->s.dpl == w->e.cpl && (selector & SELECTOR_RPL) <= w->e.cpl;
	if (is_code(&d->s) && !allowed)
		return descriptor_fault(w, GP, selector, 0);
	return descriptor_code(w, d, 0);
}

/* The far pointer: of the instruction, or in memory. */
static enum emulate_result far_pointer(struct work *w, uint16_t *selector, uint64_t *rip)
{
	struct emulation *e = &w->e;
	size_t bytes = work_operand_bytes(w);
	uint8_t pointer[10];
	enum emulate_result ret;

	*selector = e->selector;
	*rip = e->imm;
	if (e->opcode != 0xff)
		return EMULATE_DONE;
	ret = emulate_load(e, pointer, bytes + 2);
	if (ret)
		return ret;
	*rip = 0;
	memcpy(rip, pointer, bytes);
	memcpy(selector, pointer + bytes, sizeof(*selector));
	return EMULATE_DONE;
}

static enum emulate_result go_to(struct work *w, struct descriptor *d, uint64_t rip)
{
	enum emulate_result ret = descriptor_accessed(w, d);

	if (ret)
		return ret;
	descriptor_set_cs(w, d, w->e.cpl);
	work_jump(w, rip);
	return EMULATE_DONE;
}

static enum emulate_result far_target(struct work *w, struct descriptor *d, uint64_t *rip)
{
	uint16_t selector;
	enum emulate_result ret = far_pointer(w, &selector, rip);

	if (!ret)
		ret = find_code(w, selector, d);
	return ret ? ret : check_rip(w, &d->s, *rip);
}

enum emulate_result far_jump(struct emulation *e)
{
	struct work *w = work_of(e);
	struct descriptor d;
	uint64_t rip;
	enum emulate_result ret = far_target(w, &d, &rip);

	return ret ? ret : go_to(w, &d, rip);
}

/* CS and the next RIP, each as wide as the operand. */
static enum emulate_result push_return(struct work *w, uint64_t *rsp)
{
	struct emulation *e = &w->e;
	size_t bytes = work_operand_bytes(w);
	const uint64_t word[] = { e->sregs.cs.selector, e->regs.rip + e->at };
	enum emulate_result ret = EMULATE_DONE;

	*rsp = work_stack_pointer(w);
	for (unsigned int i = 0; i < ARRAY_SIZE(word) && !ret; i++) {
		*rsp -= bytes;
		ret = work_push(w, *rsp, &word[i], bytes);
	}
	return ret;
}

enum emulate_result far_call(struct emulation *e)
{
	struct work *w = work_of(e);
	struct descriptor d;
	uint64_t rip, rsp;
	enum emulate_result ret = far_target(w, &d, &rip);

	if (!ret)
		ret = push_return(w, &rsp);
	if (ret)
		return ret;
	work_set_stack_pointer(w, rsp);
	return go_to(w, &d, rip);
}

/* ---- RET and IRET ---- */

struct frame {
	uint64_t rip, rflags, rsp;
	uint16_t cs, ss;
	bool stack; /* RSP and SS are there, even if the CPL stays */
};

/* Words of the frame on the stack, each `bytes` wide. */
static enum emulate_result pop_words(struct work *w, unsigned int skip, size_t bytes,
				     uint64_t *word, unsigned int nr)
{
	uint8_t raw[5 * 8];
	enum emulate_result ret = work_pop(w, skip, raw, nr * bytes);

	for (unsigned int i = 0; i < nr && !ret; i++) {
		word[i] = 0;
		memcpy(&word[i], raw + i * bytes, bytes);
	}
	return ret;
}

static enum emulate_result return_code(struct work *w, uint16_t selector, struct descriptor *d)
{
	unsigned int rpl = selector & SELECTOR_RPL;
	enum emulate_result ret;

	if (is_null(selector))
		return protection(w);
	ret = descriptor_read(w, selector, GP, 0, d);
	if (ret)
		return ret;
	if (rpl < w->e.cpl || (is_conforming(&d->s) ? d->s.dpl > rpl : d->s.dpl != rpl))
		return descriptor_fault(w, GP, selector, 0);
	return descriptor_code(w, d, 0);
}

/*
 * What a less privileged level may not use, it does not get.  The bases of FS and GS stay: in long
 * mode they count without a selector.
 */
static void drop_segments(struct work *w, unsigned int cpl)
{
	static const unsigned int which[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned int i = 0; i < ARRAY_SIZE(which); i++) {
		struct kvm_segment *s = emulate_segment(&w->e, which[i]);

		if (!s->unusable && s->dpl < cpl && !is_conforming(s)) {
			uint64_t base = s->base;

			*s = descriptor_null(0);
			s->base = base;
		}
	}
}

static enum emulate_result return_to(struct work *w, const struct frame *f)
{
	struct emulation *e = &w->e;
	unsigned int rpl = f->cs & SELECTOR_RPL;
	bool outer = rpl > e->cpl;
	struct kvm_segment ss = e->sregs.ss;
	struct descriptor d;
	enum emulate_result ret = return_code(w, f->cs, &d);

	if (!ret && (outer || f->stack))
		ret = descriptor_stack(w, f->ss, rpl, is_long(w, &d.s), GP, 0, &ss);
	if (!ret)
		ret = check_rip(w, &d.s, f->rip);
	if (!ret)
		ret = descriptor_accessed(w, &d);
	if (ret)
		return ret;
	if (outer)
		drop_segments(w, rpl);
	e->sregs.ss = ss;
	descriptor_set_cs(w, &d, rpl);
	work_jump(w, f->rip);
	work_set_stack_pointer(w, f->rsp);
	return EMULATE_DONE;
}

/* Its operand says how many bytes to drop, from both stacks. */
enum emulate_result far_return(struct emulation *e)
{
	struct work *w = work_of(e);
	size_t bytes = work_operand_bytes(w);
	uint64_t word[2], stack[2];
	struct frame f;
	enum emulate_result ret = pop_words(w, 0, bytes, word, 2);
	unsigned int skip = 2 * (unsigned int)bytes + e->imm;

	if (ret)
		return ret;
	f = (struct frame){ .rip = word[0], .cs = (uint16_t)word[1] };
	f.rsp = work_stack_pointer(w) + skip;
	if ((f.cs & SELECTOR_RPL) > e->cpl) {
		ret = pop_words(w, skip, bytes, stack, 2);
		if (ret)
			return ret;
		f.rsp = stack[0] + e->imm;
		f.ss = (uint16_t)stack[1];
	}
	return return_to(w, &f);
}

static uint64_t new_flags(const struct work *w, uint64_t popped, size_t bytes, unsigned int cpl)
{
	uint64_t old = w->cpu->state.regs.rflags, mask = FLAGS_LOADED;
	unsigned int iopl = (old & FLAG_IOPL) / (FLAG_IOPL & -FLAG_IOPL);

	if (cpl)
		mask &= ~(uint64_t)(FLAG_IOPL | FLAG_VIF | FLAG_VIP);
	if (cpl > iopl)
		mask &= ~(uint64_t)FLAG_IF;
	if (bytes == 2)
		mask &= 0xffff;
	return (old & ~mask) | (popped & mask) | FLAG_FIXED;
}

enum emulate_result iret(struct emulation *e)
{
	struct work *w = work_of(e);
	size_t bytes = work_operand_bytes(w);
	unsigned int cpl = e->cpl;
	uint64_t word[5];
	struct frame f = { .stack = e->bits == 64 };
	enum emulate_result ret;

	if ((e->regs.rflags & FLAG_NT) && work_long_mode(w))
		return protection(w);
	if (e->regs.rflags & FLAG_NT)
		return EMULATE_UNKNOWN;
	ret = pop_words(w, 0, bytes, word, 3);
	if (ret)
		return ret;
	if (!work_long_mode(w) && (word[2] & FLAG_VM) && !cpl)
		return EMULATE_UNKNOWN;
	f.rip = word[0];
	f.cs = (uint16_t)word[1];
	f.rflags = word[2];
	f.rsp = work_stack_pointer(w) + 3 * bytes;
	if (f.stack || (f.cs & SELECTOR_RPL) > cpl) {
		ret = pop_words(w, 3 * (unsigned int)bytes, bytes, word + 3, 2);
		f.rsp = word[3];
		f.ss = (uint16_t)word[4];
	}
	if (!ret)
		ret = return_to(w, &f);
	if (!ret)
		e->regs.rflags = new_flags(w, f.rflags, bytes, cpl);
	return ret;
}

/* ---- system calls ---- */

/* Flat segments that these instructions load without a look at descriptors. */
static struct kvm_segment flat(unsigned int selector, bool code, bool l, unsigned int dpl)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = (uint16_t)selector,
		.type = code ? 0xb : 0x3,
		.present = 1,
		.dpl = (uint8_t)dpl,
		.db = !l,
		.s = 1,
		.l = l,
		.g = 1,
	};
}

static void enter_flat(struct work *w, unsigned int cs, unsigned int ss, bool l, unsigned int cpl)
{
	struct emulation *e = &w->e;

	e->sregs.cs = flat(cs, true, l, cpl);
	e->sregs.ss = flat(ss, false, false, cpl);
	e->cpl = cpl;
	e->bits = emulate_bits(&e->sregs);
}

/* Outside long mode, and in code of 32 bits, only AMD's processors have SYSCALL and SYSRET. */
static bool has_syscall(const struct work *w)
{
	return (w->e.sregs.efer & EFER_SCE) && (w->e.bits == 64 || w->cpu->features->amd);
}

enum emulate_result system_call(struct emulation *e)
{
	struct work *w = work_of(e);
	const struct monitor_msrs *m = &w->new.msr;
	unsigned int cs = m->star >> 32 & 0xffff;
	bool from64 = e->bits == 64, to64 = work_long_mode(w);

	if (!has_syscall(w))
		return emulate_fault(e, UD);
	e->regs.rcx = from64 ? e->regs.rip + e->at : (uint32_t)(e->regs.rip + e->at);
	if (to64)
		e->regs.r11 = e->regs.rflags & ~(uint64_t)FLAG_RF;
	e->regs.rflags &= ~(to64 ? m->sfmask | FLAG_RF : (uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF));
	e->regs.rflags |= FLAG_FIXED;
	enter_flat(w, cs & SELECTOR_MASK, cs + 8, to64, 0);
	work_jump(w, !to64 ? (uint32_t)m->star : from64 ? m->lstar : m->cstar);
	return EMULATE_DONE;
}

enum emulate_result sysret(struct emulation *e)
{
	struct work *w = work_of(e);
	unsigned int base = w->new.msr.star >> 48, cs;
	bool to64 = e->rex & REX_W;
	enum emulate_result ret = work_need_cpl(w, 0);

	if (!has_syscall(w))
		return emulate_fault(e, UD);
	if (!ret && to64 && !work_canonical(w, e->regs.rcx))
		ret = protection(w);
	if (ret)
		return ret;
	cs = to64 ? base + 16 : base;
	if (work_long_mode(w))
		e->regs.rflags = (e->regs.r11 & (FLAGS_LOADED & ~FLAG_RF)) | FLAG_FIXED;
	else
		e->regs.rflags |= FLAG_IF;
	enter_flat(w, cs | 3, (base + 8) | 3, to64, 3);
	work_jump(w, e->regs.rcx);
	return EMULATE_DONE;
}

/* In long mode AMD's processors have neither SYSENTER nor SYSEXIT. */
static enum emulate_result need_sysenter(struct work *w)
{
	if (work_long_mode(w) && w->cpu->features->amd)
		return emulate_fault(&w->e, UD);
	return is_null((uint16_t)w->new.msr.sysenter_cs) ? protection(w) : EMULATE_DONE;
}

enum emulate_result sysenter(struct emulation *e)
{
	struct work *w = work_of(e);
	const struct monitor_msrs *m = &w->new.msr;
	unsigned int cs = m->sysenter_cs & SELECTOR_MASK;
	enum emulate_result ret = need_sysenter(w);
	bool to64 = work_long_mode(w);

	if (ret)
		return ret;
	e->regs.rflags &= ~(uint64_t)(FLAG_VM | FLAG_IF);
	enter_flat(w, cs, cs + 8, to64, 0);
	e->regs.rsp = to64 ? m->sysenter_esp : (uint32_t)m->sysenter_esp;
	work_jump(w, m->sysenter_eip);
	return EMULATE_DONE;
}

enum emulate_result sysexit(struct emulation *e)
{
	struct work *w = work_of(e);
	bool to64 = e->rex & REX_W;
	unsigned int cs = ((w->new.msr.sysenter_cs &UINT16_MAX) + (to64 ? 32 : 16)) | 3;
	enum emulate_result ret = need_sysenter(w);

	if (!ret)
		ret = work_need_cpl(w, 0);
	if (!ret && to64 && !(work_canonical(w, e->regs.rcx) && work_canonical(w, e->regs.rdx)))
		ret = protection(w);
	if (ret)
		return ret;
	enter_flat(w, cs, cs + 8, to64, 3);
	e->regs.rsp = to64 ? e->regs.rcx : (uint32_t)e->regs.rcx;
	work_jump(w, e->regs.rdx);
	return EMULATE_DONE;
}
