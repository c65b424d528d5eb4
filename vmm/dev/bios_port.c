/* SPDX-License-Identifier: MIT */
/* Where calls to the BIOS end that is not there; abi.h says what is written. */
#include <quire/abi.h>
#include <string.h>
#include "bus.h"

#define BIOS_CALL 4 /* offset of the second word */

static void bios_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct bios_port *port = ctx;
	uint32_t value, from;

	(void)count;
	if (width != sizeof(value))
		return;
	memcpy(&value, data, sizeof(value));
	if (!offset)
		atomic_store(&port->from, value);
	if (offset != BIOS_CALL)
		return;
	from = atomic_load(&port->from);
	port->missing(port->ctx, (uint8_t)value, (uint16_t)(value >> 16), (uint16_t)(from >> 16),
		      (uint16_t)from);
}

int bios_port_add(struct bus *ports, struct bios_port *port)
{
	struct device device = {
		.name = "bios",
		.base = QUIRE_BIOS_PORT,
		.bytes = 8,
		.max_width = 4,
		.write = bios_write,
		.ctx = port,
	};

	return bus_add(ports, &device);
}
