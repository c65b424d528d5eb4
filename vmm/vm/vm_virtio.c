/* SPDX-License-Identifier: MIT */
/*
 * A VM's virtio devices: which kinds there are, who is in which slot, and what binds a slot to KVM
 * and to guest memory.
 *
 * Slots are filled in the order of the table, and within a row in the order of the command line, so
 * that a device is where it was the last time.  Slot 0 is the balloon's, and empty without one.
 *
 * Interrupts are pulses of an edge-triggered line, by writes to an irqfd.  So no thread in the
 * sandbox needs a system call of KVM's for them.  An 8259 keeps the pulse of a masked line.  An I/O
 * APIC forgets it, and the next pulse comes (virtio_mmio.c).  A line that stays up until the driver
 * acknowledges the reason (KVM_IRQFD_FLAG_RESAMPLE) would wake a thread at each end of an
 * interrupt.  And if such a line rose while an I/O APIC that wants edges was masked, nothing would
 * ever lower it, and there would be no further edge.
 *
 * The irqfd is registered when the VM is made: that takes 2 us and does not delay the VM's close.
 * A pulse by irqfd is no faster than two KVM_IRQ_LINE, because a worker of the kernel passes it on.
 * On the development machine the handler of a halted guest runs 16 to 20 us after the write began,
 * and 13 to 15 us after the ioctls began; the caller is busy for 28 and 26 us, because it wakes
 * others up.  A driver that waits for each buffer gets a buffer through in 91 and in 69 us.
 *
 * An ioeventfd, the doorbell, is registered when the driver says DRIVER_OK.  That takes 3 to 10 us,
 * and once took 2 ms.  The close of a VM whose I/O bus changed in the last 10 ms of its life waits
 * for a grace period, and a guest without a driver should not pay for this.  The vCPU does it: a
 * change of KVM's bus waits for vCPUs inside KVM, which may wait for memory, and the main loop must
 * not wait for that.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "message.h"
#include "sandbox.h"
#include "vm_impl.h"

/* The balloon is the first, because slot 0 is its own. */
static const struct vm_device *const table[] = {
	&vm_balloon_device, &vm_console_device, &vm_disk_device, &vm_net_device, &vm_rng_device,
};

#define NR_KINDS (sizeof(table) / sizeof(table[0]))

/* ---- who is where ---- */

struct place {
	const struct vm_device *device;
	unsigned int index; /* of the slot */
	unsigned int nth;   /* of its kind */
};

/* Returns how many devices there are, though place[] has room for QUIRE_VIRTIO_SLOTS only. */
static unsigned int find_places(const struct vm_config *config,
				struct place place[QUIRE_VIRTIO_SLOTS])
{
	unsigned int nr = 0, index = 0;

	for (unsigned int kind = 0; kind < NR_KINDS; kind++) {
		unsigned int count = table[kind]->count(config);

		for (unsigned int nth = 0; nth < count; nth++, nr++, index++)
			if (index < QUIRE_VIRTIO_SLOTS)
				place[nr] = (struct place){ table[kind], index, nth };
		if (!index)
			index = 1;
	}
	return index > QUIRE_VIRTIO_SLOTS ? index : nr;
}

unsigned int vm_virtio_slots(const struct vm_config *config,
			     struct virtio_slot slot[QUIRE_VIRTIO_SLOTS])
{
	struct place place[QUIRE_VIRTIO_SLOTS];
	unsigned int nr = find_places(config, place);

	static_assert(QUIRE_VIRTIO_IRQS >> 4 * (QUIRE_VIRTIO_SLOTS - 1) < 16, "no line too many");
	static_assert(QUIRE_VIRTIO_IRQ(QUIRE_VIRTIO_SLOTS - 1) != 0, "each slot has a line");
	for (unsigned int i = 0; i < nr && nr <= QUIRE_VIRTIO_SLOTS; i++)
		slot[i] = (struct virtio_slot){
			.name = place[i].device->name,
			.base = QUIRE_VIRTIO_BASE((uint64_t)place[i].index),
			.bytes = QUIRE_MMIO_BYTES,
			.irq = QUIRE_VIRTIO_IRQ(place[i].index),
			.index = place[i].index,
		};
	return nr;
}

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

struct virtio_memory vm_slot_memory(struct vm_slot *slot)
{
	return (struct virtio_memory){
		.read = on_read,
		.write = on_write,
		.hold = on_hold,
		.release = on_release,
		.ctx = slot->vm,
		.ram = slot->vm->ram,
		.nr_ram = slot->vm->nr_ram,
	};
}

/* ---- KVM ---- */

