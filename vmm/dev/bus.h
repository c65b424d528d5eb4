/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_BUS_H
#define QUIRE_VMM_DEV_BUS_H

/*
 * Devices, and the two buses that they sit on: I/O ports, and memory-mapped registers at
 * QUIRE_MMIO_BASE.
 *
 * Any vCPU's thread may call a device, and holds no lock: the device has its own.  An access has
 * `count` items of `width` bytes, because one `rep insb` is one exit.  (A `rep outsb` is not: KVM
 * splits it.)  An access that is wider than the device's registers is split into bytes at ascending
 * addresses, as on an ISA bus; but nothing is split for a device that is `whole`.
 *
 * Where no device is, reads give all ones and writes do nothing, as on a PC.  These accesses are
 * counted.
 */
#include <quire/types.h>
#include <stdatomic.h>

struct device {
	const char *name;
	uint64_t base, bytes;	/* [base, base + bytes) on its bus */
	unsigned int max_width; /* widest register, 1..8 bytes */
	bool whole;		/* an access that goes beyond it is none of its business */
	/* NULL: zeroes. */
	void (*read)(void *ctx, uint64_t offset, unsigned int width, void *data,
		     unsigned int count);
	void (*write)(void *ctx, uint64_t offset, unsigned int width, const void *data,
		      unsigned int count);
	void *ctx;
};

#define BUS_MAX_DEVICES 32

struct bus {
	struct device device[BUS_MAX_DEVICES]; /* complete before the first vCPU runs */
	unsigned int nr;
	atomic_ulong unclaimed; /* accesses that no device took */
};

/*
 * Add a copy of *dev.  0; -EEXIST: it overlaps another device; -ENOSPC: there are BUS_MAX_DEVICES;
 * -EINVAL: it is empty, wraps around or has an impossible width.
 */
int bus_add(struct bus *bus, const struct device *dev);

/* An access.  width is 1, 2, 4 or 8; count is not 0.  True: a device took all of it. */
bool bus_read(struct bus *bus, uint64_t addr, unsigned int width, void *data, unsigned int count);
bool bus_write(struct bus *bus, uint64_t addr, unsigned int width, const void *data,
	       unsigned int count);

/* ---- exit ports ---- */

struct dev_exit {
	uint16_t port;
	bool qemu; /* the status is not the value, but value << 1 | 1 */
	/* The guest wrote what means this status. */
	void (*exit)(void *ctx, uint32_t status);
	void *ctx;
};

/* Put *dev on the bus at its port.  It stays the caller's.  0 or bus_add()'s error. */
int dev_exit_add(struct bus *ports, struct dev_exit *dev);

/* ---- the port of calls to a BIOS ---- */

struct bios_port {
	/* The guest called a vector, from cs:ip, that nobody serves. */
	void (*missing)(void *ctx, uint8_t vector, uint16_t ax, uint16_t cs, uint16_t ip);
	void *ctx;
	atomic_uint from; /* cs:ip */
};

/* Put *port on the bus at QUIRE_BIOS_PORT.  It stays the caller's.  0 or bus_add()'s error. */
int bios_port_add(struct bus *ports, struct bios_port *port);

/* ---- the wait port ---- */

struct wait_port {
	atomic_uint cues;    /* a count of what a waiting guest should look at; a futex */
	atomic_uint waiting; /* vCPUs that wait */
};

/* Put *port, zeroed, on the bus at QUIRE_WAIT_PORT.  0 or bus_add()'s error. */
int wait_port_add(struct bus *ports, struct wait_port *port);

/* A cue: end all waits, and the next wait of each vCPU.  Any thread, with any lock. */
void wait_port_tell(struct wait_port *port);

/* Wait as the guest's write of `us` to the port does (abi.h).  A vCPU's thread, with no lock. */
void wait_port_wait(struct wait_port *port, uint32_t us);

/* ---- the text port ---- */

struct text_port;
struct gmem;

struct text_config {
	struct gmem *gm;
	/* Write the text for the guest.  May block. */
	void (*transmit)(void *ctx, const void *data, size_t bytes);
	void *ctx;
};

/* Put a text port on the bus at QUIRE_CONSOLE_PORT.  0, -ENOMEM or bus_add()'s error. */
int text_port_create(const struct text_config *config, struct bus *ports, struct text_port **out);

/* NULL is fine. */
void text_port_destroy(struct text_port *port);

/* How many writes to the port named no text. */
uint64_t text_port_ignored(const struct text_port *port);

/* ---- the UART ---- */

struct uart;

struct uart_config {
	/* Write bytes for the guest.  May block.  Called without the UART's lock. */
	void (*transmit)(void *ctx, const void *data, size_t bytes);
	/* The interrupt line changed.  NULL: there is no line. */
	void (*set_irq)(void *ctx, bool level);
	/* The guest took bytes, so uart_space() is not 0 any more. */
	void (*space)(void *ctx);
	void *ctx;
};

/* Put a 16550 on the bus at QUIRE_UART_PORT.  0, -ENOMEM or bus_add()'s error. */
int uart_create(const struct uart_config *config, struct bus *ports, struct uart **out);

/* NULL is fine. */
void uart_destroy(struct uart *uart);

/* Has the guest asked for any interrupt of the UART? */
bool uart_may_interrupt(struct uart *uart);

#define UART_RX_BYTES 4096 /* depth of the receive FIFO */

/* How many more bytes the receive FIFO can hold. */
size_t uart_space(struct uart *uart);

/*
 * Take up to `bytes` that the guest has not read, without breaks, as if it had read them.  Returns
 * how many.
 */
size_t uart_take(struct uart *uart, void *data, size_t bytes);

/* The UART receives these bytes, at most uart_space(). */
void uart_receive(struct uart *uart, const void *data, size_t bytes);

/* The UART receives a break.  Nothing happens if the last one was not seen, or there is no room. */
void uart_receive_break(struct uart *uart);

#endif
