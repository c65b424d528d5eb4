/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_POOL_POOL_H
#define QUIRE_MMU_POOL_POOL_H

/*
 * The compressed pool: pages in less memory than a page each.
 *
 * A page goes in and a *handle* comes out, which is all that one must keep.  A page that repeats
 * one 32-bit word costs nothing: its handle has the word.  Any other page is compressed, and is an
 * *object* of a *class*, which has room for so many bytes.  The objects of a class lie in *spans*
 * of one to four pages, as many as fit.  This is how Linux's zsmalloc does it (mm/zsmalloc.c).
 * Unlike there, spans have addresses four pages apart.  So a handle says where its object is, and
 * only pages in use have memory behind them.
 *
 * A new object goes to the lowest span of its class that has room.  So high spans empty first, and
 * go.  Nothing is ever moved.  But a span can be *poor*: it has no more objects than pages, so the
 * owners of these would take no more without it.
 *
 * Locking: none.  The caller lets one thread in at a time.
 */
#include <stdint.h>
#include <quire/types.h>

struct pool;

/* 40 bits at most: it is the payload of an entry of stage 2. */
typedef uint64_t pool_handle_t;

/* The largest object, with 8 bytes of ours.  What does not pack into it is not worth its place. */
#define POOL_MOST_BYTES 3072u

/* Where the pool has its spans. */
struct pool_backing {
	uint8_t *base; /* POOL_BYTES() of addresses, used only where there are pages */
	/*
	 * Put zeroed pages behind [offset, offset + pages * 4096) of it.  0, or -errno: none is
	 * there.
	 */
	int (*bring)(void *ctx, uint64_t offset, uint64_t pages);
	/* Take them away again. */
	void (*take)(void *ctx, uint64_t offset, uint64_t pages);
	void *ctx;
};

struct pool_stats {
	uint64_t filled_pages; /* in the pool, whose handles have all that is in them */
	uint64_t object_pages; /* in the pool as objects */
	uint64_t object_bytes; /* what these were compressed to */
	uint64_t pool_pages;   /* pages behind spans */
};

/* How many bytes of addresses a pool for that many pages has: as many as the pages themselves. */
#define POOL_BYTES(pages) (align_up(pages, 4) * QUIRE_PAGE_SIZE)

/* For so many pages at most.  The backing is copied.  0; -ENOMEM: no memory or address space. */
int pool_create(const struct pool_backing *backing, uint64_t pages, struct pool **out);

/* Free it, with all that is in it.  Its spans are not taken away.  NULL is fine. */
void pool_destroy(struct pool *p);

/* A page made small. */
struct pool_packed {
	bool filled;
	uint32_t word;	/* filled: all that is in it */
	uint16_t bytes; /* of data, which codec_pack() made */
	uint8_t data[POOL_MOST_BYTES];
};

/* Make a page small.  False: it does not compress. */
bool pool_pack(const uint8_t *page, struct pool_packed *out);

/* Make the page of it again. */
void pool_unpack(const struct pool_packed *packed, uint8_t *page);

/*
 * Which of nr packed pages shall go in, if these are to be the pages behind the new spans, and no
 * more than `spare` others?  Those of in[] that are true are asked about; the others come out as
 * false.  So whoever frees a page for each that goes in can put them all in.
 */
void pool_plan(const struct pool *p, const struct pool_packed *packed, unsigned int nr,
	       uint64_t spare, bool *in);

/*
 * Put a packed page in.  The owner is a number below 2^48, which pool_poor() gives back.
 *
 * Returns 0 with its handle; or, and nothing changed:
 *   -ENOSPC  there are no addresses left, because spans have few objects each
 *   or what `bring` says, if there is no room for it and a span could not be had
 */
int pool_put(struct pool *p, const struct pool_packed *packed, uint64_t owner, pool_handle_t *out);

/* Write the page of this handle, which is in the pool, to `page`. */
void pool_get(const struct pool *p, pool_handle_t handle, uint8_t *page);

/* What the page of a handle takes. */
struct pool_place {
	uint8_t filled;	    /* nothing: the handle has all that is in it */
	uint8_t span_pages; /* of the span that it is in */
	uint8_t in_span;    /* objects of that span in use, itself included ... */
	uint8_t objects;    /* ... of so many */
	uint32_t word;	    /* filled: what is in it, again and again */
	uint16_t bytes;	    /* that it was compressed to */
	uint16_t room;	    /* that its place has */
	uint64_t offset;    /* of its span in the pool */
};
void pool_find(const struct pool *p, pool_handle_t handle, struct pool_place *out);

/* It leaves the pool. */
void pool_drop(struct pool *p, pool_handle_t handle);

/*
 * The owners of all objects of a poor span, and their handles.  Returns how many; 0: no span is
 * poor, so there are more objects than pages behind them.
 */
#define POOL_MOST_PAGES 4u
unsigned int pool_poor(const struct pool *p, uint64_t owner[POOL_MOST_PAGES],
		       pool_handle_t handle[POOL_MOST_PAGES]);

void pool_stats(const struct pool *p, struct pool_stats *out);

/* Is there such an object of this owner?  A page of one word always is.  For audits. */
bool pool_has(const struct pool *p, pool_handle_t handle, uint64_t owner);

/*
 * Count everything anew and compare.  Describes each fault through report (may be NULL).  Returns
 * their number.
 */
unsigned int pool_audit(const struct pool *p, void (*report)(void *ctx, const char *what),
			void *ctx);

#endif
