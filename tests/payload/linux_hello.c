/* SPDX-License-Identifier: MIT */
/* A guest that boots as Linux does: prints what boot_params says, and exits with status 10. */
#include "hello.h"

#define FIELD(type, offset) (*(const type *)(params + (offset)))

_Noreturn void hello(const uint8_t *params, unsigned long cs);

static void put_e820(const uint8_t *params)
{
	for (unsigned int i = 0; i < params[0x1e8]; i++) {
		const uint8_t *entry = params + 0x2d0 + 20 * i;

		say("e820: ", *(const uint64_t *)entry);
		say(" + ", *(const uint64_t *)(entry + 8));
		say(" is ", *(const uint32_t *)(entry + 16));
		put("\n");
	}
}

/* The initrd is text in these tests. */
static void put_initrd(const char *text, uint32_t bytes)
{
	static char copy[200];

	say("initrd: bytes=", bytes);
	for (uint32_t i = 0; i < bytes && i < sizeof(copy) - 1; i++)
		copy[i] = text[i] ? text[i] : '0';
	put(" \"");
	put(copy);
	put("\"\n");
}

/* Reload a segment register, which reads the GDT. */
static void use_gdt(void)
{
	__asm__ volatile("movw %%ss, %%ax; movw %%ax, %%ds; movw %%ax, %%es" : : : "rax");
}

_Noreturn void hello(const uint8_t *params, unsigned long cs)
{
	say(sizeof(long) == 8 ? "linux64: cs=" : "linux32: cs=", cs);
	say(" loader=", params[0x210]);
	say(" code32_start=", FIELD(uint32_t, 0x214));
	put(" cmdline=");
	put((const char *)(uintptr_t)FIELD(uint32_t, 0x228));
	put("\n");
	put_e820(params);
	put_initrd((const char *)(uintptr_t)FIELD(uint32_t, 0x218), FIELD(uint32_t, 0x21c));
	use_gdt();
	quit(10);
}
