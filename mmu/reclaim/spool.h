/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_SPOOL_H
#define QUIRE_MMU_RECLAIM_SPOOL_H

/*
 * Numbers on disk: an array of 32-bit numbers in a file without a name, in $TMPDIR or else
 * /var/tmp.  It is written once, in order or at any place, and read through a mapping, so that it
 * takes the page cache's memory and not ours.
 */
#include <quire/error.h>
#include <quire/types.h>

/* A zeroed one is empty, and fine for spool_finish(). */
struct spool {
	int fd; /* valid with `made` */
	bool made;
	uint32_t *number; /* the mapping */
	uint64_t nr;
	uint32_t *buffer; /* numbers not written yet */
	unsigned int buffered;
};

/*
 * Begin an empty one, to be filled by spool_add() and ended by spool_seal(); after that the numbers
 * are number[0] to number[nr - 1], and may be read only.
 *
 * All return 0 or -errno, with a line in *err: the file cannot be made or written, or there is no
 * memory.
 */
int spool_init(struct spool *s, struct quire_error *err);
int spool_add(struct spool *s, uint32_t number, struct quire_error *err);
int spool_seal(struct spool *s, struct quire_error *err);

/* Make one of nr zeroes, nr > 0, which may be written in place.  As spool_init(). */
int spool_init_zeroes(struct spool *s, uint64_t nr, struct quire_error *err);

void spool_finish(struct spool *s);

#endif
