/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_SANDBOX_H
#define QUIRE_VMM_VM_SANDBOX_H

/*
 * The sandbox of a VM process.  Once it is set up, the process gives up everything that it does not
 * need to run the guest.  docs/isolation.md says what that is, and against whom it helps.
 *
 * The order matters, because each step needs something that the next one takes away:
 *
 *   1. The process takes a uid of its own (sandbox_take_uid), before others can see the old one.
 *   2. It opens everything: KVM, guest memory (gmem_create), files, sockets (ctl_create).
 *   3. It calls sandbox_enter(), while it has one thread.
 *   4. It starts its threads.  Each begins with sandbox_thread() and its role.
 *   5. The main loop calls sandbox_thread(SANDBOX_MAIN) before any vCPU enters the guest.
 *
 * The sandbox is the process's, so there is nothing to pass around.  In a process that has not
 * entered it, sandbox_thread() does nothing.
 */
#include <quire/error.h>
#include <stdbool.h>
#include "sandbox_piece.h"
#include "sandbox_rules.h"

enum sandbox_mode {
	SANDBOX_ON,	/* everything that this host permits, except the network namespace */
	SANDBOX_STRICT, /* everything, or the VM does not run */
	SANDBOX_OFF,
};

/* What the process keeps: descriptors besides 0, 1 and 2, to which whoever has one adds it. */
#define SANDBOX_MAX_KEEP 512

struct sandbox_keep {
	int fd[SANDBOX_MAX_KEEP];
	unsigned int nr;
	/* What it may still need memory for, besides what it has mapped: see sandbox_limits.c. */
	uint64_t ram_bytes;
	unsigned int nr_threads;
};

/* Add fd, unless it is negative.  More than SANDBOX_MAX_KEEP abort. */
void sandbox_keep(struct sandbox_keep *keep, int fd);

/*
 * If the process is root's, take a uid that no other process has.  It keeps all capabilities until
 * sandbox_enter().  It has one thread.  Another user's process stays what it is.
 */
void sandbox_take_uid(void);

/*
 * Whoever started the process has put it into a cgroup of its own that bounds its memory, or could
 * not although the host has a place for it (refused), or there is no place.
 */
void sandbox_has_cgroup(bool own, bool refused);

/*
 * Give up what the process can give up as a whole.  The process has one thread, and mode is not
 * SANDBOX_OFF.  The caller has given buffers to the standard streams that it will write to
 * (setvbuf): to make one later takes calls that are not in the table.  The environment is wiped.
 *
 * 0: sandbox_pieces() lacks what the host did not permit.
 * -errno with *err: the process cannot run a guest any more.  The mode is strict and a piece is
 * missing, the process is half in a user namespace, or a standard stream is a socket that can send
 * to any address.
 */
int sandbox_enter(enum sandbox_mode mode, struct sandbox_keep *keep, struct quire_error *err);

/*
 * Hold the calling thread, and every thread that it starts, to the table of `role` from now on.
 * Ends the process if that cannot be done.  Each thread calls this once.
 */
void sandbox_thread(enum sandbox_role role);

/*
 * Hold a process that has no guest to the table of `role`.  It has one thread, has closed what it
 * does not need, and opens nothing any more but what the table permits.  It loses its environment.
 * It keeps the capabilities of `caps` (bits 1 << CAP_..., below 32) that it has, and no others.  It
 * stays in its namespaces, which the table gives it no way to use.  sandbox_pieces() lacks what the
 * host did not permit.
 */
void sandbox_helper(enum sandbox_role role, uint32_t caps);

/*
 * Wait until so many threads have called sandbox_thread().  A thread without its filter shares its
 * memory with whoever takes another one over, so no guest may run before all have theirs.  Outside
 * the sandbox it does not wait.
 */
void sandbox_await_threads(unsigned int nr);

/* The pieces that are on: bits 1 << enum sandbox_piece.  0 outside the sandbox. */
unsigned int sandbox_pieces(void);

#endif
