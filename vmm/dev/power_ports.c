/* SPDX-License-Identifier: MIT */
/*
 * Ports with one bit that means the end:
 *
 *   0xcf9  a reset; chipsets have it, and ACPI's FADT names it
 *   0x92   a reset: bit 0 of system control port A
 *   0x505  a panic: QEMU's device pvpanic, for which Linux has a driver (pvpanic-mmio, found by
 *          ACPI's QEMU0001).  Without it a kernel that has panicked looks from outside as if it
 *          were busy for ever
 *
 * 0xcf9 is the second byte of PCI's address register, which a kernel that looks for PCI writes as
 * four bytes at 0xcf8.  Only a write of the one byte is for the reset.
 *
 * A kernel that is about to start another one, to save what is left of it, would tell that by bit 1
 * of pvpanic.  That is not its end, so only bit 0 is offered.
 */
#include <quire/abi.h>
#include <string.h>
#include "bus.h"
#include "platform.h"

#define CONTROL_PORT 0x92
#define CONTROL_A20  0x02u /* address line 20 is never masked */

static void reset(const struct power *power)
{
	power->reset(power->ctx);
}

static void panic(const struct power *power)
{
	power->panic(power->ctx);
}

struct power_port {
	const char *name;
	uint16_t base;
	bool whole; /* as in struct device */
	uint8_t reads, bit;
	void (*act)(const struct power *power);
};

static const struct power_port table[] = {
	{ "reset", QUIRE_RESET_PORT, true, 0, 0x04, reset },
	{ "control", CONTROL_PORT, false, CONTROL_A20, 0x01, reset },
	{ "panic", QUIRE_PANIC_PORT, false, 0x01, 0x01, panic },
};
_Static_assert(ARRAY_SIZE(table) == POWER_PORTS, "struct power has room for each");

static void port_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		      unsigned int count)
{
	const struct power_wire *wire = ctx;

	(void)offset;
	memset(data, wire->port->reads, (size_t)width * count);
}

static void port_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	const struct power_wire *wire = ctx;
	const uint8_t *byte = data;

	(void)offset;
	(void)width;
	(void)count;
	if (*byte & wire->port->bit)
		wire->port->act(wire->power);
}

int power_ports_add(struct bus *ports, struct power *power)
{
	int ret = 0;

	for (unsigned int i = 0; i < POWER_PORTS && !ret; i++) {
		struct device device = {
			.name = table[i].name,
			.base = table[i].base,
			.bytes = 1,
			.max_width = 1,
			.whole = table[i].whole,
			.read = port_read,
			.write = port_write,
			.ctx = &power->wire[i],
		};

		power->wire[i] = (struct power_wire){ power, &table[i] };
		ret = bus_add(ports, &device);
	}
	return ret;
}
