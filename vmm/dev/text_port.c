/* SPDX-License-Identifier: MIT */
/*
 * The text port: a console that takes one exit for each text.  A UART takes one for each byte,
 * because KVM splits a `rep outsb` into bytes.  abi.h says what a guest writes.
 *
 * Nothing in guest memory is trusted.  The length is read once and checked.  The whole text is read
 * before any of it is written, so a text is printed completely or not at all.  A write that names
 * no text is ignored, as at a port where nothing is, and counted.
 *
 * The lock is held while the text is written, which may block.  Other vCPUs would wait for the
 * console anyway.
 */
#include <errno.h>
#include <quire/abi.h>
#include "mmu/memory/gmem.h"
#include <stdlib.h>
#include <string.h>
#include "mmu/base/locks.h"
#include "bus.h"

struct text_port {
	struct text_config config;
	atomic_ulong ignored;
	struct lock lock; /* protects text */
	char text[QUIRE_CONSOLE_MAX];
};

/* Print the text at gpa.  Lock held.  False: it is no text. */
static bool print_locked(struct text_port *port, gpa_t gpa)
{
	struct gmem *gm = port->config.gm;
	uint32_t bytes;

	if (guest_read(gm, gpa, &bytes, sizeof(bytes)) || bytes > sizeof(port->text))
		return false;
	if (!bytes)
		return true;
	if (guest_read(gm, gpa + sizeof(bytes), port->text, bytes))
		return false;
	port->config.transmit(port->config.ctx, port->text, bytes);
	return true;
}

static void text_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct text_port *port = ctx;
	const uint8_t *item = data;

	for (unsigned int i = 0; i < count; i++, item += width) {
		bool printed = false;
		uint32_t gpa;

		if (!offset && width == sizeof(gpa)) {
			memcpy(&gpa, item, sizeof(gpa));
			lock(&port->lock);
			printed = print_locked(port, gpa);
			unlock(&port->lock);
		}
		if (!printed)
			atomic_fetch_add_explicit(&port->ignored, 1, memory_order_relaxed);
	}
}

int text_port_create(const struct text_config *config, struct bus *ports, struct text_port **out)
{
	struct device device = {
		.name = "text",
		.base = QUIRE_CONSOLE_PORT,
		.bytes = 4,
		.max_width = 4,
		.write = text_write,
	};
	struct text_port *port = calloc(1, sizeof(*port));
	int ret;

	if (!port)
		return -ENOMEM;
	port->config = *config;
	lock_init(&port->lock, LOCK_TEXT);
	device.ctx = port;
	ret = bus_add(ports, &device);
	if (ret) {
		text_port_destroy(port);
		return ret;
	}
	*out = port;
	return 0;
}

void text_port_destroy(struct text_port *port)
{
	if (!port)
		return;
	lock_finish(&port->lock);
	free(port);
}

uint64_t text_port_ignored(const struct text_port *port)
{
	return atomic_load(&port->ignored);
}
