/* SPDX-License-Identifier: MIT */
/* Power-off, reset, the PM timer and the CMOS clock, driven as kernels drive them. */
#include <quire/abi.h>
#include <string.h>
#include <time.h>
#include "mmu/base/clock.h"
#include "vmm/dev/bus.h"
#include "vmm/dev/platform.h"
#include "tests/tap.h"

static struct bus ports;
static struct power power;
static struct cmos cmos;
static unsigned int offs, resets, panics;
static uint64_t now;

static void on_off(void *ctx)
{
	(void)ctx;
	offs++;
}

static void on_reset(void *ctx)
{
	(void)ctx;
	resets++;
}

static void on_panic(void *ctx)
{
	(void)ctx;
	panics++;
}

static uint64_t utc(void)
{
	return now;
}

static uint32_t in(unsigned int width, uint16_t port)
{
	uint32_t value = 0;

	bus_read(&ports, port, width, &value, 1);
	return value;
}

static void out(unsigned int width, uint16_t port, uint32_t value)
{
	bus_write(&ports, port, width, &value, 1);
}

static uint8_t cmos_in(uint8_t reg)
{
	out(1, 0x70, reg);
	return (uint8_t)in(1, 0x71);
}

static void cmos_out(uint8_t reg, uint8_t value)
{
	out(1, 0x70, reg);
	out(1, 0x71, value);
}

/* ---- power ---- */

static void test_pm1(void)
{
	is_hex(in(2, 0x604), 1, "ACPI is on: SCI_EN is set");
	out(2, 0x604, 0);
	is_hex(in(2, 0x604), 1, "... and stays so");
	is_hex(in(2, 0x600), 0, "no event is pending");
	out(2, 0x602, 0x120);
	is_hex(in(2, 0x602), 0x120, "events can be enabled");
	is_hex(in(4, 0x600), 0x01200000, "status and enable are one register of 32 bits, too");
	out(2, 0x600, 0xffff);
	is_hex(in(2, 0x600), 0, "clearing events changes nothing");
	out(2, 0x604, 1 << 10);
	is_hex(in(2, 0x604), 0x401, "a sleep type alone is only remembered");
	out(2, 0x604, 0x2000 | 5 << 10);
	is(offs, 0, "a sleep state that there is not does nothing");
	is_hex(in(2, 0x604), 5 << 10 | 1, "SLP_EN reads as 0");
	out(2, 0x604, 0x2000);
	is(offs, 1, "S5 is the power-off: 0x2000 at 0x604, as under QEMU");
	out(1, 0x605, 0x20);
	is(offs, 2, "... also as a byte");
}

static void test_timer(void)
{
	uint64_t before = monotonic_ns(), after;
	uint32_t from = in(4, 0x608), to;

	do
		to = in(4, 0x608);
	while (to - from < 3579); /* a millisecond */
	after = monotonic_ns();
	ok(after - before >= NS_PER_MS - NS_PER_MS / 1000, "the PM timer is not too fast");
	ok((uint64_t)(to - from) * NS_PER_S / 3579545 + 1000 >= NS_PER_MS, "nor too slow");
	out(4, 0x608, 0);
	ok(in(4, 0x608) - from >= 3579, "it cannot be set");
}

static void test_reset_ports(void)
{
	resets = 0;
	out(4, 0xcf8, 0x80000600);
	is(resets, 0, "a look for PCI is no reset");
	is_hex(in(4, 0xcf8), 0xffffffff, "... and finds none");
	out(1, 0xcf9, 0x02);
	is(resets, 0, "0xcf9 without bit 2 is no reset");
	out(1, 0xcf9, QUIRE_RESET_VALUE);
	is(resets, 1, "0xcf9 with bit 2 is");
	is_hex(in(1, 0x92), 2, "port 0x92: address line 20 is on");
	out(1, 0x92, 2);
	is(resets, 1, "switching it on again is no reset");
	out(1, 0x92, 3);
	is(resets, 2, "bit 0 of port 0x92 is");
}

static void test_i8042(void)
{
	resets = 0;
	is_hex(in(1, 0x64) & 3, 0, "the keyboard controller takes a command, and has no byte");
	out(1, 0x64, 0xaa);
	is_hex(in(1, 0x64) & 3, 1, "it answers a self-test");
	is_hex(in(1, 0x60), 0x55, "... that it has passed");
	is_hex(in(1, 0x64) & 3, 0, "then there is nothing more to read");
	out(1, 0x64, 0x60);
	out(1, 0x60, 0x47);
	out(1, 0x64, 0x20);
	is_hex(in(1, 0x60), 0x47, "it keeps its settings");
	out(1, 0x64, 0xd0);
	is_hex(in(1, 0x60) & 3, 3, "output port: no reset, line 20 on");
	out(1, 0x64, 0xd1);
	out(1, 0x60, 0xdf);
	is(resets, 0, "as boot loaders switch line 20 on, nothing happens");
	out(1, 0x60, 0xfe);
	is(resets, 0, "a byte for a keyboard is no command");
	out(1, 0x64, 0xfe);
	is(resets, 1, "command 0xfe is a reset");
	out(1, 0x64, 0xd1);
	out(1, 0x60, 0xde);
	is(resets, 2, "so is bit 0 of the output port");
}

