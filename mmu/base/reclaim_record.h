/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_RECLAIM_RECORD_H
#define QUIRE_MMU_BASE_RECLAIM_RECORD_H

/*
 * What a VM says of its reclaim: how much it could free, where its pages are, and how long it waits
 * for them.
 *
 * The VM fills it in, and it goes unchanged to the machine (machine_protocol.h) and to whoever asks
 * the VM.  Nobody who receives a record may believe it: the VM process may have been taken over by
 * its guest.
 */
#include <stdint.h>

/* Sizes and counters are in pages of 4 KiB, where nothing else is said. */
struct reclaim_record {
	uint32_t on;	    /* 0 or 1: this VM reclaims; if not, all that follows is 0 */
	uint32_t more;	    /* 0 or 1: there are pages that could go */
	uint32_t suspended; /* 0 or 1: its guest stands still because the machine said so */
	uint32_t pad;

	/* These are sizes now. */
	uint64_t still_asked;	    /* of the last RECLAIM: what is still to be freed */
	uint64_t compressed;	    /* guest pages that are in the pool */
	uint64_t pool;		    /* what the pool costs */
	uint64_t swapped;	    /* guest pages that are in the swap area */
	uint64_t working_set;	    /* an estimate of what the guest uses */
	uint64_t working_set_error; /* how far that may be off, in either direction */

	/* These count since the VM began. */
	uint64_t freed;	   /* pages that left and whose memory is free */
	uint64_t refaults; /* pages that left and came back */

	/* In ns since the VM began: times in which vCPUs waited for a page to come back. */
	uint64_t some_ns; /* one at least waited */
	uint64_t full_ns; /* none could run */
};

#endif
