/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_BALLOON_H
#define QUIRE_GUEST_BALLOON_H

/*
 * The driver of the virtio memory balloon (VIRTIO 1.2, section 5.5).  It gives pages to the host
 * and takes them back as the host asks, answers what memory there is, and reports free blocks.  It
 * is polled: balloon_poll() is called often, never waits, and leaves the guest twice at most.
 */
#include "frames.h"
#include "virtio.h"

#define BALLOON_DEVICE_ID 5

#define BALLOON_F_MUST_TELL_HOST (1UL << 0)
#define BALLOON_F_STATS_VQ	 (1UL << 1)
#define BALLOON_F_DEFLATE_ON_OOM (1UL << 2)
#define BALLOON_F_FREE_PAGE_HINT (1UL << 3)
#define BALLOON_F_PAGE_POISON	 (1UL << 4)
#define BALLOON_F_REPORTING	 (1UL << 5)

#define BALLOON_BATCH	256 /* pages in a buffer */
#define BALLOON_MOST	512 /* ... that come back, to the end of a block of 2 MiB */
#define BALLOON_REPORTS 32  /* free blocks in a buffer */

/* Offsets into the device's configuration. */
#define BALLOON_NUM_PAGES 0
#define BALLOON_ACTUAL	  4
#define BALLOON_HINT_ID	  8
#define BALLOON_POISON	  12

/* Queues, in the order of their numbers.  Queues that were not negotiated get no number. */
enum balloon_queue {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINT,
	BALLOON_REPORT,
	NR_BALLOON_QUEUES
};

/* What the driver is asked to do. */
struct balloon_wish {
	uint64_t features; /* to negotiate if offered */
	uint32_t poison;   /* value of PAGE_POISON */
	uint64_t delay_ms; /* from finding nothing to report to looking again */
	bool reuse;	   /* write and verify each page that comes back */
};

/* What balloon_poll() says: nothing; the target was reached; it cannot be for want of pages. */
enum balloon_event { BALLOON_QUIET, BALLOON_REACHED, BALLOON_SHORT };

struct balloon_dma;

enum hint_phase { HINT_NONE, HINT_SENDING, HINT_HOLDING };

/* Counts are in pages of 4 KiB where nothing else is said.  Times are TSC values. */
struct balloon {
	struct balloon_wish wish;
	struct virtio dev;
	struct virtqueue queue[NR_BALLOON_QUEUES];
	unsigned int nr_queues;
	struct balloon_dma *dma; /* a page that the device reads */
	bool wrong;		 /* a page that came back does not keep what is written */

	uint32_t target, actual;
	bool pending;	 /* the target has not been reached yet */
	bool told_short; /* BALLOON_SHORT has been said of it */
	enum balloon_event event;
	uint64_t asked; /* when the target changed */
	uint64_t took;	/* to reach it */
	uint64_t next_config, next_try;
	bool changed;		  /* the configuration; it has not been read yet */
	unsigned int turn;	  /* of the steps that balloon_poll() takes */
	bool busy;		  /* the last balloon_poll() took one */
	uint64_t block, nr_block; /* of 2 MiB, the last pages of which are to be given next */
	struct frames pages;	  /* those of a batch under way to the host included */
	enum balloon_queue batch_queue;
	uint32_t batch; /* pages under way; 0: none */
	uint64_t batch_sent;

	struct virtq_piece report[BALLOON_REPORTS];
	unsigned int nr_reports; /* blocks under way; 0: none */
	uint64_t report_sent, next_report;
	uint64_t freed; /* freed_count() when there was nothing to report */

	uint32_t hint_id; /* what the host last asked for */
	enum hint_phase hint_phase;
	unsigned int hints_out; /* buffers under way */
	struct frames hints;	/* blocks of order 10 */

	uint64_t inflated, deflated, reported, hinted, stats, report_buffers;
	uint64_t zeroed;       /* pages that came back as zeroes, if wish.reuse */
	uint64_t longest_wait; /* for a buffer of pages, or of reports */
};

/* Find the device, negotiate and start.  False: there is no device that will do. */
bool balloon_start(struct balloon *b, const struct balloon_wish *wish);

/* Take one step, if there is one that needs no waiting. */
enum balloon_event balloon_poll(struct balloon *b);

/*
 * Wait until deadline, or until balloon_poll() may have something to do.  Returns at once while
 * something is under way to the host.
 */
void balloon_wait(struct balloon *b, uint64_t deadline);

/* Is nothing under way to the host? */
bool balloon_idle(const struct balloon *b);

/* Poll until idle. */
void balloon_finish_all(struct balloon *b);

/*
 * The guest is out of memory: take back a batch of pages, if DEFLATE_ON_OOM allows, and wait for
 * them.  Returns how many.  The driver then ignores the host's target until it changes.
 */
uint32_t balloon_oom(struct balloon *b);

/* Report free blocks, and wait, until none is left. */
void balloon_report_all(struct balloon *b);

/* Is word what a reported page must hold?  Without PAGE_POISON it may hold anything. */
bool balloon_poisoned(const struct balloon *b, uint64_t word);

#endif
