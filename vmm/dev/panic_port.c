/* SPDX-License-Identifier: MIT */
/*
 * Where a kernel tells that it has panicked: QEMU's device pvpanic, for which Linux has a driver
 * (pvpanic-mmio, found by ACPI's QEMU0001).  Without it a kernel that has panicked looks from
 * outside as if it were busy for ever.
 *
 * A kernel that is about to start another one, to save what is left of it, would tell that by bit
 * 1.  That is not its end, so only bit 0 is offered.
 */
#include <quire/abi.h>
#include <string.h>
#include "bus.h"
#include "platform.h"

#define PANICKED 0x01u

static void panic_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		       unsigned int count)
{
	(void)ctx;
	(void)offset;
	memset(data, PANICKED, (size_t)width * count);
}

static void panic_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
			unsigned int count)
{
	struct power *power = ctx;
	const uint8_t *byte = data;

	(void)offset;
	(void)width;
	(void)count;
	if (*byte & PANICKED)
		power->panic(power->ctx);
}

int panic_port_add(struct bus *ports, struct power *power)
{
	struct device device = {
		.name = "panic",
		.base = QUIRE_PANIC_PORT,
		.bytes = 1,
		.max_width = 1,
		.read = panic_read,
		.write = panic_write,
		.ctx = power,
	};

	return bus_add(ports, &device);
}
