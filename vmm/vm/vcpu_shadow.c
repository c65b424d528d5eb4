/* SPDX-License-Identifier: MIT */
/*
 * A vCPU on shadow tables, between two exits.
 *
 * The virtual registers (cpu.state) are up to date whenever KVM_RUN has returned.  An access to a
 * device, which KVM completes at the next KVM_RUN, is completed at once, by one that does not enter
 * the guest.  An exception that KVM was about to raise when a signal came is taken from it, and is
 * ours from then on: the guest may be entered by other ways than where it was.
 *
 * The tables that the guest runs on follow from its registers.  They are asked for again only when
 * one of those has changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/monitor/registers.h"
#include "operand.h"
#include "vm_impl.h"
#include "vm_shadow.h"

#define MSR_LSTAR 0xc0000082u
#define DR6_START 0xffff0ff0u
#define DR7_START 0x400u

static struct vm_shadow *vm_shadow_of(const struct vcpu *vcpu)
{
	return vcpu->vm->shadow;
}

/* ---- what instructions access ---- */

static const struct emulate_memory memory = {
	.read = operand_read,
	.write = operand_write,
	.exchange = operand_exchange,
	.fetch = operand_fetch,
};

static const struct monitor_bus bus = { .io = vcpu_bus_io, .msr = vcpu_bus_msr };

/* ---- its tables ---- */

static void walk_cpu(const struct vcpu *vcpu, struct walk_cpu *out)
{
	const struct monitor_state *state = &vcpu->shadow->cpu.state;

	memset(out, 0, sizeof(*out)); /* it is compared */
	vcpu_walk_registers(vcpu->vm, &state->sregs, state->regs.rflags, out);
}

static bool is_user(const struct vcpu *vcpu)
{
	return emulate_cpl(&vcpu->shadow->cpu.state.sregs) == 3;
}

/* Find the tables for the registers as they are now.  Returns whether they are others. */
static bool find_root(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;
	bool user = is_user(vcpu);
	struct walk_cpu cpu;
	maddr_t old = s->root;

	walk_cpu(vcpu, &cpu);
	if (old && user == s->of_user && !memcmp(&cpu, &s->of, sizeof(cpu)))
		return false;
	s->root = gmem_shadow_root(vcpu->vm->gm, vcpu->id, old ? vcpu->run->s.regs.sregs.cr3 : 0,
				   &cpu, user);
	s->of = cpu;
	s->of_user = user;
	return s->root != old;
}

/* ---- beginning ---- */

/* What INIT leaves alone. */
static void power_up(struct vcpu *vcpu)
{
	vcpu->shadow->cpu.state = (struct monitor_state){
		.debug = { .dr6 = DR6_START, .dr7 = DR7_START },
		.msr.pat = 0x0007040600070406,
		.msr.misc_enable = VCPU_MISC_ENABLE,
		.xcr0 = 1,
		.shadow_rip = UINT64_MAX,
	};
}

int vcpu_shadow_init(struct vcpu *vcpu, struct quire_error *err)
{
	vcpu->shadow = calloc(1, sizeof(*vcpu->shadow));
	if (!vcpu->shadow)
		return quire_fail(err, -ENOMEM, "no memory for vCPU %u", vcpu->id);
	vcpu->shadow->cpu = (struct monitor_cpu){
		.memory = &memory,
		.bus = &bus,
		.features = &vm_shadow_of(vcpu)->features,
		.ctx = vcpu,
	};
	if (!vcpu->id)
		return 0;
	power_up(vcpu);
	vcpu->shadow->waits = true;
	if (!vcpu_set_msr(vcpu, MSR_LSTAR, world_lstar()))
		return quire_fail(err, -EIO, "KVM: cannot set LSTAR of vCPU %u", vcpu->id);
	return vcpu_real_init(vcpu, err);
}

void vcpu_shadow_finish(struct vcpu *vcpu)
{
	if (!vcpu->shadow)
		return;
	vcpu_real_finish(vcpu->shadow->real);
	free(vcpu->shadow);
	vcpu->shadow = NULL;
}

