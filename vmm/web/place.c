/* SPDX-License-Identifier: MIT */
#include "place.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG	 128
#define MAX_PORT 65535

static int no_place(const char *text, struct quire_error *err)
{
	return quire_fail(err, -EINVAL,
			  "%.80s: not ADDR:PORT, as 127.0.0.1:8080 or [::1]:8080 (ADDR is a "
			  "number, or localhost)",
			  text);
}

/* Copy what is before the last colon, without the brackets of an IPv6 address. */
static bool split(const char *text, char host[WEB_PLACE_BYTES], const char **port, bool *bracketed)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	*bracketed = len > 1 && text[0] == '[' && text[len - 1] == ']';
	if (*bracketed) {
		text++;
		len -= 2;
	}
	if (!len || len >= WEB_PLACE_BYTES)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	*port = colon + 1;
	return true;
}

static bool read_port(const char *text, in_port_t *port)
{
	size_t len = strspn(text, "0123456789");
	unsigned long value = strtoul(text, NULL, 10);

	*port = htons((in_port_t)value);
	return len && len <= 5 && !text[len] && value <= MAX_PORT;
}

int web_place_read(const char *text, struct web_place *place, struct quire_error *err)
{
	char host[WEB_PLACE_BYTES];
	const char *port;
	bool bracketed;

	*place = (struct web_place){ .fd = -1 };
	if (!split(text, host, &port, &bracketed))
		return no_place(text, err);
	if (!bracketed && !strcmp(host, "localhost"))
		snprintf(host, sizeof(host), "127.0.0.1");
	place->address.any.sa_family = bracketed ? AF_INET6 : AF_INET;
	if (bracketed && (inet_pton(AF_INET6, host, &place->address.ip6.sin6_addr) != 1 ||
			  !read_port(port, &place->address.ip6.sin6_port)))
		return no_place(text, err);
	if (!bracketed && (inet_pton(AF_INET, host, &place->address.ip4.sin_addr) != 1 ||
			   !read_port(port, &place->address.ip4.sin_port)))
		return no_place(text, err);
	return 0;
}

bool web_place_is_local(const struct web_place *place)
{
	if (place->address.any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&place->address.ip6.sin6_addr);
	return ntohl(place->address.ip4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* The port may be one that the kernel chose. */
static void name(struct web_place *place)
{
	socklen_t len = sizeof(place->address);
	char text[INET6_ADDRSTRLEN];

	getsockname(place->fd, &place->address.any, &len);
	if (place->address.any.sa_family == AF_INET6)
		snprintf(place->name, sizeof(place->name), "[%s]:%u",
			 inet_ntop(AF_INET6, &place->address.ip6.sin6_addr, text, sizeof(text)),
			 ntohs(place->address.ip6.sin6_port));
	else
		snprintf(place->name, sizeof(place->name), "%s:%u",
			 inet_ntop(AF_INET, &place->address.ip4.sin_addr, text, sizeof(text)),
			 ntohs(place->address.ip4.sin_port));
}

int web_place_open(struct web_place *place, struct quire_error *err)
{
	bool six = place->address.any.sa_family == AF_INET6;
	socklen_t len = six ? sizeof(place->address.ip6) : sizeof(place->address.ip4);
	const int on = 1;
	int code;

	place->fd =
		socket(place->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (place->fd < 0)
		return quire_fail(err, -errno, "cannot make a socket: %m");
	setsockopt(place->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (six)
		setsockopt(place->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (!bind(place->fd, &place->address.any, len) && !listen(place->fd, BACKLOG)) {
		name(place);
		return 0;
	}
	code = -errno;
	close(place->fd);
	place->fd = -1;
	return quire_fail(err, code, "cannot listen there: %s; choose another address or port",
			  strerror(-code));
}
