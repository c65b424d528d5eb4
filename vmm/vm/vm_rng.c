/* SPDX-License-Identifier: MIT */
/* A VM's source of random numbers: a virtio device on getrandom(2). */
#include <string.h>
#include <sys/random.h>
#include "vmm/dev/rng.h"
#include "vm_impl.h"

#define RETRY_NS NS_PER_MS

static bool on_random(void *buf, size_t len)
{
	return getrandom(buf, len, GRND_NONBLOCK) == (ssize_t)len;
}

static uint64_t tick(struct vm_slot *slot)
{
	return rng_poll(slot->dev) ? monotonic_ns() + RETRY_NS : UINT64_MAX;
}

static unsigned int count(const struct vm_config *config)
{
	return config->rng;
}

static int create(struct vm_slot *slot, unsigned int nth, struct quire_error *err)
{
	const struct rng_config config = {
		.virtio = vm_slot_virtio(slot),
		.random = on_random,
	};
	struct rng *rng = NULL;
	int ret = rng_create(&config, &slot->vm->mmio, &rng);

	(void)nth;
	slot->dev = rng;
	return ret ? quire_fail(err, ret, "cannot create the rng: %s", strerror(-ret)) : 0;
}

static void destroy(struct vm_slot *slot)
{
	rng_destroy(slot->dev);
}

const struct vm_device vm_rng_device = {
	.name = "rng",
	.count = count,
	.create = create,
	.destroy = destroy,
	.tick = tick,
};
