/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_REACH_H
#define QUIRE_GUEST_REACH_H

/*
 * Accesses whose outcome is one number: the frame that they reached, or how they faulted.
 *
 * A *marked* frame has a number of its own.  It holds it as data and as code that returns it.  So a
 * read, a write and a fetch each tell which frame the processor found.
 */
#include "kernel.h"

enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH, NR_ACCESS_KINDS };

#define MAX_MARKED 128u
#define MARK_FIRST 0x1000u /* numbers of frames: above error codes, below vectors */

/* What went wrong beyond a fault: CR2 is wrong, or a write reached no marked frame, or several. */
#define REACH_WRONG (1UL << 40)

/* Did the access come to no fault? */
static inline bool reached(uint64_t outcome)
{
	return outcome - MARK_FIRST < MAX_MARKED;
}

/* Write the next number into the page at gpa.  Returns the number.  There is no way to unmark. */
uint64_t frame_mark(uint64_t gpa);

/* Forget all marked frames. */
void frames_unmark(void);

/*
 * Access the page at gva, at CPL 3 or 0: the frame's number; the error code of #PF; or another
 * vector << 16 | error code.
 */
uint64_t reach_user(enum access_kind kind, uint64_t gva);
uint64_t reach_nucleus(enum access_kind kind, uint64_t gva);

/* One access at CPL 0, of 8 bytes. */
struct probed {
	uint64_t code;	/* PROBE_OK, or a fault as above */
	uint64_t value; /* what was read, or returned by the code there; after a fault CR2 */
};
struct probed nucleus_probe(uint64_t call, uint64_t gva, uint64_t kind,
			    uint64_t value) __asm__("nucleus_call");

static inline struct probed probe(enum access_kind kind, uint64_t gva, uint64_t value)
{
	return nucleus_probe(CALL_PROBE, gva, kind, value);
}

#endif
