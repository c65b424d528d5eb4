/* SPDX-License-Identifier: MIT */
/*
 * The exit loop: enter the guest, see why it came back, do what it asks for, enter it again.
 *
 * Three results of KVM_RUN look like errors and are not:
 *
 *   1. -EINTR.  A signal came or immediate_exit was set, because somebody wants this thread
 *      (vcpu.h).
 *
 *   2. -EFAULT, without an address.  The host could not let the guest touch the window just then.
 *      Our own changes of the window leave no such moment (window.c), but others may, and it
 *      passes.  gmem_repair() waits for a change that is under way, and the vCPU enters the guest
 *      again.  If the very same registers fault again and again for a second, although no page has
 *      changed its state and the guest has not come out in between, it would never get further.
 *      That is reported as a crash.
 *
 *   3. KVM_EXIT_MMIO on a RAM address.  This is the same moment, seen by KVM's instruction
 *      emulator: it cannot do the access, takes it for one to a device, and hands it to us *once*.
 *      KVM never tries it again, so we do it through the accessors; otherwise a write would be
 *      lost.
 *
 * Nothing here depends on whether a page fault was a read or a write: kvm.c says why, under
 * "Asynchronous page faults".
 */
#include <errno.h>
#include <quire/abi.h>
#include <string.h>
#include <time.h>
#include "vm_impl.h"

/* So many -EFAULTs in a row without progress are a crash.  After the first few we sleep between. */
#define EFAULT_LIMIT	1100
#define EFAULT_SPINS	100
#define EFAULT_SLEEP_NS 1000000

/* Configuration mechanism 1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2). */
#define PCI_PORT     0xcf8
#define PCI_PORT_END 0xd00

/* Each handler returns true if the vCPU is to enter the guest again. */

bool vcpu_keeps_running(struct vcpu *vcpu)
{
	return !atomic_load(&vcpu->vm->stopping);
}

/* ---- crashes ---- */

static void add_data(struct crash *crash, const void *data, unsigned int nr)
{
	if (nr > CRASH_MAX_DATA)
		nr = CRASH_MAX_DATA;
	memcpy(crash->data, data, nr * sizeof(uint64_t));
	crash->nr_data = nr;
}

/*
 * KVM on AMD processors resets a vCPU that has shut down.  Its registers then tell nothing of the
 * fault, and no guest of ours is ever where a reset leaves them: that is the BIOS's.
 */
static bool was_reset(const struct vcpu *vcpu, const struct vcpu_state *s)
{
	return vcpu->run->exit_reason == KVM_EXIT_SHUTDOWN && s->regs.rip == 0xfff0 &&
	       s->sregs.cs.base == 0xffff0000;
}

bool vcpu_crash(struct vcpu *vcpu, struct crash *crash)
{
	crash->cpu = vcpu->id;
	if (vcpu_read_state(vcpu, &crash->state))
		crash->no_state = "they could not be read";
	else if (was_reset(vcpu, &crash->state))
		crash->no_state =
			"lost, because KVM resets a vCPU of this processor that shuts down";
	vm_end_crash(vcpu->vm, crash);
	return false;
}

bool vcpu_triple_fault(struct vcpu *vcpu)
{
	struct crash crash = {
		.what = "triple fault",
		.hint = "an exception could not be delivered, nor the double fault after it: check "
			"the IDT, the handler's code and stack, and the walks below",
	};

	return vcpu_crash(vcpu, &crash);
}

static bool internal_error(struct vcpu *vcpu)
{
	static const char *const names[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "KVM cannot emulate the instruction",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an event could not be delivered",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "unexpected hardware exit",
	};
	uint32_t why = vcpu->run->internal.suberror;
	const char *name = why < ARRAY_SIZE(names) ? names[why] : NULL;
	struct crash crash = { .hint = "" };

	if (why == KVM_INTERNAL_ERROR_EMULATION && vcpu->ops->finish(vcpu))
		return vcpu_keeps_running(vcpu);
	snprintf(crash.what, sizeof(crash.what), "KVM internal error %u: %s", why,
		 name ? name : "unknown");
	if (why == KVM_INTERNAL_ERROR_EMULATION)
		strcpy(crash.hint,
		       "it is at RIP below; some hosts emulate supervisor code and know fewer "
		       "instructions than a processor, docs/images.md says what to do there");
	add_data(&crash, vcpu->run->internal.data, vcpu->run->internal.ndata);
	return vcpu_crash(vcpu, &crash);
}

