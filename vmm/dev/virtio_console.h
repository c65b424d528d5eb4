/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_VIRTIO_CONSOLE_H
#define QUIRE_VMM_DEV_VIRTIO_CONSOLE_H

/*
 * virtio-console: one port, hvc0 to Linux, with the size of the terminal.  VIRTIO 1.2, section 5.3
 * "Console Device".
 *
 * Output is written by the vCPU that notifies the device, and waits for its reader as at a serial
 * port.  So all that a guest printed is out when it goes on.  Input is kept here until the driver
 * has buffers for it.  A thread of the device's own puts it there, because that may wait for guest
 * memory.
 */
#include "virtio.h"

struct virtio_console;

#define VIRTIO_CONSOLE_RX_BYTES 4096 /* input that is kept for the driver */

struct virtio_console_config {
	/* ctx is that of all functions here.  wake: virtio_console_serve() has something to do. */
	struct virtio_config virtio;
	/* Write bytes for the guest.  May wait.  False: nobody wants them any more. */
	bool (*transmit)(void *ctx, const void *data, size_t bytes);
	/* The driver took input, so virtio_console_space() is not 0 any more. */
	void (*space)(void *ctx);
};

/* Copy *config and put the device on the bus.  0, -ENOMEM or bus_add()'s error. */
int virtio_console_create(const struct virtio_console_config *config, struct bus *mmio,
			  struct virtio_console **out);

/* NULL is fine. */
void virtio_console_destroy(struct virtio_console *c);

/* Is there a driver that can take input?  From any thread. */
bool virtio_console_running(const struct virtio_console *c);

/* How many more bytes of input can be kept.  From any thread. */
size_t virtio_console_space(struct virtio_console *c);

/* Input for the driver, at most virtio_console_space() bytes.  From any thread, but one. */
void virtio_console_receive(struct virtio_console *c, const void *data, size_t bytes);

/* Take up to `bytes` that the driver has not got, as if it had.  Returns how many. */
size_t virtio_console_take(struct virtio_console *c, void *data, size_t bytes);

/* The terminal has this size; 0: unknown.  From any thread. */
void virtio_console_resize(struct virtio_console *c, uint16_t columns, uint16_t rows);

/* Give the driver its input.  The device's own thread.  True: call again. */
bool virtio_console_serve(struct virtio_console *c);

#endif
