/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_FRAMES_H
#define QUIRE_GUEST_FRAMES_H

/*
 * A stack of page frame numbers, for an owner of many blocks of one order.  It lives in pages of
 * its own, one for each FRAMES_PER_PAGE numbers.  An empty stack has none, and a zeroed struct is
 * an empty stack.
 *
 * An owner that is going to push many numbers says so in `expected`.  Then the pages of the list
 * lie together.  Otherwise each might lie in another 2 MiB block, which a host would have to
 * provide just for it.  An owner that must not wait for the host reserves the pages before.
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

/* Get and touch pages for nr numbers, at most 2 MiB of them.  They stay with the stack. */
void frames_reserve(struct frames *f, uint64_t nr);

/* False: a page was needed, and there is none. */
bool frames_push(struct frames *f, uint64_t gpa);

/* The gpa that was pushed last; pop also takes it off.  The stack must not be empty. */
uint64_t frames_peek(const struct frames *f);
uint64_t frames_pop(struct frames *f);

/*
 * Take `blocks` blocks of this order from the page allocator, or as many as there are, and push
 * them; returns how many.  frames_free() gives all of them back.
 */
uint64_t frames_alloc(struct frames *f, unsigned int order, uint64_t blocks);
void frames_free(struct frames *f, unsigned int order);

#endif
