/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_POOL_CODEC_H
#define QUIRE_MMU_POOL_CODEC_H

/*
 * How a page is made small.  LZ4 packs a page in 6 to 11 us and unpacks it in 2, which is far less
 * than a page fault of the guest costs.
 */
#include <stdbool.h>
#include <stdint.h>

/* Does the page repeat one 32-bit word?  Then *word is it. */
bool codec_is_filled(const uint8_t *page, uint32_t *word);

/* Make a page of it. */
void codec_fill(uint8_t *page, uint32_t word);

/* Pack a page into `most` bytes at out.  Returns the number of bytes; 0: it takes more. */
unsigned int codec_pack(const uint8_t *page, uint8_t *out, unsigned int most);

/* Unpack what codec_pack() made.  False: it is something else, and `page` has any bytes. */
bool codec_unpack(const uint8_t *packed, unsigned int bytes, uint8_t *page);

#endif
