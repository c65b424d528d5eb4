/* SPDX-License-Identifier: MIT */
/*
 * Delivery of exceptions and interrupts through the guest's IDT: SDM Vol. 3A, chapter 6, and the
 * pseudo code of INT n in Vol. 2A.
 *
 * One attempt works on a copy of the state.  If it fails, the next one begins anew with the
 * exception that it failed with, or the double fault that the two are, until one succeeds or a
 * double fault fails.
 */
#include <string.h>
#include "descriptor.h"
#include "registers.h"

#define EXT 1u /* in error codes: the program did not ask for the event */
#define IDT 2u /* ... they name a gate */

#define GATE_16	   0x6u /* bit 0: a trap gate, which leaves IF; bit 3: of 32 bits, or long mode's */
#define GATE_TASK  0x5u
#define TYPE_TSS16 1u

#define TSS64_RSP0 4u
#define TSS64_IST1 36u

struct delivery {
	struct work w;
	const struct emulate_event *event;
	enum monitor_source source;
	unsigned int bytes; /* of the instruction, if software */

	/* The gate. */
	uint16_t selector;
	uint64_t rip;
	unsigned int type, dpl, ist;
	bool present;
};

static uint32_t ext(const struct delivery *d)
{
	return d->source == MONITOR_SOFTWARE ? 0 : EXT;
}

static enum emulate_result gate_fault(struct delivery *d, uint8_t vector)
{
	return emulate_fault_error(&d->w.e, vector, d->event->vector * 8u | IDT | ext(d));
}

/* ---- the gate ---- */

static enum emulate_result read_gate(struct delivery *d)
{
	const struct kvm_dtable *idt = &d->w.e.sregs.idt;
	size_t bytes = work_long_mode(&d->w) ? 16 : 8;
	uint64_t raw[2] = { 0 };
	enum emulate_result ret;

	if (d->event->vector * bytes + bytes - 1 > idt->limit)
		return gate_fault(d, GP);
	ret = work_read(&d->w, idt->base + d->event->vector * bytes, raw, bytes);
	d->selector = (uint16_t)(raw[0] >> 16);
	d->rip = (raw[0] & 0xffff) | (raw[0] >> 32 & 0xffff0000) | raw[1] << 32;
	d->type = raw[0] >> 40 & 0x1f;
	d->dpl = raw[0] >> 45 & 3;
	d->present = raw[0] >> 47 & 1;
	d->ist = bytes == 16 ? raw[0] >> 32 & 7 : 0;
	if ((d->type & ~1u) == GATE_16)
		d->rip &= 0xffff;
	return ret;
}

static enum emulate_result check_gate(struct delivery *d)
{
	unsigned int kind = d->type & ~1u; /* without trap or interrupt */
	bool wide = kind == (GATE_16 | 8),
	     known = wide || (kind == GATE_16 && !work_long_mode(&d->w));

	if (!known && !(d->type == GATE_TASK && !work_long_mode(&d->w)))
		return gate_fault(d, GP);
	if (d->source == MONITOR_SOFTWARE && d->dpl < d->w.e.cpl)
		return gate_fault(d, GP);
	if (!d->present)
		return gate_fault(d, NP);
	return known ? EMULATE_DONE : EMULATE_UNKNOWN;
}

static enum emulate_result find_handler(struct delivery *d, struct descriptor *cs)
{
	struct work *w = &d->w;
	enum emulate_result ret;

	if (is_null(d->selector))
		return emulate_fault_error(&w->e, GP, ext(d));
	ret = descriptor_read(w, d->selector, GP, ext(d), cs);
	if (ret)
		return ret;
	if (!is_code(&cs->s) || cs->s.dpl > w->e.cpl || (work_long_mode(w) && !cs->s.l))
		return descriptor_fault(w, GP, d->selector, ext(d));
	return descriptor_code(w, cs, ext(d));
}

/* ---- the stack ---- */

static enum emulate_result read_tss(struct delivery *d, unsigned int at, void *to, size_t len)
{
	const struct kvm_segment *tr = &d->w.e.sregs.tr;

