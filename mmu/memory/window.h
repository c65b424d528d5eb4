/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_WINDOW_H
#define QUIRE_MMU_MEMORY_WINDOW_H

/*
 * The window: the host-virtual range behind KVM's memslots, and its userfaultfd.  It is a back end
 * (backend.h).
 *
 *      window + gpa ---- MAP_SHARED, userfaultfd ----+
 *                                                    +--> RAM file at offset gpa
 *      alias + gpa  ---- MAP_SHARED, plain ----------+
 *
 * Both are congruent to gpa modulo 1 GiB, so that KVM may map large.  What is not RAM (the gap) is
 * inaccessible in both.  The second half of the RAM file is for the pool (packed.h): the alias goes
 * on there.
 *
 * A block that is managed singly is registered MISSING|WP, so that a touch of a hole raises an
 * event for the pager.  A whole block is not registered: host and KVM map it with one 2 MiB entry.
 * What is away is a private mapping of a store's segment, or of the kernel's page of zeroes.
 */
#include <quire/error.h>
#include "backend.h"
#include "mappings.h"

struct window {
	struct backend backend;
	struct mappings maps; /* [g] what is mapped where */
	uint8_t *base;	      /* [I] hva of gpa 0 */
	uint8_t *alias;	      /* [I] */
	uint8_t *fill_at;     /* [I] address space of one block, for window_fill_block */
	uint64_t span;	      /* [I] bytes, gap included, a 2 MiB multiple; the pool has as many */
	int ram_fd;	      /* [I] */
	int uffd;	      /* [I] */
	int pagemap;	      /* [I] /proc/self/pagemap, or -1 */
	int exact; /* [I] the alias is an exact mapping of it (mmu/base/exact.h); or -1 */
};

/*
 * Map the RAM ranges, which are as in stage2_create and stay, from a new RAM file, or from a
 * duplicate of ram_fd if that is not 0.  `huge`: 2 MiB pages are wanted.  `events`: touches raise
 * them; if not, there is no userfaultfd, and the window is the alias.  On failure the reason
 * goes to *err (may be NULL), and -errno is as gmem_create documents it.
 */
int window_create(struct window *w, const struct gfn_range *ram, unsigned int nr, bool huge,
		  bool events, int ram_fd, struct quire_error *err);

/* Unmap and close everything.  No thread may be inside the window. */
void window_destroy(struct window *w);

/*
 * Write these bytes to the RAM file, where its pages [gfn, gfn + nr) are holes: exactly those come
 * in.  They may be the pool's.
 * 0; on failure the host's -errno, and all of them are holes still.
 */
int window_write(struct window *w, gfn_t gfn, uint64_t nr, const void *bytes);

/*
 * Read page gfn of the RAM file, which exists, and enter it in no page table.  To take it away then
 * needs no flush of other processors, which would interrupt those in the guest.  0 or -errno.
 */
int window_read(const struct window *w, gfn_t gfn, uint8_t *bytes);

/*
 * Write zeroes to the holes of [gfn, gfn + nr) in the RAM file.  0; on failure the host's -errno,
 * and the first *done pages are no holes.
 */
int window_fill_holes(struct window *w, gfn_t gfn, uint64_t nr, uint64_t *done);

/* A page of zeroes, aligned. */
extern const uint8_t zero_page[QUIRE_PAGE_SIZE];

#endif
