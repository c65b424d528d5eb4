/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_H
#define QUIRE_VMM_VM_SANDBOX_H

/*
 * The sandbox of a VM process: after set-up it gives up everything that running the guest does
 * not need.  docs/isolation.md says what that is and against whom.
 *
 * In this order, because each step needs something that the next one takes away:
 *
 *	open everything: KVM, guest memory (gmem_create), files, sockets (ctl_create, machine)
 *	sandbox_enter()			the process, which has one thread; once
 *	start threads			each begins with sandbox_thread(its role)
 *	sandbox_thread(SANDBOX_MAIN)	before any of them enters the guest
 *
 * State is the process's: there is nothing to pass around, and sandbox_thread() does nothing in
 * a process that has not entered.
 */
#include <quire/error.h>
#include "sandbox_piece.h"
#include "sandbox_rules.h"

enum sandbox_mode {
	SANDBOX_ON,	/* all that this host permits, but for the network namespace */
	SANDBOX_STRICT, /* all of it, or do not run */
	SANDBOX_OFF,
};

/* Descriptors that stay open besides 0, 1 and 2, collected from whoever has them. */
#define SANDBOX_MAX_KEEP 512

struct sandbox_keep {
	int fd[SANDBOX_MAX_KEEP];
	unsigned int nr;
};

/* fd < 0 is ignored; too many abort. */
void sandbox_keep(struct sandbox_keep *keep, int fd);

/*
 * Give up what the whole process can.  The caller has one thread.  mode is not SANDBOX_OFF.
 * Standard streams that will be written to have their buffers (setvbuf): making one later
 * takes calls that are not in the table.
 *
 * 0: what the host did not permit is missing in sandbox_pieces(); -errno with *err: the process
 * is in no state to run a guest (strict and something is missing; or half in a user namespace).
 */
int sandbox_enter(enum sandbox_mode mode, struct sandbox_keep *keep, struct quire_error *err);

/*
 * From now on the calling thread, and every thread it starts, is held to the table of `role`.
 * Ends the process if that cannot be done.  Once a thread.
 */
void sandbox_thread(enum sandbox_role role);

/* Bits 1 << enum sandbox_piece that are on; 0 outside the sandbox. */
unsigned int sandbox_pieces(void);

#endif
