/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_BALLOON_RECORD_H
#define QUIRE_MMU_BASE_BALLOON_RECORD_H

/*
 * Everything that is said about one VM's balloon.
 *
 * The device fills a struct balloon_record in, and the VM adds what only it knows.  The record goes
 * unchanged to the machine (machine_protocol.h) and to whoever asks the VM (ctl info, --stats).
 *
 * Nobody who receives a record may believe it: it comes from a guest, or from a VM process that its
 * guest took over.
 */
#include <stdint.h>

/* Does a VM have a balloon, and who says how large it should be? */
enum balloon_mode {
	BALLOON_MODE_OFF,    /* there is no balloon */
	BALLOON_MODE_MANUAL, /* an operator says it */
	BALLOON_MODE_AUTO,   /* the machine's policy says it, until an operator does */
	BALLOON_NR_MODES
};

enum balloon_driver {
	BALLOON_NO_DRIVER,
	BALLOON_DRIVER,
	BALLOON_DRIVER_BROKEN, /* it broke a rule, and the device waits for its reset */
};

enum balloon_hinting {
	BALLOON_HINT_OFF,
	BALLOON_HINT_ASKED, /* the driver has not begun */
	BALLOON_HINT_RUNNING,
	BALLOON_HINT_ENDED, /* the driver has hinted all it had */
};

/* Tags of the guest's statistics that quire acts on: VIRTIO 1.2, section 5.5.6.4. */
enum balloon_tag {
	BALLOON_TAG_SWAP_IN = 0,
	BALLOON_TAG_SWAP_OUT = 1,
	BALLOON_TAG_MAJOR_FAULTS = 2,
	BALLOON_TAG_FREE = 4,
	BALLOON_TAG_TOTAL = 5,
	BALLOON_TAG_AVAILABLE = 6,
	BALLOON_TAG_CACHES = 7,
	BALLOON_TAG_OOM_KILLS = 10,
	BALLOON_TAG_ALLOC_STALLS = 11,
};

/* The name of a tag, such as "free_memory"; NULL for a tag that Linux does not know. */
const char *balloon_stat_name(uint16_t tag);

/* One statistic, laid out as drivers send it. */
struct balloon_stat {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

_Static_assert(sizeof(struct balloon_stat) == 10, "as drivers have it");

#define BALLOON_MAX_STATS 32u

/* Sizes and counters are in pages, times in ns of CLOCK_MONOTONIC, where nothing else is said. */
struct balloon_record {
	uint32_t mode;	   /* enum balloon_mode; if it is off, all that follows is 0 */
	uint32_t manual;   /* 0 or 1: an operator set the target, or only an operator may */
	uint32_t driver;   /* enum balloon_driver */
	uint32_t asks;	   /* to the machine, 0 or 1: the guest took pages back that were wanted */
	uint64_t features; /* negotiated, 1 << enum balloon_feature; 0 without a driver */
	uint64_t silent_since_ns; /* when the driver was asked and did not answer; 0: it answers */

	/* These two are sizes now. */
	uint64_t target; /* asked of the guest */
	uint64_t actual; /* in the balloon, by the driver's own account */

	/* These count since the device was made. */
	uint64_t requested; /* named in inflate buffers, whatever became of them */
	uint64_t inflated, deflated, reported;
	uint64_t duplicates; /* named twice: in one go, or inflated or deflated already */
	uint64_t refused;    /* not RAM, part of the rings, or would not read as poison */
	uint64_t kept;	     /* could not be given back just then */
	uint64_t failed;     /* could not be given back at all */
	uint64_t hinted;
	uint64_t touches;    /* in the balloon, and touched without telling */
	uint64_t operations; /* calls of struct balloon_memory (vmm/dev/balloon.h), not pages */

	uint32_t hinting; /* enum balloon_hinting */
	uint32_t poison;  /* what free pages hold, with BALLOON_F_PAGE_POISON */

	/* What the guest said last of itself. */
	uint64_t stats_ns;			     /* when it said so; 0: never */
	uint64_t stats_actual;			     /* `actual` at that moment */
	uint32_t nr_stats;			     /* at most BALLOON_MAX_STATS */
	struct balloon_stat stat[BALLOON_MAX_STATS]; /* each tag once */
};

#endif
