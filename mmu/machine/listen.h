/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_LISTEN_H
#define QUIRE_MMU_MACHINE_LISTEN_H

/*
 * The machine's listening socket, and who owns a path.
 *
 * An abstract address belongs to the kernel and vanishes with the machine.  A path does not: a
 * machine that is killed leaves its socket file behind.  The next machine takes the path over if
 * nobody answers there.
 *
 * Two machines may start on one path at the same time.  Exactly one of them gets it, because
 * looking, unlinking and binding are one step under flock() on the directory.  That lock leaves
 * nothing behind either.
 */
#include <quire/error.h>
#include <stdbool.h>
#include <sys/types.h>
#include "mmu/base/place.h"

struct listener {
	int fd;	    /* -1: not listening */
	char *path; /* to unlink at the end; NULL: the address is abstract */
	dev_t dev;  /* of our socket file */
	ino_t ino;
};

/*
 * Listen at `address` (see wire_address) on a SOCK_SEQPACKET socket that does not block.
 *
 * Returns 0, or -errno with *err:
 *   -EADDRINUSE   a machine answers there
 *   -EEXIST       the path is not a socket
 *   -EBUSY        the directory stays locked
 */
int listener_open(struct listener *l, const char *address, struct quire_error *err);

/* Will listener_close() use a directory?  Then *place becomes it. */
bool listener_place(const struct listener *l, struct place *place);

/* Close, and unlink the path if it still is our socket. */
void listener_close(struct listener *l);

#endif
