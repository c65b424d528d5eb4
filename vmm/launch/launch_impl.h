/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LAUNCH_LAUNCH_IMPL_H
#define QUIRE_VMM_LAUNCH_LAUNCH_IMPL_H

/*
 * What the files of the launcher share.  The launcher is one thread.
 *
 *   launch.c          the loop: signals, deadlines, the end
 *   launch_birth.c    a VM process: how it is admitted and executed
 *   launch_copy.c     ... what it says on its leash, and how it ended
 *   launch_machine.c  the machine: finding it, starting it, losing it
 *   launch_console.c  the output of several VMs (launch_console.h)
 *   descriptors.c     which descriptors a child keeps
 *   launch_reset.c    guests that reset themselves
 *   launch_stats.c    the counters at the end
 */
#include <quire/error.h>
#include <sys/types.h>
#include <unistd.h>
#include "mmu/machine/client.h"
#include "cgroup.h"
#include "launch.h"
#include "launch_console.h"

/*
 *   waiting --admitted, executed--> running --process ended--> ended --its reason known--> done
 *    ^ +--------------------refused, or the launcher is stopping---------------------------+
 *    +--------------------its guest reset itself-----------------------------+
 */
enum copy_state {
	COPY_WAITING,
	COPY_RUNNING,
	COPY_ENDED, /* the machine may still say why, until gone_until_ns */
	COPY_DONE,  /* its status is known, if it was started */
};

/* So often is code of a VM disassembled.  One that asks for more keeps us busy. */
#define LAUNCH_MAX_LISTED 64

/* Deadlines are CLOCK_MONOTONIC in ns, 0: none.  Descriptors: -1: none. */
struct copy {
	char name[MACHINE_NAME_MAX + 1];
	enum copy_state state;
	pid_t pid;
	int pidfd;
	int leash;
	int output;	     /* the pipe from its standard output, if it is one of several */
	bool output_watched; /* `output` is in the epoll set; it is not while `lines` are blocked */
	struct lines lines;

	pid_t net_helper[LAUNCH_MAX_NETS]; /* processes at the other ends of its links; 0: none */

	int delta_fd[DISK_MOST]; /* of disks with overlays: what its guest changed on them */

	uint32_t vm;	     /* its id with the machine of this era: */
	unsigned int era;    /* 0: no machine has it */
	bool lost;	     /* it lost its channel, and said what it holds: */
	uint64_t held_pages; /* credits */
	uint64_t swap_pages; /* of the machine's swap */
	bool gone;	     /* the machine said why it ended: */
	struct machine_gone why;
	bool refused; /* the machine did not admit it, and said why: */
	struct machine_refusal refusal;
	struct quire_error refused_text;

	uint64_t timeout_ns; /* when it ought to have ended by its own --timeout */
	uint64_t kill_ns;    /* when it is killed because it is stuck ... */
	int kill_status;     /* ... and its status then */
	uint64_t gone_until_ns;
	bool printed;	      /* it has printed the text that a caller waits for */
	unsigned int listed;  /* how often its code was disassembled */
	bool killed;	      /* we killed it */
	bool reset;	      /* its guest reset itself, says its process */
	unsigned int reboots; /* how often it was started again */
	int signal;	      /* the signal that ended it; 0: none */
	int status;
	bool bounded;	      /* its process has a cgroup of its own (cgroup.h) ... */
	bool exceeded;	      /* ... and was killed because it reached the bound of that */
	struct vm_info *info; /* its counters, shared with its process; NULL: nobody wants them */
	int info_fd;	      /* the same, while its process is being started */
};

struct launch {
	const struct launch_config *config;
	pid_t pid;
	struct copy *copy;
	unsigned int nr;       /* copies */
	unsigned int next;     /* the first copy that was never started */
	unsigned int restarts; /* copies before it that wait to be started again */
	unsigned int running;  /* copies that run */
	unsigned int turn;     /* the copy whose output goes first */

	struct machine_client *machine; /* NULL: the machine is lost */
	unsigned int era;		/* the number of the machine, from 1 */
	pid_t machine_pid;		/* of our own machine; 0: it is somebody else's */
	uint64_t retry_ns;		/* when to look for a machine again */
	uint64_t admit_ns;		/* when to ask again for the copy that waits */
	uint64_t admit_until_ns;	/* when to stop asking for it; 0: it was not refused yet */

	/* Of a lone guest that resets itself: input that it had not read, for its next process. */
	char input[VM_INPUT_BYTES];
	size_t input_bytes;
	bool begun_key; /* as in leash.h */

	struct cgroup_home home; /* where VMs have their cgroups */
	int epoll, signal_fd;
	int caller;	  /* a process that waits until all copies have printed a text; -1: none */
	bool all_printed; /* they have; the caller is told when so much output is written: */
	uint64_t printed_bytes; /* outbuf.written */
	struct outbuf out;
	bool out_failed;	  /* nobody reads our output: drop it */
	int stop_status;	  /* the launch is being stopped with this status; 0: it is not */
	uint64_t output_until_ns; /* when to give a slow reader of our output up */
	int status;		  /* the highest of all copies so far */
	uint64_t start_ns;
};

