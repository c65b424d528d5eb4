/* SPDX-License-Identifier: MIT */
/*
 * Virtio over memory-mapped registers, version 2 (VIRTIO 1.2, section 4.2 "Virtio Over MMIO").
 *
 * What a driver does, in this order: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues,
 * DRIVER_OK.  FEATURES_OK stays clear if the driver accepted what was not offered, or did not
 * accept VERSION_1.  The device ignores what comes out of order: features after FEATURES_OK, queues
 * before it or while they are in use, DRIVER_OK before it, notifications before DRIVER_OK.  Status
 * bits can only be set; writing 0 is a reset.  On DRIVER_OK every queue is served once, because
 * Linux fills and notifies the balloon's statistics queue before that.
 *
 * Registers are 32 bits wide, and accesses of another width do nothing.  The configuration space
 * takes 1, 2, 4 or 8 bytes.  VIRTIO_F_RING_RESET and F_NOTIFICATION_DATA are not offered, and there
 * is no shared memory.
 *
 * Notifications.  A write to QueueNotify is an exit, and the vCPU serves the queue before it goes
 * on.  So a driver that polls finds its buffers used when the write is done.  A device may call a
 * queue async: its driver can wait for an interrupt while the vCPU does something else.  Such a
 * queue is announced through `arm` on DRIVER_OK, so that a guest without a driver pays nothing;
 * `arm` may do nothing.  What is to be done outside a vCPU is a bit in `deferred`, for
 * virtio_poll().
 *
 * Interrupts.  Each reason is noted in InterruptStatus and then signalled, whether the driver has
 * acknowledged the last one or not.  A controller may have lost the last one (an I/O APIC forgets
 * the edge of a line that is masked), and then the next must come nevertheless.  A driver
 * acknowledges an interrupt before it looks at what it is about.  So it may be told of what it has
 * seen already, but it misses nothing.
 */
#include <errno.h>
#include <quire/abi.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/locks.h"
#include "bus.h"
#include "virtio.h"

enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_NOTIFY,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC = 0x080, /* low half, high half at + 4 */
	REG_QUEUE_DRIVER = 0x090,
	REG_QUEUE_DEVICE = 0x0a0,
	REG_SHM_LEN = 0x0b0,
	REG_SHM_BASE = 0x0b8,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

#define MAGIC	  0x74726976u /* "virt" */
#define VENDOR_ID 0x52495551u /* "QUIR" */

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER	   2u
#define STATUS_DRIVER_OK   4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u
#define STATUS_FAILED	   128u
#define STATUS_DRIVERS	   (STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FAILED)

#define IRQ_USED   1u
#define IRQ_CONFIG 2u

#define F_INDIRECT  (1ULL << 28)
#define F_EVENT_IDX (1ULL << 29)
#define F_VERSION_1 (1ULL << 32)
#define F_TRANSPORT (F_INDIRECT | F_EVENT_IDX | F_VERSION_1)

/* [I] immutable after create   [d] lock   [a] atomic */
struct virtio {
	const struct virtio_ops *ops;
	void *dev;
	struct virtio_config config; /* [I] */

	struct lock lock;
	uint32_t device_sel, driver_sel, queue_sel; /* [d] */
	uint64_t features;			    /* [d] accepted by the driver */
	bool beyond; /* [d] it accepted one above 63 too, which is never offered */
	struct virtq queue[VIRTIO_MAX_QUEUES]; /* [d] */
	unsigned int armed;		       /* [d] queues that were announced to config.arm */

	atomic_uint status;	     /* [a] written with the lock */
	atomic_uint irq_status;	     /* [a] */
	atomic_uint generation;	     /* [a] */
	atomic_uint deferred;	     /* [a] queues that virtio_poll() is to serve */
	_Atomic(const char *) error; /* [a] */
};

/* ---- interrupts ---- */

static void tell_cue(struct virtio *v)
{
	if (v->config.cue)
		v->config.cue(v->config.ctx);
}

static void interrupt(struct virtio *v, uint32_t why)
{
	atomic_fetch_or(&v->irq_status, why);
	tell_cue(v);
	if (v->config.interrupt)
		v->config.interrupt(v->config.ctx);
}

bool virtio_running(const struct virtio *v)
{
	unsigned int status = atomic_load(&v->status);

	return (status & STATUS_DRIVER_OK) && !(status & (STATUS_NEEDS_RESET | STATUS_FAILED));
}

