/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_NET_LINK_H
#define QUIRE_VMM_DEV_NET_LINK_H

/*
 * The host's end of a guest's network: a descriptor that carries Ethernet frames.
 *
 * A tap gives and takes one frame in each read() and write().  A stream is a connected socket on
 * which each frame has its length before it, 32 bits in network order: what passt and QEMU's
 * "-netdev stream" speak.  The descriptor does not block.
 */
#include <quire/types.h>

#define NET_FRAME_MIN 14u    /* a header, and nothing in it */
#define NET_FRAME_MAX 65550u /* the largest MTU, and a header; some room */

struct net_link {
	int fd;	     /* the caller's */
	bool stream; /* else a tap */
	bool gone;   /* the other end hung up, or broke the rules */
	uint32_t in_fill, out_fill, out_sent;
	uint8_t in[4 + NET_FRAME_MAX];	/* a stream: a frame that is coming, with its length */
	uint8_t out[4 + NET_FRAME_MAX]; /* a frame that is to go; out_fill 0: none */
};

/*
 * Receive a frame.  Returns its length, NET_FRAME_MIN..NET_FRAME_MAX, and *frame points to it until
 * the next call; 0: there is none now, or the link is gone.
 */
uint32_t net_link_receive(struct net_link *link, const uint8_t **frame);

/*
 * Send a frame of bytes, NET_FRAME_MIN..NET_FRAME_MAX, which net_link_space() was copied to.  What
 * does not go at once goes with net_link_flush().  A tap that refuses the frame loses it: false.
 */
bool net_link_send(struct net_link *link, uint32_t bytes);

/* Where to put the next frame; NULL: the last one has not gone. */
uint8_t *net_link_space(struct net_link *link);

/* Go on sending.  True: nothing waits any more. */
bool net_link_flush(struct net_link *link);

#endif
