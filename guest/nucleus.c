/* SPDX-License-Identifier: MIT */
/*
 * The nucleus's only C: its last words.  Everything else at CPL 0 is in boot.S and traps.S.
 *
 * Reached when a trap cannot be handed to CPL 3: it happened at CPL 0, or during an upcall, or
 * it was a nucleus call with an unknown number.  Built for general registers only, as the
 * vector unit may not be usable at CPL 0.
 */
#include <quire/abi.h>
#include "kernel.h"

void nucleus_report(const struct trap *trap);

static void put(const char *s)
{
	for (; *s; s++)
		outb(QUIRE_UART_PORT, (uint8_t)*s);
}

static void put_hex(const char *name, uint64_t value)
{
	int shift = 60;

	put(name);
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		outb(QUIRE_UART_PORT, (uint8_t) "0123456789abcdef"[value >> shift & 15]);
}

void nucleus_report(const struct trap *trap)
{
	put("quill: nucleus: exception");
	put_hex(" vector 0x", trap->vector);
	put_hex(" error 0x", trap->error);
	put_hex(" rip 0x", trap->rip);
	put_hex(" cs 0x", trap->cs);
	put_hex(" cr2 0x", trap->cr2);
	put("\n");
}
