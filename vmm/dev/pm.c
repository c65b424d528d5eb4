/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware (ACPI Specification 6.4, section 4.8): PM1 status, enable and control
 * registers, and the PM timer.
 *
 * ACPI is always on: SCI_EN reads 1, and there is no SMI command port.  No event ever happens, so
 * the status is 0 and no interrupt is raised.  The one thing that a guest can do here is go to
 * sleep state S5, and that is the power-off.
 *
 * Everything lies where QEMU's `pc` machine has it, and S5 has the same number there.  So a kernel
 * that writes 0x2000 to port 0x604, because that ends QEMU, ends here too.
 */
#include <quire/abi.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "bus.h"
#include "platform.h"

#define PM1_ENABLE  2 /* offsets */
#define PM1_CONTROL 4
#define PM_TIMER    8
#define PM_BYTES    12

#define TIMER_HZ 3579545

/* The high byte of PM1 control. */
#define SLEEP_TYPE(byte) ((byte) >> 2 & 7)
#define SLEEP_ENABLE	 0x20u
#define SCI_ENABLED	 0x01u /* of the low byte */

/* Is this byte what was written to it?  Those of enable and control are. */
static bool is_kept(uint64_t offset)
{
	return offset >= PM1_ENABLE && offset < PM1_BYTES;
}

static uint8_t read_byte(struct power *power, uint64_t offset, uint32_t ticks)
{
	uint8_t byte = 0;

	if (offset >= PM_TIMER)
		return (uint8_t)(ticks >> (8 * (offset - PM_TIMER)));
	if (is_kept(offset))
		byte = atomic_load(&power->pm1[offset]);
	return offset == PM1_CONTROL ? byte | SCI_ENABLED : byte;
}

static void pm_read(void *ctx, uint64_t offset, unsigned int width, void *data, unsigned int count)
{
	uint32_t ticks = (uint32_t)((__uint128_t)monotonic_ns() * TIMER_HZ / NS_PER_S);
	uint8_t *out = data;

	for (unsigned int i = 0; i < width * count; i++)
		out[i] = read_byte(ctx, offset + i % width, ticks);
}

static void write_byte(struct power *power, uint64_t offset, uint8_t byte)
{
	if (!is_kept(offset))
		return; /* nothing in the status can be cleared; the timer only counts */
	if (offset == PM1_CONTROL + 1 && byte & SLEEP_ENABLE && !SLEEP_TYPE(byte))
		power->off(power->ctx);
	if (offset == PM1_CONTROL + 1)
		byte &= (uint8_t)~SLEEP_ENABLE; /* it reads as 0 */
	atomic_store(&power->pm1[offset], byte);
}

static void pm_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		     unsigned int count)
{
	const uint8_t *byte = data;

	for (unsigned int i = 0; i < width * count; i++)
		write_byte(ctx, offset + i % width, byte[i]);
}

int pm_add(struct bus *ports, struct power *power)
{
	struct device device = {
		.name = "pm",
		.base = QUIRE_PM_PORT,
		.bytes = PM_BYTES,
		.max_width = 4,
		.read = pm_read,
		.write = pm_write,
		.ctx = power,
	};

	return bus_add(ports, &device);
}