	if (tr->unusable || at + len - 1 > tr->limit)
		return descriptor_fault(&d->w, TS, tr->selector, ext(d));
	return work_read(&d->w, tr->base + at, to, len);
}

static enum emulate_result long_stack(struct delivery *d, unsigned int cpl)
{
	struct emulation *e = &d->w.e;
	bool inner = cpl != e->cpl;
	uint64_t rsp = e->regs.rsp;
	enum emulate_result ret = EMULATE_DONE;

	if (d->ist)
		ret = read_tss(d, TSS64_IST1 + 8 * (d->ist - 1), &rsp, sizeof(rsp));
	else if (inner)
		ret = read_tss(d, TSS64_RSP0 + 8 * cpl, &rsp, sizeof(rsp));
	if (ret)
		return ret;
	if (!work_canonical(&d->w, rsp))
		return emulate_fault_error(e, SS, ext(d));
	if (inner)
		e->sregs.ss = descriptor_null((uint16_t)cpl);
	e->regs.rsp = rsp & ~15ULL;
	return EMULATE_DONE;
}

/* A TSS of 16 bits has SP and SS in two bytes each. */
static enum emulate_result legacy_stack(struct delivery *d, unsigned int cpl)
{
	struct emulation *e = &d->w.e;
	bool small = (e->sregs.tr.type & ~2u) == TYPE_TSS16;
	size_t bytes = small ? 2 : 4;
	uint8_t raw[8];
	uint32_t esp = 0;
	uint16_t ss;
	enum emulate_result ret;

	if (cpl == e->cpl)
		return EMULATE_DONE;
	ret = read_tss(d, small ? 2 + 4 * cpl : 4 + 8 * cpl, raw, bytes + 2);
	if (ret)
		return ret;
	memcpy(&esp, raw, bytes);
	memcpy(&ss, raw + bytes, sizeof(ss));
	if (is_null(ss))
		return emulate_fault_error(e, TS, ext(d));
	ret = descriptor_stack(&d->w, ss, cpl, false, TS, ext(d), &e->sregs.ss);
	e->regs.rsp = esp;
	return ret;
}

/* ---- the frame ---- */

/* What is pushed as RFLAGS: a fault's handler returns to an instruction that has not been done. */
static uint64_t pushed_flags(const struct delivery *d)
{
	uint64_t flags = d->w.cpu->state.regs.rflags;
	bool fault = d->source == MONITOR_FAULT && d->event->vector != DB;

	return fault ? flags | FLAG_RF : flags;
}

/* Error code, RIP, CS, RFLAGS, RSP, SS, upwards. */
static unsigned int make_frame(const struct delivery *d, bool stack, uint64_t word[6])
{
	const struct monitor_state *old = &d->w.cpu->state;
	unsigned int n = 0;

	if (d->event->has_error)
		word[n++] = d->event->error;
	word[n++] = old->regs.rip + (d->source == MONITOR_SOFTWARE ? d->bytes : 0);
	word[n++] = old->sregs.cs.selector;
	word[n++] = pushed_flags(d);
	if (stack) {
		word[n++] = old->regs.rsp;
		word[n++] = old->sregs.ss.selector;
	}
	return n;
}

/* From the highest word downwards, as CR2 tells of the first that cannot be pushed. */
static enum emulate_result push_frame(struct delivery *d, bool stack, size_t bytes)
{
	struct emulation *e = &d->w.e;
	uint64_t word[6], rsp = work_stack_pointer(&d->w);
	unsigned int nr = make_frame(d, stack, word);
	enum emulate_result ret = EMULATE_DONE;

	while (nr-- && !ret) {
		rsp -= bytes;
		ret = work_push(&d->w, rsp, &word[nr], bytes);
	}
	work_set_stack_pointer(&d->w, rsp);
	if (ret == EMULATE_FAULT && e->event.vector != PF)
		e->event.error |= ext(d);
	return ret;
}

/* ---- all of it ---- */