const char *virtio_error(const struct virtio *v)
{
	return atomic_load(&v->error);
}

void virtio_config_changed(struct virtio *v)
{
	atomic_fetch_add(&v->generation, 1);
	if (virtio_running(v))
		interrupt(v, IRQ_CONFIG);
}

/* ---- serving queues; the lock is held ---- */

static void disarm(struct virtio *v)
{
	for (unsigned int n = 0; n < VIRTIO_MAX_QUEUES; n++)
		if (v->armed & (1u << n))
			v->config.arm(v->config.ctx, n, false);
	v->armed = 0;
}

/*
 * The driver broke a rule: stop, and say so.  Queues stay armed until the reset.  To disarm one is
 * a change of KVM's bus, which waits for vCPUs; this may be the main loop, which must not wait for
 * them and may not change the bus.
 */
static void needs_reset(struct virtio *v, const char *why)
{
	bool running = virtio_running(v);

	atomic_store(&v->error, why);
	atomic_fetch_or(&v->status, STATUS_NEEDS_RESET);
	atomic_fetch_add(&v->generation, 1);
	if (v->config.stopped)
		v->config.stopped(v->config.ctx, why);
	if (running)
		interrupt(v, IRQ_CONFIG);
}

static void serve(struct virtio *v, unsigned int n)
{
	struct virtq *q = &v->queue[n];
	uint16_t returned = q->next_used;
	int more, wants;

	if (!virtio_running(v) || !q->ready)
		return;
	more = v->ops->serve(v->dev, n);
	if (q->next_used != returned)
		tell_cue(v);
	wants = more < 0 ? 0 : virtq_wants_interrupt(q);
	if (more < 0 || wants < 0)
		needs_reset(v, q->error);
	else if (wants)
		interrupt(v, IRQ_USED);
	if (more == VIRTIO_MORE)
		virtio_defer(v, n);
}

void virtio_defer(struct virtio *v, unsigned int n)
{
	atomic_fetch_or(&v->deferred, 1u << n);
	if (v->config.wake)
		v->config.wake(v->config.ctx);
}

/* A vCPU was told of queue n. */
static void notified(struct virtio *v, unsigned int n)
{
	if (v->ops->own_thread & (1u << n))
		virtio_defer(v, n);
	else
		serve(v, n);
}

/* Serve what was deferred, and let go of the lock.  True: there is more. */
static bool serve_deferred(struct virtio *v)
{
	unsigned int due = atomic_exchange(&v->deferred, 0);

	for (unsigned int n = 0; n < v->ops->nr_queues; n++)
		if (due & (1u << n))
			serve(v, n);
	unlock(&v->lock);
	return atomic_load(&v->deferred);
}

bool virtio_poll(struct virtio *v)
{
	if (!atomic_load(&v->deferred))
		return false;
	return !lock_try(&v->lock) || serve_deferred(v);
}

bool virtio_serve(struct virtio *v)
{
	if (!atomic_load(&v->deferred))
		return false;
	lock(&v->lock);
	return serve_deferred(v);
}

/* ---- status; the lock is held ---- */

static uint64_t offered(const struct virtio *v)
{
	return v->ops->features(v->dev) | F_TRANSPORT;
}

static void reset(struct virtio *v)
{
	disarm(v);
	atomic_store(&v->status, 0);
	atomic_store(&v->error, NULL);
	atomic_store(&v->deferred, 0);
	if (v->ops->reset)
		v->ops->reset(v->dev);
	v->device_sel = v->driver_sel = v->queue_sel = 0;
	v->features = 0;
	v->beyond = false;
	for (unsigned int n = 0; n < VIRTIO_MAX_QUEUES; n++) {
		virtq_stop(&v->queue[n]);
		v->queue[n] = (struct virtq){ .mem = &v->config.mem };
	}
	atomic_store(&v->irq_status, 0);
}

static void arm(struct virtio *v)
{
	const struct virtio_ops *ops = v->ops;

	for (unsigned int n = 0; n < ops->nr_queues; n++) {
		if (!v->config.arm || !ops->async || !v->queue[n].ready || !ops->async(v->dev, n))
			continue;
		v->armed |= 1u << n;
		v->config.arm(v->config.ctx, n, true);
	}
}

