/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_VIRTIO_H
#define QUIRE_VMM_DEV_VIRTIO_H

/*
 * Virtio devices: split virtqueues (virtio_queue.c) behind the registers of virtio-mmio version 2
 * (virtio_mmio.c), and what a kind of device adds to them (struct virtio_ops).
 *
 * Reference: Virtual I/O Device (VIRTIO) Version 1.2, sections 2.1 to 2.7 "Basic Facilities of a
 * Virtio Device" and 4.2 "Virtio Over MMIO".  Numbers are little-endian, as this host is.
 *
 * The guest is not trusted.  Every address, length, index and chain of a queue is checked before it
 * is used, each is read once, and a driver that breaks a rule finds its device in NEEDS_RESET: it
 * stops, says so in the status register with a configuration interrupt, and works again after a
 * reset.  Nothing but that device is affected.
 *
 * Threads.  vCPUs come through the registers and may wait for guest memory.  The main loop comes
 * through virtio_poll() and never waits: it does nothing while a vCPU is inside the device, and is
 * told to come again; and the used rings, which is all that is written, are held resident.
 *
 *   LOCK_VIRTIO		registers and queues; held while a vCPU accesses guest memory
 *   LOCK_VIRTIO_STATE	what a device publishes.  Nobody waits with it
 */
#include <quire/types.h>

struct bus;
struct virtio;

#define VIRTIO_MMIO_NOTIFY 0x050u /* register: a queue's number */

/* ---- guest memory as a device sees it ---- */

struct virtio_memory {
	/* As guest_read and guest_write (gmem.h): may wait, 0 or -errno. */
	int (*read)(void *ctx, gpa_t gpa, void *buf, size_t len);
	int (*write)(void *ctx, gpa_t gpa, const void *buf, size_t len);
	/* As gmem_hold and gmem_release: until then a write there does not wait. */
	int (*hold)(void *ctx, gpa_t gpa, size_t len);
	void (*release)(void *ctx, gpa_t gpa, size_t len);
	void *ctx;
	const struct gfn_range *ram; /* what there is: sorted, disjoint */
	unsigned int nr_ram;
};

/* Is [gpa, gpa + len) all in one range of RAM?  len 0: yes if gpa is. */
bool virtio_in_ram(const struct virtio_memory *mem, gpa_t gpa, uint64_t len);

/* ---- queues ---- */

#define VIRTQ_MAX 256u /* buffers in a queue, and segments in a buffer */

/* A virtqueue.  The driver sets the first part; all is the device lock's. */
struct virtq {
	const struct virtio_memory *mem;
	uint32_t num; /* buffers, a power of two */
	gpa_t desc, avail, used;
	bool ready;			/* checked, and in use */
	bool indirect, event_idx;	/* negotiated */
	uint16_t next_avail, next_used; /* ring indices, free-running */
	uint16_t told;			/* next_used when interrupts were last considered */
	uint16_t armed;			/* avail_event as we last wrote it */
	uint16_t in_flight;		/* buffers taken and not returned */
	const char *error;		/* the rule that the driver broke; NULL: none */
};

/* A buffer: its segments, readable ones first. */
struct virtq_segment {
	gpa_t gpa;
	uint32_t len;  /* 0 is possible */
	bool writable; /* by the device */
};

struct virtq_chain {
	uint16_t head;
	unsigned int nr;
	struct virtq_segment segment[VIRTQ_MAX];
};

/* A place in the readable part of a chain; zero: its beginning. */
struct virtq_cursor {
	unsigned int segment;
	uint32_t offset;
};

/*
 * All that fail return a negative error and set q->error, after which the queue is out of use.
 * -EPROTO: the driver broke a rule; others as struct virtio_memory's functions.
 */

/* Take the queue into use as num, desc, avail and used say.  In a vCPU: holds the used ring. */
int virtq_start(struct virtq *q);

/* Out of use: lets go of it. */
void virtq_stop(struct virtq *q);

/*
 * Take the next buffer.  1: here it is; 0: there is none, and the driver has been asked to notify
 * us of the next.
 */
