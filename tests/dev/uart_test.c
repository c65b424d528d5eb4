/* SPDX-License-Identifier: MIT */
/* The buses, the exit port and the 16550, driven as a guest drives them. */
#include <errno.h>
#include <quire/abi.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/dev/bus.h"
#include "tests/tap.h"

#define U QUIRE_UART_PORT

static struct rig {
	struct bus ports;
	struct uart *uart;
	struct dev_exit exit, qemu_exit;
	uint8_t sent[8192];
	size_t nr_sent, bursts;
	unsigned int edges, exits, spaces;
	bool line;
	uint32_t status;
} r;

static void transmit(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	memcpy(r.sent + r.nr_sent, data, bytes);
	r.nr_sent += bytes;
	r.bursts++;
}

static void set_irq(void *ctx, bool level)
{
	(void)ctx;
	r.edges += level && !r.line;
	r.line = level;
}

static void space(void *ctx)
{
	(void)ctx;
	r.spaces++;
}

static void on_exit_port(void *ctx, uint32_t value)
{
	(void)ctx;
	r.exits++;
	r.status = value;
}

static void setup(void)
{
	struct uart_config config = { .transmit = transmit, .set_irq = set_irq, .space = space };

	uart_destroy(r.uart);
	r = (struct rig){
		.exit = { .port = QUIRE_EXIT_PORT, .exit = on_exit_port },
		.qemu_exit = { .port = 0xffff, .qemu = true, .exit = on_exit_port },
	};
	if (uart_create(&config, &r.ports, &r.uart) || dev_exit_add(&r.ports, &r.exit) ||
	    dev_exit_add(&r.ports, &r.qemu_exit))
		tap_bail("cannot create the devices");
}

static void out(uint16_t port, uint8_t value)
{
	bus_write(&r.ports, port, 1, &value, 1);
}

static uint8_t in(uint16_t port)
{
	uint8_t value = 0x5a;

	bus_read(&r.ports, port, 1, &value, 1);
	return value;
}

static void transmitter(void)
{
	uint8_t burst[4096];

	setup();
	is_hex(in(U + 5), 0x60, "at reset LSR says empty and nothing received");
	out(U, 'q');
	ok(r.nr_sent == 1 && r.sent[0] == 'q', "a byte written to THR leaves");
	for (size_t i = 0; i < sizeof(burst); i++)
		burst[i] = (uint8_t)(i * 7);
	bus_write(&r.ports, U, 1, burst, sizeof(burst));
	ok(r.bursts == 2 && r.nr_sent == 4097 && !memcmp(r.sent + 1, burst, sizeof(burst)),
	   "a burst of 4096 leaves whole and at once");
	is_hex(in(U + 5), 0x60, "and LSR says empty again");
	bus_write(&r.ports, U, 2, "A\x01", 1);
	ok(r.sent[4097] == 'A' && in(U + 1) == 1, "a 16-bit write reaches two registers");
}

static void divisor(void)
{
	setup();
	out(U + 3, 0x83);
	out(U, 0x0c);
	out(U + 1, 0x02);
	ok(in(U) == 0x0c && in(U + 1) == 0x02, "with DLAB the divisor reads back");
	ok(r.nr_sent == 0, "... and nothing was sent");
	out(U + 3, 0x03);
	is_hex(in(U + 1), 0, "without DLAB there is IER, untouched");
	is_hex(in(U + 3), 0x03, "LCR reads back");
	out(U + 7, 0xa5);
	is_hex(in(U + 7), 0xa5, "the scratch register holds its value");
	is_hex(in(U + 6), 0xb0, "MSR says that a modem is there");
}

static void receiver(void)
{
	uint8_t got[6];

	setup();
	is_hex(in(U), 0, "RBR reads 0 when nothing came");
	ok(uart_space(r.uart) == UART_RX_BYTES, "there is room for a whole FIFO");
	uart_receive(r.uart, "hello", 5);
	ok(uart_space(r.uart) == UART_RX_BYTES - 5, "received bytes take room");
	is_hex(in(U + 5), 0x61, "LSR says that data is there");
	bus_read(&r.ports, U, 1, got, 6);
	ok(!memcmp(got, "hello", 6), "rep insb reads them in order, then zeroes");
	ok(r.spaces == 1, "the host is told once that there is room again");
	is_hex(in(U + 5), 0x60, "LSR says that all is read");
	ok(r.edges == 0, "no interrupt was raised: none is enabled");
}