static void start(struct virtio *v)
{
	const struct virtio_ops *ops = v->ops;
	unsigned int queues = 0;

	for (unsigned int n = 0; n < ops->nr_queues; n++)
		if (v->queue[n].ready)
			queues |= 1u << n;
	if (ops->start)
		ops->start(v->dev, v->features, queues);
	arm(v);
	for (unsigned int n = 0; n < ops->nr_queues; n++)
		notified(v, n);
}

static bool acceptable(const struct virtio *v)
{
	return (v->features & F_VERSION_1) && !(v->features & ~offered(v)) && !v->beyond;
}

static void write_status(struct virtio *v, uint32_t value)
{
	uint32_t old = atomic_load(&v->status), new = old | (value & STATUS_DRIVERS);

	if (!value) {
		reset(v);
		return;
	}
	if ((value & STATUS_FEATURES_OK) && acceptable(v))
		new |= STATUS_FEATURES_OK;
	if ((value & STATUS_DRIVER_OK) && (new &STATUS_FEATURES_OK))
		new |= STATUS_DRIVER_OK;
	atomic_store(&v->status, new);
	if ((new & ~old &STATUS_DRIVER_OK) && virtio_running(v))
		start(v);
}

/* ---- registers; the lock is held, for those that need it ---- */

static uint32_t half(uint64_t value, uint32_t sel)
{
	return sel == 0 ? (uint32_t)value : sel == 1 ? (uint32_t)(value >> 32) : 0;
}

static void set_half(uint64_t *value, bool high, uint32_t to)
{
	if (high)
		*value = (uint32_t)*value | (uint64_t)to << 32;
	else
		*value = (*value & ~0xffffffffULL) | to;
}

static struct virtq *selected(struct virtio *v)
{
	return v->queue_sel < v->ops->nr_queues ? &v->queue[v->queue_sel] : NULL;
}

static uint32_t read_reg(struct virtio *v, uint32_t reg)
{
	struct virtq *q = selected(v);

	switch (reg) {
	case REG_MAGIC: return MAGIC;
	case REG_VERSION: return 2;
	case REG_DEVICE_ID: return v->ops->device_id;
	case REG_VENDOR_ID: return VENDOR_ID;
	case REG_DEVICE_FEATURES: return half(offered(v), v->device_sel);
	case REG_QUEUE_NUM_MAX: return q ? VIRTQ_MAX : 0;
	case REG_QUEUE_READY: return q && q->ready;
	case REG_INTERRUPT_STATUS: return atomic_load(&v->irq_status);
	case REG_STATUS: return atomic_load(&v->status);
	case REG_SHM_LEN:
	case REG_SHM_LEN + 4:
	case REG_SHM_BASE:
	case REG_SHM_BASE + 4: return ~0u;
	case REG_CONFIG_GENERATION: return atomic_load(&v->generation);
	default: return 0;
	}
}

static void write_ready(struct virtio *v, struct virtq *q, uint32_t value)
{
	if (!(value & 1)) {
		virtq_stop(q);
		return;
	}
	if (q->ready)
		return;
	q->indirect = v->features & F_INDIRECT;
	q->event_idx = v->features & F_EVENT_IDX;
	if (virtq_start(q))
		needs_reset(v, q->error);
}

/* Drivers set queues up between FEATURES_OK and DRIVER_OK, while they are not in use. */
static void write_queue(struct virtio *v, uint32_t reg, uint32_t value)
{
	struct virtq *q = selected(v);
	uint32_t status = atomic_load(&v->status);

	if (!q || !(status & STATUS_FEATURES_OK) ||
	    (status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)))
		return;
	if (reg == REG_QUEUE_READY)
		write_ready(v, q, value);
	else if (q->ready)
		return;
	else if (reg == REG_QUEUE_NUM)
		q->num = value;
	else if ((reg & ~4u) == REG_QUEUE_DESC)
		set_half(&q->desc, reg & 4, value);
	else if ((reg & ~4u) == REG_QUEUE_DRIVER)
		set_half(&q->avail, reg & 4, value);
	else if ((reg & ~4u) == REG_QUEUE_DEVICE)
		set_half(&q->used, reg & 4, value);
}

static void write_features(struct virtio *v, uint32_t value)
{
	if (atomic_load(&v->status) & STATUS_FEATURES_OK)
		return;
	if (v->driver_sel <= 1)
		set_half(&v->features, v->driver_sel, value);
	else if (value)
		v->beyond = true;
}

