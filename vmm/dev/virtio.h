/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_VIRTIO_H
#define QUIRE_VMM_DEV_VIRTIO_H

/*
 * Virtio devices.  virtio_queue.c has split virtqueues, virtio_mmio.c the registers of virtio-mmio
 * version 2, and struct virtio_ops what a kind of device adds to them.
 *
 * Reference: Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1 to 2.7 "Basic Facilities of a
 * Virtio Device" and 4.2 "Virtio Over MMIO".  Numbers are little-endian, as this host is.
 *
 * The guest is not trusted.  Every address, length, index and chain of a queue is read once, and is
 * checked before it is used.  If a driver breaks a rule, its device stops and needs a reset: it
 * says so in the status register (NEEDS_RESET), with a configuration interrupt, and works again
 * after a reset.  Nothing but that device is affected.
 *
 * Threads.  vCPUs call a device through its registers, and may wait for guest memory.  The main
 * loop calls virtio_poll(), and never waits: if a vCPU is inside the device, it does nothing and
 * calls again later.  It writes to nothing but the used rings, and these are held resident.  A
 * device may have a thread of its own instead, which may wait as a vCPU does.
 *
 *   LOCK_VIRTIO  registers and queues.  A vCPU holds it while it accesses guest memory
 *   LOCK_VIRTIO_STATE what a device publishes.  Nobody waits for anything while holding it
 */
#include <quire/types.h>
#include <string.h>

struct bus;
struct virtio;

#define VIRTIO_MMIO_NOTIFY 0x050u /* register: a queue's number */

/* ---- guest memory as a device sees it ---- */

struct virtio_memory {
	/* guest_read and guest_write (gmem.h).  May wait.  0 or -errno. */
	int (*read)(void *ctx, gpa_t gpa, void *buf, size_t len);
	int (*write)(void *ctx, gpa_t gpa, const void *buf, size_t len);
	/* gmem_hold and gmem_release: between the two, a write there does not wait. */
	int (*hold)(void *ctx, gpa_t gpa, size_t len);
	void (*release)(void *ctx, gpa_t gpa, size_t len);
	void *ctx;
	const struct gfn_range *ram; /* all RAM: sorted, disjoint */
	unsigned int nr_ram;
};

/* Is all of [gpa, gpa + len) in one range of RAM?  With len 0: is gpa in RAM? */
bool virtio_in_ram(const struct virtio_memory *mem, gpa_t gpa, uint64_t len);

/* ---- queues ---- */

#define VIRTQ_MAX 256u /* buffers in a queue, and segments in a buffer */

/* A virtqueue.  The device's lock protects it.  The driver sets num, desc, avail and used. */
struct virtq {
	const struct virtio_memory *mem;
	uint32_t num; /* buffers, a power of two */
	gpa_t desc, avail, used;
	bool ready;			/* checked, and in use */
	bool indirect, event_idx;	/* these features were negotiated */
	uint16_t next_avail, next_used; /* indices into the rings; they run on past num */
	uint16_t told;			/* next_used when interrupts were last considered */
	uint16_t armed;			/* the avail_event that we wrote last */
	uint16_t in_flight;		/* buffers that we took and have not returned */
	const char *error;		/* the rule that the driver broke; NULL: none */
};

/* A segment of a buffer. */
struct virtq_segment {
	gpa_t gpa;
	uint32_t len;  /* 0 is possible */
	bool writable; /* by the device */
};

/* A buffer: its segments, the readable ones first. */
struct virtq_chain {
	uint16_t head;
	unsigned int nr;
	struct virtq_segment segment[VIRTQ_MAX];
};

/* A place in the readable part of a chain.  All zeroes is its beginning. */
struct virtq_cursor {
	unsigned int segment;
	uint32_t offset;
};

/*
 * A function below that fails returns a negative error and sets q->error.  The queue is out of use
 * then.  -EPROTO: the driver broke a rule; other errors are those of struct virtio_memory.
 */

/* Begin to use the queue as num, desc, avail and used say, and hold its used ring.  In a vCPU. */
int virtq_start(struct virtq *q);

/* Stop using the queue, and release its used ring. */
void virtq_stop(struct virtq *q);

/*
 * Take the next buffer.  1: *chain is the buffer; 0: there is none, and the driver has been asked
 * to notify us of the next.
 */
int virtq_next(struct virtq *q, struct virtq_chain *chain);

/* Copy up to len readable bytes, and move *at on.  Returns how many; 0 at the end. */
int virtq_read(struct virtq *q, const struct virtq_chain *chain, struct virtq_cursor *at, void *buf,
	       uint32_t len);

/*
 * Copy len bytes to the writable part, and move *at on; *at begins at the first writable segment
 * if it is before it.  Returns how many: fewer than len at the end.
 */
int virtq_write(struct virtq *q, const struct virtq_chain *chain, struct virtq_cursor *at,
		const void *buf, uint32_t len);

/* How many bytes of a chain are for the device to read, or to write. */
uint64_t virtq_bytes(const struct virtq_chain *chain, bool writable);

