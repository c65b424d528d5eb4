/* SPDX-License-Identifier: MIT */
/*
 * vCPUs: how one is made, how it starts, and how a running one is reached.
 *
 * Registers travel in the shared struct kvm_run (KVM_CAP_SYNC_REGS) and not by ioctl.  The first
 * KVM_RUN takes the start state along.  To read the state is one KVM_RUN with immediate_exit set:
 * that also completes an instruction whose I/O has just been served, so RIP never points at an
 * access that is already done.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cpuid.h"
#include "finish.h"
#include "message.h"
#include "sandbox.h"
#include "vcpu.h"
#include "vm_impl.h"
#include "vm_shadow.h"

#define KICK_SIGNAL SIGRTMIN

#define CR0_PE	     (1u << 0)
#define CR0_ET	     (1u << 4)
#define CR0_PG	     (1u << 31)
#define CR4_PAE	     (1u << 5)
#define EFER_LME     (1u << 8)
#define EFER_LMA     (1u << 10)
#define RFLAGS_FIXED 2u

#define MSR_MISC_ENABLE 0x1a0u

#define APIC_BASE_ENABLE (1u << 11) /* of IA32_APIC_BASE */

#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define TSS_SELECTOR  0x18

static void on_kick(int sig)
{
	(void)sig; /* its only effect is that KVM_RUN returns -EINTR */
}

static void install_kick_handler(void)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(KICK_SIGNAL, &action, NULL);
}

/* A kick that was sent before this is pending, and arrives now. */
static void open_kick_signal(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

uint32_t vcpu_tsc_khz(const struct vcpu *vcpu)
{
	int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint32_t)khz : 0;
}

static void warn_of_features(const struct cpu_features *wish, struct kvm_cpuid2 *seen)
{
	char names[200];

	cpu_features_left(wish, seen, names, sizeof(names));
	if (*names)
		message("--cpu: this host's KVM shows the guest %s all the same", names);
}

/* What the guest sees: some hosts cannot hide all that the processor has. */
static uint32_t read_features(const struct vcpu *vcpu)
{
	struct kvm_cpuid2 *seen = cpuid_copy(vcpu->vm->kvm.cpuid);
	uint32_t features = 0;

	if (seen && !ioctl(vcpu->fd, KVM_GET_CPUID2, seen)) {
		features = emulate_features(cpuid_find(seen, 1, 0), cpuid_find(seen, 7, 0));
		if (!vcpu->id)
			warn_of_features(&vcpu->vm->config.features, seen);
		if (!vcpu->id && vcpu->vm->shadow)
			vm_shadow_set_features(vcpu->vm, seen);
	}
	free(seen);
	return features;
}

static int set_cpuid(struct vcpu *vcpu, struct quire_error *err)
{
	struct kvm *kvm = &vcpu->vm->kvm;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { 1 } };

	uint32_t khz = vcpu->id ? 0 : vcpu_tsc_khz(vcpu); /* the same for all */

	if (khz)
		cpuid_set_tsc(kvm->cpuid, khz);
	cpuid_set_apic_id(kvm->cpuid, vcpu->id);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, kvm->cpuid))
		return quire_fail(err, -errno, "KVM: ioctl(SET_CPUID2) failed: %s",
				  strerror(errno));
	vcpu->features = read_features(vcpu);
	(void)vcpu_set_msr(vcpu, MSR_MISC_ENABLE, VCPU_MISC_ENABLE); /* not all have it */
	if (kvm->pv_enforced) /* a courtesy: without it only the CPUID bits are hidden */
		(void)ioctl(vcpu->fd, KVM_ENABLE_CAP, &cap);
	return 0;
}

