/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LAUNCH_IMPL_H
#define QUIRE_VMM_LAUNCH_LAUNCH_IMPL_H

/*
 * Inside the launcher, which is one thread.
 *
 *   launch.c          the loop, signals, deadlines, the end
 *   launch_copy.c     a VM process: its birth, what it says on its leash, how it ended
 *   launch_machine.c  the machine: found, started, lost, found again
 *   launch_console.c  the output of several VMs (launch_console.h)
 *   launch_stats.c    --stats
 */
#include <quire/error.h>
#include <sys/types.h>
#include "mmu/machine/client.h"
#include "launch.h"
#include "launch_console.h"

/*
 *   waiting --admitted, forked--> running --process ended--> ended --its reason known--> done
 *      +------------------refused, or the launcher is stopping---------------------------+
 */
enum copy_state {
	COPY_WAITING,
	COPY_RUNNING,
	COPY_ENDED, /* by SIGKILL: the machine may still say why, until gone_until_ns */
	COPY_DONE,  /* status is valid, if it was started */
};

/* Deadlines are CLOCK_MONOTONIC in ns, 0: none.  Descriptors: -1: none. */
struct copy {
	char name[MACHINE_NAME_MAX + 1];
	enum copy_state state;
	pid_t pid;
	int pidfd;
	int leash;
	int output;	     /* its standard output, if it is one of several */
	bool output_watched; /* in the epoll set; not while `lines` are blocked */
	struct lines lines;

	uint32_t vm;	  /* its id ... */
	unsigned int era; /* ... with the machine of that era; 0: none has it */
	bool lost;	  /* it lost its channel, and holds so many credits: */
	uint64_t held_pages;
	bool gone; /* the machine said why it ended */
	struct machine_gone why;
	bool refused; /* the machine did not admit it, and said why: */
	struct machine_refusal refusal;
	struct quire_error refused_text;

	uint64_t timeout_ns; /* when it should have ended by its own --timeout */
	uint64_t kill_ns;    /* when it is killed with kill_status, because it is stuck */
	int kill_status;
	uint64_t gone_until_ns;
	bool printed; /* what is waited for */
	bool killed;  /* by us */
	int signal;   /* that ended it, 0: none */
	int status;
	struct vm_info *info; /* for --stats: shared with its process; NULL: not wanted */
};

struct launch {
	const struct launch_config *config;
	pid_t pid;
	struct copy *copy;
	unsigned int nr;   /* copies */
	unsigned int next; /* the first that waits */
	unsigned int running;
	unsigned int turn; /* whose output goes first */

	struct machine_client *machine; /* NULL: lost */
	unsigned int era;		/* counts machines, from 1 */
	pid_t machine_pid;		/* of our own, 0: it is somebody else's */
	uint64_t retry_ns;		/* when to look for a machine again */
	uint64_t admit_ns;		/* when to ask again for the first that waits ... */
	uint64_t admit_until_ns; /* ... and when to take no for an answer; 0: not asked yet */

	int epoll, signal_fd;
	int caller;		/* waits for all copies to print a text; -1: nobody does any more */
	bool all_printed;	/* they have, and it is told once so much output is written: */
	uint64_t printed_bytes; /* as outbuf.written */
	struct outbuf out;
	bool out_failed;	  /* nobody reads: drop it all */
	int stop_status;	  /* the launch is being stopped; 0: it is not */
	uint64_t output_until_ns; /* when a slow reader is given up */
	int status;		  /* highest so far */
	uint64_t start_ns;
};

/* What is in the epoll set: data.u64 is a source and, in the low half, the index of a copy. */
enum launch_source {
	LAUNCH_SOURCE_SIGNAL,
	LAUNCH_SOURCE_MACHINE,
	LAUNCH_SOURCE_PROCESS,
	LAUNCH_SOURCE_LEASH,
	LAUNCH_SOURCE_OUTPUT,
	LAUNCH_SOURCE_CALLER
};

/* launch.c */
int launch_watch(struct launch *l, int fd, enum launch_source source, unsigned int index);
void launch_unwatch(struct launch *l, int fd);
/* End all copies in order with this status, and start no more.  The first call counts. */
void launch_stop(struct launch *l, int status);
/* A line about one copy. */
__attribute__((format(printf, 3, 4))) void launch_say(const struct launch *l, const struct copy *c,
						      const char *fmt, ...);
void launch_close_all_but(int a, int b); /* from 3 on; -1: none */

/* launch_copy.c */
void copy_start(struct launch *l, struct copy *c);
void copy_stop(struct copy *c, int status);
/* It is told to end: if it does not in a while, it is killed and that is its status. */
void copy_overdue(struct copy *c, int status);
void copy_leash_ready(struct launch *l, struct copy *c);
void copy_reap(struct launch *l, struct copy *c);     /* if its process has ended */
void copy_conclude(struct launch *l, struct copy *c); /* ended -> done */
void copy_expire(struct launch *l, struct copy *c, uint64_t now);
uint64_t copy_deadline(const struct copy *c); /* 0: none */
void copy_finish(struct copy *c);

/* launch_machine.c */
/* Find a machine or start one.  0, or the exit status with *err. */
int launch_machine_find(struct launch *l, struct quire_error *err);
/* Something is to be read from it. */
void launch_machine_ready(struct launch *l);
void launch_machine_lost(struct launch *l);
/* Look for it again if it is time. */
void launch_machine_retry(struct launch *l, uint64_t now);
/* Bring a VM that lost its machine to the one we have. */
void launch_machine_readmit(struct launch *l, struct copy *c);
/* Is the error of a client call the machine's end, and not an answer? */
bool launch_machine_is_lost(int code);
/* What the machine asks of us and says at the end; NULL-safe. */
void launch_machine_leave(struct launch *l);
void launch_machine_admit_of(const struct launch *l, const struct copy *c,
			     struct machine_admit *admit);

/* launch_stats.c */
int launch_stats_share(struct copy *c);	  /* before the fork: make c->info.  0 or -errno */
void launch_stats_forked(struct copy *c); /* after it: no later VM shares it */
void launch_stats_unshare(struct copy *c);
int launch_stats_write(struct launch *l); /* 0, -ENOMEM, or what write_stats() says */

#endif
