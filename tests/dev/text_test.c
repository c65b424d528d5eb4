/* SPDX-License-Identifier: MIT */
/* The text port on guest memory of its own: what is printed, in which order, and what is not. */
#include <quire/abi.h>
#include "mmu/memory/gmem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vmm/dev/bus.h"
#include "tests/tap.h"

#define P QUIRE_CONSOLE_PORT

/* 4 MiB, a hole of 2 MiB, 2 MiB; and the last page below 4 GiB, which no VM of quire has. */
static const struct gfn_range ram[] = { { 0, 1024 }, { 1536, 2048 }, { 0xffe00, 0x100000 } };

#define HOLE	   (4 * MiB)
#define AFTER_HOLE (6 * MiB)
#define TOP	   (8 * MiB)
#define RAM_TOP	   0x100000000

static struct rig {
	struct bus ports;
	struct gmem *gm;
	struct text_port *text;
	struct uart *uart;
	char sent[3 * QUIRE_CONSOLE_MAX];
	size_t nr_sent;
	unsigned int bursts;
} r;

static void transmit(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	if (bytes > sizeof(r.sent) - r.nr_sent)
		tap_bail("%zu bytes more than anybody wrote", bytes);
	memcpy(r.sent + r.nr_sent, data, bytes);
	r.nr_sent += bytes;
	r.bursts++;
}

static void setup(void)
{
	struct gmem_config gmem = { .ram = ram,
				    .nr_ram = ARRAY_SIZE(ram),
				    .hugepages = GMEM_HUGE_NEVER };
	struct uart_config uart = { .transmit = transmit };
	struct text_config text = { .transmit = transmit };
	struct quire_error err;

	if (gmem_create(&gmem, &r.gm, &err)) {
		if (geteuid() != 0)
			tap_skip_all("%s", err.text);
		tap_bail("%s", err.text);
	}
	text.gm = r.gm;
	if (text_port_create(&text, &r.ports, &r.text) || uart_create(&uart, &r.ports, &r.uart))
		tap_bail("cannot create the devices");
}

static void finish(void)
{
	text_port_destroy(r.text);
	uart_destroy(r.uart);
	gmem_destroy(r.gm);
}

static void put(gpa_t gpa, const void *data, size_t bytes)
{
	if (guest_write(r.gm, gpa, data, bytes))
		tap_bail("cannot write guest memory at %#lx", (unsigned long)gpa);
}

/* A text at gpa that says it has `bytes` bytes. */
static void put_text(gpa_t gpa, uint32_t bytes, const char *text)
{
	put(gpa, &bytes, sizeof(bytes));
	put(gpa + sizeof(bytes), text, strlen(text));
}

static void write_port(unsigned int width, const void *data, unsigned int count)
{
	bus_write(&r.ports, P, width, data, count);
}

/* Write gpa to the port: what comes out is `want`, in one burst, and ignored only if NULL. */
static void prints(uint32_t gpa, const char *want, const char *what)
{
	uint64_t ignored = text_port_ignored(r.text);
	size_t bytes = want ? strlen(want) : 0;

	r.nr_sent = r.bursts = 0;
	write_port(4, &gpa, 1);
	ok(r.nr_sent == bytes && r.bursts == (bytes > 0) &&
		   (!bytes || !memcmp(r.sent, want, bytes)) &&
		   text_port_ignored(r.text) - ignored == !want,
	   "%s", what);
}

static void texts(void)
{
	put_text(0x1000, 5, "hello");
	prints(0x1000, "hello", "a text comes out");
	prints(0x1000, "hello", "and again, for it stays the guest's");
	put_text(0x2003, 3, "odd");
	prints(0x2003, "odd", "its address need not be aligned");
	put_text(0x2ffe, 6, "across");
	prints(0x2ffe, "across", "a text across pages");
	put_text(0, 4, "zero");
	prints(0, "zero", "a text at gpa 0");
	put_text(0x1000, 0, "");
	prints(0x1000, "", "an empty text is a text");
	prints(0x300000, "", "memory never touched holds an empty text");
	put_text(0x1000, 3, "two");
	put_text(0x1004, 6, "layers");
	prints(0x1004, "layers", "a text inside of another");
}