static void test_panic(void)
{
	is_hex(in(1, 0x505), 1, "a panic can be told, and the start of another kernel cannot");
	out(1, 0x505, 2);
	is(panics, 0, "... so bit 1 does nothing");
	out(1, 0x505, 1);
	is(panics, 1, "bit 0 is a panic");
}

/* ---- the clock ---- */

static unsigned int decimal(uint8_t bcd)
{
	return bcd / 16 * 10u + bcd % 16;
}

/* Compare the clock with the C library's. */
static bool agrees(time_t t)
{
	struct tm tm;

	now = (uint64_t)t * NS_PER_S;
	gmtime_r(&t, &tm);
	return decimal(cmos_in(0)) == (unsigned int)tm.tm_sec &&
	       decimal(cmos_in(2)) == (unsigned int)tm.tm_min &&
	       decimal(cmos_in(4)) == (unsigned int)tm.tm_hour && cmos_in(6) == tm.tm_wday + 1 &&
	       decimal(cmos_in(7)) == (unsigned int)tm.tm_mday &&
	       decimal(cmos_in(8)) == (unsigned int)tm.tm_mon + 1 &&
	       decimal(cmos_in(9)) == (unsigned int)tm.tm_year % 100 &&
	       decimal(cmos_in(0x32)) == (unsigned int)tm.tm_year / 100 + 19;
}

static void test_dates(uint64_t seed)
{
	const time_t end = 7258118400; /* 2200-01-01 */
	bool all = true;

	for (time_t t = 0; t < end; t += 86400)
		all &= agrees(t) && agrees(t + 86399);
	ok(all, "the first and the last second of every day until 2200 are the C library's");
	all = true;
	for (unsigned int i = 0; i < 100000; i++)
		all &= agrees((time_t)(tap_random(&seed) % (uint64_t)end));
	ok(all, "100000 other seconds, too");
}

static void test_formats(void)
{
	now = (19000 * 86400ULL + 23 * 3600 + 45 * 60 + 59) * NS_PER_S;
	is_hex(cmos_in(0x0b), 2, "the clock begins with 24 hours, BCD");
	is_hex(cmos_in(4), 0x23, "23 hours in BCD");
	cmos_out(0x0b, 6);
	is(cmos_in(4), 23, "... in binary");
	is(cmos_in(2), 45, "... and so the minutes");
	cmos_out(0x0b, 0);
	is_hex(cmos_in(4), 0x91, "11 hours, after noon");
	now -= 23 * 3600 * NS_PER_S;
	is_hex(cmos_in(4), 0x12, "midnight is 12 hours");
	now += 12 * 3600 * NS_PER_S;
	is_hex(cmos_in(4), 0x92, "... and noon 12 hours after noon");
	cmos_out(0x0b, 2);
	cmos_out(0, 0x33);
	is_hex(cmos_in(0), 0x59, "the time cannot be set");
	cmos_out(1, 0x33);
	is_hex(cmos_in(1), 0x33, "the alarm can, and means nothing");
}

static void test_update(void)
{
	now = 1000 * NS_PER_S;
	is_hex(cmos_in(0x0a), 0x26, "no update is in progress when a second begins");
	now += NS_PER_S - 1;
	is_hex(cmos_in(0x0a), 0xa6, "one is when it ends");
	is_hex(cmos_in(0), 0x40, "... and the time is still the old one");
	cmos_out(0x0b, 0x82);
	is_hex(cmos_in(0x0a), 0x26, "none is while the guest sets the clock");
	cmos_out(0x0b, 2);
	cmos_out(0x0a, 0xa6);
	now += 1;
	is_hex(cmos_in(0x0a), 0x26, "it cannot be set by hand");
	is_hex(cmos_in(0), 0x41, "the next second");
	is_hex(cmos_in(0x0c), 0, "there are no interrupts");
	is_hex(cmos_in(0x8d), 0x80, "the battery is fine; bit 7 of the index is about NMIs");
}

static void test_sizes(void)
{
	is(cmos_in(0x15) | cmos_in(0x16) << 8, 640, "base memory in KiB");
	is(cmos_in(0x17) | cmos_in(0x18) << 8, 0xffff, "above 1 MiB: all that fits");
	is(cmos_in(0x34) | cmos_in(0x35) << 8, (3072 - 16) * 16, "above 16 MiB, in 64 KiB");
	is(cmos_in(0x5b) | cmos_in(0x5c) << 8 | cmos_in(0x5d) << 16, 16384,
	   "above 4 GiB, in 64 KiB");
	is(cmos_in(0x5f), 2, "processors, but for the first");
	cmos_out(0x0f, 0x0a);
	is_hex(cmos_in(0x0f), 0x0a, "the rest is memory");
}

int main(int argc, char **argv)
{
	const struct gfn_range ram[] = { { 0, 0xc0000 }, { 0x100000, 0x140000 } };
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	power = (struct power){ .off = on_off, .reset = on_reset, .panic = on_panic };
	cmos.utc_ns = utc;
	ok(!pm_add(&ports, &power) && !power_ports_add(&ports, &power) &&
		   !i8042_add(&ports, &power) && !cmos_add(&ports, &cmos, ram, 2, 3),
	   "all of it goes on the bus");
	test_pm1();
	test_timer();
	test_reset_ports();
	test_i8042();
	test_panic();
	test_dates(seed);
	test_formats();
	test_update();
	test_sizes();
	return tap_done();
}
