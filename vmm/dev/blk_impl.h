/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BLK_IMPL_H
#define QUIRE_VMM_DEV_BLK_IMPL_H

/* What blk.c (the device and its queue) and blk_request.c (a request) share. */
#include "blk.h"

#define BLK_REQUESTS	 32u
#define BLK_BUFFER_BYTES (64 * KiB)
#define BLK_MOST_SECTORS (64 * MiB / DISK_SECTOR) /* that one DISCARD or WRITE_ZEROES may name */

/* The types of requests: section 5.2.6 "Device Operation". */
enum blk_type {
	BLK_IN = 0,
	BLK_OUT = 1,
	BLK_FLUSH = 4,
	BLK_GET_ID = 8,
	BLK_DISCARD = 11,
	BLK_ZEROES = 13
};

enum blk_status { BLK_OK, BLK_IOERR, BLK_UNSUPP };

/* What a request does next. */
enum blk_step {
	STEP_READ,
	STEP_WRITE,  /* data of the guest's */
	STEP_ZERO,   /* zeroes, by a hole where that is possible and allowed */
	STEP_FORGET, /* a hole, or nothing */
	STEP_SYNC,
	STEP_END
};

enum blk_state {
	BLK_FREE,
	BLK_READY,  /* its next step is to begin */
	BLK_FLYING, /* its op is in flight */
	BLK_ORPHAN, /* ... but its driver is gone */
};

struct blk_request {
	struct blk *blk;
	enum blk_state state;
	enum blk_step step;
	enum blk_type type;
	bool unmap;
	unsigned int again;
	struct virtq_chain chain;
	struct virtq_cursor at; /* in the data */
	uint64_t pos, end;	/* bytes of the disk that are left to do */
	uint32_t written;	/* bytes of the guest's memory */
	enum blk_status status;
	struct file_op op;
	uint8_t *buffer; /* BLK_BUFFER_BYTES */
};

struct blk_count {
	atomic_ullong requests[BLK_ZEROES + 1];
	atomic_ullong read_bytes, written_bytes, errors, refused;
};

/* All of it belongs to whoever holds the device's lock, but for the counters and op.done. */
struct blk {
	struct blk_config config;
	struct virtio *virtio;
	bool flushes; /* the driver will ask for a FLUSH of what has to be safe */
	struct blk_request request[BLK_REQUESTS];
	uint8_t *buffers;
	struct blk_count count;
};

static inline uint64_t blk_sectors(const struct blk *b)
{
	return b->config.disk->bytes / DISK_SECTOR;
}

/* The functions below return 0 or an error of the queue, unless they say otherwise. */

/* Take the queue's next buffer into r, which is FREE.  1: it is READY; 0: there is none. */
int blk_request_take(struct virtq *q, struct blk_request *r);

/* Begin the next step of r, which is READY, or end it.  Nothing happens if it must wait. */
int blk_request_go_on(struct virtq *q, struct blk_request *r);

/* The op of r, FLYING or ORPHAN, is done.  r is then READY or FREE, or in flight again. */
int blk_request_done(struct virtq *q, struct blk_request *r);

#endif
