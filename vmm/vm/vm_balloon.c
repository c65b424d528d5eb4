/* SPDX-License-Identifier: MIT */
/*
 * A VM's balloon: the device bound to guest memory, KVM and the main loop.
 *
 * How notifications come.  A write to QueueNotify is an exit, and the vCPU serves the queue.  With
 * an ioeventfd the write ends inside the kernel: the main loop serves the queue, and the vCPU goes
 * on.  On the development machine the guest spends 14 us on a notification by exit if KVM emulates
 * it, and about 75 us at CPL 3; by ioeventfd it spends 3 and 43 us.  But then the main loop has to
 * wake up and to interrupt the guest before the driver gets its buffer back, which costs more than
 * was saved.  So an ioeventfd pays where serving takes long and the vCPU has something else to do:
 *
 *   1. The inflate queue has one.  A list of 256 pages takes 1.2 to 4 ms if no two of them are
 *      neighbours, and 17 us if all are one run.
 *   2. Without an interrupt controller a driver can only poll, but it may do other work between two
 *      looks, if there is a CPU for the main loop.  If there is none, the vCPU serves the queue.
 *   3. Reports are served by the vCPU where a block of 2 MiB is one page of the host: a block takes
 *      21 us, a report of 32 of them 0.7 ms.  With --hugepages=never, 512 single pages take 0.4 to
 *      0.9 ms and a vCPU would stand still for up to 30 ms, so reports have the ioeventfd too.
 *
 * One eventfd is enough for both queues, because a look at an empty queue is cheap.
 *
 * When the ioeventfd is registered.  That takes 3 to 10 us, and once took 2 ms.  The close of a VM
 * whose I/O bus changed in the last 10 ms of its life waits for a grace period.  A guest without a
 * driver should not pay for this, so the ioeventfd is registered when the driver says DRIVER_OK.
 * That vCPU does it: a change of KVM's bus waits for vCPUs inside KVM, which may wait for memory,
 * and the main loop must not wait for that.
 *
 * Interrupts are pulses of an ISA line, which is edge-triggered, by writes to an irqfd.  So no
 * thread in the sandbox needs a system call of KVM's for them.  An 8259 keeps the pulse of a masked
 * line.  An I/O APIC forgets it, and the next pulse comes (virtio_mmio.c).  A line that stays up
 * until the driver acknowledges the reason (KVM_IRQFD_FLAG_RESAMPLE) would wake the main loop at
 * each end of an interrupt.  And if such a line rose while an I/O APIC that wants edges was masked,
 * nothing would ever lower it, and there would be no further edge.
 *
 * The irqfd is registered when the VM is made: that takes 2 us and does not delay the VM's close.
 * A pulse by irqfd is no faster than two KVM_IRQ_LINE, because a worker of the kernel passes it on.
 * On the same machine the handler of a halted guest runs 16 to 20 us after the write began, and 13
 * to 15 us after the ioctls began; the caller is busy for 28 and 26 us, because it wakes others up.
 * A driver that waits for each buffer gets a buffer through in 91 and in 69 us.  Linux puts 256
 * pages into a buffer.
 */
#include <errno.h>
#include <quire/abi.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "sandbox.h"
#include "vm_impl.h"

/* Statistics that are older than 10 s count as none (stale_ns in balloon_policy.c). */
#define STATS_PERIOD_NS	 NS_PER_S
#define STATS_LONGEST_NS (9 * NS_PER_S)

/* ---- guest memory ---- */

static int on_read(void *ctx, gpa_t gpa, void *buf, size_t len)
{
	return guest_read(((struct vm *)ctx)->gm, gpa, buf, len);
}

static int on_write(void *ctx, gpa_t gpa, const void *buf, size_t len)
{
	return guest_write(((struct vm *)ctx)->gm, gpa, buf, len);
}

static int on_hold(void *ctx, gpa_t gpa, size_t len)
{
	return gmem_hold(((struct vm *)ctx)->gm, gpa, len);
}

static void on_release(void *ctx, gpa_t gpa, size_t len)
{
	gmem_release(((struct vm *)ctx)->gm, gpa, len);
}

static int on_inflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	return gmem_balloon(((struct vm *)ctx)->gm, gfn, nr, gone);
}

static int on_deflate(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	return gmem_unballoon(((struct vm *)ctx)->gm, gfn, nr, gone);
}

static int on_report(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone)
{
	return gmem_drop(((struct vm *)ctx)->gm, gfn, nr, gone);
}

static void on_reset(void *ctx)
{
	struct vm *vm = ctx;
	struct gmem_stats stats;

	gmem_stats(vm->gm, &stats);
	for (unsigned int i = 0; i < vm->nr_ram && stats.s2.pages[PG_BALLOONED]; i++)
		gmem_unballoon(vm->gm, vm->ram[i].start, vm->ram[i].end - vm->ram[i].start, NULL);
}

/* ---- KVM ---- */