static void write_reg(struct virtio *v, uint32_t reg, uint32_t value)
{
	switch (reg) {
	case REG_DEVICE_FEATURES_SEL: v->device_sel = value; break;
	case REG_DRIVER_FEATURES: write_features(v, value); break;
	case REG_DRIVER_FEATURES_SEL: v->driver_sel = value; break;
	case REG_QUEUE_SEL: v->queue_sel = value; break;
	case REG_INTERRUPT_ACK: atomic_fetch_and(&v->irq_status, ~value); break;
	case REG_STATUS: write_status(v, value); break;
	case REG_QUEUE_NOTIFY:
		if (value < v->ops->nr_queues)
			notified(v, value);
		break;
	default: write_queue(v, reg, value);
	}
}

/* ---- the bus's side ---- */

/*
 * Does an access at this offset need the lock?  The interrupt status is an atomic word, and devices
 * protect their configuration themselves.  So a vCPU that looks there does not wait until the main
 * loop has served a queue.
 */
static bool needs_lock(uint64_t offset)
{
	return offset < REG_CONFIG && offset != REG_INTERRUPT_STATUS && offset != REG_INTERRUPT_ACK;
}

static void mmio_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		      unsigned int count)
{
	struct virtio *v = ctx;
	const struct virtio_ops *ops = v->ops;

	memset(data, 0, (size_t)width * count);
	if (needs_lock(offset))
		lock(&v->lock);
	for (unsigned int i = 0; i < count; i++) {
		char *item = (char *)data + (size_t)i * width;
		uint32_t value;

		if (offset >= REG_CONFIG) {
			if (ops->config_read)
				ops->config_read(v->dev, (uint32_t)offset - REG_CONFIG, item,
						 width);
		} else if (width == 4 && offset % 4 == 0) {
			value = read_reg(v, (uint32_t)offset);
			memcpy(item, &value, sizeof(value));
		}
	}
	if (needs_lock(offset))
		unlock(&v->lock);
}

static void mmio_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct virtio *v = ctx;
	const struct virtio_ops *ops = v->ops;

	if (needs_lock(offset))
		lock(&v->lock);
	for (unsigned int i = 0; i < count; i++) {
		const char *item = (const char *)data + (size_t)i * width;
		uint32_t value;

		if (offset >= REG_CONFIG) {
			if (ops->config_write)
				ops->config_write(v->dev, (uint32_t)offset - REG_CONFIG, item,
						  width);
		} else if (width == 4 && offset % 4 == 0) {
			memcpy(&value, item, sizeof(value));
			write_reg(v, (uint32_t)offset, value);
		}
	}
	if (needs_lock(offset))
		unlock(&v->lock);
}

/* ---- the device's side ---- */

struct virtq *virtio_queue(struct virtio *v, unsigned int n)
{
	return &v->queue[n];
}

bool virtio_ring_pages(const struct virtio *v, gfn_t start, gfn_t end, struct gfn_range *out)
{
	struct gfn_range ring;
	bool found = false;

	for (unsigned int n = 0; n < v->ops->nr_queues; n++) {
		if (!virtq_ring_pages(&v->queue[n], start, end, &ring))
			continue;
		if (!found || ring.start < out->start)
			*out = ring;
		found = true;
	}
	return found;
}

int virtio_create(const struct virtio_ops *ops, void *dev, const struct virtio_config *config,
		  struct bus *mmio, struct virtio **out)
{
	struct device device = {
		.name = ops->name,
		.base = config->base,
		.bytes = QUIRE_MMIO_BYTES,
		.max_width = 8,
		.read = mmio_read,
		.write = mmio_write,
	};
	struct virtio *v = calloc(1, sizeof(*v));
	int ret;

	if (!v)
		return -ENOMEM;
	v->ops = ops;
	v->dev = dev;
	v->config = *config;
	lock_init(&v->lock, LOCK_VIRTIO);
	for (unsigned int n = 0; n < VIRTIO_MAX_QUEUES; n++)
		v->queue[n].mem = &v->config.mem;
	device.ctx = v;
	ret = bus_add(mmio, &device);
	if (ret) {
		virtio_destroy(v);
		return ret;
	}
	*out = v;
	return 0;
}

void virtio_destroy(struct virtio *v)
{
	if (!v)
		return;
	lock_finish(&v->lock);
	free(v);
}