/* Return a buffer into which `written` bytes were written. */
int virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/* Does the driver want an interrupt for what was returned since the last call?  1, 0 or < 0. */
int virtq_wants_interrupt(struct virtq *q);

/* The first run of pages of q's own rings that meets [start, end).  False: there is none. */
bool virtq_ring_pages(const struct virtq *q, gfn_t start, gfn_t end, struct gfn_range *out);

/* ---- a kind of device ---- */

#define VIRTIO_MAX_QUEUES 8u

#define VIRTIO_MORE 1 /* serve() did enough for one turn; virtio_poll() is to go on */

/*
 * What a kind of device does.  All are called with the device's lock held, except config_read and
 * config_write, which are called without it, and features, which is called with and without it.
 */
struct virtio_ops {
	const char *name;
	uint32_t device_id;
	unsigned int nr_queues; /* at most VIRTIO_MAX_QUEUES */
	/* The features that the device offers, without those of the rings and VERSION_1. */
	uint64_t (*features)(void *dev);
	/*
	 * Any range may come: what does not exist reads as zero, which buf is already, and cannot
	 * be written.  NULL: nothing exists, or nothing can be written.
	 */
	void (*config_read)(void *dev, uint32_t offset, void *buf, uint32_t len);
	void (*config_write)(void *dev, uint32_t offset, const void *buf, uint32_t len);
	/*
	 * The driver is ready.  Bit n of queues: queue n is in use, and will be served next.  May
	 * be NULL.
	 */
	void (*start)(void *dev, uint64_t features, unsigned int queues);
	/* Queue n, which is in use, may have buffers.  0, VIRTIO_MORE, or an error of a queue. */
	int (*serve)(void *dev, unsigned int n);
	/* Forget the driver.  May be NULL. */
	void (*reset)(void *dev);
	/* May the driver's vCPU go on while queue n is served?  After start.  NULL: never. */
	bool (*async)(void *dev, unsigned int n);
	/* Bit n: vCPUs never serve queue n, but virtio_defer() it to the device's own thread. */
	unsigned int own_thread;
};

/* What a device needs of the VM that it is for, whatever its kind. */
struct virtio_config {
	struct virtio_memory mem;
	uint64_t base; /* of its QUIRE_MMIO_BYTES on the bus */
	/* Interrupt the driver, by an edge.  From any thread.  NULL: drivers poll. */
	void (*interrupt)(void *ctx);
	/*
	 * A polling driver has something to look at: buffers came back, whether it wanted an
	 * interrupt or not, or the configuration changed.  Any thread, with the lock.  May be NULL.
	 */
	void (*cue)(void *ctx);
	/*
	 * on: notifications of queue n may come another way than as writes to the register;
	 * somebody calls virtio_defer() for each.  off: they must come as writes again.  Called by
	 * a vCPU, with the lock held.  NULL: they always come as writes.
	 */
	void (*arm)(void *ctx, unsigned int n, bool on);
	/* virtio_poll() has something to do.  From any thread. */
	void (*wake)(void *ctx);
	/*
	 * It does nothing more until the driver resets it, because the driver broke a rule, or the
	 * host has no memory: `why`, a static string.  Any thread, with the lock.  May be NULL.
	 */
	void (*stopped)(void *ctx, const char *why);
	void *ctx;
};

/* For config_read: copy what is in [offset, offset + len) of a space of so many bytes. */
static inline void virtio_config_copy(const void *space, uint32_t bytes, uint32_t offset, void *buf,
				      uint32_t len)
{
	if (offset < bytes)
		memcpy(buf, (const char *)space + offset, min_u64(len, bytes - offset));
}

/*
 * Copy *config and put the device on the bus; `dev` is what ops get.  0, -ENOMEM or bus_add()'s
 * error.
 */
int virtio_create(const struct virtio_ops *ops, void *dev, const struct virtio_config *config,
		  struct bus *mmio, struct virtio **out);

/* NULL is fine. */
void virtio_destroy(struct virtio *v);

/* Queue n, for the device that it belongs to. */
struct virtq *virtio_queue(struct virtio *v, unsigned int n);

/* virtq_ring_pages() for all queues that are in use. */
bool virtio_ring_pages(const struct virtio *v, gfn_t start, gfn_t end, struct gfn_range *out);

/* The configuration space changed: interrupt the driver, if there is one.  From any thread. */
void virtio_config_changed(struct virtio *v);

/* Let virtio_poll() serve queue n.  From any thread. */
void virtio_defer(struct virtio *v, unsigned int n);

/* Serve what was deferred.  Main loop only.  True: not all of it; call again in a moment. */
bool virtio_poll(struct virtio *v);

/*
 * Serve what was deferred, and wait for vCPUs that are inside the device.  For the thread of a
 * device with own_thread, which calls this and not virtio_poll().  True: call again.
 */
bool virtio_serve(struct virtio *v);

/* Is there a driver, and has it broken no rule?  From any thread. */
bool virtio_running(const struct virtio *v);

/* Why the device needs a reset; NULL: it does not.  From any thread. */
const char *virtio_error(const struct virtio *v);

#endif
