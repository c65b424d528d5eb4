/* SPDX-License-Identifier: MIT */
/*
 * Time is the TSC.  Its frequency comes from the first of these that knows it: the device tree;
 * CPUID leaf 0x40000010, where hypervisors put it; CPUID leaf 0x15; a race against the PIT.  It is
 * looked for only when somebody needs it, because CPUID leaves the guest.
 */
#include <quire/abi.h>
#include "kernel.h"

#define PIT_HZ	     1193182UL
#define PIT_TICKS    11932UL   /* 10 ms */
#define WAIT_MOST_MS 1000000UL /* one write to the wait port; in microseconds it fits in 32 bits */

#define PIT_COUNTER 0x40
#define PIT_COMMAND 0x43

static uint32_t khz_from_cpuid(void)
{
	uint32_t reg[4];

	cpuid(0x40000000, reg);
	if (reg[0] >= 0x40000010 && reg[0] < 0x40000100) {
		cpuid(0x40000010, reg);
		if (reg[0])
			return reg[0];
	}
	cpuid(0, reg);
	if (reg[0] < 0x15)
		return 0;
	cpuid(0x15, reg);
	if (!reg[0] || !reg[1] || !reg[2])
		return 0;
	return (uint32_t)((uint64_t)reg[2] * reg[1] / reg[0] / 1000);
}

static uint16_t pit_count(void)
{
	uint8_t low;

	outb(PIT_COMMAND, 0x00); /* latch channel 0 */
	low = inb(PIT_COUNTER);
	return (uint16_t)(inb(PIT_COUNTER) << 8 | low);
}

/* 0 if the counter stands still: no PIT. */
static uint32_t khz_from_pit(void)
{
	uint64_t start, ticks = 0, polls = 0;
	uint16_t first;

	outb(PIT_COMMAND, 0x34); /* channel 0, low then high byte, mode 2 */
	outb(PIT_COUNTER, 0);
	outb(PIT_COUNTER, 0);
	first = pit_count();
	start = rdtsc();
	while (ticks < PIT_TICKS && (ticks || polls++ < 100))
		ticks = (uint16_t)(first - pit_count());
	return ticks ? (uint32_t)((rdtsc() - start) * PIT_HZ / ticks / 1000) : 0;
}

uint32_t clock_khz(void)
{
	static uint32_t khz;

	if (!khz)
		khz = boot.tsc_khz;
	if (!khz)
		khz = khz_from_cpuid();
	if (!khz)
		khz = khz_from_pit();
	if (!khz)
		panic("no clock: neither device tree, CPUID nor PIT tells the TSC's frequency");
	return khz;
}

uint64_t clock_ns(uint64_t cycles)
{
	uint64_t khz = clock_khz();

	return cycles / khz * 1000000 + cycles % khz * 1000000 / khz;
}

uint64_t clock_deadline(uint64_t seconds)
{
	return rdtsc() + seconds * clock_khz() * 1000;
}

void clock_wait(uint64_t deadline)
{
	uint64_t now = rdtsc(), ms, us;

	if (!boot.wait_port) {
		__asm__ volatile("pause");
		return;
	}
	if (now >= deadline)
		return;
	ms = (deadline - now) / clock_khz();
	us = ms < WAIT_MOST_MS ? clock_ns(deadline - now) / 1000 + 1 : WAIT_MOST_MS * 1000;
	outl(QUIRE_WAIT_PORT, (uint32_t)us);
}

/* RDRAND may fail, as the manual allows; then this is 0. */
static uint64_t rdrand(void)
{
	uint64_t value;

	__asm__ volatile("rdrand %0\n\tcmovnc %1, %0" : "=&r"(value) : "r"(0UL) : "cc");
	return value;
}

/* Guests of one host may start at the same TSC.  So RDRAND is used too, where there is one. */
uint64_t random_seed(void)
{
	uint32_t reg[4];
	uint64_t seed = mix(boot.entry_tsc) + mix(boot.setup_ns << 1 | 1) + rdtsc();

	cpuid(1, reg);
	if (reg[2] >> 30 & 1)
		seed ^= rdrand();
	return seed ? mix(seed) : 1;
}
