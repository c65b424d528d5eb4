/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_VIRTIO_H
#define QUIRE_GUEST_VIRTIO_H

/*
 * virtio over MMIO, version 2: the transport and split virtqueues, polled.  From "Virtual I/O
 * Device (VIRTIO) Version 1.2", sections 2.7 (Split Virtqueues) and 4.2 (Virtio Over MMIO).
 * CPU and device are both little-endian.
 */
#include "kernel.h"

#define VIRTIO_REG_MAGIC	   0x000
#define VIRTIO_REG_VERSION	   0x004
#define VIRTIO_REG_DEVICE_ID	   0x008
#define VIRTIO_REG_DEVICE_FEATURES 0x010
#define VIRTIO_REG_DEVICE_SELECT   0x014
#define VIRTIO_REG_DRIVER_FEATURES 0x020
#define VIRTIO_REG_DRIVER_SELECT   0x024
#define VIRTIO_REG_QUEUE_SELECT	   0x030
#define VIRTIO_REG_QUEUE_MAX	   0x034
#define VIRTIO_REG_QUEUE_SIZE	   0x038
#define VIRTIO_REG_QUEUE_READY	   0x044
#define VIRTIO_REG_NOTIFY	   0x050
#define VIRTIO_REG_INTERRUPT	   0x060
#define VIRTIO_REG_INTERRUPT_ACK   0x064
#define VIRTIO_REG_STATUS	   0x070
#define VIRTIO_REG_QUEUE_DESC	   0x080 /* 64 bits, low half first; so the next two */
#define VIRTIO_REG_QUEUE_DRIVER	   0x090
#define VIRTIO_REG_QUEUE_DEVICE	   0x0a0
#define VIRTIO_REG_CONFIG	   0x100

#define VIRTIO_MAGIC 0x74726976

#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER	  2
#define VIRTIO_STATUS_DRIVER_OK	  4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64

#define VIRTIO_INTERRUPT_CONFIG 2

#define VIRTIO_F_INDIRECT_DESC (1UL << 28)
#define VIRTIO_F_EVENT_IDX     (1UL << 29)
#define VIRTIO_F_VERSION_1     (1UL << 32)

#define VIRTQ_DESC_NEXT	    1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4

#define VIRTQ_NO_INTERRUPT 1 /* avail->flags */
#define VIRTQ_NO_NOTIFY	   1 /* used->flags */

#define VIRTQ_MAX_SIZE 128 /* so that a queue fits in a page */

struct virtio {
	volatile char *regs;
	uint64_t features; /* negotiated */
};

struct virtq_desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags, next;
};

struct virtq_avail {
	uint16_t flags, idx;
	uint16_t ring[VIRTQ_MAX_SIZE + 1]; /* after the last one in use: used_event */
};

struct virtq_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, bytes;
	} ring[VIRTQ_MAX_SIZE + 1]; /* after the last one in use: avail_event */
};

/* Page-sized; the device reads desc and avail and writes used. */
struct virtq_rings {
	struct virtq_desc desc[VIRTQ_MAX_SIZE];
	struct virtq_avail avail;
	struct virtq_used used __attribute__((aligned(4)));
};

struct virtqueue {
	struct virtio *dev;
	volatile struct virtq_rings *rings; /* a page of its own */
	uint16_t index, size;
	uint16_t used;				  /* used entries that have been taken */
	uint16_t free_head, nr_free;		  /* free descriptors, linked by next */
	bool pending[VIRTQ_MAX_SIZE];		  /* a buffer with this head is the device's */
	struct virtq_desc *table[VIRTQ_MAX_SIZE]; /* indirect, by head; or NULL */
};

/* A piece of a buffer; device_writes pieces come after all others. */
struct virtq_piece {
	uint64_t gpa;
	uint32_t bytes;
	bool device_writes;
};

/* One access to a register, by an instruction that every emulator knows. */
static inline uint32_t virtio_read(const struct virtio *v, unsigned int reg)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(v->regs + reg) : "memory");
	return value;
}

static inline void virtio_write(const struct virtio *v, unsigned int reg, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" ::"r"(value), "r"(v->regs + reg) : "memory");
}

/*
 * Find the first device of that kind among those that the loader named, and map its registers.
 * False: there is none.
 */
bool virtio_find(struct virtio *v, uint32_t device_id);

/*
 * Reset the device and agree on the features that are both wanted and offered, and on VERSION_1.
 * False: the device does not agree, and is left reset.
 */
bool virtio_negotiate(struct virtio *v, uint64_t wanted);

/* Tell the device that the queues are there: from now on it may work. */
void virtio_start(struct virtio *v);

void virtio_reset(struct virtio *v);

/*
 * A device that found a queue to be wrong answers no more: then this is a panic.  Whoever waits for
 * a buffer without an end calls it before each wait.
 */
void virtio_check(const struct virtio *v);

/* Has the device's configuration changed since the last call?  Does virtio_check() if so. */
bool virtio_config_changed(struct virtio *v);

/* Give queue `index` a page and make it ready.  False: the device has no such queue. */
bool virtqueue_create(struct virtqueue *q, struct virtio *v, unsigned int index);

/* Free what create allocated.  The caller has reset the device. */
void virtqueue_destroy(struct virtqueue *q);

/*
 * Offer a buffer to the device, and notify the device if it wants that.  The pieces go into an
 * indirect table where that was negotiated.  Returns the number by which virtqueue_take() will name
 * the buffer, or -1 if there is no room for it now.
 */
int virtqueue_add(struct virtqueue *q, const struct virtq_piece *pieces, unsigned int nr);

/* Has the device finished with a buffer?  If so, *head is the buffer's number. */
bool virtqueue_take(struct virtqueue *q, unsigned int *head);

#endif
