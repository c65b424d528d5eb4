/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "registers.h"
#include "work.h"

void work_begin(struct work *w, struct monitor_cpu *cpu)
{
	const struct monitor_state *s = &cpu->state;

	w->e = (struct emulation){
		.memory = cpu->memory,
		.ctx = cpu->ctx,
		.regs = s->regs,
		.sregs = s->sregs,
		.bits = emulate_bits(&s->sregs),
		.cpl = emulate_cpl(&s->sregs),
		.features = cpu->features->emulate,
	};
	w->cpu = cpu;
	w->new = *s;
	w->effects = 0;
	w->invlpg = 0;
	w->halt = false;
}

void work_commit(struct work *w)
{
	w->new.regs = w->e.regs;
	w->new.sregs = w->e.sregs;
	w->cpu->state = w->new;
	w->cpu->effects |= w->effects;
	if (w->effects & MONITOR_INVLPG)
		w->cpu->invlpg = w->invlpg;
}

bool work_long_mode(const struct work *w)
{
	return w->e.sregs.efer & EFER_LMA;
}

bool work_canonical(const struct work *w, uint64_t gva)
{
	return emulate_canonical(&w->e.sregs, gva);
}

static enum emulate_result access_as_processor(struct work *w, gva_t gva, void *buf, size_t len,
					       bool write)
{
	struct emulation *e = &w->e;
	unsigned int cpl = e->cpl;
	uint64_t flags = e->regs.rflags;
	enum emulate_result ret;

	e->cpl = 0;
	e->regs.rflags &= ~(uint64_t)FLAG_AC;
	e->segment = SEG_DS;
	ret = write ? e->memory->write(e, gva, buf, len) : e->memory->read(e, gva, buf, len);
	e->cpl = cpl;
	e->regs.rflags = flags;
	return ret;
}

enum emulate_result work_read(struct work *w, gva_t gva, void *buf, size_t len)
{
	return access_as_processor(w, gva, buf, len, false);
}

enum emulate_result work_write(struct work *w, gva_t gva, const void *buf, size_t len)
{
	return access_as_processor(w, gva, (void *)(uintptr_t)buf, len, true);
}

void work_set_gpr(struct work *w, unsigned int n, size_t bytes, uint64_t value)
{
	uint64_t *to = emulate_gpr(&w->e, n);

	if (bytes == 4)
		*to = (uint32_t)value;
	else
		memcpy(to, &value, bytes);
}

enum emulate_result work_pop(struct work *w, unsigned int skip, void *to, size_t len)
{
	struct emulation *e = &w->e;

	e->segment = SEG_SS;
	e->offset = work_stack_pointer(w) + skip;
	if (e->bits != 64 && !e->sregs.ss.db)
		e->offset = (uint16_t)e->offset;
	return emulate_load(e, to, len);
}

enum emulate_result work_push(struct work *w, uint64_t rsp, const void *word, size_t len)
{
	struct emulation *e = &w->e;

	e->segment = SEG_SS;
	e->offset = rsp;
	if (e->bits != 64)
		e->offset = e->sregs.ss.db ? (uint32_t)rsp : (uint16_t)rsp;
	return emulate_store(e, word, len);
}

uint64_t work_stack_pointer(const struct work *w)
{
	uint64_t rsp = w->e.regs.rsp;

	if (w->e.bits == 64)
		return rsp;
	return w->e.sregs.ss.db ? (uint32_t)rsp : (uint16_t)rsp;
}

void work_set_stack_pointer(struct work *w, uint64_t rsp)
{
	size_t bytes = w->e.bits == 64 ? 8 : w->e.sregs.ss.db ? 4 : 2;

	work_set_gpr(w, GPR_RSP, bytes, rsp);
}

size_t work_operand_bytes(const struct work *w)
{
	return w->e.rex & REX_W ? 8 : w->e.operand16 ? 2 : 4;
}

enum emulate_result work_need_cpl(struct work *w, unsigned int most)
{
	return w->e.cpl <= most ? EMULATE_DONE : emulate_fault_error(&w->e, GP, 0);
}

void work_jump(struct work *w, uint64_t rip)
{
	w->e.regs.rip = emulate_bits(&w->e.sregs) == 64 ? rip : (uint32_t)rip;
	w->e.regs.rflags &= ~(uint64_t)FLAG_RF;
}