static void fifo_reset(void)
{
	setup();
	uart_receive(r.uart, "x", 1);
	out(U + 2, 0x07);
	is_hex(in(U + 5), 0x61, "a FIFO reset keeps bytes that the guest was never shown");
	out(U + 2, 0x07);
	is_hex(in(U + 5), 0x60, "it discards those that it was");
	is_hex(in(U + 2), 0xc1, "IIR says that FIFOs are on and nothing is pending");
	out(U + 2, 0x00);
	is_hex(in(U + 2), 0x01, "IIR says that FIFOs are off");
}

/* What a guest that resets itself leaves behind. */
static void unread(void)
{
	char got[8] = "";

	setup();
	out(U + 1, 0x01);
	uart_receive(r.uart, "12", 2);
	uart_receive_break(r.uart);
	uart_receive(r.uart, "345", 3);
	ok(in(U) == '1' && r.line, "the guest reads one byte");
	is(uart_take(r.uart, got, 3), 3, "three of the others are taken ...");
	ok(!memcmp(got, "234", 3), "... in order, and a break between them is none");
	is(uart_take(r.uart, got, sizeof(got)), 1, "then the rest");
	ok(got[0] == '5' && !r.line && in(U + 5) == 0x60, "... and nothing is left");
	is(uart_take(r.uart, got, sizeof(got)), 0, "nor to be taken");
}

static void interrupts(void)
{
	setup();
	out(U + 1, 0x02);
	ok(r.line && r.edges == 1, "enabling the transmitter interrupt raises it at once");
	is_hex(in(U + 2) & 0xf, 0x02, "IIR names the transmitter");
	ok(!r.line, "reading IIR lowers the line");
	is_hex(in(U + 2) & 0xf, 0x01, "and then nothing is pending");
	out(U, 'a');
	ok(r.line && r.edges == 2, "sending raises it again");
	out(U, 'b');
	ok(r.edges == 3, "each byte sent gives an edge of its own");
	out(U + 1, 0x03);
	uart_receive(r.uart, "12", 2);
	is_hex(in(U + 2) & 0xf, 0x04, "received data goes first");
	ok(in(U) == '1' && r.line, "the line stays up while data is left");
	ok(in(U) == '2', "the second byte is there");
	is_hex(in(U + 2) & 0xf, 0x02, "then the transmitter's turn comes");
	ok(!r.line, "and the line is down");
	out(U + 1, 0);
	uart_receive(r.uart, "3", 1);
	ok(!r.line, "a disabled interrupt leaves the line alone");
	out(U + 1, 0x01);
	ok(r.line, "enabling it with data waiting raises it");
}

static void breaks(void)
{
	setup();
	uart_receive(r.uart, "1", 1);
	uart_receive_break(r.uart);
	uart_receive_break(r.uart);
	uart_receive(r.uart, "h", 1);
	is_hex(in(U + 5), 0x61, "what came before a break is read before it");
	out(U + 1, 0x05);
	is_hex(in(U + 2) & 0xf, 0x04, "... by the interrupt for data");
	ok(in(U) == '1' && r.line, "the line stays up");
	is_hex(in(U + 2) & 0xf, 0x06, "for the receiver's line status");
	is_hex(in(U + 5), 0x71, "LSR says break");
	is_hex(in(U + 5), 0x61, "... once");
	is_hex(in(U), 0, "its byte is 0");
	ok(in(U) == 'h' && in(U + 5) == 0x60, "a second break before that one was seen is none");
	uart_receive_break(r.uart);
	is_hex(in(U + 5), 0x71, "a later one is");
	while (uart_space(r.uart))
		uart_receive(r.uart, "x", 1);
	uart_receive_break(r.uart);
	ok(!uart_space(r.uart), "a full FIFO takes none");
}

/*
 * What Linux's 8250 driver asks a port before it believes in it: autoconfig(),
 * autoconfig_16550a() and serial8250_do_startup() of drivers/tty/serial/8250/8250_port.c.
 */
