/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_BIOS_H
#define QUIRE_VMM_BOOT_BIOS_H

/*
 * What a BIOS leaves in memory, and a guest that a boot loader starts believes to find there.
 * There is no BIOS, but these facts are cheap.
 */
#include "image.h"

#define BIOS_ROM	0xf0000 /* real-mode guests find it at F000:0000 */
#define BIOS_STUB_BYTES 6

extern const uint8_t bios_rom[]; /* bios_rom.c */

#define BIOS_EBDA    0x9fc00 /* extended BIOS data area, up to ... */
#define BIOS_LOW_END 0xa0000 /* ... the end of conventional memory */
#define BIOS_TABLES  0xe0000 /* up to 1 MiB: where guests look for a BIOS's tables */

/*
 * Write them for an image of this kind.  PVH images know that there is no BIOS: they get nothing.
 * All but Linux also get interrupt vectors, and what these point at.
 * 0 or guest_write()'s error.
 */
int bios_place(enum image_kind kind, struct gmem *gm);

#endif