static void sizes(void)
{
	static char big[QUIRE_CONSOLE_MAX + 2];

	memset(big, 'x', QUIRE_CONSOLE_MAX);
	big[0] = '<';
	big[QUIRE_CONSOLE_MAX - 1] = '>';
	put_text(0x10000, QUIRE_CONSOLE_MAX, big);
	prints(0x10000, big, "64 KiB is the longest");
	put_text(0x10000, QUIRE_CONSOLE_MAX + 1, big);
	prints(0x10000, NULL, "a byte more is ignored");
	put_text(0x10000, UINT32_MAX, "");
	prints(0x10000, NULL, "so are 4 GiB less a byte");
	put_text(0x10000, 0x80000000, "");
	prints(0x10000, NULL, "and 2 GiB");
}

static void bad_addresses(void)
{
	put_text(TOP - 8, 4, "last");
	prints(TOP - 8, "last", "a text up to the end of a range");
	put_text(TOP - 8, 5, "last");
	prints(TOP - 8, NULL, "one that goes on beyond it is ignored whole");
	prints(TOP - 2, NULL, "so is one whose length does");
	prints(TOP, NULL, "and one that is all outside");
	put_text(HOLE - 8, 4, "hole");
	prints(HOLE - 8, "hole", "a text up to a hole");
	put_text(HOLE - 8, QUIRE_CONSOLE_MAX, "hole");
	prints(HOLE - 8, NULL, "one that reaches into the hole is ignored");
	prints(HOLE, NULL, "one in the hole is too");
	prints(AFTER_HOLE - 4, NULL, "and one whose length alone is");
	put_text(RAM_TOP - 8, 4, "end.");
	prints(RAM_TOP - 8, "end.", "a text up to 4 GiB");
	put_text(RAM_TOP - 8, 5, "end.");
	prints(RAM_TOP - 8, NULL, "one beyond it does not wrap around to 0");
	prints(UINT32_MAX, NULL, "nor does a length at the last byte");
}

static void other_accesses(void)
{
	uint32_t gpa[3] = { 0x1000, HOLE, 0x2000 }, value = 0x5a5a5a5a;
	uint64_t ignored = text_port_ignored(r.text), wide = 0x1000;

	put_text(0x1000, 4, "one,");
	put_text(0x2000, 3, "two");
	r.nr_sent = 0;
	write_port(4, gpa, 3);
	ok(r.nr_sent == 7 && !memcmp(r.sent, "one,two", 7) &&
		   text_port_ignored(r.text) == ignored + 1,
	   "each item of a burst is a text of its own");
	r.nr_sent = 0;
	write_port(1, gpa, 1);
	write_port(2, gpa, 1);
	bus_write(&r.ports, P + 2, 2, gpa, 1);
	ok(!r.nr_sent && text_port_ignored(r.text) == ignored + 4, "narrow writes are ignored");
	write_port(8, &wide, 1);
	bus_write(&r.ports, P - 2, 4, gpa, 1);
	bus_write(&r.ports, P + 3, 4, gpa, 1);
	ok(!r.nr_sent, "and so are wide ones, and those across its ends");
	ok(bus_read(&r.ports, P, 4, &value, 1) && !value, "the port reads as zero");
}

static void order(void)
{
	uint32_t gpa = 0x1000;

	put_text(gpa, 3, "[b]");
	r.nr_sent = 0;
	bus_write(&r.ports, QUIRE_UART_PORT, 1, "a", 1);
	write_port(4, &gpa, 1);
	bus_write(&r.ports, QUIRE_UART_PORT, 1, "cd", 2);
	put_text(gpa, 3, "[e]");
	write_port(4, &gpa, 1);
	bus_write(&r.ports, QUIRE_UART_PORT, 1, "f", 1);
	ok(r.nr_sent == 10 && !memcmp(r.sent, "a[b]cd[e]f", 10),
	   "texts and the UART's bytes come out in the order in which they were written");
}

int main(void)
{
	tap_init();
	setup();
	texts();
	sizes();
	bad_addresses();
	other_accesses();
	order();
	finish();
	return tap_done();
}
