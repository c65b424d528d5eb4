/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_SPACE_H
#define QUIRE_MMU_SWAP_SPACE_H

/*
 * Space in a file, in units of so many bytes, as direct input and output wants it.
 *
 * The file is divided into chunks of 1 MiB.  A chunk is *open* when the host has blocks for it, and
 * only there is space given out: runs of units that follow each other.  The lowest open chunk that
 * has room is taken, so that the higher ones become empty and can be given back.
 *
 * To open and to close a chunk is the caller's work, because it takes time: space_next() says which
 * to open, space_empty() which to close, and space_set() that it is done.
 *
 * Locking: none.  The caller lets one thread in at a time.
 */
#include <quire/types.h>
#include "mmu/base/audit.h"

#define SPACE_CHUNK_BYTES (1u << 20)
#define SPACE_CHUNK_PAGES (SPACE_CHUNK_BYTES / QUIRE_PAGE_SIZE)
#define SPACE_MIN_UNIT	  512u /* bytes; a unit is this or a power of two above, up to a page */

enum chunk_state {
	CHUNK_CLOSED,
	CHUNK_OPENING, /* the host was asked for its blocks */
	CHUNK_OPEN,
	CHUNK_CLOSING, /* its blocks are being given back */
};

struct chunk;

struct space {
	struct chunk *chunk;
	uint32_t nr;		/* chunks */
	uint32_t unit;		/* bytes */
	uint32_t per_chunk;	/* units */
	uint32_t held;		/* chunks that are not closed */
	uint32_t empty;		/* chunks that are open, with nothing in them */
	uint64_t used;		/* units given out */
	uint32_t lowest_closed; /* no chunk below is closed */
	uint32_t highest;	/* every chunk from here on is closed */
};

/* All chunks of `bytes`, a multiple of a chunk, are closed.  0; -ENOMEM: no address space. */
int space_init(struct space *s, uint64_t bytes, uint32_t unit);
void space_finish(struct space *s);

/* Give out nr units, at most a quarter of a chunk.  False: no open chunk has room for them. */
bool space_take(struct space *s, uint32_t nr, uint32_t *at);

/* They are free again. */
void space_put(struct space *s, uint32_t at, uint32_t nr);

/* The chunk to open next, which is OPENING then.  False: all are open. */
bool space_next(struct space *s, uint32_t *chunk);

/* A chunk to close, which is CLOSING then: it is empty, and so is another one.  False: none. */
bool space_empty(struct space *s, uint32_t *chunk);

/* A chunk that was OPENING or CLOSING is OPEN or CLOSED now. */
void space_set(struct space *s, uint32_t chunk, enum chunk_state state);

/* Is all of [at, at + nr) given out?  For audits. */
bool space_has(const struct space *s, uint32_t at, uint32_t nr);

/* Count everything anew, and compare. */
void space_audit(const struct space *s, struct audit *a);

#endif
