/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_PAYLOAD_HELLO_H
#define QUIRE_TESTS_PAYLOAD_HELLO_H

/* What payloads in C print with, in 32-bit and 64-bit code without a library. */
#include <quire/abi.h>
#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void put(const char *text)
{
	for (; *text; text++) {
		while (!(in8(QUIRE_UART_PORT + 5) & 0x20)) /* until it takes a byte */
			;
		out8(QUIRE_UART_PORT, (uint8_t)*text);
	}
}

static inline void put_hex(uint64_t number)
{
	char text[17], *p = text + 16;

	*p = '\0';
	do
		*--p = "0123456789abcdef"[number & 15];
	while (number >>= 4);
	put("0x");
	put(p);
}

/* Print `name` and the number. */
static inline void say(const char *name, uint64_t number)
{
	put(name);
	put_hex(number);
}

static inline _Noreturn void quit(uint8_t status)
{
	for (;;)
		out8(QUIRE_EXIT_PORT, status);
}

#endif
