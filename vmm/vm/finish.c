/* SPDX-License-Identifier: MIT */
/*
 * The rest of the VM as emulate.c sees it: registers by KVM's shared page, memory by walks and
 * accessors, and exceptions.
 */
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include "doing.h"
#include "finish.h"
#include "operand.h"
#include "vm_impl.h"

#define RFLAGS_TF (1u << 8)
#define RFLAGS_RF (1u << 16)
#define DR6_BS	  (1u << 14)

enum { DB = 1, UD = 6, PF = 14 };

#define XSAVE_XMM 160u /* SDM Vol. 1, section 13.4 */
#define XSAVE_BV  512u
#define XSAVE_SSE 0x2u

struct finish {
	struct vcpu *vcpu;
	struct vcpu_state state;
	struct kvm_vcpu_events events;
	struct emulation e;
	struct kvm_xsave xsave;
};

/* ---- registers ---- */

static struct finish *finish_of(struct emulation *e)
{
	return (struct finish *)((char *)e - offsetof(struct finish, e));
}

static enum emulate_result load_fpu(struct emulation *e)
{
	struct finish *f = finish_of(e);
	const uint8_t *area = (const uint8_t *)f->xsave.region;

	if (ioctl(f->vcpu->fd, KVM_GET_XSAVE, &f->xsave))
		return EMULATE_UNKNOWN;
	memcpy(&e->fpu.fcw, area, sizeof(e->fpu.fcw));
	memcpy(&e->fpu.fsw, area + 2, sizeof(e->fpu.fsw));
	memcpy(e->fpu.xmm, area + XSAVE_XMM, sizeof(e->fpu.xmm));
	return EMULATE_DONE;
}

/* Bit SSE of XSTATE_BV says that the registers are not as after a reset. */
static int store_fpu(struct finish *f)
{
	uint8_t *area = (uint8_t *)f->xsave.region;

	memcpy(area + XSAVE_XMM, f->e.fpu.xmm, sizeof(f->e.fpu.xmm));
	area[XSAVE_BV] |= XSAVE_SSE;
	return ioctl(f->vcpu->fd, KVM_SET_XSAVE, &f->xsave);
}

/* ---- one instruction ---- */

static const struct emulate_memory memory = {
	.read = operand_read,
	.write = operand_write,
	.exchange = operand_exchange,
	.load_fpu = load_fpu,
	.fetch = operand_fetch,
};

static bool begin(struct finish *f, struct vcpu *vcpu)
{
	f->vcpu = vcpu;
	if (vcpu_read_state(vcpu, &f->state) || ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &f->events) ||
	    f->events.exception.injected)
		return false; /* an exception: an older KVM, which goes its own way */
	f->e = (struct emulation){
		.memory = &memory,
		.ctx = vcpu,
		.regs = f->state.regs,
		.sregs = f->state.sregs,
		.bits = doing_bits(&f->state),
		.cpl = doing_cpl(&f->state),
		.features = vcpu->features,
	};
	emulate_fetch(&f->e);
	return true;
}

static void set_event(struct finish *f, const struct emulate_event *event)
{
	f->events.exception.injected = 1;
	f->events.exception.nr = event->vector;
	f->events.exception.has_error_code = event->has_error;
	f->events.exception.error_code = event->error;
	if (event->vector == PF)
		f->state.sregs.cr2 = event->cr2;
}

/* The trap after each instruction (SDM Vol. 3B, section 17.3.1.4). */
static int single_step(struct finish *f)
{
	struct kvm_debugregs debug;

	if (ioctl(f->vcpu->fd, KVM_GET_DEBUGREGS, &debug))
		return -1;
	debug.dr6 |= DR6_BS;
	set_event(f, &(struct emulate_event){ .vector = DB });
	return ioctl(f->vcpu->fd, KVM_SET_DEBUGREGS, &debug);
}

/* Give KVM what has changed, with the next KVM_RUN. */
static void hand_back(struct finish *f)
{
	struct kvm_sync_regs *s = &f->vcpu->run->s.regs;

	f->events.interrupt.shadow = 0;
	s->regs = f->e.regs;
	s->sregs = f->state.sregs;
	s->events = f->events;
	f->vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
	if (f->events.exception.injected && f->events.exception.nr == PF)
		f->vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS; /* CR2 */
}

static bool finish_fault(struct finish *f)
{
	f->e.regs.rflags |= RFLAGS_RF;
	set_event(f, &f->e.event);
	hand_back(f);
	return true;
}

static bool finish_done(struct finish *f, bool trap)
{
	bool step = f->state.regs.rflags & RFLAGS_TF;

	if (f->e.fpu_changed && store_fpu(f))
		return false;
	if (trap)
		set_event(f, &f->e.event);
	else if (step && single_step(f))
		return false;
	hand_back(f);
	vcpu_count(&f->vcpu->finished[f->e.row]);
	return true;
}

bool finish_instruction(struct vcpu *vcpu)
{
	enum emulate_result ret;
	struct finish f = { 0 };

	if (!begin(&f, vcpu))
		return false;
	ret = emulate(&f.e);
	if (ret == EMULATE_UNKNOWN && f.e.cpl == 3) {
		f.e.event = (struct emulate_event){ .vector = UD };
		ret = EMULATE_FAULT;
	}
	switch (ret) {
	case EMULATE_DONE:
	case EMULATE_TRAP: return finish_done(&f, ret == EMULATE_TRAP);
	case EMULATE_FAULT: return finish_fault(&f);
	case EMULATE_UNKNOWN: return false;
	case EMULATE_AGAIN:
	case EMULATE_HOST: break;
	}
	return true;
}
