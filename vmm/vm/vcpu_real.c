/* SPDX-License-Identifier: MIT */
/*
 * A vCPU on shadow tables, from SIPI until its code is flat.
 *
 * A processor that is started begins in real mode, with code of 16 bits, which cannot run on shadow
 * tables.  So it runs on another vCPU of KVM, of a VM that has nothing but the RAM that real mode
 * can reach, at the guest's own addresses.  Its pages are held meanwhile.  All else that the code
 * names is no memory there: KVM makes exits of the accesses, and we do them.  So whatever the code
 * does, it reaches nothing that the books do not know of.
 *
 * KVM stops after each instruction.  As soon as the registers are such that the monitor can go on
 * with them, it does.  Before that, paging cannot be switched on, and an interrupt cannot come.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/monitor/registers.h"
#include "vm_impl.h"
#include "vm_shadow.h"

#define REACH	   (MiB + 64 * KiB) /* ffff:ffff, and a page */
#define MOST_STEPS 100000u
#define HLT	   0xf4
#define APIC_BASE  0xfee00800u /* enabled; this VM has none */

/* The vCPU's other half: its own when it runs here, else that of real mode. */
struct vcpu_real {
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	unsigned int steps; /* since SIPI */
	bool loaded;	    /* KVM has its registers */
};

uint64_t vcpu_real_bytes(const struct vm *vm)
{
	return min_u64(REACH, gfn_to_gpa(vm->ram[0].end));
}

int vcpu_real_init(struct vcpu *vcpu, struct quire_error *err)
{
	const struct kvm *kvm = &vcpu->vm->kvm;
	struct vcpu_real *real = calloc(1, sizeof(*real));

	if (!real)
		return quire_fail(err, -ENOMEM, "no memory for vCPU %u", vcpu->id);
	vcpu->shadow->real = real;
	real->run_bytes = kvm->run_bytes;
	real->fd = ioctl(kvm->real_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->id);
	if (real->fd < 0)
		return quire_fail(err, -errno, "KVM: ioctl(CREATE_VCPU %u) failed: %s", vcpu->id,
				  strerror(errno));
	real->run = mmap(NULL, real->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, real->fd, 0);
	if (real->run == MAP_FAILED)
		real->run = NULL;
	if (!real->run || ioctl(real->fd, KVM_SET_CPUID2, kvm->cpuid))
		return quire_fail(err, -errno, "KVM: cannot set up vCPU %u: %s", vcpu->id,
				  strerror(errno));
	return 0;
}

void vcpu_real_finish(struct vcpu_real *real)
{
	if (!real)
		return;
	if (real->run)
		munmap(real->run, real->run_bytes);
	if (real->fd >= 0)
		close(real->fd);
	free(real);
}

int vcpu_real_descriptor(const struct vcpu *vcpu)
{
	return vcpu->shadow && vcpu->shadow->real ? vcpu->shadow->real->fd : -1;
}

