/* SPDX-License-Identifier: MIT */
/*
 * The rest of the VM as emulate.c sees it: registers by KVM's shared page, memory by walks and
 * accessors, and exceptions.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "doing.h"
#include "finish.h"
#include "vm_impl.h"

#define RFLAGS_TF (1u << 8)
#define RFLAGS_RF (1u << 16)
#define DR6_BS	  (1u << 14)

enum { DB = 1, UD = 6, PF = 14 };

/* More tries than a walk has references: each may lack a page. */
#define TRIES 64u

#define XSAVE_XMM 160u /* SDM Vol. 1, section 13.4 */
#define XSAVE_BV  512u
#define XSAVE_SSE 0x2u

struct finish {
	struct vcpu *vcpu;
	struct vcpu_state state;
	struct kvm_vcpu_events events;
	struct walk_cpu cpu;
	struct emulation e;
	struct kvm_xsave xsave;
};

/* ---- memory ---- */

static enum emulate_result host_failed(const struct finish *f, gpa_t gpa, int err)
{
	if (err == -EFAULT)
		return EMULATE_UNKNOWN; /* not RAM */
	vm_end(f->vcpu->vm, QUIRE_STATUS_HOST, "the host has no memory for guest page %#llx: %s",
	       (unsigned long long)gpa, strerror(-err));
	return EMULATE_HOST;
}

/* Make the page private: the guest needs it, and stage 2 has it not, or not to be written. */
static enum emulate_result bring_in(const struct finish *f, gpa_t gpa)
{
	int err = gmem_hold(f->vcpu->vm->gm, gpa, 1);

	if (!err)
		gmem_release(f->vcpu->vm->gm, gpa, 1);
	return !err || err == -ENOSPC ? EMULATE_DONE : host_failed(f, gpa, err);
}

static enum emulate_result page_fault(struct emulation *e, gva_t gva, uint32_t error)
{
	e->event = (struct emulate_event){
		.vector = PF,
		.has_error = true,
		.error = error,
		.cr2 = gva,
	};
	return EMULATE_FAULT;
}

static enum emulate_result translate(struct finish *f, gva_t gva, struct walk_access access,
				     gpa_t *gpa)
{
	enum emulate_result ret = EMULATE_DONE;
	struct walk_result res;

	access.user = f->e.cpl == 3;
	access.set_ad = true;
	for (unsigned int i = 0; i < TRIES && !ret; i++) {
		switch (gmem_walk(f->vcpu->vm->gm, &f->cpu, gva, access, &res)) {
		case WALK_OK: *gpa = res.gpa; return EMULATE_DONE;
		case WALK_PAGE_FAULT: return page_fault(&f->e, gva, res.error_code);
		case WALK_NOT_CANONICAL: return emulate_protection(&f->e);
		case WALK_VIOLATION: ret = bring_in(f, res.gpa); break;
		case WALK_AGAIN: break;
		default: return EMULATE_UNKNOWN;
		}
	}
	return ret ? ret : EMULATE_AGAIN;
}

/* How much of [gva, gva + len) is in gva's page? */
static size_t in_page(gva_t gva, size_t len)
{
	return min_u64(len, QUIRE_PAGE_SIZE - gva % QUIRE_PAGE_SIZE);
}

/* Where the one or two parts of an operand are: both, before either is accessed. */
static enum emulate_result translate_parts(struct emulation *e, gva_t gva, size_t len, bool write,
					   gpa_t part[2])
{
	struct walk_access access = { .write = write };
	enum emulate_result ret = translate(e->ctx, gva, access, &part[0]);
	size_t first = in_page(gva, len);

	if (!ret && first < len)
		ret = translate(e->ctx, gva + first, access, &part[1]);
	return ret;
}

static enum emulate_result read_operand(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	struct finish *f = e->ctx;
	size_t first = in_page(gva, len);
	gpa_t part[2];
	enum emulate_result ret = translate_parts(e, gva, len, false, part);
	int err;

	if (ret)
		return ret;
	err = guest_read(f->vcpu->vm->gm, part[0], buf, first);
	if (!err && first < len)
		err = guest_read(f->vcpu->vm->gm, part[1], (char *)buf + first, len - first);
	return err ? host_failed(f, part[0], err) : EMULATE_DONE;
}

static enum emulate_result write_operand(struct emulation *e, gva_t gva, const void *buf,
					 size_t len)
{
	struct finish *f = e->ctx;
	size_t first = in_page(gva, len);
	gpa_t part[2];
	enum emulate_result ret = translate_parts(e, gva, len, true, part);
	int err;

	if (ret)
		return ret;
	err = guest_write(f->vcpu->vm->gm, part[0], buf, first);
	if (!err && first < len)
		err = guest_write(f->vcpu->vm->gm, part[1], (const char *)buf + first, len - first);
	return err ? host_failed(f, part[0], err) : EMULATE_DONE;
}

static enum emulate_result exchange_operand(struct emulation *e, gva_t gva, uint64_t old[2],
					    const uint64_t new[2])
{
	struct finish *f = e->ctx;
	gpa_t gpa;
	enum emulate_result ret = translate(f, gva, (struct walk_access){ .write = true }, &gpa);
	int err;

	if (ret)
		return ret;
	err = guest_exchange(f->vcpu->vm->gm, gpa, old, new);
	return err ? host_failed(f, gpa, err) : EMULATE_DONE;
}

static enum emulate_result fetch(struct emulation *e, gva_t gva, void *buf, size_t len)
{
	struct finish *f = e->ctx;
	gpa_t gpa;
	enum emulate_result ret = translate(f, gva, (struct walk_access){ .fetch = true }, &gpa);

	if (ret)
		return ret;
	return guest_read(f->vcpu->vm->gm, gpa, buf, len) ? EMULATE_UNKNOWN : EMULATE_DONE;
}

/* ---- registers ---- */

static enum emulate_result load_fpu(struct emulation *e)
{
	struct finish *f = e->ctx;
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
	.read = read_operand,
	.write = write_operand,
	.exchange = exchange_operand,
	.load_fpu = load_fpu,
	.fetch = fetch,
};

static bool begin(struct finish *f, struct vcpu *vcpu)
{
	f->vcpu = vcpu;
	if (vcpu_read_state(vcpu, &f->state) || ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &f->events) ||
	    f->events.exception.injected)
		return false; /* an exception: an older KVM, which goes its own way */
	vcpu_walk_cpu(vcpu->vm, &f->state, &f->cpu);
	f->e = (struct emulation){
		.memory = &memory,
		.ctx = f,
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
