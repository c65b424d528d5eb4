/* SPDX-License-Identifier: MIT */
/*
 * virtio-net; virtio_net.h says what it offers.
 *
 * Each frame in a queue has a header of 12 bytes before it (section 5.1.6 "Device Operation").
 * Without offloads all of it is 0, but for the number of buffers, which is 1.
 *
 * A buffer for a frame that has not come yet is kept in `rx`.  A frame that is too large for it is
 * dropped, and the buffer waits for the next one.  A frame that the link has not taken yet keeps
 * further ones in the queue.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "net_link.h"
#include "virtio_net.h"

#define DEVICE_ID 1

#define F_MTU	 (1ULL << 3)
#define F_MAC	 (1ULL << 5)
#define F_STATUS (1ULL << 16)

#define STATUS_LINK_UP 1u

#define HEADER_BYTES   12u
#define HEADER_BUFFERS 10u /* where the number of buffers is, 16 bits */

enum { QUEUE_RX, QUEUE_TX, NR_QUEUES };

/* The configuration space: section 5.1.4. */
struct config_space {
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
};

struct counters {
	atomic_ulong frames, bytes, dropped;
};

/* [I] immutable   [d] the device's lock   [a] atomic */
struct virtio_net {
	struct virtio_net_config config; /* [I] */
	struct virtio *virtio;		 /* [I] */
	struct net_link link;		 /* [d] */
	struct virtq_chain rx;		 /* [d] a buffer for the next frame, if */
	atomic_bool has_rx;		 /* [a] ... there is one; written with the lock */
	struct virtq_chain tx;		 /* [d] */
	bool told;			 /* [d] on_gone was called */
	atomic_bool down;		 /* [a] the link is gone */
	struct counters in, out;	 /* [a] */
};

static void count(struct counters *c, uint32_t bytes)
{
	atomic_fetch_add_explicit(&c->frames, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
}

static void count_dropped(struct counters *c)
{
	atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
}

/* ---- to the guest; the device's lock is held ---- */

/* Put a frame into the buffer that is kept, and return that. */
static int deliver(struct virtio_net *n, struct virtq *q, const uint8_t *frame, uint32_t bytes)
{
	uint8_t header[HEADER_BYTES] = { [HEADER_BUFFERS] = 1 };
	struct virtq_cursor at = { 0 };
	int ret;

	if (virtq_bytes(&n->rx, true) < HEADER_BYTES + bytes) {
		count_dropped(&n->in);
		return 0;
	}
	ret = virtq_write(q, &n->rx, &at, header, sizeof(header));
	if (ret >= 0)
		ret = virtq_write(q, &n->rx, &at, frame, bytes);
	if (ret < 0)
		return ret;
	atomic_store(&n->has_rx, false);
	count(&n->in, bytes);
	return virtq_push(q, n->rx.head, HEADER_BYTES + bytes);
}

static int serve_rx(struct virtio_net *n, struct virtq *q)
{
	const uint8_t *frame;
	uint32_t bytes;
	int ret;

	for (unsigned int i = 0; i < VIRTQ_MAX; i++) {
		ret = atomic_load(&n->has_rx) ? 1 : virtq_next(q, &n->rx);
		if (ret <= 0)
			return ret;
		atomic_store(&n->has_rx, true);
		bytes = net_link_receive(&n->link, &frame);
		ret = bytes ? deliver(n, q, frame, bytes) : 0;
		if (ret || !bytes)
			return ret;
	}
	return VIRTIO_MORE;
}

/* ---- from the guest; the device's lock is held ---- */

/* Take a frame out of n->tx.  Returns its length; 0: it is none; or a queue's error. */
static int take_frame(struct virtio_net *n, struct virtq *q, uint8_t *frame)
{
	uint64_t bytes = virtq_bytes(&n->tx, false);
	struct virtq_cursor at = { 0 };
	uint8_t header[HEADER_BYTES];
	int ret;

	if (bytes < HEADER_BYTES + NET_FRAME_MIN || bytes > HEADER_BYTES + NET_FRAME_MAX)
		return 0;
	ret = virtq_read(q, &n->tx, &at, header, sizeof(header));
	return ret < 0 ? ret : virtq_read(q, &n->tx, &at, frame, NET_FRAME_MAX);
}

static int send(struct virtio_net *n, struct virtq *q)
{
	int bytes = take_frame(n, q, net_link_space(&n->link));

	if (bytes < 0)
		return bytes;
	if (bytes && net_link_send(&n->link, (uint32_t)bytes))
		count(&n->out, (uint32_t)bytes);
	else
		count_dropped(&n->out);
	return virtq_push(q, n->tx.head, 0);
}

static int serve_tx(struct virtio_net *n, struct virtq *q)
{
	for (unsigned int i = 0; i < VIRTQ_MAX; i++) {
		int ret = net_link_flush(&n->link) ? virtq_next(q, &n->tx) : 0;

		if (ret <= 0)
			return ret;
		ret = send(n, q);
		if (ret)
			return ret;
	}
	return VIRTIO_MORE;
}

static int serve(void *dev, unsigned int i)
{
	struct virtio_net *n = dev;
	struct virtq *q = virtio_queue(n->virtio, i);

	return i == QUEUE_RX ? serve_rx(n, q) : serve_tx(n, q);
}

/* ---- the device ---- */

static uint64_t features(void *dev)
{
	const struct virtio_net *n = dev;

	return F_MAC | F_STATUS | (n->config.mtu ? F_MTU : 0);
}

static void config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct virtio_net *n = dev;
	struct config_space space = {
		.status = atomic_load(&n->down) ? 0 : STATUS_LINK_UP,
		.max_pairs = 1,
		.mtu = n->config.mtu,
	};

	memcpy(space.mac, n->config.mac, sizeof(space.mac));
	virtio_config_copy(&space, sizeof(space), offset, buf, len);
}

