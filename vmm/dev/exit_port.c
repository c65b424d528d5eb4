/* SPDX-License-Identifier: MIT */
/*
 * Exit ports.  A guest that writes a value there ends its VM, and the value becomes the exit status
 * of `quire run` (abi.h).  The write may be 8, 16 or 32 bits wide; of a burst the first item
 * counts.  Reading gives zeroes, by which a guest can tell that the port is there.
 *
 * At QEMU's port (its device isa-debug-exit) the status is twice the value, plus one, as QEMU's is.
 * So an image and the script around it see the same statuses under both.
 */
#include <quire/abi.h>
#include <string.h>
#include "bus.h"

static void exit_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct dev_exit *dev = ctx;
	uint32_t value = 0;

	(void)count;
	if (offset) /* a wide write sets these bytes of the value, nothing else does */
		return;
	memcpy(&value, data, width);
	dev->exit(dev->ctx, dev->qemu ? value << 1 | 1 : value);
}

int dev_exit_add(struct bus *ports, struct dev_exit *dev)
{
	struct device device = {
		.name = "exit",
		.base = dev->port,
		.bytes = dev->port > UINT16_MAX - 3 ? UINT16_MAX + 1 - dev->port : 4,
		.max_width = 4,
		.write = exit_write,
		.ctx = dev,
	};

	return bus_add(ports, &device);
}
