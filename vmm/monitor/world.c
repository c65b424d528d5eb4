/* SPDX-License-Identifier: MIT */
/* The switch: into the guest and out of it.  world.h says how it works. */
#include <string.h>
#include "registers.h"
#include "world_layout.h"

#define CR0_OURS   (CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define CR0_GUESTS (CR0_MP | CR0_EM | CR0_TS)

#define CR4_GUESTS (CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGS | CR4_OSXSAVE)

#define EFER_OURS (EFER_LME | EFER_LMA | EFER_NXE)

#define FLAGS_TRAPS (FLAG_IF | FLAG_IOPL) /* which CPL 3 cannot change */
#define FLAGS_NEVER (FLAG_VM | FLAG_VIF | FLAG_VIP)

/* A frame as a gate makes it, and IRET takes it. */
struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

/* ---- the real registers ---- */

static struct kvm_segment flat(unsigned int seg)
{
	bool code = seg != SEG_DATA0 && seg != SEG_DATA3;
	uint8_t dpl = seg > SEG_DATA0 ? 3 : 0;

	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = SELECTOR(seg) | dpl,
		.type = code ? 0xb : 0x3,
		.present = 1,
		.dpl = dpl,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

void world_start(const struct world *w, unsigned int cpu, struct kvm_sregs *s)
{
	(void)w;
	s->cs = flat(SEG_CODE0);
	s->ss = flat(SEG_DATA0);
	s->ds = s->es = s->fs = s->gs = flat(SEG_DATA3);
	s->tr = (struct kvm_segment){
		.base = BASE + cpu_page(cpu),
		.limit = TSS_SIZE - 1,
		.selector = (uint16_t)(TSS_INDEX(cpu) * 8),
		.type = 0xb,
		.present = 1,
	};
	s->ldt = (struct kvm_segment){ .unusable = 1 };
	s->gdt = (struct kvm_dtable){ .base = BASE + GDT, .limit = GDT_SIZE - 1 };
	s->idt = (struct kvm_dtable){ .base = BASE + IDT, .limit = NR_VECTORS * 16 - 1 };
	s->cr0 = CR0_OURS;
	s->cr4 = CR4_PAE;
	s->efer = EFER_OURS;
}

static unsigned int virtual_cpl(const struct kvm_sregs *s)
{
	return s->cs.selector & 3;
}

/* An alignment check is for the guest's user alone; so is CR4.TSD. */
static uint64_t real_cr0(const struct kvm_sregs *s)
{
	return CR0_OURS | (s->cr0 & CR0_GUESTS) | (virtual_cpl(s) == 3 ? s->cr0 & CR0_AM : 0);
}

static uint64_t real_cr4(const struct world *w, const struct kvm_sregs *s)
{
	return CR4_PAE | (w->config.umip ? CR4_UMIP : 0) | (s->cr4 & CR4_GUESTS) |
	       (virtual_cpl(s) == 3 ? s->cr4 & CR4_TSD : 0);
}

static bool is_long(const struct kvm_sregs *s)
{
	return s->efer & EFER_LMA;
}

static unsigned int code_segment(const struct kvm_sregs *s)
{
	if (is_long(s) && s->cs.l)
		return SEG_CODE64;
	return s->cs.db ? SEG_CODE32 : SEG_CODE16;
}

const char *world_refuses(const struct kvm_sregs *s)
{
	if (!(s->cr0 & CR0_PE))
		return "it is in real mode";
	if (is_long(s) && s->cs.l)
		return NULL;
	if (s->cs.base || (s->ss.base && !s->ss.unusable) || (s->ds.base && !s->ds.unusable) ||
	    (s->es.base && !s->es.unusable))
		return "it has a segment that does not begin at 0";
	return NULL;
}

/* Bring the real registers up to date.  Returns whether any has changed. */
static bool set_sregs(const struct world *w, struct kvm_sregs *real, const struct kvm_sregs *s)
{
	struct kvm_sregs new = *real;

	new.cs = flat(SEG_CODE0);
	new.ss = flat(SEG_DATA0);
	new.cr0 = real_cr0(s);
	new.cr4 = real_cr4(w, s);
	if (!is_long(s) || !s->cs.l)
		new.ds = new.es = flat(SEG_DATA3);
	if (new.fs.base != s->fs.base)
		new.fs = flat(SEG_DATA3);
	if (new.gs.base != s->gs.base)
		new.gs = flat(SEG_DATA3);
	new.fs.base = s->fs.base;
	new.gs.base = s->gs.base;
	new.cr8 = s->cr8;
	memset(new.interrupt_bitmap, 0, sizeof(new.interrupt_bitmap)); /* none is to be raised */
	if (new.cr0 == real->cr0 &&new.cr4 == real->cr4 &&new.fs.base ==
	    real->fs.base &&new.gs.base == real->gs.base &&new.cs.selector ==
	    real->cs.selector &&new.ds.selector == real->ds.selector &&new.es.selector ==
	    real->es.selector &&new.cr8 == real->cr8)
		return false;
	*real = new;
	return true;
}

/* ---- into the guest ---- */

unsigned int world_room(const struct world *w, unsigned int cpu)
{
	return WORLD_MAX_LIST - w->listed[cpu];
}

/* An entry that was not over is part of this one. */
static void add_to_list(struct world *w, unsigned int cpu, const struct world_entry *e)
{
	struct list *list = at(w, cpu_page(cpu) + LIST);

	if (e->forgotten)
		w->listed[cpu] = 0;
	assert(e->nr_stale <= world_room(w, cpu));
	for (unsigned int i = 0; i < e->nr_stale; i++)
		list->entry[w->listed[cpu]++] = BASE + (e->stale[i] - w->memory.at);
	list->cr3 = e->root;
	w->flushing[cpu] |= e->forgotten || e->nr_stale;
}

/* Where the IRET leads. */
static struct frame frame_of(unsigned int cpu, const struct world_entry *e)
{
	const uint64_t hidden = FLAG_IOPL | FLAGS_NEVER;

