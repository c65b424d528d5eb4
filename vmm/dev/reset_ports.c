/* SPDX-License-Identifier: MIT */
/*
 * Two ports that chipsets have for a reset: 0xcf9, which ACPI's FADT names too, and bit 0 of system
 * control port A, 0x92.
 *
 * 0xcf9 is the second byte of PCI's address register, which a kernel that looks for PCI writes as
 * four bytes at 0xcf8.  Only a write of the one byte is for the reset.
 */
#include <quire/abi.h>
#include <string.h>
#include "bus.h"
#include "platform.h"

#define RESET_NOW 0x04u

#define CONTROL_PORT  0x92
#define CONTROL_RESET 0x01u
#define CONTROL_A20   0x02u /* address line 20 is never masked */

static void reset_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		       unsigned int count)
{
	(void)ctx;
	(void)offset;
	memset(data, 0, (size_t)width * count);
}

static void reset_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
			unsigned int count)
{
	struct power *power = ctx;
	const uint8_t *byte = data;

	(void)offset;
	(void)width;
	(void)count;
	if (*byte & RESET_NOW)
		power->reset(power->ctx);
}

static void control_read(void *ctx, uint64_t offset, unsigned int width, void *data,
			 unsigned int count)
{
	(void)ctx;
	(void)offset;
	memset(data, CONTROL_A20, (size_t)width * count);
}

static void control_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
			  unsigned int count)
{
	struct power *power = ctx;
	const uint8_t *byte = data;

	(void)offset;
	(void)width;
	(void)count;
	if (*byte & CONTROL_RESET)
		power->reset(power->ctx);
}

int reset_ports_add(struct bus *ports, struct power *power)
{
	struct device reset = {
		.name = "reset",
		.base = QUIRE_RESET_PORT,
		.bytes = 1,
		.max_width = 1,
		.whole = true,
		.read = reset_read,
		.write = reset_write,
		.ctx = power,
	};
	struct device control = {
		.name = "control",
		.base = CONTROL_PORT,
		.bytes = 1,
		.max_width = 1,
		.read = control_read,
		.write = control_write,
		.ctx = power,
	};
	int ret = bus_add(ports, &reset);

	return ret ? ret : bus_add(ports, &control);
}
