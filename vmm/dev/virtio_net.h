/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_VIRTIO_NET_H
#define QUIRE_VMM_DEV_VIRTIO_NET_H

/*
 * virtio-net: a network card with one pair of queues, a MAC address, the state of the link and its
 * MTU; no offloads.  VIRTIO 1.2, section 5.1 "Network Device".
 *
 * A thread of the device's own serves both queues.  It copies each frame, between guest memory and
 * a buffer of ours, so no driver can change a frame that is checked already.
 *
 * Nothing is read from the link before the driver has a buffer for it: so what a guest does not
 * take waits in the kernel, or is lost there, as on a wire.
 */
#include "virtio.h"

struct virtio_net;

struct virtio_net_config {
	/* ctx is that of all functions here.  wake: virtio_net_serve() has something to do. */
	struct virtio_config virtio;
	int fd;		/* the link's (net_link.h); the caller's */
	bool stream;	/* the link is a stream, and not a tap */
	uint16_t mtu;	/* 0: the driver is not told */
	uint8_t mac[6]; /* in the order of a frame */
	/* The link is gone, and the driver knows.  Once, from the device's own thread. */
	void (*on_gone)(void *ctx);
};

/* Frames, and what became of them.  dropped: larger than a buffer or a frame, or refused. */
struct virtio_net_stats {
	uint64_t rx_frames, rx_bytes, rx_dropped;
	uint64_t tx_frames, tx_bytes, tx_dropped;
};

/* Copy *config and put the device on the bus.  0, -ENOMEM or bus_add()'s error. */
int virtio_net_create(const struct virtio_net_config *config, struct bus *mmio,
		      struct virtio_net **out);

/* NULL is fine. */
void virtio_net_destroy(struct virtio_net *n);

/* Move frames.  The device's own thread.  True: call again. */
bool virtio_net_serve(struct virtio_net *n);

/* What to wait for on the link, as poll's events; 0: nothing.  The device's own thread. */
short virtio_net_events(const struct virtio_net *n);

/* From any thread; each number is whole. */
void virtio_net_stats(const struct virtio_net *n, struct virtio_net_stats *out);

#endif