static enum emulate_result enter_handler(struct delivery *d, struct descriptor *cs)
{
	struct work *w = &d->w;
	bool is_64 = work_long_mode(w);
	unsigned int old = w->e.cpl, cpl = is_conforming(&cs->s) ? old : cs->s.dpl;
	enum emulate_result ret = is_64 ? long_stack(d, cpl) : legacy_stack(d, cpl);

	if (ret)
		return ret;
	/* The frame is pushed as the handler would push it. */
	w->e.cpl = cpl;
	w->e.bits = is_64 ? 64 : 32;
	ret = push_frame(d, is_64 || cpl != old, is_64 ? 8 : d->type & 8 ? 4 : 2);
	if (ret)
		return ret;
	if (is_64 ? !work_canonical(w, d->rip) : d->rip > cs->s.limit)
		return emulate_fault_error(&w->e, GP, ext(d));
	ret = descriptor_accessed(w, cs);
	if (ret)
		return ret;
	descriptor_set_cs(w, cs, cpl);
	work_jump(w, d->rip);
	w->e.regs.rflags &= ~(uint64_t)(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM);
	if (!(d->type & 1))
		w->e.regs.rflags &= ~(uint64_t)FLAG_IF;
	return EMULATE_DONE;
}

/* One attempt. */
static enum emulate_result deliver(struct delivery *d, struct monitor_cpu *cpu)
{
	struct descriptor cs;
	enum emulate_result ret;

	work_begin(&d->w, cpu);
	ret = read_gate(d);
	if (!ret)
		ret = check_gate(d);
	if (!ret)
		ret = find_handler(d, &cs);
	if (!ret)
		ret = enter_handler(d, &cs);
	return ret;
}

/* ---- exceptions at the delivery ---- */

static bool is_contributory(uint8_t vector)
{
	return vector == DE || (vector >= TS && vector <= GP);
}

/* SDM Vol. 3A, table "Conditions for Generating a Double Fault". */
static bool is_double(const struct delivery *d, uint8_t second)
{
	uint8_t first = d->event->vector;

	if (d->source != MONITOR_FAULT)
		return false;
	if (first == PF)
		return second == PF || is_contributory(second);
	return is_contributory(first) && is_contributory(second);
}

static enum monitor_result result_of(enum emulate_result ret)
{
	switch (ret) {
	case EMULATE_AGAIN: return MONITOR_AGAIN;
	case EMULATE_HOST: return MONITOR_HOST;
	default: return MONITOR_UNKNOWN;
	}
}

enum monitor_result monitor_reflect(struct monitor_cpu *cpu, const struct emulate_event *event,
				    enum monitor_source source, unsigned int bytes)
{
	struct emulate_event now = *event;
	struct delivery d = { .event = &now, .source = source, .bytes = bytes };
	uint64_t cr2 = cpu->state.sregs.cr2;
	enum emulate_result ret;

	for (;;) {
		if (d.source == MONITOR_FAULT && now.vector == PF)
			cr2 = now.cr2;
		ret = deliver(&d, cpu);
		if (ret != EMULATE_FAULT)
			break;
		if (d.source == MONITOR_FAULT && now.vector == DF) {
			cpu->state.sregs.cr2 = cr2;
			return MONITOR_SHUTDOWN;
		}
		now = is_double(&d, d.w.e.event.vector) ?
			      (struct emulate_event){ .vector = DF, .has_error = true } :
			      d.w.e.event;
		d.source = MONITOR_FAULT;
	}
	if (ret != EMULATE_DONE)
		return result_of(ret);
	d.w.e.sregs.cr2 = cr2;
	if (d.source == MONITOR_FAULT && now.vector == DB)
		d.w.new.debug.dr7 &= ~(uint64_t)DR7_GD;
	work_commit(&d.w);
	return MONITOR_DONE;
}

bool monitor_interruptible(const struct monitor_cpu *cpu)
{
	const struct kvm_regs *r = &cpu->state.regs;

	return (r->rflags & FLAG_IF) && r->rip != cpu->state.shadow_rip;
}

