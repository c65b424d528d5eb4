/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BLK_H
#define QUIRE_VMM_DEV_BLK_H

/*
 * virtio-blk: a disk of the guest's (a virtio device, id 2).
 *
 * Reference: VIRTIO 1.2, section 5.2 "Block Device".  One queue; the features are FLUSH, DISCARD,
 * WRITE_ZEROES, RO, SEG_MAX and SIZE_MAX, BLK_SIZE.  A sector has 512 bytes.
 *
 * Data goes through buffers of the device's own: the kernel writes to a buffer, and guest_write()
 * copies it to the guest.  The alternative is to hold the guest's pages and let the kernel write
 * to them.  That saves a copy, which takes a tenth of a microsecond for each 4 KiB, of some 60 for
 * the read.  But then a page of the guest's changes while nobody has a lock, and a request that is
 * in flight keeps the device from being reset.
 *
 * Threads.  The device has a thread (virtio_ops.own_thread), which calls blk_serve().  All that a
 * vCPU does is to start and to reset the device.  Requests that are in flight then are orphans:
 * they end, but the driver hears nothing of them, and its next requests wait for them.
 */
#include <stdatomic.h>
#include "disk.h"
#include "mmu/base/file_io.h"
#include "virtio.h"

struct blk;

/* What the buffers and the tables of a device can take of memory. */
#define BLK_MEMORY_BYTES (2 * MiB + 256 * KiB)

/* Counters, since the VM began. */
struct blk_stats {
	uint64_t reads, writes;		    /* requests that succeeded */
	uint64_t flushes, discards, zeroes; /* ... of these kinds */
	uint64_t read_bytes, written_bytes;
	uint64_t errors;  /* requests that failed because the host's disk did */
	uint64_t refused; /* requests that the guest should not have made */
};

struct blk_config {
	struct virtio_config virtio; /* its ctx is that of all functions here */
	struct disk *disk;	     /* borrowed */
	struct file_io *io; /* borrowed; it has the disk's files, and is for this device alone */
	const char *serial; /* at most 20 bytes */
	/* A request failed.  The device's thread, with its lock.  May be NULL. */
	void (*on_error)(void *ctx, const struct file_op *op, int err);
};

/* Make the device and put it on the bus.  0, -ENOMEM or bus_add()'s error. */
int blk_create(const struct blk_config *config, struct bus *mmio, struct blk **out);

/* Nothing is in flight.  NULL is fine. */
void blk_destroy(struct blk *b);

/*
 * Take what is done, serve the queue, and hand over what is to be done.  The device's thread.
 * Returns false if the kernel did not take all of that: call again in a moment.
 */
bool blk_serve(struct blk *b);

/*
 * Take what is done, and no more: the guest is paused, or at its end.  The device's thread.
 * Returns whether there was anything.
 */
bool blk_reap(struct blk *b);

/* The doorbell rang.  Any thread. */
void blk_notify(struct blk *b);

/* The device as a virtio device, for virtio_error() and its like. */
struct virtio *blk_virtio(struct blk *b);

/* Counters as they are.  Any thread. */
void blk_stats(const struct blk *b, struct blk_stats *out);

#endif