static inline void launch_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* An event's data.u64 has a source in its high half, and the index of a copy in its low half. */
enum launch_source {
	LAUNCH_SOURCE_SIGNAL,
	LAUNCH_SOURCE_MACHINE,
	LAUNCH_SOURCE_PROCESS,
	LAUNCH_SOURCE_LEASH,
	LAUNCH_SOURCE_OUTPUT,
	LAUNCH_SOURCE_CALLER
};

/* ---- launch.c ---- */

/* Listen to fd, which belongs to the copy with this index.  Returns 0 or -errno. */
int launch_watch(struct launch *l, int fd, enum launch_source source, unsigned int index);

/* Listen to fd no longer.  Always to be called before fd is closed. */
void launch_unwatch(struct launch *l, int fd);

/*
 * Start no more copies, and end all others in order with this status.  Only the first call counts.
 */
void launch_stop(struct launch *l, int status);

/* Print a line about one copy, with its name if there are several. */
__attribute__((format(printf, 3, 4))) void launch_say(const struct launch *l, const struct copy *c,
						      const char *fmt, ...);

/* ---- descriptors.c ---- */

/* Close all descriptors but the standard ones and fd; -1: none. */
void launch_close_all_but(int fd);

/* ---- launch_birth.c ---- */

/* Have the machine admit the copy, and start its process.  It may have to wait, or be refused. */
void copy_start(struct launch *l, struct copy *c);

/* ---- launch_reset.c ---- */

/* Has the process of a copy ended only because its guest reset itself? */
bool copy_wants_restart(const struct launch *l, const struct copy *c);

/*
 * Let such a copy wait to be started again.  -1; or the status that it ends with, because it may
 * not be: then a line was printed.
 */
int copy_restart(struct launch *l, struct copy *c);

/* Make the files of the copy's overlays, if it is started for the first time.  0 or -errno. */
int copy_open_deltas(const struct launch *l, struct copy *c);

/* The copy is not started again. */
void copy_leave_disks(const struct launch *l, struct copy *c);

/* The copy that is to be started next; NULL: there is none now. */
struct copy *launch_waiting(const struct launch *l);

/* launch_waiting()'s copy was started, or refused. */
void launch_started(struct launch *l, const struct copy *c);

/* Start no copy any more. */
void launch_stop_waiting(struct launch *l);

/* ---- launch_copy.c ---- */

/* Tell a copy that runs to end with this status, and kill it if it does not. */
void copy_stop(struct copy *c, int status);

/* The copy was told to end.  If it has not in a while, it is killed, and this is its status. */
void copy_overdue(struct copy *c, int status);

/* Tell a copy how large our terminal is, if it is the guest's (terminal.h). */
void copy_tell_window(struct copy *c);

/* Read what the copy says on its leash. */
void copy_leash_ready(struct launch *l, struct copy *c);

/* Take note of the end of the copy's process, if it has ended. */
void copy_reap(struct launch *l, struct copy *c);

/*
 * Give a copy that has ended its status, or start it again, and print how it ended if that is worth
 * a line.
 */
void copy_conclude(struct launch *l, struct copy *c);

/* Act on the deadlines of a copy that have passed. */
void copy_expire(struct launch *l, struct copy *c, uint64_t now);

/* The next deadline of a copy; 0: none. */
uint64_t copy_deadline(const struct copy *c);

/* The copy has ended, or was never started, with this status. */
void copy_done(struct launch *l, struct copy *c, int status);

/* What a VM's cgroup permits. */
struct cgroup_bounds launch_bounds(const struct launch_config *config);

/* The copy's process has ended: remove its cgroup, and see whether that was the reason. */
void copy_leave_cgroup(const struct launch *l, struct copy *c);

/* Let the processes go that are at the other ends of the copy's links. */
void copy_end_helpers(struct copy *c);

/* Free what a copy has. */
void copy_finish(const struct launch *l, struct copy *c);

/* ---- launch_machine.c ---- */

/* Find a machine or start one.  Returns 0, or the exit status with *err. */
int launch_machine_find(struct launch *l, struct quire_error *err);

/* Read what the machine says unasked: which VMs have ended, and why. */
void launch_machine_ready(struct launch *l);

/* The machine is gone: let the VMs go on or stop, as configured, and look for another machine. */
void launch_machine_lost(struct launch *l);

/* Look for a machine again if it is time. */
void launch_machine_retry(struct launch *l, uint64_t now);

/* Bring a VM that lost its machine to the one we have, if it has said what it holds. */
void launch_machine_readmit(struct launch *l, struct copy *c);

/* Does this error of a client call say that the machine is lost, and not just answer no? */
bool launch_machine_is_lost(int code);

/* Leave the machine.  One of our own is given a moment to end. */
void launch_machine_leave(struct launch *l);

/* Fill in what a copy promises the machine. */
void launch_machine_admit_of(const struct launch *l, const struct copy *c,
			     struct machine_admit *admit);

/* ---- launch_stats.c ---- */

/*
 * Make c->info, which the copy's process will share, and c->info_fd, which is for that process.
 * Returns 0 or -errno.
 */
int launch_stats_share(struct copy *c);

/* The process has c->info_fd: close ours. */
void launch_stats_handed_over(struct copy *c);

/* Free c->info. */
void launch_stats_unshare(struct copy *c);

/* Hand the counters of all copies to write_stats().  Returns 0, -ENOMEM, or what that returns. */
int launch_stats_write(struct launch *l);

#endif