void vcpu_shadow_begin(struct vcpu *vcpu)
{
	struct kvm_sregs *real = &vcpu->run->s.regs.sregs;
	struct vcpu_shadow *s = vcpu->shadow;

	world_start(vm_shadow_of(vcpu)->world, vcpu->id, real);
	s->waits = false;
	s->place = WORLD_TRAPPED;
	s->root = 0;
	find_root(vcpu);
	real->cr3 = s->root;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

static int start(struct vcpu *vcpu, struct quire_error *err)
{
	const char *why = world_refuses(&vcpu->run->s.regs.sregs);
	struct monitor_state *state = &vcpu->shadow->cpu.state;

	if (why)
		return quire_fail(err, -EDOM,
				  "--paging=shadow cannot run this image as it starts: %s", why);
	power_up(vcpu);
	state->regs = vcpu->run->s.regs.regs;
	state->sregs = vcpu->run->s.regs.sregs;
	vcpu_shadow_begin(vcpu);
	return vcpu_set_msr(vcpu, MSR_LSTAR, world_lstar()) ?
		       0 :
		       quire_fail(err, -EIO, "KVM: cannot set LSTAR");
}

/* ---- into the guest ---- */

/* An interrupt that cannot be delivered yet can be after the next instruction. */
static enum world_way choose_way(const struct vcpu_shadow *s)
{
	bool shadow = s->accepted && (s->cpu.state.regs.rflags & RFLAGS_IF);

	return s->halted ? WORLD_HALT : shadow ? WORLD_STEP : WORLD_RUN;
}

/*
 * Prepare the next KVM_RUN.  The vCPU counts as in the guest from now on; but not if it only waits,
 * as it then uses no entry but the monitor's.  0; -errno: KVM cannot flush, and it does not.
 */
static int prepare(struct vcpu *vcpu)
{
	struct vm_shadow *v = vm_shadow_of(vcpu);
	struct vcpu_shadow *s = vcpu->shadow;
	bool others = find_root(vcpu);
	maddr_t stale[WORLD_MAX_LIST];
	struct world_entry entry = {
		.regs = &s->cpu.state.regs,
		.sregs = &s->cpu.state.sregs,
		.root = s->root,
		.stale = stale,
		.way = choose_way(s),
	};
	int nr = 0;

	if (!s->halted)
		nr = flush_begin(v->flush, vcpu->id, world_room(v->world, vcpu->id), stale,
				 &entry.forgotten);
	if (nr < 0)
		return nr;
	if (s->place != WORLD_TRAPPED && !others && !entry.forgotten && !nr)
		return 0;
	entry.nr_stale = (unsigned int)nr;
	s->way = entry.way;
	world_enter(v->world, vcpu->id, vcpu->run, &entry);
	if (nr || entry.forgotten)
		vcpu_count(&s->count.flushes);
	return 0;
}

/* After KVM_RUN: see where the vCPU is, and what the guest's registers are. */
static void look(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;

	s->place = world_leave(vm_shadow_of(vcpu)->world, vcpu->id, vcpu->run, &s->cpu.state.regs,
			       &s->cpu.state.sregs, &s->trap);
	s->trapped = s->place == WORLD_TRAPPED;
}

/*
 * Take from KVM the exception or the interrupt that it was about to raise in the guest.  A fault is
 * dropped: the instruction is done again, and KVM does not say all of it now (CR2, say).
 */
static int take_event(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;
	struct kvm_vcpu_events events;

	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events))
		return errno;
	if (events.exception.injected || events.exception.pending) {
		s->trap = (struct world_trap){ .vector = events.exception.nr };
		s->trapped = s->trap.vector < 32 && (TRAP_VECTORS >> s->trap.vector & 1);
		memset(&events.exception, 0, sizeof(events.exception));
		events.exception_has_payload = 0;
	} else if (events.interrupt.injected) {
		s->trap = (struct world_trap){ .vector = events.interrupt.nr, .interrupt = true };
		s->trapped = true;
		events.interrupt.injected = 0;
	} else {
		return 0;
	}
	if (s->trapped)
		s->place = WORLD_TRAPPED;
	return ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) ? errno : 0;
}

/*
 * KVM does INIT by itself, in KVM_RUN: then the vCPU has left the monitor, and is in real mode as a
 * processor is.  It waits for SIPI inside of KVM.
 */
bool vcpu_shadow_was_reset(struct vcpu *vcpu)
{
	const struct kvm_sync_regs *real = &vcpu->run->s.regs;
	struct vcpu_shadow *s = vcpu->shadow;

	if (real->sregs.cr0 & CR0_PE)
		return false;
	s->waits = true;
	s->halted = s->accepted = s->trapped = false;
	s->cpu.state.regs = real->regs;
	s->cpu.state.sregs = real->sregs;
	s->cpu.state.debug = (struct kvm_debugregs){ .dr6 = DR6_START, .dr7 = DR7_START };
	s->cpu.state.shadow_rip = UINT64_MAX;
	return true;
}

