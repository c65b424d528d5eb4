/* SPDX-License-Identifier: MIT */
/*
 * The clock of a PC with its battery-backed memory: Motorola's MC146818, an index at port 0x70 and
 * data at 0x71.
 *
 * The time is the host's, in UTC.  A guest can choose how it is written, BCD or binary, 24 or 12
 * hours.  It cannot set it: such writes are lost.  There are no alarms and no interrupts.
 *
 * Kernels that read the time wait until no update is in progress, or until one begins and ends.
 * The data sheet's update takes 1984 us, and is announced 244 us before it begins.  Here the last
 * 2228 us of each second count as that, and the time changes with the second.
 *
 * The date comes from the number of days.  The C library would do it, but opens a file for the
 * time zone, even where none is asked for, and the sandbox forbids that.
 */
#include <quire/abi.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "bus.h"
#include "platform.h"

#define NR_TIME_REGISTERS 10   /* of which 1, 3 and 5 are the alarm */
#define REG_A		  0x0a /* update in progress, dividers */
#define REG_B		  0x0b /* format */
#define REG_C		  0x0c /* interrupts: none */
#define REG_D		  0x0d /* the battery is fine */

#define A_UPDATING 0x80u
#define A_DIVIDERS 0x26u /* 32768 Hz, 1024 Hz */
#define B_SET	   0x80u /* the guest is setting the time: no updates */
#define B_BINARY   0x04u
#define B_24_HOURS 0x02u
#define D_VALID	   0x80u
#define PM	   0x80u /* with 12 hours */

#define UPDATE_NS (2228 * 1000)

struct date {
	unsigned int year, month, day; /* from 1 */
};

/*
 * The date, so many days after 1970-01-01.  Years begin in March here, so that the leap day is the
 * last, and an era is 400 years (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
 */
static struct date date_of(uint64_t days)
{
	unsigned int era, day, year, month;

	days += 719468; /* from 0000-03-01 on */
	era = (unsigned int)(days / 146097);
	day = (unsigned int)(days % 146097);
	year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153; /* 0: March */
	return (struct date){
		.year = era * 400 + year + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = day - (153 * month + 2) / 5 + 1,
	};
}

/* As register B wants it. */
static uint8_t number(unsigned int value, uint8_t b)
{
	return (uint8_t)(b & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static uint8_t hours(unsigned int value, uint8_t b)
{
	if (b & B_24_HOURS)
		return number(value, b);
	return number(value % 12 ? value % 12 : 12, b) | (value >= 12 ? PM : 0);
}

static uint8_t time_register(const struct cmos *cmos, unsigned int reg)
{
	uint64_t s = cmos->utc_ns() / NS_PER_S;
	struct date date = date_of(s / 86400);
	uint8_t b = atomic_load(&cmos->byte[REG_B]);

	switch (reg) {
	case 0: return number(s % 60, b);
	case 2: return number(s / 60 % 60, b);
	case 4: return hours(s / 3600 % 24, b);
	case 6: return number((s / 86400 + 4) % 7 + 1, b); /* 1: Sunday */
	case 7: return number(date.day, b);
	case 8: return number(date.month, b);
	case 9: return number(date.year % 100, b);
	default: return number(date.year / 100, b); /* QUIRE_CMOS_CENTURY */
	}
}

static uint8_t status_a(const struct cmos *cmos)
{
	uint8_t a = atomic_load(&cmos->byte[REG_A]) & (uint8_t)~A_UPDATING;

	if (atomic_load(&cmos->byte[REG_B]) & B_SET)
		return a;
	return cmos->utc_ns() % NS_PER_S >= NS_PER_S - UPDATE_NS ? a | A_UPDATING : a;
}

static bool is_time(unsigned int reg)
{
	bool alarm = reg == 1 || reg == 3 || reg == 5;

	return (reg < NR_TIME_REGISTERS && !alarm) || reg == QUIRE_CMOS_CENTURY;
}

static void cmos_read(void *ctx, uint64_t offset, unsigned int width, void *data,
		      unsigned int count)
{
	struct cmos *cmos = ctx;
	unsigned int reg = atomic_load(&cmos->index);
	uint8_t byte = 0xff; /* the index cannot be read */

	if (offset)
		byte = is_time(reg) ? time_register(cmos, reg) :
		       reg == REG_A ? status_a(cmos) :
				      atomic_load(&cmos->byte[reg]);
	memset(data, byte, (size_t)width * count);
}

static void cmos_write(void *ctx, uint64_t offset, unsigned int width, const void *data,
		       unsigned int count)
{
	struct cmos *cmos = ctx;
	const uint8_t *byte = data;
	unsigned int reg = atomic_load(&cmos->index);

	(void)width;
	(void)count;
	if (!offset)
		atomic_store(&cmos->index, *byte % CMOS_BYTES); /* the top bit is about NMIs */
	else if (reg != REG_C && reg != REG_D)
		atomic_store(&cmos->byte[reg], *byte);
}

/* Two bytes from `reg` on. */
static void set_word(struct cmos *cmos, unsigned int reg, uint64_t value)
{
	atomic_store(&cmos->byte[reg], (uint8_t)value);
	atomic_store(&cmos->byte[reg + 1], (uint8_t)(value >> 8));
}

/* Where a BIOS leaves the sizes of RAM, and QEMU's firmware also those beyond 16 MiB and 4 GiB. */
static void set_sizes(struct cmos *cmos, const struct gfn_range *ram, unsigned int nr_ram)
{
	uint64_t low = gfn_to_gpa(ram[0].end), high = 0, above_1m = low > MiB ? low - MiB : 0;

	if (nr_ram > 1)
		high = gfn_to_gpa(ram[1].end - ram[1].start);
	set_word(cmos, 0x15, min_u64(low / KiB, 640));
	set_word(cmos, 0x17, min_u64(above_1m / KiB, 0xffff));
	set_word(cmos, 0x30, min_u64(above_1m / KiB, 0xffff));
	set_word(cmos, 0x34, low > 16 * MiB ? min_u64((low - 16 * MiB) / (64 * KiB), 0xffff) : 0);
	set_word(cmos, 0x5b, high / (64 * KiB));
	atomic_store(&cmos->byte[0x5d], (uint8_t)(high / (64 * KiB) >> 16));
}

int cmos_add(struct bus *ports, struct cmos *cmos, const struct gfn_range *ram, unsigned int nr_ram,
	     unsigned int nr_cpus)
{
	struct device device = {
		.name = "cmos",
		.base = QUIRE_CMOS_PORT,
		.bytes = 2,
		.max_width = 1,
		.read = cmos_read,
		.write = cmos_write,
		.ctx = cmos,
	};

	set_sizes(cmos, ram, nr_ram);
	atomic_store(&cmos->byte[REG_A], A_DIVIDERS);
	atomic_store(&cmos->byte[REG_B], B_24_HOURS);
	atomic_store(&cmos->byte[REG_D], D_VALID);
	atomic_store(&cmos->byte[0x5f], (uint8_t)(nr_cpus - 1));
	return bus_add(ports, &device);
}
