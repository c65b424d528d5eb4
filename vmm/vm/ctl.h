/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_CTL_H
#define QUIRE_VMM_VM_CTL_H

/*
 * The server of a VM's control socket; ctl_protocol.h says what clients may ask.
 *
 * The server never waits for a client.  It keeps a fixed record for each (CTL_MAX_CLIENTS),
 * and no queue: a chunk of a long answer is made when the socket has room for it, and while
 * an answer is under way further requests stay in the kernel's buffer, which is bounded.
 * Each call of ctl_serve does at most one step for each client.  A client too many pushes
 * out the one that has been quiet longest.
 */
#include <quire/error.h>

struct ctl;
struct vm;
struct sandbox_keep;

#define CTL_MAX_CLIENTS 16

/* Listen as `name`.  0; -EADDRINUSE (a VM of that name runs), -EINVAL (bad name), with *err. */
int ctl_create(const char *name, struct ctl **out, struct quire_error *err);
void ctl_destroy(struct ctl *ctl);

/* One descriptor for the main loop's poll: readable when ctl_serve has something to do. */
int ctl_fd(const struct ctl *ctl);

/* What the control socket needs in the sandbox, before there are clients. */
void ctl_keep(const struct ctl *ctl, struct sandbox_keep *keep);

/* Accept and answer whatever is pending, without blocking.  Main loop only. */
void ctl_serve(struct ctl *ctl, struct vm *vm);

#endif
