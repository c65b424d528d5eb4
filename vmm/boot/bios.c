/* SPDX-License-Identifier: MIT */
/*
 * The BIOS data area, at 0x400 (IBM PC/AT Technical Reference, "ROM BIOS Data Area").  Kernels take
 * the end of conventional memory from it, and hypervisors the place of their real-mode code.
 */
#include <errno.h>
#include <string.h>
#include "mmu/memory/gmem.h"
#include "bios.h"

#define BDA	  0x400
#define BDA_BYTES 0x100

static const struct {
	uint16_t at; /* from BDA on */
	uint16_t value;
} words[] = {
	{ 0x00, QUIRE_UART_PORT }, /* COM1 */
	{ 0x0e, BIOS_EBDA >> 4 },  /* segment of the extended area */
	{ 0x10, 0x0222 },	   /* equipment: FPU, 80x25 colours, one serial port */
	{ 0x13, BIOS_EBDA / KiB }, /* KiB of conventional memory */
	{ 0x1a, 0x1e },
	{ 0x1c, 0x1e }, /* keyboard buffer: empty; */
	{ 0x80, 0x1e },
	{ 0x82, 0x3e }, /* ... where it is */
	{ 0x49, 0x03 },
	{ 0x4a, 80 }, /* video mode, columns */
	{ 0x4c, 80 * 25 * 2 },
	{ 0x63, 0x3d4 }, /* bytes of a page, port */
	{ 0x84, 24 },	 /* rows - 1 */
};

/* The table with which bios_rom begins: the beginning of each, from there on. */
struct rom_table {
	uint16_t irq0, int10, int16, int1c, stubs, bytes;
};

static uint32_t far(uint16_t offset)
{
	return (uint32_t)(BIOS_ROM >> 4) << 16 | offset;
}

static int place_vectors(struct gmem *gm)
{
	struct rom_table rom;
	uint32_t vector[256];
	int ret;

	memcpy(&rom, bios_rom, sizeof(rom));
	for (unsigned int i = 0; i < ARRAY_SIZE(vector); i++)
		vector[i] = far((uint16_t)(rom.stubs + i * BIOS_STUB_BYTES));
	vector[0x08] = far(rom.irq0);
	vector[0x10] = far(rom.int10);
	vector[0x16] = far(rom.int16);
	vector[0x1c] = far(rom.int1c);
	ret = guest_write(gm, BIOS_ROM, bios_rom, rom.bytes);
	return ret ? ret : guest_write(gm, 0, vector, sizeof(vector));
}

int bios_place(enum image_kind kind, struct gmem *gm)
{
	uint8_t bda[BDA_BYTES] = { 0 }, ebda_kib = 1;
	int ret;

	if (kind == IMAGE_PVH64 || kind == IMAGE_PVH32)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		memcpy(bda + words[i].at, &words[i].value, sizeof(words[i].value));
	ret = guest_write(gm, BDA, bda, sizeof(bda));
	if (!ret)
		ret = guest_write(gm, BIOS_EBDA, &ebda_kib, sizeof(ebda_kib));
	if (!ret && kind != IMAGE_LINUX64 && kind != IMAGE_LINUX32)
		ret = place_vectors(gm);
	return ret == -EFAULT ? 0 : ret; /* a guest with less RAM has no such place */
}
