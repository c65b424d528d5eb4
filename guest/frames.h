/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_FRAMES_H
#define QUIRE_GUEST_FRAMES_H

/*
 * A stack of page frame numbers, for who owns many blocks of one order.  It lives in pages of
 * its own, one per FRAMES_PER_PAGE numbers, and an empty stack has none.  Zeroed is empty.
 *
 * Who is going to push many says so in `expected`: then the pages of the list lie together, and
 * not each in another 2 MiB block, which a host would have to provide for its sake.  Who must not
 * wait for a host then reserves them before.
 */
#include "runtime.h"

#define FRAMES_PER_PAGE 1020

struct frames {
	struct frames_page *top;
	uint64_t nr;
	uint64_t expected;	  /* numbers at most; a hint */
	uint64_t spare, nr_spare; /* pages from gpa spare on, not touched yet */
	struct frames_page *kept; /* unused pages of the reserve, touched */
	uint64_t nr_kept, reserved;
};

/* Have touched pages for nr numbers, up to a block of 2 MiB; they stay with the stack. */
void frames_reserve(struct frames *f, uint64_t nr);

/* False if a page was needed and there is none. */
bool frames_push(struct frames *f, uint64_t gpa);

/* The gpa pushed last, left there or taken; the stack is not empty. */
uint64_t frames_peek(const struct frames *f);
uint64_t frames_pop(struct frames *f);

/*
 * Push `blocks` blocks of order from the page allocator, or as many as there are; how many.
 * And the way back.
 */
uint64_t frames_alloc(struct frames *f, unsigned int order, uint64_t blocks);
void frames_free(struct frames *f, unsigned int order);

#endif
