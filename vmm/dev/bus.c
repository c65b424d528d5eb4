/* SPDX-License-Identifier: MIT */
/* The buses.  There are a handful of devices, for which no search is faster than a linear one. */
#include <errno.h>
#include <string.h>
#include "bus.h"

int bus_add(struct bus *bus, const struct device *dev)
{
	uint64_t last;

	if (!dev->bytes || __builtin_add_overflow(dev->base, dev->bytes - 1, &last) ||
	    !dev->max_width || dev->max_width > 8)
		return -EINVAL;
	if (bus->nr == BUS_MAX_DEVICES)
		return -ENOSPC;
	for (unsigned int i = 0; i < bus->nr; i++) {
		const struct device *d = &bus->device[i];

		if (dev->base <= d->base + (d->bytes - 1) && d->base <= last)
			return -EEXIST;
	}
	bus->device[bus->nr++] = *dev;
	return 0;
}

/* The device that has all of [addr, addr + width); NULL: there is none. */
static const struct device *find(const struct bus *bus, uint64_t addr, unsigned int width)
{
	for (unsigned int i = 0; i < bus->nr; i++) {
		const struct device *d = &bus->device[i];
		uint64_t offset = addr - d->base;

		if (addr >= d->base && offset < d->bytes && width <= d->bytes - offset)
			return d;
	}
	return NULL;
}

/* Is there a device for which [addr, addr + width) is to be split? */
static bool any_device(const struct bus *bus, uint64_t addr, unsigned int width)
{
	for (unsigned int i = 0; i < width; i++) {
		const struct device *d = find(bus, addr + i, 1);

		if (d && !d->whole)
			return true;
	}
	return false;
}

static bool unclaimed(struct bus *bus)
{
	atomic_fetch_add_explicit(&bus->unclaimed, 1, memory_order_relaxed);
	return false;
}

bool bus_read(struct bus *bus, uint64_t addr, unsigned int width, void *data, unsigned int count)
{
	const struct device *d = find(bus, addr, width);
	uint8_t *byte = data;
	bool all = true;

	if (d && width <= d->max_width) {
		if (d->read)
			d->read(d->ctx, addr - d->base, width, data, count);
		else
			memset(data, 0, (size_t)count * width);
		return true;
	}
	if (!any_device(bus, addr, width)) {
		memset(data, 0xff, (size_t)count * width);
		return unclaimed(bus);
	}
	for (unsigned int i = 0; i < count * width; i++)
		all &= bus_read(bus, addr + i % width, 1, byte + i, 1);
	return all;
}

bool bus_write(struct bus *bus, uint64_t addr, unsigned int width, const void *data,
	       unsigned int count)
{
	const struct device *d = find(bus, addr, width);
	const uint8_t *byte = data;
	bool all = true;

	if (d && width <= d->max_width) {
		d->write(d->ctx, addr - d->base, width, data, count);
		return true;
	}
	if (!any_device(bus, addr, width))
		return unclaimed(bus);
	for (unsigned int i = 0; i < count * width; i++)
		all &= bus_write(bus, addr + i % width, 1, byte + i, 1);
	return all;
}
