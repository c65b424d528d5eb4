/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_MACHINE_EVENT_H
#define QUIRE_MMU_BASE_MACHINE_EVENT_H

/*
 * What a machine decided, and what happened to its VMs: the record that it keeps of each such
 * event, and tells to whoever asks (machine_protocol.h).  docs/metrics.md lists the kinds.
 */
#include <stdbool.h>
#include <quire/types.h>

#define EVENT_NUMBERS_MAX 14
#define EVENT_REASON_MAX  47
#define EVENT_TEXT_MAX	  239

/* One row of event_rows[] each. */
enum event_kind {
	EVENT_ADMISSION,
	EVENT_REFUSAL,
	EVENT_START,
	EVENT_STOP,
	EVENT_JOIN,
	EVENT_MERGE_PASS,
	EVENT_BALLOON,
	EVENT_RECALL,
	EVENT_RECLAIM_LEVEL,
	EVENT_RECLAIM,
	EVENT_IGNORES,
	EVENT_SUSPENSION,
	EVENT_RESUMPTION,
	EVENT_OOM,
	EVENT_DENIAL,
	EVENT_EXCESS,
	EVENT_OFFENCE,
	EVENT_OVERDUE,
	EVENT_KILL,
	EVENT_SETTINGS,
	EVENT_OBSERVER,
	EVENT_NR_KINDS
};

struct event_row {
	const char *name;
	/* Names of its numbers, as in quire.stats/1 where that has them; NULL ends them. */
	const char *number[EVENT_NUMBERS_MAX + 1];
	bool unlogged; /* the machine's log has no line of it */
	bool complete; /* the line of the log says itself which VM is meant */
};

extern const struct event_row event_rows[EVENT_NR_KINDS];

/* A number that is not known. */
#define EVENT_UNKNOWN INT64_MIN

struct machine_event {
	uint64_t seq;	       /* 1 is the first of this machine */
	uint64_t monotonic_ns; /* on the machine's clock, which is CLOCK_MONOTONIC */
	uint64_t realtime_ns;  /* CLOCK_REALTIME */
	uint32_t kind;	       /* enum event_kind */
	uint32_t vm;	       /* id; 0: no VM is meant, or it has none yet */
	int32_t pid;	       /* of the VM; 0: not known */
	uint32_t pad;
	char name[48]; /* of the VM; empty: no VM is meant */
	char reason[EVENT_REASON_MAX +
		    1]; /* why, in a word or a few; empty: that goes without saying */
	char text[EVENT_TEXT_MAX + 1];	   /* a line for people, perhaps cut short */
	int64_t number[EVENT_NUMBERS_MAX]; /* in the units of their names; or EVENT_UNKNOWN */
};

#endif
