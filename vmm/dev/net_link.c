/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "net_link.h"

#define LENGTH_BYTES 4u

/* ---- receiving ---- */

/* Did a call that returned n say anything but "later"? */
static bool is_over(ssize_t n)
{
	return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* A tap that is down gives errors until it is up. */
static uint32_t receive_tap(struct net_link *link)
{
	ssize_t n = read(link->fd, link->in, NET_FRAME_MAX);

	return n >= (ssize_t)NET_FRAME_MIN ? (uint32_t)n : 0;
}

/* Read on until there are `want` bytes of a frame.  False: not yet. */
static bool fill(struct net_link *link, uint32_t want)
{
	while (link->in_fill < want) {
		ssize_t n = read(link->fd, link->in + link->in_fill, want - link->in_fill);

		link->gone = is_over(n);
		if (n <= 0)
			return false;
		link->in_fill += (uint32_t)n;
	}
	return true;
}

static uint32_t receive_stream(struct net_link *link)
{
	uint32_t bytes;

	if (!fill(link, LENGTH_BYTES))
		return 0;
	memcpy(&bytes, link->in, sizeof(bytes));
	bytes = ntohl(bytes);
	if (bytes < NET_FRAME_MIN || bytes > NET_FRAME_MAX) {
		link->gone = true;
		return 0;
	}
	if (!fill(link, LENGTH_BYTES + bytes))
		return 0;
	link->in_fill = 0;
	return bytes;
}

uint32_t net_link_receive(struct net_link *link, const uint8_t **frame)
{
	if (link->gone)
		return 0;
	*frame = link->in + (link->stream ? LENGTH_BYTES : 0);
	return link->stream ? receive_stream(link) : receive_tap(link);
}

/* ---- sending ---- */

uint8_t *net_link_space(struct net_link *link)
{
	return link->out_fill ? NULL : link->out + LENGTH_BYTES;
}

bool net_link_flush(struct net_link *link)
{
	while (link->out_sent < link->out_fill && !link->gone) {
		ssize_t n = write(link->fd, link->out + link->out_sent,
				  link->out_fill - link->out_sent);

		link->gone = is_over(n);
		if (n <= 0 && !link->gone)
			return false;
		link->out_sent += n > 0 ? (uint32_t)n : 0;
	}
	link->out_sent = link->out_fill = 0;
	return true;
}

static bool send_tap(struct net_link *link, uint32_t bytes)
{
	ssize_t n;

	do
		n = write(link->fd, link->out + LENGTH_BYTES, bytes);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)bytes;
}

bool net_link_send(struct net_link *link, uint32_t bytes)
{
	uint32_t length = htonl(bytes);

	if (link->gone)
		return false;
	if (!link->stream)
		return send_tap(link, bytes);
	memcpy(link->out, &length, sizeof(length));
	link->out_fill = LENGTH_BYTES + bytes;
	link->out_sent = 0;
	net_link_flush(link);
	return !link->gone;
}
