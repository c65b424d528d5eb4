/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_SERVER_H
#define QUIRE_VMM_WEB_SERVER_H

/*
 * The thread that has all HTTP connections.  libmicrohttpd reads the requests; what is decided
 * about them is here.
 *
 * Nothing that clients do may cost more than this.  There are SERVER_MAX_CONNECTIONS at each place.
 * A request with its headers may have SERVER_REQUEST_BYTES, takes SERVER_PATIENCE_S to arrive, and
 * has no body.  An answer is read within SERVER_ANSWER_S.  All clients together have
 * SERVER_REQUESTS requests.  SERVER_MAX_STREAMS of them may be streams of events.
 */
#include <quire/error.h>
#include "place.h"

#define SERVER_MAX_CONNECTIONS 128
#define SERVER_PATIENCE_S      5
#define SERVER_ANSWER_S	       60
#define SERVER_REQUEST_BYTES   16384
#define SERVER_REQUESTS	       200 /* a second, and twice as many at once */

#define SERVER_MAX_STREAMS 16

#define SERVER_MAX_PLACES 2

struct server_config {
	struct web_place *place; /* open */
	unsigned int nr_places;
	const char *token;
	int life; /* the server returns once this descriptor has an end of file */
};

/* Load the library and make everything that needs to open something.  0 or -errno with *err. */
int server_create(const struct server_config *config, struct quire_error *err);

/* Serve, until the end. */
void server_run(void);

#endif
