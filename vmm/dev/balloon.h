/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BALLOON_H
#define QUIRE_VMM_DEV_BALLOON_H

/*
 * The balloon: a virtio device (id 5).  Through it a guest gives pages back, by inflating when it
 * is asked to and by reporting what is free, and says how much memory it needs.
 *
 * Reference: VIRTIO 1.2, section 5.5 "Traditional Memory Balloon Device".
 *
 * The device checks what the guest says and puts it in order.  Memory sees it as calls of struct
 * balloon_memory, over runs of pages that are as long as possible.  All of these pages are RAM, and
 * none is part of the device's own rings.  A test can put a model in the place of memory.
 *
 * Threads.  The driver runs in vCPUs.  Any thread may call the functions below, and they never
 * wait; where a function is for the main loop alone, it says so.
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
 * Operations on [gfn, gfn + nr), which is RAM: gmem_balloon, gmem_unballoon and gmem_drop (gmem.h).
 * *gone is zero before the call, and says what became of the pages after it.  Pages that it leaves
 * out count as kept after -EAGAIN, and as failed after any other error.  Called with the device's
 * lock held.
 */
struct balloon_memory {
	/* The guest gave the pages up, and what is in them is lost. */
	int (*inflate)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The guest will use them again. */
	int (*deflate)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The pages are free now; to the guest zeroes are as good as what is in them. */
	int (*report)(void *ctx, gfn_t gfn, uint64_t nr, struct gmem_gone *gone);
	/* The driver starts anew, and all that it had given up is the guest's again. */
	void (*reset)(void *ctx);
	/*
	 * Hinting (balloon.c).  Is every write of the guest recorded now?  NULL: never, and the
	 * device does not offer the feature.
	 */
	bool (*hint_armed)(void *ctx);
	/*
	 * These pages were free at some moment since balloon_hint_start().  They may be in use
	 * again, so the callee must not discard them.
	 */
	void (*hint)(void *ctx, gfn_t gfn, uint64_t nr);
	void *ctx;
};

struct balloon_config {
	struct virtio_config virtio; /* its ctx is that of all functions here */
	struct balloon_memory memory;
	uint64_t stats_period_ns;	  /* 0: statistics come only when balloon_refresh() asks */
	uint64_t stats_longest_ns;	  /* the period while nothing changes (balloon_pace.h) */
	uint64_t (*now_ns)(void *ctx);	  /* CLOCK_MONOTONIC */
	bool async_inflate, async_report; /* virtio_ops.async for these queues */
	/*
	 * Call virtio.wake() once the guest touches a page that it does not have.  Returns whether
	 * it did so since the last call.  Called by balloon_tick().  May be NULL.
	 */
	bool (*doze)(void *ctx);
};

/* Make the device and put it on the bus.  0, -ENOMEM or bus_add()'s error. */
int balloon_create(const struct balloon_config *config, struct bus *mmio, struct balloon **out);

/* NULL is fine. */
void balloon_destroy(struct balloon *b);

/*
 * Do what is due by the clock, and serve what waits for the main loop.  Main loop only.  Returns
 * when to call again at the latest; UINT64_MAX: not before config.wake is called.
 */
uint64_t balloon_tick(struct balloon *b);

/* How often the driver is asked for statistics just now.  Main loop only. */
uint64_t balloon_period_ns(const struct balloon *b);

/* The driver notified queue n, but not by a write to the register. */
void balloon_notify(struct balloon *b, unsigned int n);

/* The guest is paused (on), or goes on.  A pause does not count as silence.  Main loop only. */
void balloon_pause(struct balloon *b, bool on);

/* ---- asking the guest ---- */

/* Ask the guest to give up so many pages.  0; -EINVAL: it has not so many. */
int balloon_set_target(struct balloon *b, uint64_t pages);

/* Ask for statistics now.  0; -ENOTCONN: there is no driver, or it has no statistics. */
int balloon_refresh(struct balloon *b);

/*
 * Begin a round of free page hints.  0; -ENOTCONN: there is no driver that hints; -EPERM:
 * hint_armed says no.
 */
int balloon_hint_start(struct balloon *b);

/* The driver need not send hints any more, but keeps the pages that it hinted. */
void balloon_hint_stop(struct balloon *b);

/* The round is over, and the driver may use the pages that it hinted again. */
void balloon_hint_done(struct balloon *b);

/* ---- what it said ---- */

/* A driver is silent if it has not answered for so long. */
#define BALLOON_SILENT_NS 5000000000ULL

/*
 * Copy what is known of the balloon to *out.  `mode`, `manual`, `asks` and `touches` become 0: the
 * device does not know them.
 */
void balloon_record(struct balloon *b, struct balloon_record *out);

/* The rule that the driver broke, a static string.  NULL: it is not BALLOON_DRIVER_BROKEN. */
const char *balloon_error(struct balloon *b);

#endif