bool vcpu_set_msr(const struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct { /* as struct kvm_msrs */
		uint32_t nmsrs, pad;
		struct kvm_msr_entry entry;
	} msrs = { .nmsrs = 1, .entry = { .index = index, .data = value } };

	return ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) == 1;
}

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned int id, struct quire_error *err)
{
	int ret;

	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->ops = vm->shadow ? &vcpu_shadow_ops : &vcpu_kvm_ops;
	vcpu->fd = ioctl(vm->kvm.vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (vcpu->fd < 0)
		return quire_fail(err, -errno, "KVM: ioctl(CREATE_VCPU %u) failed: %s", id,
				  strerror(errno));
	vcpu->run = mmap(NULL, vm->kvm.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		ret = quire_fail(err, -errno, "KVM: mmap of vCPU %u failed: %s", id,
				 strerror(errno));
	} else {
		ret = set_cpuid(vcpu, err);
	}
	if (!ret && vm->shadow)
		ret = vcpu_shadow_init(vcpu, err);
	if (ret)
		vcpu_finish(vcpu);
	return ret;
}

void vcpu_finish(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->kvm.run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu_shadow_finish(vcpu);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

/* ---- start state ---- */

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/*
 * PVH and multiboot ask for the same state: 32-bit protected mode, paging off, flat 4 GiB segments,
 * interrupts off.  PVH also asks for a loaded 32-bit TSS (base 0, limit 0x67).  Neither promises a
 * descriptor table, and there is none.
 */
static void start_protected(struct kvm_sregs *s, struct kvm_regs *r, const struct image_plan *plan)
{
	s->cs = flat_segment(CODE_SELECTOR, 0xb);
	s->ds = s->es = s->fs = s->gs = s->ss = flat_segment(DATA_SELECTOR, 0x3);
	s->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = TSS_SELECTOR,
		.type = 0xb,
		.present = 1,
	};
	s->ldt = (struct kvm_segment){ .unusable = 1 };
	s->gdt = (struct kvm_dtable){ 0 };
	s->idt = (struct kvm_dtable){ 0 };
	s->cr0 = CR0_PE | CR0_ET;
	s->cr4 = 0;
	r->rip = plan->entry;
	r->rax = plan->eax;
	r->rbx = plan->ebx;
}

/*
 * Linux's 32-bit entry: the same state, with a GDT that describes the segments, and ESI at
 * boot_params (Documentation/arch/x86/boot.rst, "32-bit Boot Protocol").
 */
static void start_linux32(struct kvm_sregs *s, struct kvm_regs *r, const struct image_plan *plan)
{
	start_protected(s, r, plan);
	s->cs.selector = IMAGE_GDT_CODE;
	s->ds.selector = s->es.selector = s->ss.selector = IMAGE_GDT_DATA;
	s->fs.selector = s->gs.selector = IMAGE_GDT_DATA;
	s->gdt = (struct kvm_dtable){
		.base = plan->gdt,
		.limit = IMAGE_GDT_ENTRIES * sizeof(uint64_t) - 1,
	};
	r->rsi = plan->esi;
}

/* Its 64-bit entry ("64-bit Boot Protocol"): long mode, in an address space that is physical. */
static void start_linux64(struct kvm_sregs *s, struct kvm_regs *r, const struct image_plan *plan)
{
	start_linux32(s, r, plan);
	s->cs.l = 1;
	s->cs.db = 0;
	s->cr3 = plan->cr3;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->cr0 |= CR0_PG;
}

/* The state in which a BIOS enters a boot sector: at 0:7c00, with the first hard disk in DL. */
static void start_real(struct kvm_sregs *s, struct kvm_regs *r, const struct image_plan *plan)
{
	s->cs.base = 0;
	s->cs.selector = 0;
	r->rip = plan->entry;
	r->rsp = plan->entry;
	r->rdx = 0x80;
}

static void (*const start[IMAGE_NR_KINDS])(struct kvm_sregs *s, struct kvm_regs *r,
					   const struct image_plan *plan) = {
	[IMAGE_PVH64] = start_protected,     [IMAGE_PVH32] = start_protected,
	[IMAGE_LINUX64] = start_linux64,     [IMAGE_LINUX32] = start_linux32,
	[IMAGE_MULTIBOOT] = start_protected, [IMAGE_MULTIBOOT2] = start_protected,
	[IMAGE_FLAT] = start_real,
};

int vcpu_set_start(struct vcpu *vcpu, const struct image_plan *plan, struct quire_error *err)
{
	struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
	struct kvm_regs *regs = &vcpu->run->s.regs.regs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, sregs))
		return quire_fail(err, -errno, "KVM: ioctl(GET_SREGS) failed: %s", strerror(errno));
	memset(regs, 0, sizeof(*regs));
	regs->rflags = RFLAGS_FIXED;
	start[plan->kind](sregs, regs, plan);
	return vcpu->ops->start(vcpu, err);
}

