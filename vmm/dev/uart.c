/* SPDX-License-Identifier: MIT */
/*
 * A 16550A serial port, as far as guests look at it.
 *
 * Transmitting takes no time.  A byte that is written to THR is gone, so LSR always says empty, and
 * a burst (`rep outsb`) is written as a whole.  Receiving loses nothing: the host hands bytes over
 * only while there is room, so the overrun bit is never set.  The receive FIFO is UART_RX_BYTES
 * deep, whether the guest enables it or not.
 *
 * One difference from real hardware.  A guest that sets its UART up resets the receive FIFO (FCR
 * bit 1).  On real hardware that loses what was typed before.  But with `echo input | quire run
 * ...` the input is there before the first instruction.  So a reset discards only bytes that the
 * guest has been told of, in LSR or IIR.  The others count as arriving just after the reset.
 *
 * A break is a byte 0 that is received with LSR_BI.  One can be on its way at a time.
 *
 * Interrupts, the highest first: a break (IER bit 2), received data (IER bit 0), transmitter empty
 * (IER bit 1).  The line is a level here, but the PIC wants an edge, so every new reason lowers the
 * line first.
 */
#include <errno.h>
#include <quire/abi.h>
#include <stdlib.h>
#include "mmu/base/locks.h"
#include "bus.h"

enum {
	REG_DATA = 0, /* RBR, THR; DLL with LCR_DLAB */
	REG_IER = 1,  /* DLM with LCR_DLAB */
	REG_IIR = 2,  /* read; FCR when written */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
	NR_REGS = 8,
};

#define IER_RDI	     0x01u /* received data available */
#define IER_THRI     0x02u /* transmitter holding register empty */
#define IER_RLSI     0x04u /* receiver line status: a break */
#define IIR_NONE     0x01u
#define IIR_THRI     0x02u
#define IIR_RDI	     0x04u
#define IIR_RLSI     0x06u
#define IIR_FIFO     0xc0u
#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define LCR_DLAB     0x80u
#define MCR_DTR	     0x01u
#define MCR_RTS	     0x02u
#define MCR_OUT1     0x04u
#define MCR_OUT2     0x08u
#define MCR_LOOP     0x10u
#define LSR_DR	     0x01u
#define LSR_BI	     0x10u
#define LSR_THRE     0x20u
#define LSR_TEMT     0x40u
#define MSR_CTS	     0x10u
#define MSR_DSR	     0x20u
#define MSR_RI	     0x40u
#define MSR_DCD	     0x80u

struct uart {
	struct uart_config config;
	struct lock lock; /* protects all below */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	bool thre_pending; /* there is a transmitter interrupt that the guest has not seen */
	bool rx_shown;	   /* the guest has been told that rx is not empty */
	bool irq_level;
	uint8_t rx[UART_RX_BYTES]; /* a ring: `count` bytes from `head` on */
	unsigned int rx_head, rx_count;
	bool breaks;		 /* a break is in rx, and the guest has not been told: */
	unsigned int break_head; /* its place in rx */
};

/* ---- all with the lock held ---- */

/* Is the next byte a break? */
static bool breaks_next(const struct uart *u)
{
	return u->breaks && u->rx_count && u->break_head == u->rx_head;
}

static uint8_t pending(const struct uart *u)
{
	if ((u->ier & IER_RLSI) && breaks_next(u))
		return IIR_RLSI;
	if ((u->ier & IER_RDI) && u->rx_count)
		return IIR_RDI;
	if ((u->ier & IER_THRI) && u->thre_pending)
		return IIR_THRI;
	return IIR_NONE;
}

static void set_line(struct uart *u, bool level)
{
	if (level == u->irq_level)
		return;
	u->irq_level = level;
	if (u->config.set_irq)
		u->config.set_irq(u->config.ctx, level);
}

static void update_line(struct uart *u)
{
	set_line(u, pending(u) != IIR_NONE);
}

/* There is a new reason: make an edge, even if the line is up for an older one. */
static void raise_line(struct uart *u)
{
	if (pending(u) == IIR_NONE)
		return;
	set_line(u, false);
	set_line(u, true);
}

static void rx_put(struct uart *u, uint8_t byte)
{
	if (u->rx_count == UART_RX_BYTES)
		return; /* in loopback only: the host asks for room first */
	u->rx[(u->rx_head + u->rx_count++) % UART_RX_BYTES] = byte;
}

static uint8_t rx_get(struct uart *u)
{
	uint8_t byte;

	if (!u->rx_count)
		return 0;
	if (breaks_next(u))
		u->breaks = false;
	byte = u->rx[u->rx_head];
	u->rx_head = (u->rx_head + 1) % UART_RX_BYTES;
	if (!--u->rx_count)
		u->rx_shown = false;
	return byte;
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t why = pending(u);

	if (why == IIR_THRI)
		u->thre_pending = false;
	if (why == IIR_RDI || why == IIR_RLSI)
		u->rx_shown = true;
	update_line(u);
	return why | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t breaks = breaks_next(u) ? LSR_BI : 0;

	u->rx_shown = u->rx_count > 0;
	if (breaks) {
		u->breaks = false;
		update_line(u);
	}
	return LSR_THRE | LSR_TEMT | breaks | (u->rx_count ? LSR_DR : 0);
}

