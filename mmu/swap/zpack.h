/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_SWAP_ZPACK_H
#define QUIRE_MMU_SWAP_ZPACK_H

/*
 * Pages made small by zstd at level 1.  It takes about three times as long as the pool's LZ4 and
 * leaves less, which pays where a disk is slower still.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

struct zpack;

/* 0 or -ENOMEM.  One thread at a time may pack with it, and one unpack. */
int zpack_create(struct zpack **out);
void zpack_destroy(struct zpack *z); /* NULL is fine */

/* Pack a page into at most `most` bytes, below a page.  Returns how many; 0: it does not fit. */
size_t zpack_pack(struct zpack *z, const uint8_t *page, void *to, size_t most);

/*
 * Unpack a page from the first of `bytes` bytes; what follows the pack is not looked at.  False: it
 * is no pack of a page.
 */
bool zpack_unpack(struct zpack *z, const void *from, size_t bytes, uint8_t *page);

#endif