static bool fail_entry(struct vcpu *vcpu)
{
	struct crash crash = { .hint = "the processor refused the guest's state" };

	snprintf(crash.what, sizeof(crash.what),
		 "the guest cannot be entered, hardware reason %#llx",
		 (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
	return vcpu_crash(vcpu, &crash);
}

static bool unknown_exit(struct vcpu *vcpu)
{
	struct crash crash = { .hint = "" };

	snprintf(crash.what, sizeof(crash.what), "unexpected exit %u (%s)", vcpu->run->exit_reason,
		 kvm_exit_name(vcpu->run->exit_reason));
	add_data(&crash, vcpu->run->padding, 4);
	return vcpu_crash(vcpu, &crash);
}

/* ---- accesses ---- */

/* If nothing is at the port and that is where PCI would be, it is said at a bad end. */
void vcpu_ports(struct vcpu *vcpu, bool out, uint16_t port, unsigned int bytes, void *data,
		unsigned int nr)
{
	struct bus *ports = &vcpu->vm->ports;
	bool taken = out ? bus_write(ports, port, bytes, data, nr) :
			   bus_read(ports, port, bytes, data, nr);

	if (!taken && port >= PCI_PORT && port < PCI_PORT_END)
		atomic_store(&vcpu->vm->probed_pci, true);
}

bool vcpu_port_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	vcpu_ports(vcpu, run->io.direction == KVM_EXIT_IO_OUT, run->io.port, run->io.size,
		   (char *)run + run->io.data_offset, run->io.count);
	return vcpu_keeps_running(vcpu);
}

/* Do an access to RAM for KVM.  0; -EFAULT: it is not RAM. */
static int access_ram(struct vcpu *vcpu, struct kvm_run *run)
{
	struct gmem *gm = vcpu->vm->gm;

	if (run->mmio.is_write)
		return guest_write(gm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	return guest_read(gm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

void vcpu_serve_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vm *vm = vcpu->vm;
	int ret = access_ram(vcpu, run);

	if (!ret) {
		vcpu_count(&vcpu->mmio_on_ram);
	} else if (ret != -EFAULT) {
		vm_end(vm, QUIRE_STATUS_HOST, "the host has no memory for guest page %#llx: %s",
		       (unsigned long long)run->mmio.phys_addr, strerror(-ret));
	} else if (run->mmio.is_write) {
		bus_write(&vm->mmio, run->mmio.phys_addr, run->mmio.len, run->mmio.data, 1);
	} else {
		bus_read(&vm->mmio, run->mmio.phys_addr, run->mmio.len, run->mmio.data, 1);
	}
}

static bool mmio(struct vcpu *vcpu)
{
	vcpu_serve_mmio(vcpu);
	return vcpu->ops->after_mmio(vcpu);
}

/*
 * This exit comes only without an irqchip, and then there is one vCPU.  With one, KVM itself waits
 * for the interrupt, and vm_silence.c finds out if none can come.
 */
bool vcpu_halted(struct vcpu *vcpu)
{
	atomic_store(&vcpu->vm->dead, true);
	vm_end(vcpu->vm, QUIRE_STATUS_GUEST_MAX,
	       "the guest is dead: it halted, and without an interrupt controller nothing can wake "
	       "it; --irqchip=on gives it one");
	return false;
}

/* ---- KVM_RUN that fails ---- */

static void publish_state(struct vcpu *vcpu, bool with_rest)
{
	struct vcpu_state state;
	struct silence_cpu rest;

	if (vcpu_read_state(vcpu, &state) || (with_rest && vcpu_read_rest(vcpu, &state, &rest)))
		return; /* whoever asked times out */
	lock(&vcpu->vm->lock);
	vcpu->state = state;
	if (with_rest)
		vcpu->rest = rest;
	vcpu->state_ready = true;
	pthread_cond_broadcast(&vcpu->vm->changed);
	unlock(&vcpu->vm->lock);
}

static bool interrupted(struct vcpu *vcpu)
{
	unsigned int requests;

	vcpu_count(&vcpu->interrupts);
	atomic_store(&vcpu->kicked, false);
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	requests = atomic_exchange(&vcpu->requests, 0);
	if (requests & (VCPU_STATE | VCPU_REST))
		publish_state(vcpu, requests & VCPU_REST);
	if (atomic_load(&vcpu->vm->paused))
		vcpu_park(vcpu);
	return !(requests & VCPU_STOP) && vcpu_keeps_running(vcpu);
}

/*
 * Is the guest where it was at the last -EFAULT, and has the window not changed since?  Remember
 * both for the next time.
 */
static bool is_stuck(struct vcpu *vcpu, uint64_t changes)
{
	bool changed = changes != vcpu->efault_changes;
	struct vcpu_state state;
	bool moved;

	vcpu->efault_changes = changes;
	if (vcpu_read_state(vcpu, &state))
		return !changed;
	moved = memcmp(&state.regs, &vcpu->efault_regs, sizeof(state.regs)) != 0;
	vcpu->efault_regs = state.regs;
	return !moved && !changed;
}

static bool window_fault(struct vcpu *vcpu)
{
	struct timespec pause = { .tv_nsec = EFAULT_SLEEP_NS };
	struct crash crash = {
		.what = "an access keeps failing with EFAULT",
		.hint = "KVM finds no host memory behind a RAM page; the guest did nothing wrong",
	};

	if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT_39)
		add_data(&crash, vcpu->run->padding, 3); /* flags, gpa, size */
	if (!is_stuck(vcpu, gmem_repair(vcpu->vm->gm)))
		vcpu->efaults_in_vain = 0;
	else if (++vcpu->efaults_in_vain > EFAULT_LIMIT)
		return vcpu_crash(vcpu, &crash);
	else if (vcpu->efaults_in_vain > EFAULT_SPINS)
		nanosleep(&pause, NULL);
	return vcpu_keeps_running(vcpu);
}

static bool run_failed(struct vcpu *vcpu, int error)
{
	switch (error) {
	case EINTR: return interrupted(vcpu);
	case EAGAIN: /* a waiting vCPU was sent INIT or SIPI */ return vcpu_keeps_running(vcpu);
	case EFAULT: return window_fault(vcpu);
	case EHWPOISON:
		vm_end(vcpu->vm, QUIRE_STATUS_HOST,
		       "the host's memory failed under the guest "
		       "(uncorrected machine check)");
		return false;
	}
	vm_end(vcpu->vm, QUIRE_STATUS_HOST, "KVM: ioctl(RUN) of vCPU %u failed: %s", vcpu->id,
	       strerror(error));
	return false;
}

static void count_exit(struct vcpu *vcpu, uint32_t reason)
{
	vcpu_count(&vcpu->exits[reason < KVM_NR_EXITS ? reason : 0]);
}

bool vcpu_exit(struct vcpu *vcpu)
{
	vcpu->efaults_in_vain = 0;
	count_exit(vcpu, vcpu->run->exit_reason);
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO: return vcpu->ops->port_io(vcpu);
	case KVM_EXIT_MMIO: return mmio(vcpu);
	case KVM_EXIT_INTR: return interrupted(vcpu);
	case KVM_EXIT_HLT: return vcpu_halted(vcpu);
	case KVM_EXIT_SHUTDOWN: return vcpu_triple_fault(vcpu);
	case KVM_EXIT_INTERNAL_ERROR: return internal_error(vcpu);
	case KVM_EXIT_FAIL_ENTRY: return fail_entry(vcpu);
	default: return unknown_exit(vcpu);
	}
}

void vcpu_loop(struct vcpu *vcpu)
{
	bool again = true;

	while (again) {
		int error = vcpu->ops->run(vcpu);

		again = error ? run_failed(vcpu, error) : vcpu_exit(vcpu);
	}
}