/* A kick that went to the other half is not lost: its request was there before. */
static void swap_halves(struct vcpu *vcpu)
{
	struct vcpu_real *real = vcpu->shadow->real;
	struct kvm_run *run = real->run;
	int fd = real->fd;

	real->fd = vcpu->fd;
	real->run = vcpu->run;
	vcpu->fd = fd;
	__atomic_store_n(&vcpu->run, run, __ATOMIC_SEQ_CST);
	if (atomic_load(&vcpu->requests))
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

int vcpu_real_begin(struct vcpu *vcpu)
{
	const struct kvm_sync_regs *from = &vcpu->run->s.regs;
	struct vcpu_real *real = vcpu->shadow->real;
	struct kvm_sync_regs *to = &real->run->s.regs;
	int ret = gmem_hold(vcpu->vm->gm, 0, vcpu_real_bytes(vcpu->vm));

	if (ret)
		return ret;
	to->regs = from->regs;
	to->sregs = from->sregs;
	to->sregs.apic_base = APIC_BASE;
	real->steps = 0;
	real->loaded = false;
	vcpu->shadow->waits = false;
	swap_halves(vcpu);
	vcpu->ops = &vcpu_real_ops;
	return 0;
}

/* What was written is noted now, so that shadow tables and the keeper look at it anew. */
static void release(struct vcpu *vcpu)
{
	struct gmem *gm = vcpu->vm->gm;
	uint64_t bytes = vcpu_real_bytes(vcpu->vm);

	if (!gmem_hold(gm, 0, bytes))
		gmem_release(gm, 0, bytes);
	gmem_release(gm, 0, bytes);
}

/* Go on in the monitor; or, halted, wait there for INIT. */
static void end(struct vcpu *vcpu, bool halted)
{
	struct monitor_state *state = &vcpu->shadow->cpu.state;

	swap_halves(vcpu);
	vcpu->ops = &vcpu_shadow_ops;
	release(vcpu);
	state->sregs.apic_base = vcpu->run->s.regs.sregs.apic_base;
	state->sregs.cr8 = vcpu->run->s.regs.sregs.cr8;
	vcpu->shadow->halted = halted;
	vcpu_shadow_begin(vcpu);
}

static int crash(struct vcpu *vcpu, const char *what)
{
	struct crash crash = { .hint = "docs/shadow.md says what a vCPU can do before its code is "
				       "flat" };

	snprintf(crash.what, sizeof(crash.what), "started by SIPI, %s", what);
	vcpu_crash(vcpu, &crash);
	return EAGAIN; /* and not again */
}

/* Have KVM take the registers, before it is told to step. */
static int load(struct vcpu *vcpu)
{
	struct vcpu_real *real = vcpu->shadow->real;
	struct kvm_run *run = vcpu->run;
	int error;

	run->kvm_dirty_regs = WORLD_VALID_REGS;
	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	real->loaded = error == EINTR;
	__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (atomic_load(&vcpu->requests)) /* a kick that came just now */
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	return real->loaded ? 0 : error ?: EIO;
}

/* One instruction.  Code in real mode may switch off the stepping (POPF), so it is asked for. */
static int step(struct vcpu *vcpu)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };
	struct monitor_state *state = &vcpu->shadow->cpu.state;
	int error;

	if (ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug))
		return errno;
	vcpu->run->kvm_valid_regs = WORLD_VALID_REGS;
	error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
	state->regs = vcpu->run->s.regs.regs;
	state->sregs = vcpu->run->s.regs.sregs;
	return error;
}

/* After an instruction. */
static int stepped(struct vcpu *vcpu)
{
	const struct kvm_sregs *s = &vcpu->shadow->cpu.state.sregs;

	if (!world_refuses(s) && s->cs.db)
		end(vcpu, false);
	else if (s->cr0 & CR0_PG)
		return crash(vcpu, "it switched paging on before its code was flat");
	else if (++vcpu->shadow->real->steps > MOST_STEPS)
		return crash(vcpu, "it stays in code of 16 bits");
	return EAGAIN;
}

/* Some KVMs step over HLT as if it did nothing. */
static bool is_at_halt(const struct vcpu *vcpu)
{
	const struct kvm_sync_regs *now = &vcpu->run->s.regs;
	uint8_t byte;

	return !guest_read(vcpu->vm->gm, now->sregs.cs.base + now->regs.rip, &byte, 1) &&
	       byte == HLT;
}

/* RIP is behind the HLT. */
static int halted(struct vcpu *vcpu)
{
	if (vcpu->shadow->cpu.state.regs.rflags & RFLAGS_IF)
		return crash(vcpu, "it waits for an interrupt in code of 16 bits");
	end(vcpu, true);
	return EAGAIN;
}

static int run(struct vcpu *vcpu)
{
	int error = vcpu->shadow->real->loaded ? 0 : load(vcpu);

	if (!error && is_at_halt(vcpu)) {
		vcpu->shadow->cpu.state.regs.rip++;
		return halted(vcpu);
	}
	if (!error)
		error = step(vcpu);
	if (error)
		return error;
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_DEBUG: return stepped(vcpu);
	case KVM_EXIT_HLT: return halted(vcpu); /* STI and HLT were one step */
	default: return 0;
	}
}

static int read_state(struct vcpu *vcpu, struct vcpu_state *state)
{
	return vcpu_shadow_ops.read_state(vcpu, state);
}

static bool finish(struct vcpu *vcpu)
{
	(void)vcpu;
	return false;
}

const struct vcpu_ops vcpu_real_ops = {
	.run = run,
	.read_state = read_state,
	.port_io = vcpu_port_io,
	.after_mmio = vcpu_keeps_running,
	.finish = finish,
};
