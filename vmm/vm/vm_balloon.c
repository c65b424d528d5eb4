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
 * One eventfd is enough for both queues, because a look at an empty queue is cheap.  Linux puts 256
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

/* ---- the clock ---- */

static bool on_doze(void *ctx)
{
	struct vm *vm = ((struct vm_slot *)ctx)->vm;

	return !atomic_exchange(&gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->still, true);
}

static uint64_t on_now(void *ctx)
{
	(void)ctx;
	return monotonic_ns();
}

/* ---- the main loop's side ---- */

/* NULL: there is none. */
static struct balloon *balloon_of(const struct vm *vm)
{
	return vm->slot[0].dev;
}

static void notify(struct vm_slot *slot, unsigned int n)
{
	balloon_notify(slot->dev, n);
}

static void set_pause(struct vm_slot *slot, bool on)
{
	balloon_pause(slot->dev, on);
}

static uint64_t tick(struct vm_slot *slot)
{
	return balloon_tick(slot->dev);
}

uint64_t vm_balloon_period(const struct vm *vm)
{
	return balloon_period_ns(balloon_of(vm));
}

void vm_set_balloon(struct vm *vm, uint64_t pages, bool manual)
{
	if (!balloon_of(vm) || balloon_set_target(balloon_of(vm), pages))
		return;
	vm->balloon_manual = manual;
}

void vm_balloon_record(struct vm *vm, struct balloon_record *out)
{
	*out = (struct balloon_record){ .mode = BALLOON_MODE_OFF };
	if (!balloon_of(vm))
		return;
	balloon_record(balloon_of(vm), out);
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

static unsigned int count(const struct vm_config *config)
{
	return config->balloon != BALLOON_MODE_OFF;
}

static int create(struct vm_slot *slot, unsigned int nth, struct quire_error *err)
{
	struct vm *vm = slot->vm;
	bool irqchip = vm->config.irqchip, async = irqchip || has_second_cpu();
	struct balloon_config config = {
		.virtio = vm_slot_virtio(slot),
		.memory = {
			.inflate = on_inflate, .deflate = on_deflate, .report = on_report,
			.reset = on_reset, .ctx = vm,
		},
		.stats_period_ns = STATS_PERIOD_NS,
		.stats_longest_ns = STATS_LONGEST_NS,
		.now_ns = on_now,
		.async_inflate = async,
		.async_report = irqchip && vm->config.hugepages == GMEM_HUGE_NEVER,
		.doze = on_doze,
	};
	struct balloon *balloon = NULL;
	int ret = async ? vm_slot_open_doorbell(slot) : 0;

	(void)nth;
	if (!async)
		config.virtio.arm = NULL;
	config.virtio.stopped = NULL; /* `quire balloon` tells of a driver that broke a rule */
	gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->stir = vm_slot_wake;
	gmem_dozer(vm->gm, GMEM_DOZER_BALLOON)->ctx = slot;
	if (!ret)
		ret = balloon_create(&config, &vm->mmio, &balloon);
	slot->dev = balloon;
	return ret ? quire_fail(err, ret, "cannot create the balloon: %s", strerror(-ret)) : 0;
}

static void destroy(struct vm_slot *slot)
{
	balloon_destroy(slot->dev);
}

const struct vm_device vm_balloon_device = {
	.name = "balloon",
	.count = count,
	.create = create,
	.destroy = destroy,
	.notify = notify,
	.tick = tick,
	.pause = set_pause,
};
