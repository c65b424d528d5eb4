/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_WEB_H
#define QUIRE_VMM_WEB_WEB_H

/*
 * The observer: a process beside a machine, which serves what is known of the machine over HTTP.
 *
 * It is one more client of the machine and of its VMs.  It asks them over their sockets, as any
 * command does, and nothing of the machine is in its memory.  So a fault here, and whatever comes
 * over the network, harms neither the machine nor a guest.  The machine's end ends it.  Another
 * process (starter.h) starts it, and starts it again if it has ended before.
 *
 * It has two threads.  The server (server.h) has all connections and never waits for anything but
 * them.  The asker (asker.h) asks the machine and the VMs, which may take seconds.  What is served
 * under which path is a table (rows.h).
 */
#include <quire/error.h>

struct web_config {
	const char *machine; /* its address, as for --machine; NULL: the default one */
	const char *http;    /* ADDR:PORT of the page and all else; NULL: not served */
	const char *metrics; /* ADDR:PORT of the metrics alone; NULL: not served */
	void (*log)(void *ctx, const char *line);
};

/* What the caller has of the observer, once it serves. */
struct web_process {
	int hold; /* once no process has this any more, the observer ends */
	int news; /* for machine_adopt_news(): that an observer has ended and is started again */
};

/*
 * Listen, and start the observer.  It serves once this returns, whether there is a machine already
 * or not.  Call it in a process with one thread, before that has anything that the observer must
 * not have.  `log` is told where to look, also of what is open to other hosts.
 *
 * 0; -EINVAL: an address makes no sense; -ENOENT: there is no libmicrohttpd; or what bind() says.
 */
int web_start(const struct web_config *config, struct web_process *out, struct quire_error *err);

#endif
