/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_SERVER_H
#define QUIRE_MMU_MACHINE_SERVER_H

/*
 * The machine: ledger and budget behind the sockets of machine_protocol.h.
 *
 * The machine is one thread without locks, and all functions here belong to that thread.  It fits
 * into any loop: poll machine_fd() for reading with machine_timeout_ms() as the timeout, then call
 * machine_serve().  machine_run() is such a loop.
 *
 * The machine never blocks on a peer, holds no KVM file and maps no memory of a VM.  It prints
 * nothing: `log` gets one line for each event.
 */
#include <quire/error.h>
#include "ledger.h"
#include "mmu/base/hash.h"
#include "mmu/base/machine_event.h"
#include "mmu/base/machine_protocol.h"
#include "mmu/base/place.h"

struct machine;

struct machine_config {
	struct ledger_config ledger;
	/* A request waits so long below the min watermark before a VM is killed.  0: 200. */
	uint32_t recall_ms;
	/* A VM may take so long to answer a RECALL before it is killed for others.  0: 1000. */
	uint32_t ignore_ms;
	/* The time from one look at what VMs occupy to the next.  0: 1000. */
	uint32_t measure_ms;
	/* A victim may take so long to die before another is chosen.  0: 10000. */
	uint32_t victim_ms;
	/* VMs may take so long to end after machine_stop_all().  0: 10000. */
	uint32_t stop_ms;
	/* The time from one tick of the balloon policy to the next.  0: 1000. */
	uint32_t balloon_ms;
	/* A request waits so long for balloons from which no page comes back.  0: 1000. */
	uint32_t balloon_patience_ms;
	/* The time from one tick of reclaim to the next, while memory is short.  0: 100. */
	uint32_t reclaim_ms;
	/*
	 * A VM that was asked to free pages may take so long for the next of them, and a request
	 * waits so long for reclaim from which no page comes back.  0: 2000.
	 */
	uint32_t reclaim_patience_ms;
	/* The time between two looks whether VMs do more than wait for pages.  0: 1000. */
	uint32_t load_ms;
	/* A VM is suspended for so long, and then runs for so long at least.  0: 10000. */
	uint32_t suspend_ms;
	unsigned int max_clients; /* control connections; 0: 1024 */
	unsigned int max_vms;	  /* 0: 16384 */
	/* Be done when the last control connection and the last VM are gone, once there was one. */
	bool exit_when_idle;
	void (*log)(void *ctx, const char *line); /* no newline; may be NULL */
	uint64_t (*clock_ns)(void *ctx);	  /* monotonic; NULL: CLOCK_MONOTONIC */
	page_hasher *hash;			  /* for tests; NULL: page_hash() */
	void *ctx;
};

/*
 * Create a machine that does not listen yet.
 *
 * Returns 0, or -errno with *err: -EINVAL: the ledger's configuration makes no sense; -EMFILE,
 * -ENOMEM.
 */
int machine_create(const struct machine_config *config, struct machine **out,
		   struct quire_error *err);

/*
 * Hang up on everybody and free the machine.  VMs are not stopped: to them the machine is lost.
 * Asserts that all accounts are zero when the last VM is forgotten.  NULL is fine.
 */
void machine_destroy(struct machine *m);

/*
 * Listen at `address`: NULL is the default, "@NAME" an abstract address, anything else a path.  To
 * be called once at most.  Returns 0 or -errno with *err, as listener_open() does.
 */
int machine_listen(struct machine *m, const char *address, struct quire_error *err);

/*
 * Serve fd, a connected SOCK_SEQPACKET socket, as a control connection.  The peer is not checked:
 * the caller trusts it.  Takes fd over, also on failure.  Returns 0 or -errno.
 */
int machine_adopt_control(struct machine *m, int fd);

/* What is written to the pipe of machine_adopt_news(), as a whole: an event of EVENT_OBSERVER. */
struct machine_news {
	char reason[EVENT_REASON_MAX + 1];
	char text[EVENT_TEXT_MAX + 1];
	int64_t number[EVENT_NUMBERS_MAX];
};

/*
 * Note in the log of events what comes through fd, a pipe for reading that does not block, from the
 * process that keeps the observer going; and its end, because then nobody does.  To be called once
 * at most.  Takes fd over, also on failure.  Returns 0 or -errno.
 */
int machine_adopt_news(struct machine *m, int fd);

/*
 * What a machine that listens, if it is to, still does with files: *place becomes a list of
 * directories.  Returns how many.  All else it has open.
 */
#define MACHINE_MAX_PLACES 3u
unsigned int machine_places(const struct machine *m, struct place place[MACHINE_MAX_PLACES]);

/*
 * Before and after a process gives up what it can.  What the machine cannot do then is done by a
 * thread that machine_start_setter() starts: it calls hold() in machine_hold_setter(), and from
 * then on makes no call but read, write, fsconfig and exit.  With `places` it opens files below
 * machine_places() only; else it makes none, and does without a shelf (store/shelf.h).
 */
void machine_start_setter(struct machine *m, void (*hold)(void));
void machine_hold_setter(struct machine *m, bool places);

/* A descriptor that is readable when machine_serve() has something to do.  It never changes. */
int machine_fd(const struct machine *m);

/* Milliseconds until machine_serve() is to be called even if nothing is readable; -1: never. */
int machine_timeout_ms(const struct machine *m);

/*
 * Do what is pending.  Returns 0; 1: the machine is done (idle, or stopped and no VM is left); or
 * -errno: it cannot go on.
 */
int machine_serve(struct machine *m);

/* Ask every VM to stop, admit none any more, and kill those that have not ended after stop_ms. */
void machine_stop_all(struct machine *m);

/*
 * Serve until the machine is done.  When stop_fd becomes readable or hangs up, this calls
 * machine_stop_all(); it reads nothing from stop_fd, which may be -1.  Returns 0 or -errno.
 */
int machine_run(struct machine *m, int stop_fd);

/* Copy the machine's books to *state. */
void machine_get_state(struct machine *m, struct machine_state *state);

/*
 * Recompute every sum and compare.  Returns the number of faults.  Each is described to `report`,
 * which may be NULL.
 */
unsigned int machine_audit(struct machine *m, void (*report)(void *ctx, const char *what),
			   void *ctx);

#endif