	if (e->way == WORLD_HALT)
		return (struct frame){
			.rip = code_at(world_halt),
			.cs = SELECTOR(SEG_CODE0),
			.rflags = FLAG_FIXED | (e->regs->rflags & FLAG_IF),
			.rsp = BASE + cpu_page(cpu) + RSP0,
			.ss = SELECTOR(SEG_DATA0),
		};
	return (struct frame){
		.rip = e->regs->rip,
		.cs = SELECTOR(code_segment(e->sregs)) | 3,
		.rflags = (e->regs->rflags & ~hidden) | FLAG_FIXED,
		.rsp = e->regs->rsp,
		.ss = SELECTOR(SEG_DATA3) | 3,
	};
}

void world_enter(struct world *w, unsigned int cpu, struct kvm_run *run,
		 const struct world_entry *e)
{
	struct kvm_regs *regs = &run->s.regs.regs;
	struct {
		uint64_t rdx, rcx, rax;
		struct frame frame;
	} stack = { e->regs->rdx, e->regs->rcx, e->regs->rax, frame_of(cpu, e) };
	const uint64_t top = cpu_page(cpu) + RSP0;

	w->stepping[cpu] = e->way == WORLD_STEP && !(e->regs->rflags & FLAG_TF);
	if (e->way == WORLD_STEP)
		stack.frame.rflags = (stack.frame.rflags & ~(uint64_t)FLAG_IF) | FLAG_TF;
	add_to_list(w, cpu, e);
	w->flushing[cpu] |= run->s.regs.sregs.cr3 != e->root;
	memcpy(at(w, top - sizeof(stack)), &stack, sizeof(stack));
	*regs = *e->regs;
	regs->rflags = FLAG_FIXED;
	regs->rip = code_at(world_iret);
	regs->rsp = BASE + top - sizeof(stack.frame);
	if (w->flushing[cpu]) {
		regs->rip = code_at(world_flush);
		regs->rsp = BASE + top - sizeof(stack);
		regs->rax = BASE + cpu_page(cpu) + LIST;
		regs->rcx = w->listed[cpu];
	}
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
	if (set_sregs(w, &run->s.regs.sregs, e->sregs))
		run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

/* ---- at CPL 0 ---- */

void world_act(unsigned int cpu, struct kvm_run *run, enum world_act act,
	       const struct kvm_regs *regs)
{
	struct kvm_regs *real = &run->s.regs.regs;

	*real = *regs;
	real->rflags = FLAG_FIXED;
	real->rip = code_at(world_acts) + act * ACT_BYTES;
	real->rsp = BASE + cpu_page(cpu) + RSP0;
	run->s.regs.sregs.cs = flat(SEG_CODE0);
	run->s.regs.sregs.ss = flat(SEG_DATA0);
	memset(run->s.regs.sregs.interrupt_bitmap, 0, sizeof(run->s.regs.sregs.interrupt_bitmap));
	run->kvm_dirty_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

bool world_has_acted(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT &&
	       run->io.port == OUT_PORT && run->s.regs.regs.rip >= code_at(world_acts);
}

/* ---- out of the guest ---- */

/* CPL 3 can load FS and GS with a null selector, or write their bases by CR4.FSGSBASE. */
static void take_segment(struct kvm_segment *virtual, const struct kvm_segment *real)
{
	virtual->base = real->base;
	if (real->selector <= 3)
		virtual->selector = real->selector;
}

/* What CPL 3 may change is as it is; TF not, if it is ours. */
static uint64_t guest_flags(const struct world *w, unsigned int cpu, uint64_t real, uint64_t old)
{
	const uint64_t ours = FLAGS_TRAPS | FLAGS_NEVER,
		       hidden = ours | (w->stepping[cpu] ? FLAG_TF : 0);

	return (real & ~hidden) | (old & ours);
}

static void take_registers(const struct world *w, unsigned int cpu, const struct kvm_run *run,
			   struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	uint64_t old = regs->rflags;

	*regs = run->s.regs.regs;
	regs->rflags = guest_flags(w, cpu, regs->rflags, old);
	take_segment(&sregs->fs, &run->s.regs.sregs.fs);
	take_segment(&sregs->gs, &run->s.regs.sregs.gs);
}

/*
 * What a gate has pushed is at RSP.  As the stack was aligned to 16 bytes before, RSP tells whether
 * there is an error code first.
 */
static struct frame read_frame(const struct world *w, unsigned int cpu, uint64_t rsp,
			       struct world_trap *trap)
{
	bool has_error = !(rsp & 15);
	uint64_t words = sizeof(struct frame) + (has_error ? sizeof(uint64_t) : 0),
		 offset = rsp - BASE - cpu_page(cpu);
	struct frame frame;

	if (offset < LIST + sizeof(struct list) || offset > RSP0 - words)
		offset = RSP0 - words; /* no gate pushes elsewhere */
	memcpy(&frame, at(w, cpu_page(cpu) + offset + words - sizeof(frame)), sizeof(frame));
	if (has_error)
		memcpy(&trap->error, at(w, cpu_page(cpu) + offset), sizeof(trap->error));
	trap->interrupt = world_is_interrupt(trap->vector, has_error);
	return frame;
}

/* Exceptions without an error code that processors raise. */
#define PLAIN_VECTORS 0x000d00ffu

bool world_is_interrupt(uint8_t vector, bool has_error)
{
	return !has_error && (vector >= 32 || !(PLAIN_VECTORS >> vector & 1));
}

/* SYSCALL that jumped instead of being #UD: it has put RIP and RFLAGS aside. */
static void undo_syscall(struct kvm_regs *regs, struct world_trap *trap)
{
	const uint64_t syscall_bytes = 2;

	*trap = (struct world_trap){ .vector = UD };
	regs->rip = regs->rcx - syscall_bytes;
}

/* A selector that the guest has loaded is none of ours: some KVMs say so by another exception. */
static bool is_selector(const struct world_trap *trap)
{
	return trap->error && trap->vector >= TS && trap->vector <= SS;
}

static bool is_halt(gva_t rip)
{
	return rip >= code_at(world_halt) && rip < code_at(world_lstar_trap);
}

/* The entry is over: what was to be flushed is. */
static void is_in(struct world *w, unsigned int cpu)
{
	w->listed[cpu] = 0;
	w->flushing[cpu] = false;
}

/* An interrupt at CPL 0 ends the wait for it, or KVM had raised it before the entry. */
static enum world_place in_gate(struct world *w, unsigned int cpu, const struct kvm_run *run,
				struct kvm_regs *regs, struct kvm_sregs *sregs,
				struct world_trap *trap)
{
	const struct kvm_regs *real = &run->s.regs.regs;
	uint64_t old = regs->rflags;
	struct frame frame;

	*trap = (struct world_trap){
		.vector = (uint8_t)((real->rip - code_at(world_gates)) / GATE_BYTES),
		.cr2 = run->s.regs.sregs.cr2,
	};
	frame = read_frame(w, cpu, real->rsp, trap);
	if ((frame.cs & 3) || is_halt(frame.rip))
		is_in(w, cpu);
	if (!(frame.cs & 3))
		return WORLD_TRAPPED;
	take_registers(w, cpu, run, regs, sregs);
	regs->rip = frame.rip;
	regs->rsp = frame.rsp;
	regs->rflags = guest_flags(w, cpu, frame.rflags, old);
	if (trap->vector == PF && regs->rip == world_lstar())
		undo_syscall(regs, trap);
	if (is_selector(trap))
		trap->vector = GP;
	return WORLD_TRAPPED;
}

enum world_place world_leave(struct world *w, unsigned int cpu, const struct kvm_run *run,
			     struct kvm_regs *regs, struct kvm_sregs *sregs,
			     struct world_trap *trap)
{
	const struct kvm_sregs *real = &run->s.regs.sregs;
	bool user = real->cs.selector & 3;
	gva_t rip = run->s.regs.regs.rip;

	if (!user && rip >= code_at(world_iret)) {
		if (is_halt(rip))
			is_in(w, cpu);
		return WORLD_ENTERING;
	}
	sregs->cr8 = real->cr8;
	sregs->apic_base = real->apic_base;
	if (!user)
		return in_gate(w, cpu, run, regs, sregs, trap);
	is_in(w, cpu);
	take_registers(w, cpu, run, regs, sregs);
	return WORLD_IN_GUEST;
}