int virtq_next(struct virtq *q, struct virtq_chain *chain);

/* Copy up to len bytes of what is readable, and move on: how many; 0 at the end. */
int virtq_read(struct virtq *q, const struct virtq_chain *chain, struct virtq_cursor *at, void *buf,
	       uint32_t len);

/* Return a buffer into which `written` bytes were written. */
int virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/* Since the last call: does the driver want an interrupt for what was returned?  1, 0 or < 0. */
int virtq_wants_interrupt(struct virtq *q);

/* The first run of pages of q's own rings that meets [start, end).  False: none does. */
bool virtq_ring_pages(const struct virtq *q, gfn_t start, gfn_t end, struct gfn_range *out);

/* ---- a kind of device ---- */

#define VIRTIO_MAX_QUEUES 8u

#define VIRTIO_MORE 1 /* from serve(): enough for one turn, virtio_poll() goes on */

/* Called with the device's lock held, but for features (also without it) and config_* (never). */
struct virtio_ops {
	const char *name;
	uint32_t device_id;
	unsigned int nr_queues; /* at most VIRTIO_MAX_QUEUES */
	/* Bits that the device offers, without the transport's own (ring features, VERSION_1). */
	uint64_t (*features)(void *dev);
	/* Any range may be asked for; what does not exist reads as zero and is not written. */
	void (*config_read)(void *dev, uint32_t offset, void *buf, uint32_t len);
	void (*config_write)(void *dev, uint32_t offset, const void *buf, uint32_t len);
	/* The driver is ready; bit n of queues: queue n is in use.  All of them are served next. */
	void (*start)(void *dev, uint64_t features, unsigned int queues);
	/* Buffers may be there in queue n, which is in use.  0, VIRTIO_MORE, or a queue's error. */
	int (*serve)(void *dev, unsigned int n);
	/* Forget the driver. */
	void (*reset)(void *dev);
	/* After start: may the driver's vCPU go on while queue n is served?  NULL: none may. */
	bool (*async)(void *dev, unsigned int n);
};

struct virtio_config {
	const struct virtio_ops *ops;
	void *dev;
	const struct virtio_memory *mem;
	uint64_t base; /* on the bus, QUIRE_MMIO_BYTES from there */
	/* Interrupt the driver: an edge, nothing to take back.  Any thread.  NULL: drivers poll. */
	void (*interrupt)(void *ctx);
	/*
	 * A polling driver has something to look at: buffers came back, whether it wanted an
	 * interrupt or not, or the configuration changed.  Any thread, with the lock.  May be NULL.
	 */
	void (*news)(void *ctx);
	/*
	 * Notifications of queue n need not (on) or must (off) come as writes to the register:
	 * somebody calls virtio_defer() instead.  In a vCPU, with the lock.  NULL: always must.
	 */
	void (*arm)(void *ctx, unsigned int n, bool on);
	/* virtio_poll() has something to do.  Any thread. */
	void (*wake)(void *ctx);
	void *ctx;
};

/* Copies *config and puts the device on the bus.  0, -ENOMEM or bus_add's error. */
int virtio_create(const struct virtio_config *config, struct bus *mmio, struct virtio **out);
void virtio_destroy(struct virtio *v); /* NULL is fine */

/* A queue, for its device. */
struct virtq *virtio_queue(struct virtio *v, unsigned int n);

/* As virtq_ring_pages, over all queues in use. */
bool virtio_ring_pages(const struct virtio *v, gfn_t start, gfn_t end, struct gfn_range *out);

/* The configuration space changed: interrupt a driver that is there.  Any thread. */
void virtio_config_changed(struct virtio *v);

/* Have queue n served by virtio_poll().  Any thread. */
void virtio_defer(struct virtio *v, unsigned int n);

/* Main loop: serve what was deferred.  True: not all could be; come again in a moment. */
bool virtio_poll(struct virtio *v);

/* Any thread. */
bool virtio_running(const struct virtio *v);	  /* a driver is there, all is well */
const char *virtio_error(const struct virtio *v); /* why it needs a reset; NULL: it does not */

#endif