/* KVM has started it: it is to fetch its first instruction, and there is no memory. */
static bool is_started(const struct vcpu *vcpu)
{
	const struct kvm_sync_regs *real = &vcpu->run->s.regs;

	return vcpu->shadow->real && vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	       vcpu->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && !real->regs.rip &&
	       real->sregs.cs.base < MiB;
}

static int reset(struct vcpu *vcpu, int error)
{
	if (error || !is_started(vcpu))
		return error;
	return -vcpu_real_begin(vcpu) ?: EAGAIN;
}

static int run(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;
	int error;

	if (s->trapped) { /* a signal came between the trap and the OUT */
		vcpu->run->exit_reason = KVM_EXIT_IO;
		return 0;
	}
	error = s->waits ? 0 : -prepare(vcpu);
	if (error)
		return error;
	vcpu->run->kvm_valid_regs = WORLD_VALID_REGS;
	error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	flush_end(vm_shadow_of(vcpu)->flush, vcpu->id);
	if (vcpu_shadow_was_reset(vcpu))
		return reset(vcpu, error);
	look(vcpu);
	if (error == EINTR && s->place == WORLD_IN_GUEST)
		error = take_event(vcpu) ?: EINTR;
	return error;
}

/* ---- out of the guest ---- */

static bool crash(struct vcpu *vcpu, const char *what, const char *hint)
{
	struct crash crash = { .hint = "" };

	snprintf(crash.what, sizeof(crash.what), "%s", what);
	snprintf(crash.hint, sizeof(crash.hint), "%s", hint);
	return vcpu_crash(vcpu, &crash);
}

static int load_xcr0(const struct vcpu *vcpu)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };

	xcrs.xcrs[0].value = vcpu->shadow->cpu.state.xcr0;
	return ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) ? -errno : 0;
}

/*
 * Nothing of the guest's is where the monitor is: a breakpoint there would meet the monitor.  And
 * whoever asks for a debug register traps anyhow.
 */
static int load_debug(const struct vcpu *vcpu)
{
	struct kvm_debugregs debug = vcpu->shadow->cpu.state.debug;

	for (unsigned int i = 0; i < ARRAY_SIZE(debug.db); i++)
		if (debug.db[i] >= SHADOW_MONITOR_GVA && debug.db[i] < SHADOW_MONITOR_END)
			debug.dr7 &= ~(DR7_ENABLE << 2 * i);
	debug.dr7 &= ~(uint64_t)DR7_GD;
	return ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug) ? -errno : 0;
}

/* Do what the instruction asked for besides. */
static bool take_effect(struct vcpu *vcpu)
{
	struct monitor_cpu *cpu = &vcpu->shadow->cpu;
	struct walk_cpu walk;
	int ret = 0;

	walk_cpu(vcpu, &walk);
	if (cpu->effects & (MONITOR_CR3 | MONITOR_MODE))
		gmem_shadow_resync(vcpu->vm->gm);
	else if (cpu->effects & MONITOR_INVLPG)
		gmem_shadow_invlpg(vcpu->vm->gm, &walk, cpu->invlpg);
	if (cpu->effects & MONITOR_XCR0)
		ret = load_xcr0(vcpu);
	if (!ret && (cpu->effects & MONITOR_DEBUG))
		ret = load_debug(vcpu);
	if (ret)
		vm_end(vcpu->vm, QUIRE_STATUS_HOST, "KVM: cannot set registers: %s",
		       strerror(-ret));
	return !ret;
}

static void count_row(struct vcpu *vcpu)
{
	unsigned int row = vcpu->shadow->cpu.row;

	if (row < MONITOR_NR_ROWS)
		vcpu_count(&vcpu->shadow->count.emulated[row]);
	else
		vcpu_count(&vcpu->shadow->count.true_faults);
}

/* What has come of an exception or an interrupt.  Does the guest go on? */
static bool comes_of_it(struct vcpu *vcpu, enum monitor_result result)
{
	switch (result) {
	case MONITOR_HALT:
		if (!vcpu->vm->config.irqchip)
			return take_effect(vcpu) && vcpu_halted(vcpu);
		vcpu->shadow->halted = true;
		return take_effect(vcpu);
	case MONITOR_DONE: return take_effect(vcpu);
	case MONITOR_SHUTDOWN: return vcpu_triple_fault(vcpu);
	case MONITOR_UNKNOWN:
		return crash(vcpu, "an instruction cannot be emulated",
			     "it is at RIP below; docs/shadow.md lists what cannot be done on "
			     "shadow tables");
	case MONITOR_AGAIN: return true;
	case MONITOR_HOST: break;
	}
	return false;
}