void vm_slot_interrupt(void *ctx)
{
	uint64_t one = 1;

	if (write(((struct vm_slot *)ctx)->irq_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: KVM is about to look */
}

void vm_slot_cue(void *ctx)
{
	wait_port_tell(&((struct vm_slot *)ctx)->vm->wait_port);
}

/* Once: a guest may reset its device and break it again and again. */
void vm_slot_stopped(void *ctx, const char *why)
{
	struct vm_slot *slot = ctx;

	if (!atomic_exchange(&slot->said, true))
		message("the guest's virtio %s stopped: %s; it goes on when its driver resets it",
			slot->device->name, why);
}

void vm_slot_wake(void *ctx)
{
	vm_wake(((struct vm_slot *)ctx)->vm);
}

/* If KVM cannot do this, notifications come as exits, as before. */
void vm_slot_arm(void *ctx, unsigned int n, bool on)
{
	struct vm_slot *slot = ctx;
	struct kvm_ioeventfd io = {
		.datamatch = n,
		.addr = QUIRE_VIRTIO_BASE((uint64_t)slot->index) + VIRTIO_MMIO_NOTIFY,
		.len = 4,
		.fd = slot->doorbell_fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (on)
		atomic_fetch_or(&slot->doorbell_queues, 1u << n);
	else
		atomic_fetch_and(&slot->doorbell_queues, ~(1u << n));
	(void)ioctl(slot->vm->kvm.vm_fd, KVM_IOEVENTFD, &io);
}

int vm_slot_open_doorbell(struct vm_slot *slot)
{
	slot->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return slot->doorbell_fd < 0 ? -errno : 0;
}

static int create_irq(struct vm_slot *slot)
{
	struct kvm_irqfd irqfd = { .gsi = QUIRE_VIRTIO_IRQ(slot->index) };

	slot->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (slot->irq_fd < 0)
		return -errno;
	irqfd.fd = (uint32_t)slot->irq_fd;
	return ioctl(slot->vm->kvm.vm_fd, KVM_IRQFD, &irqfd) ? -errno : 0;
}

/* ---- the main loop's side ---- */

int vm_virtio_doorbell(const struct vm_slot *slot)
{
	return slot->device && slot->device->notify ? slot->doorbell_fd : -1;
}

void vm_virtio_ring(struct vm_slot *slot)
{
	unsigned int queues = atomic_load(&slot->doorbell_queues);
	uint64_t rings;

	if (read(slot->doorbell_fd, &rings, sizeof(rings)) != sizeof(rings))
		return;
	for (unsigned int n = 0; queues >> n; n++)
		if (queues & (1u << n))
			slot->device->notify(slot, n);
}

uint64_t vm_virtio_tick(struct vm *vm)
{
	uint64_t until = UINT64_MAX;

	if (atomic_load(&vm->paused))
		return UINT64_MAX;
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		if (vm->slot[i].device && vm->slot[i].device->tick)
			until = min_u64(until, vm->slot[i].device->tick(&vm->slot[i]));
	return until;
}

void vm_virtio_pause(struct vm *vm, bool on)
{
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		if (vm->slot[i].device && vm->slot[i].device->pause)
			vm->slot[i].device->pause(&vm->slot[i], on);
}

/* ---- a thread of the device's own ---- */

void vm_slot_knock(void *ctx)
{
	uint64_t one = 1;

	if (write(((struct vm_slot *)ctx)->doorbell_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: the thread is awake */
}

static void serve_slot(void *arg)
{
	struct vm_slot *slot = arg;
	uint64_t rings;

	sandbox_thread(SANDBOX_DEVICE);
	while (!atomic_load(&slot->stopping)) {
		struct pollfd fds[2] = { { .fd = slot->doorbell_fd, .events = POLLIN } };

		fds[1] = slot->device->serve(slot);
		if (poll(fds, 2, -1) > 0 && fds[0].revents &&
		    read(slot->doorbell_fd, &rings, sizeof(rings)) < 0)
			continue; /* nothing to drain */
	}
	if (slot->device->drain)
		slot->device->drain(slot);
}

int vm_slot_start(struct vm_slot *slot, struct quire_error *err)
{
	int ret = thread_start(&slot->thread, slot->device->name, serve_slot, slot);

	return ret ? quire_fail(err, ret, "cannot start a thread for the %s: %s",
				slot->device->name, strerror(-ret)) :
		     0;
}

void vm_slot_stop(struct vm_slot *slot)
{
	atomic_store(&slot->stopping, true);
	if (slot->thread.started)
		vm_slot_knock(slot);
	thread_join(&slot->thread);
}

/* ---- life ---- */

static int create_device(struct vm *vm, const struct place *place, struct quire_error *err)
{
	struct vm_slot *slot = &vm->slot[place->index];
	int ret;

	*slot = (struct vm_slot){
		.vm = vm,
		.index = place->index,
		.device = place->device,
		.irq_fd = -1,
		.doorbell_fd = -1,
	};
	ret = vm->config.irqchip ? create_irq(slot) : 0;
	if (ret)
		return quire_fail(err, ret, "cannot create an irqfd: %s", strerror(-ret));
	return place->device->create(slot, place->nth, err);
}

int vm_virtio_create(struct vm *vm, struct quire_error *err)
{
	struct place place[QUIRE_VIRTIO_SLOTS];
	unsigned int nr = find_places(&vm->config, place);
	int ret = 0;

	if (nr > QUIRE_VIRTIO_SLOTS)
		return quire_fail(err, -EDOM, "there is no room for so many virtio devices");
	for (unsigned int i = 0; i < nr && !ret; i++)
		ret = create_device(vm, &place[i], err);
	return ret;
}

void vm_virtio_wake(struct vm *vm)
{
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		if (vm->slot[i].device && vm->slot[i].thread.started)
			vm_slot_knock(&vm->slot[i]);
}

int vm_virtio_start(struct vm *vm, struct quire_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS && !ret; i++)
		if (vm->slot[i].device && vm->slot[i].device->start)
			ret = vm->slot[i].device->start(&vm->slot[i], err);
	return ret;
}

void vm_virtio_stop(struct vm *vm)
{
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++)
		if (vm->slot[i].device && vm->slot[i].device->stop)
			vm->slot[i].device->stop(&vm->slot[i]);
}

void vm_virtio_destroy(struct vm *vm)
{
	vm_virtio_stop(vm);
	for (unsigned int i = 0; i < QUIRE_VIRTIO_SLOTS; i++) {
		struct vm_slot *slot = &vm->slot[i];

		if (!slot->device)
			continue;
		slot->device->destroy(slot);
		if (slot->doorbell_fd >= 0)
			close(slot->doorbell_fd);
		if (slot->irq_fd >= 0)
			close(slot->irq_fd);
	}
}
