/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_SWAP_H
#define QUIRE_MMU_SWAP_SWAP_H

/*
 * A swap area: copies of numbered pages in a file.
 *
 * A page has at most one copy.  The copy is *needed* when the page itself is gone.  When the page
 * comes back, its copy stays as a *spare*: if the page leaves again with the same bytes, nothing
 * has to be written.  Whether they are the same a hash says, so nobody need watch the page
 * meanwhile.  Spares go when space is short.
 *
 * This is the account only: where each copy lies, how long it is, and the hash of its page, by
 * which what comes back is known.  swap_io.h reads and writes.  Bytes are packed before (zpack.h)
 * if that wins a unit.
 *
 * Space is paid by quota, a chunk at a time (space.h): 256 pages.
 *
 * Locking: none.  The caller lets one thread in at a time.
 */
#include "mmu/base/hash.h"
#include "space.h"

struct swap;
struct zpack;

/* Who grants disk space, in pages. */
struct swap_quota {
	/* Take `pages` if they are at hand.  Must not block. */
	bool (*take)(void *ctx, uint64_t pages);
	void (*put)(void *ctx, uint64_t pages);
	/*
	 * As put; and the disk has no room, so what is at hand is of no use here.  NULL: put is
	 * called instead.
	 */
	void (*give)(void *ctx, uint64_t pages);
	void *ctx;
};

struct swap_config {
	uint64_t pages;			  /* numbers are below */
	uint32_t unit;			  /* bytes; as in space.h */
	const struct swap_quota *quota;	  /* borrowed; NULL: no limit but the area's size */
	const struct hash_secret *secret; /* copied */
};

/* The copy of a page. */
struct swap_copy {
	uint64_t hash; /* of the page */
	uint32_t at;   /* its first unit */
	uint8_t units; /* 0: there is no copy */
	bool needed;
};

struct swap_stats {
	uint64_t needed_pages; /* whose copies are needed */
	uint64_t spare_pages;  /* whose copies are spares */
	uint64_t copy_bytes;   /* units of all copies */
	uint64_t file_pages;   /* disk space held: open chunks */
	uint64_t most_pages;   /* the file has at most so many */
};

/* How large a file for so many pages is: somewhat more than they are, for what lies between. */
#define SWAP_FILE_BYTES(pages) \
	(align_up(((pages) + (pages) / 8) * QUIRE_PAGE_SIZE, SPACE_CHUNK_BYTES))

/* 0; -ENOMEM: no memory or address space. */
int swap_create(const struct swap_config *config, struct swap **out);

/* Free it.  Its quota is put back.  NULL is fine. */
void swap_destroy(struct swap *s);

/* ---- copies ---- */

/* The copy of page n. */
struct swap_copy swap_copy_of(const struct swap *s, uint64_t n);

/* The hash by which its bytes are known. */
uint64_t swap_hash(const struct swap *s, const void *page);

/*
 * Page n is gone, and its copy lies in units [at, at + units), which swap_take() gave out; or, if
 * units is 0, its spare is needed from now on.
 */
void swap_gone(struct swap *s, uint64_t n, uint32_t at, uint8_t units, uint64_t hash);

/* Page n is back: its copy is a spare. */
void swap_back(struct swap *s, uint64_t n);

/* Page n needs no copy any more.  Fine if it has none. */
void swap_drop(struct swap *s, uint64_t n);

/* ---- space ---- */

/*
 * Give out nr units that follow each other, at most a quarter of a chunk.  0 with the first in *at;
 *   -EAGAIN  *at is a chunk: have the host allocate it, call swap_opened(), and try again
 *   -ENOSPC  the area is full, or there is no quota
 */
int swap_take(struct swap *s, uint32_t nr, uint32_t *at);

/* They are free again, and no copy has them. */
void swap_put(struct swap *s, uint32_t at, uint32_t nr);

/* The chunk was allocated; or not, and its quota is given back. */
void swap_opened(struct swap *s, uint32_t chunk, bool done);

/* A chunk that is not used: punch it out, and call swap_closed().  False: there is none. */
bool swap_close(struct swap *s, uint32_t *chunk);

/* It was punched out, and its quota is put back; or not, and it stays. */
void swap_closed(struct swap *s, uint32_t chunk, bool done);

/* Where a unit or a chunk begins in the file. */
uint64_t swap_offset(const struct swap *s, uint32_t unit);
uint64_t swap_chunk_offset(uint32_t chunk);

/* ---- bytes ---- */

/* How many units of the file a page takes that is not packed. */
uint8_t swap_page_units(const struct swap *s);

/*
 * Write what is to be stored for a page to `to`, which has room for a page, filled up with zeroes
 * to whole units.  Returns how many.
 */
uint8_t swap_pack(const struct swap *s, struct zpack *z, const uint8_t *page, uint8_t *to);

/* Make the page again from its copy's bytes.  False: they are not what was stored. */
bool swap_unpack(const struct swap *s, struct zpack *z, const struct swap_copy *copy,
		 const uint8_t *from, uint8_t *page);

/* ---- looking ---- */

void swap_stats(const struct swap *s, struct swap_stats *out);

/* Count everything anew and compare; as in mmu/base/audit.h. */
unsigned int swap_audit(const struct swap *s, void (*report)(void *ctx, const char *what),
			void *ctx);

#endif
