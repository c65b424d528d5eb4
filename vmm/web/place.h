/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_PLACE_H
#define QUIRE_VMM_WEB_PLACE_H

/* Where the observer listens. */
#include <netinet/in.h>
#include <quire/error.h>
#include <stdbool.h>
#include <sys/socket.h>

/* "[" address "]:" port; what does not fit is no address. */
#define WEB_PLACE_BYTES 64

/* What is served at a place: bits. */
enum web_service {
	WEB_PAGE = 1, /* the page and what belongs to it */
	WEB_METRICS = 2,
};

struct web_place {
	union {
		struct sockaddr any;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6;
	} address;
	char name[WEB_PLACE_BYTES]; /* ADDR:PORT, once it is open with the port that it has */
	unsigned int services;	    /* of enum web_service */
	int fd;			    /* -1: not open */
};

/*
 * Read "ADDR:PORT": 127.0.0.1:8080, [::1]:8080, localhost:8080.  ADDR is a number, or `localhost`
 * for 127.0.0.1; PORT 0 is any that is free.  0; -EINVAL with *err.
 */
int web_place_read(const char *text, struct web_place *place, struct quire_error *err);

/* Can this host alone reach it? */
bool web_place_is_local(const struct web_place *place);

/* Listen there.  0; or what socket(), bind() and listen() say, with *err. */
int web_place_open(struct web_place *place, struct quire_error *err);

#endif
