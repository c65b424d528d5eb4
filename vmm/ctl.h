/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CTL_H
#define QUIRE_VMM_CTL_H

/*
 * The control socket of a running VM, and its protocol.
 *
 * A VM named NAME (default: the pid of `quire run`) listens on the abstract unix socket
 * "\0quire/vm/NAME" (SOCK_SEQPACKET): it vanishes with the process whatever kills it, so
 * nothing is ever left behind.  Abstract names have no permissions; the server takes requests
 * only from its own uid and from root (SO_PEERCRED).
 *
 * This header is the protocol's manual; ctl.c is the server, ctl_client.c the client.
 */
#include <quire/error.h>
#include "vm.h"

struct ctl;

/* Listen as `name`.  0; -EADDRINUSE (a VM of that name runs), -EINVAL (bad name), with *err. */
int ctl_create(const char *name, struct ctl **out, struct quire_error *err);
void ctl_destroy(struct ctl *ctl);

/* One descriptor for the main loop's poll: readable when ctl_serve has something to do. */
int ctl_fd(const struct ctl *ctl);

/* Accept and answer whatever is pending, without blocking.  Main loop only. */
void ctl_serve(struct ctl *ctl, struct vm *vm);

#endif
