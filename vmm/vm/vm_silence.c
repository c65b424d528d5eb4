/* SPDX-License-Identifier: MIT */
/*
 * Finding out that a guest is dead: that each of its vCPUs has halted, and nothing can wake one.
 * With interrupt controllers KVM itself waits for the end of HLT, and says nothing.
 *
 * Looking takes the vCPUs out of the guest, so a guest that lives should hardly ever be looked at.
 * The main loop comes by when the guest has run for a quarter of a second, for half of one, for
 * one, and so on, in the end every LOOK_MAX_NS.  It goes on only if all of this is true since the
 * last time:
 *
 *   1. No vCPU came out of the guest.
 *   2. All vCPU threads together used next to no processor time.  This also tells a vCPU that
 *      computes, which has no exits either.
 *   3. No vCPU waits for memory.  It would not come out.
 *
 * Then it holds all vCPUs outside the guest, for one moment that is the same for all, and asks
 * silence.h about each of them.  The first that lives ends the look.
 */
#include <errno.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "doing.h"
#include "silence.h"
#include "vm_impl.h"

#define LOOK_FIRST_NS (NS_PER_S / 4)
#define LOOK_MAX_NS   (32 * NS_PER_S)
#define QUIET_SHARE   100 /* a vCPU that uses less than one part in so many is at rest */
#define HLT_BYTES     1	  /* RIP is behind it */
#define HOLD_MS	      50

static uint64_t sum_exits(const struct vm *vm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		for (unsigned int r = 0; r < KVM_NR_EXITS; r++)
			sum += __atomic_load_n(&vm->vcpu[i].exits[r], __ATOMIC_RELAXED);
	return sum;
}

static uint64_t sum_cpu_ns(const struct vm *vm)
{
	uint64_t sum = 0;
	clockid_t clock;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (!pthread_getcpuclockid(vm->vcpu[i].thread.id, &clock))
			sum += clock_ns(clock);
	return sum;
}

/* Is the guest at rest, by what can be seen from outside?  Remember it for the next time. */
static bool at_rest(struct vm *vm, uint64_t now)
{
	struct vm_silence was = vm->silence;
	struct gmem_stats mem;

	vm->silence.seen_ns = now;
	vm->silence.exits = sum_exits(vm);
	vm->silence.cpu_ns = sum_cpu_ns(vm);
	if (!was.seen_ns || vm->silence.exits != was.exits ||
	    vm->silence.cpu_ns - was.cpu_ns > (now - was.seen_ns) / QUIET_SHARE)
		return false;
	gmem_stats(vm->gm, &mem);
	return !mem.waiting_pages;
}

/* Has any driver ever touched a virtio device?  Only then can one interrupt the guest. */
static bool has_drivers(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i].exits[KVM_EXIT_MMIO] != vm->vcpu[i].mmio_on_ram)
			return true;
	return false;
}

/* The CMOS clock and ACPI's events raise nothing (vmm/dev/cmos.c, pm.c). */
static uint32_t device_lines(struct vm *vm)
{
	uint32_t lines = 0;

	if (uart_may_interrupt(vm->uart))
		lines |= 1u << QUIRE_UART_IRQ;
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS && has_drivers(vm); i++)
		if (vm->slot[i].device)
			lines |= 1u << QUIRE_VIRTIO_IRQ(i);
	return lines;
}

static bool read_chip(const struct vm *vm, uint32_t id, void *out, size_t bytes)
{
	struct kvm_irqchip chip = { .chip_id = id };

	if (ioctl(vm->kvm.vm_fd, KVM_GET_IRQCHIP, &chip))
		return false;
	memcpy(out, &chip.chip, bytes);
	return true;
}

static bool read_board(struct vm *vm, struct silence_board *board)
{
	board->lines = device_lines(vm);
	board->now_ns = (int64_t)monotonic_ns();
	return read_chip(vm, KVM_IRQCHIP_PIC_MASTER, &board->pic[0], sizeof(board->pic[0])) &&
	       read_chip(vm, KVM_IRQCHIP_PIC_SLAVE, &board->pic[1], sizeof(board->pic[1])) &&
	       read_chip(vm, KVM_IRQCHIP_IOAPIC, &board->ioapic, sizeof(board->ioapic)) &&
	       !ioctl(vm->kvm.vm_fd, KVM_GET_PIT2, &board->pit);
}

/* Is no vCPU alive?  *first becomes the registers of vCPU 0.  All vCPUs are held. */
static bool is_dead(struct vm *vm, struct vcpu_state *first)
{
	struct silence_board board;
	struct vcpu_state state;
	struct silence_cpu cpu;

	if (!read_board(vm, &board))
		return false;
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		if (vm_vcpu_rest(vm, i, HOLD_MS, &state, &cpu) ||
		    silence_of(&cpu, &board) == SILENCE_ALIVE)
			return false;
		if (!i)
			*first = state;
	}
	return true;
}

static void look(struct vm *vm)
{
	struct vcpu_state first = { .mp_state = 0 };
	bool dead = !vm_hold(vm, VM_HOLD_LOOK, HOLD_MS) && is_dead(vm, &first);

	vm_release(vm, VM_HOLD_LOOK);
	if (!dead)
		return;
	atomic_store(&vm->dead, true);
	vm_end(vm, QUIRE_STATUS_GUEST_MAX,
	       "the guest is dead: it halted at %#llx with interrupts %s, and nothing can wake it",
	       (unsigned long long)doing_rip(&first) - HLT_BYTES,
	       first.regs.rflags & RFLAGS_IF ? "on" : "off");
}

uint64_t vm_silence_tick(struct vm *vm)
{
	uint64_t now = monotonic_ns(), ran = now - vm->run_start_ns;
	bool rest;

	if (!vm->config.irqchip)
		return UINT64_MAX; /* then HLT comes to us (exit.c) */
	if (!vm->silence.next_ns)
		vm->silence.next_ns = vm->run_start_ns + LOOK_FIRST_NS;
	if (now < vm->silence.next_ns)
		return vm->silence.next_ns;
	vm->silence.next_ns = now + (ran < LOOK_MAX_NS ? ran : LOOK_MAX_NS);
	rest = at_rest(vm, now);
	if (rest && !atomic_load(&vm->paused) && !vm_is_ending(vm))
		look(vm);
	return vm->silence.next_ns;
}
