/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_MEMORY_H
#define QUIRE_GUEST_MEMORY_H

/*
 * Physical memory: a buddy allocator per range of RAM, and a slab allocator on top.
 */
#include "runtime.h"

#define MAX_ORDER   10
#define NR_ORDERS   (MAX_ORDER + 1)
#define HALF_ORDER  (MAX_ORDER - 1) /* 2 MiB: the least that is reported to the host */
#define CHUNK_PAGES (1UL << MAX_ORDER)
#define MAX_ZONES   16

/*
 * The free blocks of one naturally aligned chunk of 1024 pages, as a heap of bits.  Bit 1 is the
 * whole chunk, bits 2 and 3 are its halves, and bits 1024 to 2047 its pages.  A set bit means a
 * free block; the bits of its parts are then clear.
 */
struct chunk {
	uint64_t bits[2 * CHUNK_PAGES / 64];
};

/* One bit per chunk, for chunks 64 i .. 64 i + 63. */
struct chunk_row {
	uint64_t has[NR_ORDERS]; /* does it have a free block of that order? */
	uint64_t reported[2];	 /* this half is free, and need not be reported */
	uint64_t unused[3];
};

struct zone {
	uint64_t start, end;	   /* page frame numbers */
	uint64_t first, nr_chunks; /* chunks start / 1024 ... */
	uint64_t opened;	   /* how many of them have been entered in the maps below */
	struct chunk *chunk;
	struct chunk_row *row;
	uint64_t nr_free[NR_ORDERS]; /* blocks, those of unopened chunks included */
	uint64_t hint[NR_ORDERS];    /* no row before this one has a free block */
};

/* Zones over boot.ram, from the end of the image on. */
void memory_init(void);

/*
 * alloc_pages returns the gpa of 2^order pages, naturally aligned, with unspecified contents, or 0
 * if there is no such block.  free_pages takes a block whole, with the order with which it was
 * allocated, or in naturally aligned parts.
 */
uint64_t alloc_pages(unsigned int order);
void free_pages(uint64_t gpa, unsigned int order);

/*
 * alloc_unreported allocates a free block of order 9 or 10 that has been in use since it was last
 * freed by free_reported(), or returns 0 if there is none.  free_reported() frees it as a block of
 * which the host knows that it is free.
 */
uint64_t alloc_unreported(unsigned int *order);
void free_reported(uint64_t gpa, unsigned int order);

/* How often memory was freed that the host has not been told of. */
uint64_t freed_count(void);

/* How many blocks of this order could be had; how many pages are free; how many there are. */
uint64_t free_blocks(unsigned int order);
uint64_t free_page_count(void);
uint64_t managed_page_count(void);

unsigned int zone_count(void);
const struct zone *zone_at(unsigned int i);

/* A zone over [start, end) page frames whose maps are at meta (zone_meta_bytes long). */
uint64_t zone_meta_bytes(uint64_t start, uint64_t end);
void zone_init(struct zone *z, uint64_t start, uint64_t end, void *meta);
uint64_t zone_alloc(struct zone *z, unsigned int order); /* frame number, or 0 */
void zone_free(struct zone *z, uint64_t frame, unsigned int order);
uint64_t zone_alloc_unreported(struct zone *z, unsigned int *order);
void zone_free_reported(struct zone *z, uint64_t frame, unsigned int order);

/* Recount every map; false if the counters, the rows and the bits disagree. */
bool zone_audit(const struct zone *z);

/* The gpa of the page that is kept for the direct map's table of this GiB. */
uint64_t reserve_table(uint64_t gib);

/* Slab: kmalloc returns a zeroed object of up to 2048 bytes, or NULL if there is no page. */
void *kmalloc(size_t bytes);
void kfree(void *object);
uint64_t slab_pages(void);

#endif
