/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_SERVER_H
#define QUIRE_MMU_MACHINE_SERVER_H

/*
 * The machine: ledger and budget behind the sockets of machine_protocol.h.
 *
 * It is one thread without locks, made to sit in any loop: poll machine_fd() for reading with
 * machine_timeout_ms(), then call machine_serve(); or let machine_run() do that.  It never
 * blocks on a peer, holds no KVM file and maps nothing of a VM.  It prints nothing; `log` gets
 * one line per event.
 */
#include <quire/error.h>
#include "ledger.h"
#include "mmu/base/machine_protocol.h"

struct machine;

struct machine_config {
	struct ledger_config ledger;
	/* How long a VM below the min watermark waits before somebody is killed.  0: 200. */
	uint32_t recall_ms;
	/* How long a victim may take to die before another is chosen.  0: 10000. */
	uint32_t victim_ms;
	/* How long VMs may take to end after machine_stop_all().  0: 10000. */
	uint32_t stop_ms;
	/* From one tick of the balloon policy to the next.  0: 1000. */
	uint32_t balloon_ms;
	/* How long a VM that waits is put off when nothing comes out of balloons.  0: 1000. */
	uint32_t balloon_patience_ms;
	unsigned int max_clients; /* control connections; 0: 1024 */
	unsigned int max_vms;	  /* 0: 16384 */
	/* Done when the last control connection and the last VM are gone, if any ever was. */
	bool exit_when_idle;
	void (*log)(void *ctx, const char *line); /* no newline; may be NULL */
	uint64_t (*clock_ns)(void *ctx);	  /* monotonic; NULL: CLOCK_MONOTONIC */
	void *ctx;
};

/* 0; -EINVAL: the ledger's configuration makes no sense; -EMFILE, -ENOMEM; with *err. */
int machine_create(const struct machine_config *config, struct machine **out,
		   struct quire_error *err);

/*
 * Hang up on everybody and free.  VMs are not stopped: they see the machine lost.  Asserts that
 * with them all accounts return to zero.  NULL is fine.
 */
void machine_destroy(struct machine *m);

/* Listen at `address`, once: NULL the default, "@NAME" abstract, else a path.  As listener_open. */
int machine_listen(struct machine *m, const char *address, struct quire_error *err);

/*
 * Serve fd, a connected SOCK_SEQPACKET socket, as a control connection whose peer is trusted to
 * be ours.  Takes fd over, also on failure.  0, or -errno.
 */
int machine_adopt_control(struct machine *m, int fd);

/* Readable when machine_serve has something to do.  Constant. */
int machine_fd(const struct machine *m);

/* Milliseconds until machine_serve has something to do all the same; -1: never. */
int machine_timeout_ms(const struct machine *m);

/* Do what is pending.  0; 1: done (idle, or stopped and no VM left); -errno: cannot go on. */
int machine_serve(struct machine *m);

/* Tell every VM to stop; admit none any more; kill those that have not ended after stop_ms. */
void machine_stop_all(struct machine *m);

/*
 * Serve until done.  When stop_fd (-1: none) becomes readable or hangs up, machine_stop_all();
 * nothing is read from it.  0, or -errno.
 */
int machine_run(struct machine *m, int stop_fd);

void machine_get_state(struct machine *m, struct machine_state *state);

/* Recompute every sum.  Returns the number of faults, each described to report (may be NULL). */
unsigned int machine_audit(struct machine *m, void (*report)(void *ctx, const char *what),
			   void *ctx);

#endif
