/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CTL_H
#define QUIRE_VMM_VM_CTL_H

/*
 * The server of a VM's control socket; ctl_protocol.h says what clients may ask.
 *
 * The server never waits for a client.  It keeps a record of fixed size for each of at most
 * CTL_MAX_CLIENTS clients, and no queue.  It makes a chunk of a long answer when the socket has
 * room for it.  While an answer is under way, further requests stay in the kernel's buffer, which
 * is bounded.  Each call of ctl_serve() does at most one step for each client.  When one client too
 * many connects, the server drops the one that has been quiet longest.
 */
#include <quire/error.h>

struct ctl;
struct vm;
struct sandbox_keep;

#define CTL_MAX_CLIENTS 16

/* Listen as `name`.  0; -EADDRINUSE: a VM of that name runs; -EINVAL: a bad name; with *err. */
int ctl_create(const char *name, struct ctl **out, struct quire_error *err);

/* Drop all clients and give everything back.  NULL is fine. */
void ctl_destroy(struct ctl *ctl);

/* A descriptor for the main loop's poll(): readable when ctl_serve() has something to do. */
int ctl_fd(const struct ctl *ctl);

/* Add the descriptors that the server needs in the sandbox.  Before there are clients. */
void ctl_keep(const struct ctl *ctl, struct sandbox_keep *keep);

/* Accept clients and answer requests, as far as that does not block.  Main loop only. */
void ctl_serve(struct ctl *ctl, struct vm *vm);

/*
 * Something was read from the swap file: the next ctl_serve() goes on with those answers that
 * lacked it.  NULL is fine.  Main loop only.
 */
void ctl_go_on(struct ctl *ctl);

#endif
