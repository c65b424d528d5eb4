/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_H
#define QUIRE_VMM_DEV_BALLOON_H

/*
 * The balloon: a virtio device (id 5) through which a guest gives pages back, by inflating when it
 * is asked to and by reporting what is free, and tells how it fares.
 *
 * Reference: VIRTIO 1.2, section 5.5 "Traditional Memory Balloon Device".
 *
 * What the guest says is checked and put in order here, and reaches memory as calls of struct
 * balloon_memory, over runs of pages that are RAM, not the device's own rings, and as long as can
 * be.  A test can put a model there.
 *
 * Threads: the driver is in vCPUs.  The functions below are for any thread and never wait, but for
 * balloon_tick(), which is the main loop's.
 */
#include "mmu/base/balloon_record.h"
#include "mmu/memory/gmem.h"
#include "virtio.h"

struct balloon;

enum balloon_feature { /* bit numbers */
		       BALLOON_F_MUST_TELL_HOST = 0,
		       BALLOON_F_STATS_VQ = 1,
		       BALLOON_F_DEFLATE_ON_OOM = 2,
		       BALLOON_F_FREE_PAGE_HINT = 3,
		       BALLOON_F_PAGE_POISON = 4,
		       BALLOON_F_REPORTING = 5,
};

/* What the queues are for; also their numbers as the specification has them. */
enum balloon_queue {
	BALLOON_Q_INFLATE,
	BALLOON_Q_DEFLATE,
	BALLOON_Q_STATS,
	BALLOON_Q_HINT,
	BALLOON_Q_REPORT,
	BALLOON_NR_QUEUES
};

/*
 * Operations on [gfn, gfn + nr), which is RAM, as gmem_balloon, gmem_unballoon and gmem_drop
 * (gmem.h): *gone, zero before, says what became of the pages.  Of those that it leaves out, after
 * -EAGAIN all count as kept, after any other error as failed.  Called with the device's lock.
 */
struct balloon_memory {
	/* The guest gave the pages up: what is in them is lost. */
	int (*inflate)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The guest will use them again. */
	int (*deflate)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The pages are free just now, and zero is as good as what is in them. */
	int (*report)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The driver starts over: whatever it had given up is the guest's again. */
	void (*reset)(void *ctx);
	/*
	 * Hinting, see balloon.c.  Is every write of the guest recorded?  NULL: never, and the
	 * feature does not exist.
	 */
	bool (*hint_armed)(void *ctx);
	/*
	 * These pages were free at some time since balloon_hint_start(); nothing may be discarded.
	 */
	void (*hint)(void *ctx, gfn_t gfn, uint64_t nr);
	void *ctx;
};

struct balloon_config {
	struct virtio_memory mem;
	struct balloon_memory memory;
	uint64_t base;			  /* of the registers */
	uint64_t stats_period_ns;	  /* 0: statistics come only when balloon_refresh() asks */
	uint64_t (*now_ns)(void *ctx);	  /* CLOCK_MONOTONIC */
	bool async_inflate, async_report; /* virtio_ops.async for these queues */
	/* As in struct virtio_config. */
	void (*interrupt)(void *ctx);
	void (*news)(void *ctx);
	void (*arm)(void *ctx, unsigned int n, bool on);
	void (*wake)(void *ctx);
	void *ctx;
};

/* 0, -ENOMEM or bus_add's error.  NULL is fine for destroy. */
int balloon_create(const struct balloon_config *config, struct bus *mmio, struct balloon **out);
void balloon_destroy(struct balloon *b);

/*
 * Main loop: do what is due.  Returns when to call again at the latest (UINT64_MAX: when woken).
 */
uint64_t balloon_tick(struct balloon *b);

/* A notification of queue n came by another way than its register. */
void balloon_notify(struct balloon *b, unsigned int n);

/* The guest is paused, or goes on: that time does not count as silence.  Main loop. */
void balloon_pause(struct balloon *b, bool on);

/* ---- asking the guest ---- */

/* How many pages the guest should give up.  -EINVAL: more than it has. */
int balloon_set_target(struct balloon *b, uint64_t pages);

/* Ask for statistics now.  -ENOTCONN: there is no driver, or it has none. */
int balloon_refresh(struct balloon *b);

/*
 * A round of free page hints.  start: -ENOTCONN (no driver that hints), -EPERM (hint_armed says
 * no).  stop: hints are of no use any more.  done: neither are the pages to the driver's host; it
 * may use them again.
 */
int balloon_hint_start(struct balloon *b);
void balloon_hint_stop(struct balloon *b);
void balloon_hint_done(struct balloon *b);

/* ---- what it said ---- */

/* A driver that has not answered for so long is silent. */
#define BALLOON_SILENT_NS 5000000000ULL

/*
 * Copy what is known of the balloon to *out.  `mode`, `manual`, `asks` and `touches` become 0: the
 * device does not know them.
 */
void balloon_record(struct balloon *b, struct balloon_record *out);

/* What rule the driver broke, a static string; NULL unless the record says BALLOON_DRIVER_BROKEN. */
const char *balloon_error(struct balloon *b);

#endif
