/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_LISTEN_H
#define QUIRE_MMU_MACHINE_LISTEN_H

/*
 * The machine's listening socket, and who owns a path.
 *
 * An abstract address belongs to the kernel and vanishes with the machine.  A path does not:
 * a machine that is killed leaves its socket file behind, and the next one takes it over when
 * nobody answers there.  Looking, unlinking and binding are one step under flock() on the
 * directory itself, which leaves nothing behind either, so of two machines that start on one
 * path, stale or not, exactly one gets it.
 */
#include <quire/error.h>
#include <sys/types.h>

struct listener {
	int fd;	    /* -1: not listening */
	char *path; /* to unlink at the end, NULL: abstract */
	dev_t dev;  /* of the socket file that is ours */
	ino_t ino;
};

/*
 * Listen at `address` (as wire_address), SOCK_SEQPACKET, not blocking.
 *
 * Returns 0, or -errno with *err: -EADDRINUSE: a machine answers there; -EEXIST: the path is
 * something else than a socket; -EBUSY: the directory stays locked.
 */
int listener_open(struct listener *l, const char *address, struct quire_error *err);

/* Close, and unlink the path if it still is ours. */
void listener_close(struct listener *l);

#endif
