/* SPDX-License-Identifier: MIT */
/*
 * virtio-console; virtio_console.h says who serves which queue.
 *
 * Bounds.  A driver may make a buffer of all its RAM many times over.  So output is copied in
 * pieces, and a turn ends when nobody wants them any more.  A turn also ends after as many buffers
 * as a queue has, however fast the driver adds others.
 *
 * A reset forgets no input: what was typed while the driver restarts is for the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/base/locks.h"
#include "virtio_console.h"

#define DEVICE_ID 3

#define F_SIZE (1ULL << 0)

enum { QUEUE_RX, QUEUE_TX, NR_QUEUES };

#define PIECE 1024u

/* The configuration space: section 5.3.4.  Words without a feature are 0. */
struct config_space {
	uint16_t columns, rows;
};

/* [I] immutable   [d] the device's lock   [s] state_lock */
struct virtio_console {
	struct virtio_console_config config; /* [I] */
	struct virtio *virtio;		     /* [I] */
	struct virtq_chain chain;	     /* [d] */

	struct lock state_lock;
	struct config_space space;	     /* [s] */
	uint8_t rx[VIRTIO_CONSOLE_RX_BYTES]; /* [s] a ring: `count` bytes from `head` on */
	unsigned int rx_head, rx_count;	     /* [s] */
};

/* ---- input that is kept ---- */

/* Copy up to len bytes from the front, and leave them there. */
static uint32_t peek(struct virtio_console *c, uint8_t *buf, uint32_t len)
{
	uint32_t n = 0;

	lock(&c->state_lock);
	for (; n < len && n < c->rx_count; n++)
		buf[n] = c->rx[(c->rx_head + n) % VIRTIO_CONSOLE_RX_BYTES];
	unlock(&c->state_lock);
	return n;
}

static void drop(struct virtio_console *c, uint32_t bytes)
{
	lock(&c->state_lock);
	c->rx_head = (c->rx_head + bytes) % VIRTIO_CONSOLE_RX_BYTES;
	c->rx_count -= bytes;
	unlock(&c->state_lock);
	if (bytes)
		c->config.space(c->config.virtio.ctx);
}

size_t virtio_console_space(struct virtio_console *c)
{
	size_t space;

	lock(&c->state_lock);
	space = VIRTIO_CONSOLE_RX_BYTES - c->rx_count;
	unlock(&c->state_lock);
	return space;
}

void virtio_console_receive(struct virtio_console *c, const void *data, size_t bytes)
{
	const uint8_t *byte = data;

	lock(&c->state_lock);
	for (size_t i = 0; i < bytes; i++)
		c->rx[(c->rx_head + c->rx_count++) % VIRTIO_CONSOLE_RX_BYTES] = byte[i];
	unlock(&c->state_lock);
	virtio_defer(c->virtio, QUEUE_RX);
}

size_t virtio_console_take(struct virtio_console *c, void *data, size_t bytes)
{
	uint32_t n = peek(c, data, (uint32_t)min_u64(bytes, VIRTIO_CONSOLE_RX_BYTES));

	drop(c, n);
	return n;
}

/* ---- queues; the device's lock is held ---- */

/* Fill one buffer.  Returns what virtq_push() does. */
static int fill(struct virtio_console *c, struct virtq *q)
{
	struct virtq_cursor at = { 0 };
	uint32_t filled = 0, nr;
	uint8_t buf[PIECE];
	int done = 0;

	while ((nr = peek(c, buf, sizeof(buf))) > 0) {
		done = virtq_write(q, &c->chain, &at, buf, nr);
		if (done < 0)
			return done;
		drop(c, (uint32_t)done);
		filled += (uint32_t)done;
		if ((uint32_t)done < nr)
			break;
	}
	return virtq_push(q, c->chain.head, filled);
}

static int serve_rx(struct virtio_console *c, struct virtq *q)
{
	uint8_t byte;

	for (unsigned int i = 0; i < VIRTQ_MAX; i++) {
		int ret = peek(c, &byte, 1) ? virtq_next(q, &c->chain) : 0;

		if (ret > 0)
			ret = fill(c, q) ?: 1;
		if (ret <= 0)
			return ret;
	}
	return VIRTIO_MORE;
}

/* Print one buffer.  1; 0: nobody wants it; or a queue's error. */
static int print(struct virtio_console *c, struct virtq *q)
{
	struct virtq_cursor at = { 0 };
	uint8_t buf[PIECE];
	int nr;

	while ((nr = virtq_read(q, &c->chain, &at, buf, sizeof(buf))) > 0)
		if (!c->config.transmit(c->config.virtio.ctx, buf, (size_t)nr))
			return 0;
	return nr < 0 ? nr : 1;
}

static int serve_tx(struct virtio_console *c, struct virtq *q)
{
	for (unsigned int i = 0; i < VIRTQ_MAX; i++) {
		int ret = virtq_next(q, &c->chain);

		if (ret > 0)
			ret = print(c, q);
		if (ret > 0)
			ret = virtq_push(q, c->chain.head, 0) ?: 1;
		if (ret <= 0)
			return ret;
	}
	return VIRTIO_MORE;
}

static int serve(void *dev, unsigned int n)
{
	struct virtio_console *c = dev;
	struct virtq *q = virtio_queue(c->virtio, n);

	return n == QUEUE_RX ? serve_rx(c, q) : serve_tx(c, q);
}

/* ---- the device ---- */

static uint64_t features(void *dev)
{
	(void)dev;
	return F_SIZE;
}

static void config_read(void *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct virtio_console *c = dev;
	struct config_space space;

	lock(&c->state_lock);
	space = c->space;
	unlock(&c->state_lock);
	virtio_config_copy(&space, sizeof(space), offset, buf, len);
}

static const struct virtio_ops ops = {
	.name = "console",
	.device_id = DEVICE_ID,
	.nr_queues = NR_QUEUES,
	.features = features,
	.config_read = config_read,
	.serve = serve,
	.own_thread = 1u << QUEUE_RX,
};

bool virtio_console_running(const struct virtio_console *c)
{
	return virtio_running(c->virtio);
}

void virtio_console_resize(struct virtio_console *c, uint16_t columns, uint16_t rows)
{
	lock(&c->state_lock);
	c->space = (struct config_space){ columns, rows };
	unlock(&c->state_lock);
	virtio_config_changed(c->virtio);
}

bool virtio_console_serve(struct virtio_console *c)
{
	return virtio_serve(c->virtio);
}

/* ---- life ---- */

int virtio_console_create(const struct virtio_console_config *config, struct bus *mmio,
			  struct virtio_console **out)
{
	struct virtio_console *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->config = *config;
	lock_init(&c->state_lock, LOCK_VIRTIO_STATE);
	ret = virtio_create(&ops, c, &config->virtio, mmio, &c->virtio);
	if (ret) {
		virtio_console_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}

void virtio_console_destroy(struct virtio_console *c)
{
	if (!c)
		return;
	virtio_destroy(c->virtio);
	lock_finish(&c->state_lock);
	free(c);
}
