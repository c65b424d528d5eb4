/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_RNG_H
#define QUIRE_VMM_DEV_RNG_H

/*
 * virtio-rng: random numbers of the host's kernel for the guest (a virtio device, id 4).
 *
 * Reference: VIRTIO 1.2, section 5.4 "Entropy Device".  A buffer gets at most RNG_MOST bytes; the
 * driver asks again for more.  The vCPU that notifies serves the queue.
 */
#include "virtio.h"

#define RNG_MOST 4096u

struct rng;

struct rng_config {
	struct virtio_config virtio; /* its ctx is that of all functions here */
	/* Fill buf.  False: there is nothing, and the driver gets none. */
	bool (*random)(void *buf, size_t len);
};

/* Make the device and put it on the bus.  0, -ENOMEM or bus_add()'s error. */
int rng_create(const struct rng_config *config, struct bus *mmio, struct rng **out);

/* NULL is fine. */
void rng_destroy(struct rng *r);

/* Serve what waits for the main loop.  Main loop only.  True: call again in a moment. */
bool rng_poll(struct rng *r);

/* Why the device needs a reset; NULL: it does not.  From any thread. */
const char *rng_error(const struct rng *r);

#endif
