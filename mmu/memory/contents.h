/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_CONTENTS_H
#define QUIRE_MMU_MEMORY_CONTENTS_H

/*
 * What is in a page, whatever its state.
 *
 * Nobody else assumes that a page's bytes can be read where they are.  They are *shown* to a
 * function, which may read them until it returns: in place if they are mapped somewhere, else from
 * a buffer.  And nobody else writes guest memory for the VMM.
 *
 * Locking: LOCK_GMEM for all, and no block that is asked about is being filled
 * (gmem_await_filled).  A guest may write a private page at any moment, also while it is shown.
 */
#include "gmem.h"

struct page_look {
	/*
	 * Look at nr pages from page `first` of the run on, whose bytes these are.  0 to go on;
	 * anything else ends the show, which returns it.
	 */
	int (*fn)(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes);
	void *ctx;
};

/*
 * Show the linear run [gfn, gfn + nr), of which *page is the first page, to look->fn: in order, and
 * in as many parts as need be.  Returns what the last call returned.
 */
int contents_show(const struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page,
		  const struct page_look *look);

/*
 * Copy `bytes` bytes of that run, from byte `offset` of its first page (below 4096) on, to `to`.
 * As in guest_read(), a word is copied at once.
 */
void contents_copy(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page,
		   uint64_t offset, void *to, size_t bytes);

/*
 * Copy all of page gfn, which is *page, and not touch it for that: it is about to leave.  0; as
 * contents_show; or the host's -errno.
 */
int contents_read(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page, uint8_t *bytes);

/* Has the page at gfn, which is *page, the bytes of another, which is *other and away? */
bool contents_same(const struct gmem *gm, gfn_t gfn, const struct stage2_page *page,
		   const struct stage2_page *other);

/*
 * Write what is in that run, which is away, to its place in the RAM file, where there are only
 * holes: all of it or nothing.  0 or the host's -errno.
 */
int contents_take_home(struct gmem *gm, gfn_t gfn, uint64_t nr, const struct stage2_page *page);

/* Write `bytes` bytes to gpa and what follows, all in private pages.  A word is written at once. */
void contents_write(struct gmem *gm, gpa_t gpa, const void *from, size_t bytes);

/* The exchange of guest_exchange(), in a private page. */
void contents_exchange(struct gmem *gm, gpa_t gpa, uint64_t old[2], const uint64_t new[2]);

/*
 * Set `bits` in the entry of 4 or 8 bytes at gpa, aligned and in a private page, if it has this
 * value.  0; -EAGAIN: it has another.
 */
int contents_set_bits(struct gmem *gm, gpa_t gpa, unsigned int bytes, uint64_t value,
		      uint64_t bits);

#endif