enum monitor_result monitor_interrupt(struct monitor_cpu *cpu, uint8_t vector)
{
	cpu->effects = 0;
	cpu->row = MONITOR_NR_ROWS;
	return monitor_reflect(cpu, &(struct emulate_event){ .vector = vector }, MONITOR_EXTERNAL,
			       0);
}

/* ---- exceptions that the real processor has raised ---- */

/* The trap after an instruction that was emulated (SDM Vol. 3B, section 17.3.1.4). */
static enum monitor_result single_step(struct monitor_cpu *cpu)
{
	cpu->state.debug.dr6 |= DR6_BS;
	return monitor_reflect(cpu, &(struct emulate_event){ .vector = DB }, MONITOR_FAULT, 0);
}

/* An instruction raises #DB only if DR7.GD guards the debug registers. */
static enum monitor_result faulted(struct monitor_cpu *cpu, const struct emulate_event *event)
{
	if (event->vector == DB)
		cpu->state.debug.dr6 |= DR6_BD;
	return monitor_reflect(cpu, event, MONITOR_FAULT, 0);
}

static enum monitor_result emulated(struct monitor_cpu *cpu, const struct emulate_event *raised)
{
	bool step = cpu->state.regs.rflags & FLAG_TF, halt;
	struct emulate_event event;
	unsigned int bytes;

	switch (monitor_emulate(cpu, &event, &bytes, &halt)) {
	case EMULATE_DONE:
		if (step)
			return single_step(cpu);
		return halt ? MONITOR_HALT : MONITOR_DONE;
	case EMULATE_FAULT: return faulted(cpu, &event);
	case EMULATE_TRAP: return monitor_reflect(cpu, &event, MONITOR_SOFTWARE, bytes);
	case EMULATE_AGAIN: return MONITOR_AGAIN;
	case EMULATE_HOST: return MONITOR_HOST;
	case EMULATE_UNKNOWN: break;
	}
	if (cpu->row < MONITOR_NR_ROWS)
		return MONITOR_UNKNOWN;
	return monitor_reflect(cpu, raised, MONITOR_FAULT, 0);
}

/* INT3 and INTO, by their own exceptions: the state is to be as before the instruction. */
static enum monitor_result software(struct monitor_cpu *cpu, const struct emulate_event *raised)
{
	enum monitor_result ret;

	cpu->state.regs.rip--;
	ret = monitor_reflect(cpu, raised, MONITOR_SOFTWARE, 1);
	if (ret != MONITOR_DONE)
		cpu->state.regs.rip++;
	return ret;
}

/*
 * What was emulated may have been the last instruction of all.  A processor fetches the next one in
 * vain; but it could not be entered there.
 */
static enum monitor_result emulated_whole(struct monitor_cpu *cpu,
					  const struct emulate_event *raised)
{
	const struct monitor_state *s = &cpu->state;
	enum monitor_result ret = emulated(cpu, raised);
	unsigned int unused = s->sregs.cr4 & CR4_LA57 ? 7 : 16;

	if (ret != MONITOR_DONE || emulate_bits(&s->sregs) != 64 ||
	    (uint64_t)((int64_t)(s->regs.rip << unused) >> unused) == s->regs.rip)
		return ret;
	return monitor_reflect(cpu, &(struct emulate_event){ .vector = GP, .has_error = true },
			       MONITOR_FAULT, 0);
}

/*
 * #TS, #NP and #SS may be of a selector that the real processor has looked up in the real tables,
 * or in whatever tables a KVM without VT-x and SVM has for its guests: an IRET of the guest's
 * kernel has been seen to end so.
 */
enum monitor_result monitor_exception(struct monitor_cpu *cpu, const struct emulate_event *event)
{
	cpu->effects = 0;
	cpu->row = MONITOR_NR_ROWS;
	switch (event->vector) {
	case UD:
	case TS:
	case NP:
	case SS:
	case GP: return emulated_whole(cpu, event);
	case BP:
	case OF: return software(cpu, event);
	default: return monitor_reflect(cpu, event, MONITOR_FAULT, 0);
	}
}