/* In loopback, the modem's outputs come back as its inputs. */
static uint8_t read_msr(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static uint8_t read_reg(struct uart *u, unsigned int reg)
{
	bool dlab = u->lcr & LCR_DLAB;
	uint8_t byte;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			return u->dll;
		byte = rx_get(u);
		update_line(u);
		return byte;
	case REG_IER: return dlab ? u->dlm : u->ier;
	case REG_IIR: return read_iir(u);
	case REG_LCR: return u->lcr;
	case REG_MCR: return u->mcr;
	case REG_LSR: return read_lsr(u);
	case REG_MSR: return read_msr(u);
	default: return u->scr;
	}
}

static void write_ier(struct uart *u, uint8_t value)
{
	uint8_t added = value & ~u->ier;

	u->ier = value & 0x0f;
	if (added & IER_THRI)
		u->thre_pending = true; /* it is empty, as always */
	if (added & (IER_THRI | IER_RDI | IER_RLSI))
		raise_line(u);
	update_line(u);
}

static void write_fcr(struct uart *u, uint8_t value)
{
	u->fcr = value;
	if ((value & FCR_CLEAR_RX) && u->rx_shown) {
		u->rx_count = 0;
		u->rx_shown = u->breaks = false;
	}
	update_line(u);
}

/* A write to any register but THR. */
static void write_reg(struct uart *u, unsigned int reg, uint8_t value)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA: /* only with DLAB */ u->dll = value; break;
	case REG_IER:
		if (dlab)
			u->dlm = value;
		else
			write_ier(u, value);
		break;
	case REG_IIR: write_fcr(u, value); break;
	case REG_LCR: u->lcr = value; break;
	case REG_MCR: u->mcr = value & 0x1f; break;
	case REG_SCR: u->scr = value; break;
	default: break; /* LSR and MSR are read-only */
	}
}

/* ---- the bus's side ---- */

static void uart_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		      unsigned int count)
{
	struct uart *u = ctx;
	uint8_t *byte = data;
	bool took;

	(void)width;
	lock(&u->lock);
	took = offset == REG_DATA && u->rx_count;
	for (unsigned int i = 0; i < count; i++)
		byte[i] = read_reg(u, (unsigned int)offset);
	unlock(&u->lock);
	if (took && u->config.space)
		u->config.space(u->config.ctx);
}

/* The guest wrote bytes to THR.  True: they are to be transmitted. */
static bool send_locked(struct uart *u, const uint8_t *byte, unsigned int count)
{
	bool loop = u->mcr & MCR_LOOP;

	for (unsigned int i = 0; loop && i < count; i++)
		rx_put(u, byte[i]);
	u->thre_pending = true;
	raise_line(u);
	return !loop;
}

static void uart_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct uart *u = ctx;
	const uint8_t *byte = data;
	bool send = false;

	(void)width;
	lock(&u->lock);
	if (offset == REG_DATA && !(u->lcr & LCR_DLAB))
		send = send_locked(u, byte, count);
	else
		for (unsigned int i = 0; i < count; i++)
			write_reg(u, (unsigned int)offset, byte[i]);
	unlock(&u->lock);
	if (send)
		u->config.transmit(u->config.ctx, byte, count);
}

/* ---- the host's side ---- */

int uart_create(const struct uart_config *config, struct bus *ports, struct uart **out)
{
	struct device device = {
		.name = "uart",
		.base = QUIRE_UART_PORT,
		.bytes = NR_REGS,
		.max_width = 1,
		.read = uart_read,
		.write = uart_write,
	};
	struct uart *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	u->config = *config;
	u->dll = 1; /* 115200 baud, 8 bits */
	u->lcr = 0x03;
	lock_init(&u->lock, LOCK_UART);
	device.ctx = u;
	ret = bus_add(ports, &device);
	if (ret) {
		uart_destroy(u);
		return ret;
	}
	*out = u;
	return 0;
}

void uart_destroy(struct uart *uart)
{
	if (!uart)
		return;
	lock_finish(&uart->lock);
	free(uart);
}

bool uart_may_interrupt(struct uart *uart)
{
	bool may;

	lock(&uart->lock);
	may = uart->ier;
	unlock(&uart->lock);
	return may;
}

size_t uart_space(struct uart *uart)
{
	size_t space;

	lock(&uart->lock);
	space = UART_RX_BYTES - uart->rx_count;
	unlock(&uart->lock);
	return space;
}

size_t uart_take(struct uart *uart, void *data, size_t bytes)
{
	uint8_t *byte = data;
	size_t n = 0;

	lock(&uart->lock);
	while (n < bytes && uart->rx_count) {
		bool is_break = breaks_next(uart);

		byte[n] = rx_get(uart);
		n += !is_break;
	}
	update_line(uart);
	unlock(&uart->lock);
	return n;
}

void uart_receive(struct uart *uart, const void *data, size_t bytes)
{
	const uint8_t *byte = data;

	lock(&uart->lock);
	for (size_t i = 0; i < bytes; i++)
		rx_put(uart, byte[i]);
	raise_line(uart);
	unlock(&uart->lock);
}

void uart_receive_break(struct uart *uart)
{
	lock(&uart->lock);
	if (!uart->breaks && uart->rx_count < UART_RX_BYTES) {
		uart->breaks = true;
		uart->break_head = (uart->rx_head + uart->rx_count) % UART_RX_BYTES;
		rx_put(uart, 0);
		raise_line(uart);
	}
	unlock(&uart->lock);
}
