/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rng.h"

#define DEVICE_ID 4u
#define BUDGET	  16u /* buffers in a turn: 64 KiB of random numbers */

/* The device's lock protects it. */
struct rng {
	struct rng_config config;
	struct virtio *virtio;
	struct virtq_chain chain;
	uint8_t buf[RNG_MOST];
};

/* 0 or an error of the queue. */
static int fill(struct rng *r, struct virtq *q)
{
	uint32_t len = (uint32_t)min_u64(virtq_bytes(&r->chain, true), sizeof(r->buf));
	struct virtq_cursor at = { 0 };
	int n = 0;

	if (len && r->config.random(r->buf, len))
		n = virtq_write(q, &r->chain, &at, r->buf, len);
	return n < 0 ? n : virtq_push(q, r->chain.head, (uint32_t)n);
}

static int serve(void *dev, unsigned int n)
{
	struct rng *r = dev;
	struct virtq *q = virtio_queue(r->virtio, n);

	for (unsigned int turn = 0; turn < BUDGET; turn++) {
		int ret = virtq_next(q, &r->chain);

		if (ret > 0)
			ret = fill(r, q) ?: 1;
		if (ret <= 0)
			return ret;
	}
	return VIRTIO_MORE;
}

static uint64_t features(void *dev)
{
	(void)dev;
	return 0;
}

static void reset(void *dev)
{
	explicit_bzero(((struct rng *)dev)->buf, RNG_MOST);
}

static const struct virtio_ops ops = {
	.name = "rng",
	.device_id = DEVICE_ID,
	.nr_queues = 1,
	.features = features,
	.serve = serve,
	.reset = reset,
};

bool rng_poll(struct rng *r)
{
	return virtio_poll(r->virtio);
}

const char *rng_error(const struct rng *r)
{
	return virtio_error(r->virtio);
}

int rng_create(const struct rng_config *config, struct bus *mmio, struct rng **out)
{
	struct rng *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->config = *config;
	ret = virtio_create(&ops, r, &config->virtio, mmio, &r->virtio);
	if (ret) {
		rng_destroy(r);
		return ret;
	}
	*out = r;
	return 0;
}

void rng_destroy(struct rng *r)
{
	if (!r)
		return;
	virtio_destroy(r->virtio);
	free(r);
}