/* Interrupt the guest, which ends its wait. */
static bool deliver(struct vcpu *vcpu, uint8_t vector)
{
	struct vcpu_shadow *s = vcpu->shadow;
	enum monitor_result result;

	do
		result = monitor_interrupt(&s->cpu, vector);
	while (result == MONITOR_AGAIN && vcpu_keeps_running(vcpu));
	s->halted = false;
	vcpu_count(&s->count.interrupts);
	return comes_of_it(vcpu, result);
}

/* Deliver the interrupt that has come, if the guest permits it now. */
static bool deliver_accepted(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;

	if (!s->accepted || !monitor_interruptible(&s->cpu))
		return true;
	s->accepted = false;
	return deliver(vcpu, s->vector);
}

/* Can the guest go on as it is now?  Else it crashes. */
static bool go_on(struct vcpu *vcpu)
{
	const char *why;
	char what[128];

	if (!deliver_accepted(vcpu))
		return false;
	why = world_refuses(&vcpu->shadow->cpu.state.sregs);
	if (!why)
		return vcpu_keeps_running(vcpu);
	snprintf(what, sizeof(what), "the guest cannot go on with --paging=shadow: %s", why);
	return crash(vcpu, what, "docs/shadow.md lists what cannot be done on shadow tables");
}

/* The exception is the guest's: an instruction to emulate, or one to be told of. */
static bool guests_own(struct vcpu *vcpu, const struct emulate_event *event)
{
	enum monitor_result result = monitor_exception(&vcpu->shadow->cpu, event);

	if (result == MONITOR_DONE || result == MONITOR_HALT)
		count_row(vcpu);
	return comes_of_it(vcpu, result) && go_on(vcpu);
}

static bool interrupt(struct vcpu *vcpu, uint8_t vector)
{
	struct vcpu_shadow *s = vcpu->shadow;

	s->accepted = true;
	s->vector = vector;
	return go_on(vcpu);
}

static bool no_memory(struct vcpu *vcpu, gva_t gva, int error)
{
	vm_end(vcpu->vm, error == -EDQUOT ? QUIRE_STATUS_OOM : QUIRE_STATUS_HOST,
	       "the host has no memory for the guest's address %#llx: %s", (unsigned long long)gva,
	       strerror(-error));
	return false;
}

static bool page_fault(struct vcpu *vcpu, const struct world_trap *trap)
{
	const struct walk_access access = {
		.user = is_user(vcpu),
		.write = trap->error & PF_W,
		.fetch = trap->error & PF_I,
		.set_ad = true,
	};
	struct emulate_event event = { .vector = PF, .has_error = true, .cr2 = trap->cr2 };
	struct walk_result res;
	struct walk_cpu cpu;
	int answer;

	walk_cpu(vcpu, &cpu);
	answer = gmem_shadow_fault(vcpu->vm->gm, &cpu, trap->cr2, access, &res);
	switch (answer) {
	case SHADOW_MAPPED:
		vcpu_count(&vcpu->shadow->count.hidden_faults);
		return vcpu_keeps_running(vcpu);
	case SHADOW_PAGE_FAULT: event.error = res.error_code; break;
	case SHADOW_NOT_CANONICAL:
		event = (struct emulate_event){ .vector = GP, .has_error = true };
		break;
	case SHADOW_BAD_MODE: return crash(vcpu, "the guest's paging mode cannot be shadowed", "");
	default: return no_memory(vcpu, trap->cr2, answer);
	}
	return guests_own(vcpu, &event);
}

static bool has_error(uint8_t vector)
{
	return vector < 32 && (ERROR_VECTORS >> vector & 1);
}

static void take_dr6(struct vcpu *vcpu)
{
	struct kvm_debugregs debug;

	if (!ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug))
		vcpu->shadow->cpu.state.debug.dr6 = debug.dr6;
}

#define DR6_BREAKPOINTS 0xfu

/* Is this the end of WORLD_STEP, and nothing else? */
static bool is_our_step(const struct vcpu_shadow *s)
{
	return s->way == WORLD_STEP && !(s->cpu.state.regs.rflags & FLAG_TF) &&
	       !(s->cpu.state.debug.dr6 & DR6_BREAKPOINTS);
}