static int start_kvm(struct vcpu *vcpu, struct quire_error *err)
{
	(void)err;
	vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	return 0;
}

/* ---- running ---- */

/* From here to the end of its loop, vcpus_used_ns() counts it. */
static void start_clock(struct vcpu *vcpu)
{
	clockid_t clock;

	if (!pthread_getcpuclockid(pthread_self(), &clock))
		atomic_store(&vcpu->clock, clock);
}

uint64_t vcpus_used_ns(const struct vm *vm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		clockid_t clock = atomic_load(&vm->vcpu[i].clock);

		sum += clock ? clock_ns(clock) : 0;
	}
	return sum;
}

static void vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;

	open_kick_signal();
	start_clock(vcpu);
	sandbox_thread(SANDBOX_VCPU);
	/* vm_run() has the lock until the main loop is in the sandbox too. */
	lock(&vcpu->vm->lock);
	unlock(&vcpu->vm->lock);
	vcpu_loop(vcpu);
	atomic_store(&vcpu->clock, 0);
	lock(&vcpu->vm->lock);
	vcpu->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	vcpu->done = true;
	pthread_cond_broadcast(&vcpu->vm->changed);
	unlock(&vcpu->vm->lock);
	vm_wake(vcpu->vm);
}

int vcpu_start(struct vcpu *vcpu, struct quire_error *err)
{
	char name[THREAD_NAME_MAX + 1];
	int ret;

	if (!vcpu->id)
		install_kick_handler();
	snprintf(name, sizeof(name), "vcpu %u", vcpu->id);
	ret = thread_start(&vcpu->thread, name, vcpu_thread, vcpu);
	return ret ? quire_fail(err, ret, "cannot start a thread for vCPU %u: %s", vcpu->id,
				strerror(-ret)) :
		     0;
}

void vcpu_kick(struct vcpu *vcpu, unsigned int request)
{
	atomic_fetch_or(&vcpu->requests, request);
	__atomic_store_n(&__atomic_load_n(&vcpu->run, __ATOMIC_SEQ_CST)->immediate_exit, 1,
			 __ATOMIC_SEQ_CST);
	if (!atomic_exchange(&vcpu->kicked, true))
		pthread_kill(vcpu->thread.id, KICK_SIGNAL);
	wait_port_tell(&vcpu->vm->wait_port); /* the signal may come just before it waits */
}

int vcpu_read_state(struct vcpu *vcpu, struct vcpu_state *state)
{
	return vcpu->ops->read_state(vcpu, state);
}

static int read_kvm_state(struct vcpu *vcpu, struct vcpu_state *state)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_mp_state mp;
	int ret;

	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	ret = ioctl(vcpu->fd, KVM_RUN, 0);
	run->kvm_valid_regs = 0;
	/* immediate_exit stays set, because a kick may need it: vcpu_loop() clears it on -EINTR. */
	if (!ret || errno != EINTR)
		return ret ? -errno : -EIO;
	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp))
		return -errno;
	*state = (struct vcpu_state){
		.regs = run->s.regs.regs,
		.sregs = run->s.regs.sregs,
		.mp_state = mp.mp_state,
	};
	return 0;
}

static int run_kvm(struct vcpu *vcpu)
{
	return ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
}

const struct vcpu_ops vcpu_kvm_ops = {
	.start = start_kvm,
	.run = run_kvm,
	.read_state = read_kvm_state,
	.port_io = vcpu_port_io,
	.after_mmio = vcpu_keeps_running,
	.finish = finish_instruction,
};

int vcpu_read_rest(struct vcpu *vcpu, const struct vcpu_state *state, struct silence_cpu *rest)
{
	*rest = (struct silence_cpu){
		.mp_state = state->mp_state,
		.interrupts = state->regs.rflags & RFLAGS_IF,
		.apic = state->sregs.apic_base & APIC_BASE_ENABLE,
	};
	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &rest->events) ||
	    ioctl(vcpu->fd, KVM_GET_LAPIC, &rest->lapic))
		return -errno;
	return 0;
}