static void reset(void *dev)
{
	atomic_store(&((struct virtio_net *)dev)->has_rx, false);
}

static bool async(void *dev, unsigned int i)
{
	(void)dev;
	(void)i;
	return true;
}

static const struct virtio_ops ops = {
	.name = "net",
	.device_id = DEVICE_ID,
	.nr_queues = NR_QUEUES,
	.features = features,
	.config_read = config_read,
	.serve = serve,
	.reset = reset,
	.async = async,
	.own_thread = 1u << QUEUE_RX | 1u << QUEUE_TX,
};

/* ---- the thread ---- */

static void check_link(struct virtio_net *n)
{
	if (!n->link.gone || n->told)
		return;
	n->told = true;
	atomic_store(&n->down, true);
	virtio_config_changed(n->virtio);
	n->config.on_gone(n->config.virtio.ctx);
}

bool virtio_net_serve(struct virtio_net *n)
{
	bool more;

	virtio_defer(n->virtio, QUEUE_RX);
	virtio_defer(n->virtio, QUEUE_TX);
	more = virtio_serve(n->virtio);
	check_link(n);
	return more;
}

short virtio_net_events(const struct virtio_net *n)
{
	short events = 0;

	if (n->link.gone || !virtio_running(n->virtio))
		return 0;
	if (atomic_load(&n->has_rx))
		events |= POLLIN;
	if (n->link.out_fill)
		events |= POLLOUT;
	return events;
}

static void read_counters(const struct counters *c, uint64_t *frames, uint64_t *bytes,
			  uint64_t *dropped)
{
	*frames = atomic_load_explicit(&c->frames, memory_order_relaxed);
	*bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
	*dropped = atomic_load_explicit(&c->dropped, memory_order_relaxed);
}

void virtio_net_stats(const struct virtio_net *n, struct virtio_net_stats *out)
{
	read_counters(&n->in, &out->rx_frames, &out->rx_bytes, &out->rx_dropped);
	read_counters(&n->out, &out->tx_frames, &out->tx_bytes, &out->tx_dropped);
}

/* ---- life ---- */

int virtio_net_create(const struct virtio_net_config *config, struct bus *mmio,
		      struct virtio_net **out)
{
	struct virtio_net *n = calloc(1, sizeof(*n));
	int ret;

	if (!n)
		return -ENOMEM;
	n->config = *config;
	n->link.fd = config->fd;
	n->link.stream = config->stream;
	ret = virtio_create(&ops, n, &config->virtio, mmio, &n->virtio);
	if (ret) {
		virtio_net_destroy(n);
		return ret;
	}
	*out = n;
	return 0;
}

void virtio_net_destroy(struct virtio_net *n)
{
	if (!n)
		return;
	virtio_destroy(n->virtio);
	free(n);
}
