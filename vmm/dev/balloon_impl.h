/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_IMPL_H
#define QUIRE_VMM_DEV_BALLOON_IMPL_H

/* What balloon.c (the device and its users) and balloon_serve.c (its queues) share. */
#include <stdatomic.h>
#include "mmu/base/locks.h"
#include "balloon_pace.h"
#include "balloon_pfns.h"
#include "balloon.h"

#define BALLOON_HINT_CMD_STOP  0u
#define BALLOON_HINT_CMD_DONE  1u
#define BALLOON_HINT_CMD_FIRST 2u

/* [I] immutable   [d] device's lock   [s] state_lock   [a] atomic   [m] main loop */
struct balloon {
	struct balloon_config config; /* [I] */
	struct virtio *virtio;	      /* [I] */
	uint64_t ram_pages;	      /* [I] */

	uint64_t features;	     /* [d] negotiated */
	int role[BALLOON_NR_QUEUES]; /* [d] queue number to enum balloon_queue; -1: none */
	bool stats_held;	     /* [d] we hold the driver's statistics buffer ... */
	uint16_t stats_head;	     /* [d] ... this one; to return it asks for the next ones */
	unsigned int budget;	     /* [d] items that this serve() may still take */

	unsigned int runs; /* [d] of pages that this serve() has given back or taken */

	/* [d] Used within one serve(), or until the list of `unfinished` has been read. */
	struct virtq_chain chain;
	struct pfn_batch batch;
	uint16_t head[VIRTQ_MAX]; /* of the buffers taken, to be returned */
	unsigned int nr_heads;
	int unfinished;		/* the queue with a list that is read in part; -1: none */
	struct virtq_cursor at; /* in the list */
	unsigned int listed;	/* pages of it that were read */

	/* The configuration space. */
	atomic_uint target, actual, cmd_id, poison; /* [a] */

	atomic_bool refresh;	  /* [a] statistics are wanted */
	atomic_int stats_queue;	  /* [a] its number; -1: none */
	struct balloon_pace pace; /* [m] */
	bool dozing;		  /* [m] config.doze was called, and wake() not yet */

	struct lock state_lock;
	struct balloon_record record;		  /* [s] but for what balloon_record() fills in */
	uint32_t hint_round;			  /* [s] the last command id of a round */
	uint64_t stats_asked_ns, target_asked_ns; /* [s] when; 0: the driver has answered */
	uint64_t paused_ns;			  /* [s] when the guest was paused; 0: it runs */
};

static inline void balloon_count(struct balloon *b, uint64_t *counter, uint64_t pages)
{
	lock(&b->state_lock);
	*counter += pages;
	unlock(&b->state_lock);
}

/* The driver reacted to a change of the target. */
static inline void balloon_answered(struct balloon *b)
{
	lock(&b->state_lock);
	b->target_asked_ns = 0;
	unlock(&b->state_lock);
}

/* virtio_ops.serve */
int balloon_serve(void *dev, unsigned int n);

#endif