static void linux_8250(void)
{
	setup();
	out(U + 1, 0x00);
	out(0x80, 0xff);
	is_hex(in(U + 1) & 0x0f, 0x00, "8250: IER can be cleared");
	out(U + 1, 0x0f);
	is_hex(in(U + 1) & 0x0f, 0x0f, "8250: and set");
	out(U + 1, 0x00);
	out(U + 4, 0x1a);
	is_hex(in(U + 6) & 0xf0, 0x90, "8250: the loopback test");
	out(U + 4, 0x08);
	out(U + 3, 0xbf);
	out(U + 2, 0x00);
	out(U + 3, 0x00);
	out(U + 2, 0x01);
	is_hex(in(U + 2) >> 6, 3, "8250: IIR says 16550A");
	out(U + 3, 0x80);
	ok(in(U + 2), "8250: no EFR, so no 16650");
	out(U + 3, 0xbf);
	ok(in(U + 2), "8250: none there either");
	out(U + 3, 0xe0);
	ok(!(in(U + 2) & 0x10), "8250: no NS16550A");
	out(U + 3, 0x80);
	out(U + 2, 0x21);
	ok(in(U + 2) >> 5 == 6, "8250: no FIFO of 64 bytes, so no 16750");
	out(U + 3, 0x03);
	out(U + 1, 0x40);
	is_hex(in(U + 1) & 0x40, 0, "8250: no UUE, so no XScale");
	ok(in(U + 5) != 0xff, "8250: there is a port");
	for (unsigned int i = 0; i < 2; i++) {
		out(U + 1, 0x02);
		ok(!(in(U + 2) & 1), "8250: THRI raises its interrupt whenever it is enabled");
		out(U + 1, 0x00);
	}
	ok(in(U + 5) & 0x40, "8250: ... while the transmitter is empty: no bug to work around");
	out(U + 1, 0x05);
	(void)in(U + 5);
	(void)in(U);
	(void)in(U + 2);
	(void)in(U + 6);
	uart_receive(r.uart, "q", 1);
	ok(r.line && (in(U + 2) & 0xf) == 4 && (in(U + 5) & 1) && in(U) == 'q' && !r.line,
	   "8250: a key interrupts, is read, and the line is down");
	out(U + 1, 0x07);
	(void)in(U + 2);
	for (unsigned int i = 0; i < 16; i++)
		out(U, (uint8_t)('a' + i));
	ok(r.line && (in(U + 2) & 0xf) == 2 && !r.line && r.nr_sent == 16,
	   "8250: sixteen bytes are sent at a time, and then interrupt once");
}

static void loopback(void)
{
	setup();
	out(U + 4, 0x1a);
	is_hex(in(U + 6), 0x90, "in loopback MSR mirrors MCR (RTS, OUT2)");
	out(U, 0xae);
	ok(r.nr_sent == 0 && in(U) == 0xae, "a byte sent in loopback comes back and stays inside");
	out(U + 4, 0x0b);
	out(U, 'z');
	ok(r.nr_sent == 1, "out of loopback it leaves");
}

static void exit_port(void)
{
	uint32_t v32 = 0x12345678;
	uint16_t v16 = 300;

	setup();
	out(QUIRE_EXIT_PORT, 42);
	ok(r.exits == 1 && r.status == 42, "an 8-bit write gives the status");
	bus_write(&r.ports, QUIRE_EXIT_PORT, 2, &v16, 1);
	ok(r.status == 300, "a 16-bit one");
	bus_write(&r.ports, QUIRE_EXIT_PORT, 4, &v32, 1);
	is_hex(r.status, 0x12345678, "a 32-bit one");
	out(QUIRE_EXIT_PORT + 1, 1);
	ok(r.exits == 3, "the ports beside it are no exit");
	out(0xffff, 16);
	ok(r.exits == 4 && r.status == 33,
	   "QEMU's port: twice the value plus one, at the last port");
	is_hex(in(QUIRE_EXIT_PORT), 0, "it reads as zero");
}

static void buses(void)
{
	struct device d = { .base = 0x400, .bytes = 8, .max_width = 4 };
	uint64_t wide = 0;

	setup();
	is_hex(in(0x80), 0xff, "a port without a device reads all ones");
	out(0x80, 1);
	ok(atomic_load(&r.ports.unclaimed) == 2, "and such accesses are counted");
	ok(!bus_read(&r.ports, 0x80, 4, &wide, 1) && wide == 0xffffffff, "32 bits of ones");
	ok(atomic_load(&r.ports.unclaimed) == 3, "which count as one access");
	ok(!bus_read(&r.ports, U + 7, 2, &wide, 1) && (uint16_t)wide == 0xff00,
	   "an access across a device's end: its byte, then ones");
	d.base = U + 4;
	ok(bus_add(&r.ports, &d) == -EEXIST, "devices may not overlap");
	d.bytes = 0;
	ok(bus_add(&r.ports, &d) == -EINVAL, "nor be empty");
	d = (struct device){ .base = UINT64_MAX, .bytes = 2, .max_width = 1 };
	ok(bus_add(&r.ports, &d) == -EINVAL, "nor wrap around");
	d = (struct device){ .base = 0x1000, .bytes = 1, .max_width = 1 };
	while (r.ports.nr < BUS_MAX_DEVICES && !bus_add(&r.ports, &d))
		d.base++;
	ok(bus_add(&r.ports, &d) == -ENOSPC, "a full bus says so");
}

int main(void)
{
	tap_init();
	transmitter();
	divisor();
	receiver();
	fifo_reset();
	interrupts();
	breaks();
	unread();
	linux_8250();
	loopback();
	exit_port();
	buses();
	uart_destroy(r.uart);
	return tap_done();
}
