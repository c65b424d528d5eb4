/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_BLK_H
#define QUIRE_GUEST_BLK_H

/*
 * The driver of a virtio disk (VIRTIO 1.2, section 5.2), polled: up to BLK_DEPTH requests at a
 * time, each of whole pages that lie together.
 */
#include "virtio.h"

#define BLK_DEVICE_ID 2
#define BLK_DEPTH     32

#define BLK_F_RO	   (1UL << 5)
#define BLK_F_FLUSH	   (1UL << 9)
#define BLK_F_DISCARD	   (1UL << 13)
#define BLK_F_WRITE_ZEROES (1UL << 14)

#define BLK_IN	    0
#define BLK_OUT	    1
#define BLK_FLUSH   4
#define BLK_GET_ID  8
#define BLK_DISCARD 11
#define BLK_ZEROES  13

#define SECTOR_BYTES 512
#define PAGE_SECTORS (PAGE_SIZE / SECTOR_BYTES)

struct blk_dma;

struct blk {
	struct virtio dev;
	struct virtqueue q;
	struct blk_dma *dma; /* BLK_DEPTH of them, in a page that the device reads and writes */
	uint64_t sectors;
	unsigned int nr_flying;
	unsigned int at_head[VIRTQ_MAX_SIZE]; /* which of dma a buffer has */
	uint32_t free;			      /* bits of dma that no request has */
	uint64_t failed;		      /* requests that did not succeed */
};

/* Find the first disk and start it.  False: there is none, or no memory for its queue. */
bool blk_start(struct blk *b, uint64_t features);

/*
 * Ask for a read (BLK_IN) or write (BLK_OUT) of bytes at gpa from this sector on, or for something
 * without data.  Waits while BLK_DEPTH requests are on their way.
 */
void blk_ask(struct blk *b, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t bytes);

/* Ask for a DISCARD or WRITE_ZEROES of so many sectors. */
void blk_ask_range(struct blk *b, uint32_t type, uint64_t sector, uint32_t sectors, bool unmap);

/* Wait until all are done.  How many of them failed, since the last call. */
uint64_t blk_wait(struct blk *b);

#endif