static void on_interrupt(void *ctx)
{
	uint64_t one = 1;

	if (write(((struct vm *)ctx)->irq_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: KVM is about to look */
}

static void on_cue(void *ctx)
{
	wait_port_tell(&((struct vm *)ctx)->wait_port);
}

static int create_irq(struct vm *vm)
{
	struct kvm_irqfd irqfd = { .gsi = QUIRE_BALLOON_IRQ };

	vm->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->irq_fd < 0)
		return -errno;
	irqfd.fd = (uint32_t)vm->irq_fd;
	return ioctl(vm->kvm.vm_fd, KVM_IRQFD, &irqfd) ? -errno : 0;
}

/* If KVM cannot do this, notifications come as exits, as before. */
static void on_arm(void *ctx, unsigned int n, bool on)
{
	struct vm *vm = ctx;
	struct kvm_ioeventfd io = {
		.datamatch = n,
		.addr = QUIRE_BALLOON_BASE + VIRTIO_MMIO_NOTIFY,
		.len = 4,
		.fd = vm->doorbell_fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (on)
		atomic_fetch_or(&vm->doorbell_queues, 1u << n);
	else
		atomic_fetch_and(&vm->doorbell_queues, ~(1u << n));
	(void)ioctl(vm->kvm.vm_fd, KVM_IOEVENTFD, &io);
}

static void on_wake(void *ctx)
{
	vm_wake(ctx);
}

static bool on_doze(void *ctx)
{
	struct vm *vm = ctx;

	return !atomic_exchange(&gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->still, true);
}

static uint64_t on_now(void *ctx)
{
	(void)ctx;
	return monotonic_ns();
}

/* ---- the main loop's side ---- */

void vm_balloon_ring(struct vm *vm)
{
	unsigned int queues = atomic_load(&vm->doorbell_queues);
	uint64_t rings;

	if (read(vm->doorbell_fd, &rings, sizeof(rings)) != sizeof(rings))
		return;
	for (unsigned int n = 0; queues >> n; n++)
		if (queues & (1u << n))
			balloon_notify(vm->balloon, n);
}

void vm_balloon_pause(struct vm *vm, bool on)
{
	if (vm->balloon)
		balloon_pause(vm->balloon, on);
}

uint64_t vm_balloon_tick(struct vm *vm)
{
	if (!vm->balloon || atomic_load(&vm->paused))
		return UINT64_MAX;
	return balloon_tick(vm->balloon);
}

uint64_t vm_balloon_period(const struct vm *vm)
{
	return balloon_period_ns(vm->balloon);
}

void vm_set_balloon(struct vm *vm, uint64_t pages, bool manual)
{
	if (!vm->balloon || balloon_set_target(vm->balloon, pages))
		return;
	vm->balloon_manual = manual;
}

void vm_balloon_record(struct vm *vm, struct balloon_record *out)
{
	*out = (struct balloon_record){ .mode = BALLOON_MODE_OFF };
	if (!vm->balloon)
		return;
	balloon_record(vm->balloon, out);
	out->mode = vm->config.balloon;
	out->manual = vm->balloon_manual;
}

/* ---- life ---- */

/* Is there a CPU for the main loop besides the one that a vCPU polls on? */
static bool has_second_cpu(void)
{
	cpu_set_t cpus;

	return !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) > 1;
}

int vm_balloon_create(struct vm *vm)
{
	bool irqchip = vm->config.irqchip, async = irqchip || has_second_cpu();
	struct balloon_config config = {
		.mem = {
			.read = on_read, .write = on_write, .hold = on_hold,
			.release = on_release, .ctx = vm,
			.ram = vm->ram, .nr_ram = vm->nr_ram,
		},
		.memory = {
			.inflate = on_inflate, .deflate = on_deflate, .report = on_report,
			.reset = on_reset, .ctx = vm,
		},
		.base = QUIRE_BALLOON_BASE,
		.stats_period_ns = STATS_PERIOD_NS,
		.stats_longest_ns = STATS_LONGEST_NS,
		.now_ns = on_now,
		.async_inflate = async,
		.async_report = irqchip && vm->config.hugepages == GMEM_HUGE_NEVER,
		.interrupt = irqchip ? on_interrupt : NULL,
		.cue = on_cue,
		.arm = async ? on_arm : NULL,
		.wake = on_wake,
		.doze = on_doze,
		.ctx = vm,
	};

	if (vm->config.balloon == BALLOON_MODE_OFF)
		return 0;
	gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->stir = on_wake;
	gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->ctx = vm;
	if (irqchip) {
		int ret = create_irq(vm);

		if (ret)
			return ret;
	}
	if (async) {
		vm->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vm->doorbell_fd < 0)
			return -errno;
	}
	return balloon_create(&config, &vm->mmio, &vm->balloon);
}

void vm_balloon_destroy(struct vm *vm)
{
	balloon_destroy(vm->balloon);
	if (vm->doorbell_fd >= 0)
		close(vm->doorbell_fd);
	if (vm->irq_fd >= 0)
		close(vm->irq_fd);
}