/* An instruction was done that interrupts had to wait for. */
static bool stepped(struct vcpu *vcpu)
{
	struct monitor_state *state = &vcpu->shadow->cpu.state;

	state->shadow_rip = UINT64_MAX;
	state->debug.dr6 &= ~(uint64_t)DR6_BS;
	vcpu->shadow->cpu.effects = MONITOR_DEBUG;
	return take_effect(vcpu) && go_on(vcpu);
}

static bool trapped(struct vcpu *vcpu)
{
	struct vcpu_shadow *s = vcpu->shadow;
	const struct world_trap trap = s->trap;
	const struct emulate_event event = {
		.vector = trap.vector,
		.has_error = has_error(trap.vector),
		.error = trap.error,
	};

	s->trapped = false;
	if (trap.interrupt)
		return interrupt(vcpu, trap.vector);
	if (trap.vector == NMI) /* it asks nobody */
		return deliver(vcpu, NMI) && go_on(vcpu);
	if (trap.vector < VM_NR_EXCEPTIONS)
		vcpu_count(&s->count.exceptions[trap.vector]);
	if (trap.vector == PF)
		return page_fault(vcpu, &trap);
	if (trap.vector == DB)
		take_dr6(vcpu);
	if (trap.vector == DB && is_our_step(s))
		return stepped(vcpu);
	return guests_own(vcpu, &event);
}

static bool port_io(struct vcpu *vcpu)
{
	if (vcpu->shadow->trapped)
		return trapped(vcpu);
	return crash(vcpu, "the guest reached a port by itself", "");
}

/*
 * Let KVM complete the access, without entering the guest.  What was read may go to RAM: so whoever
 * takes a page away meanwhile has to wait.
 */
static int complete(struct vcpu *vcpu)
{
	struct flush *flush = vm_shadow_of(vcpu)->flush;
	struct kvm_run *run = vcpu->run;
	int error;

	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	run->kvm_valid_regs = WORLD_VALID_REGS;
	flush_finishing(flush, vcpu->id);
	error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	flush_end(flush, vcpu->id);
	__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (atomic_load(&vcpu->requests)) /* a kick that came just now */
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	return error;
}

/*
 * KVM may ask for the rest of the access, and for the next one of a string.  It may not be able to
 * do the instruction, or find that it raises an exception.
 */
static bool after_mmio(struct vcpu *vcpu)
{
	int error = complete(vcpu);

	while (!error && vcpu->run->exit_reason == KVM_EXIT_MMIO) {
		vcpu_serve_mmio(vcpu);
		error = complete(vcpu);
	}
	look(vcpu);
	if (!error)
		return vcpu_exit(vcpu);
	if (error == EINTR && vcpu->shadow->place == WORLD_IN_GUEST)
		error = take_event(vcpu) ?: EINTR;
	return error == EINTR && vcpu_keeps_running(vcpu);
}

/* KVM is not asked: it would do INIT and SIPI meanwhile. */
static int read_state(struct vcpu *vcpu, struct vcpu_state *state)
{
	const struct vcpu_shadow *s = vcpu->shadow;

	*state = (struct vcpu_state){
		.regs = s->cpu.state.regs,
		.sregs = s->cpu.state.sregs,
		.mp_state = s->waits  ? KVM_MP_STATE_UNINITIALIZED :
			    s->halted ? KVM_MP_STATE_HALTED :
					KVM_MP_STATE_RUNNABLE,
	};
	return 0;
}

/*
 * KVM emulates an instruction here only if it is for a device, and does not know this one.  To the
 * guest's user it is #UD, as finish_instruction() has it.
 */
static bool finish(struct vcpu *vcpu)
{
	const struct emulate_event undefined = { .vector = UD };
	struct vcpu_shadow *s = vcpu->shadow;

	if (!is_user(vcpu))
		return false;
	switch (monitor_reflect(&s->cpu, &undefined, MONITOR_FAULT, 0)) {
	case MONITOR_DONE:
		s->place = WORLD_TRAPPED; /* it is to be entered with other registers */
		vcpu_count(&s->count.true_faults);
		return true;
	case MONITOR_SHUTDOWN: vcpu_triple_fault(vcpu); return true;
	default: return false;
	}
}

const struct vcpu_ops vcpu_shadow_ops = {
	.start = start,
	.run = run,
	.read_state = read_state,
	.port_io = port_io,
	.after_mmio = after_mmio,
	.finish = finish,
};
