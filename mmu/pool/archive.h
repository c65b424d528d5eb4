/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_POOL_ARCHIVE_H
#define QUIRE_MMU_POOL_ARCHIVE_H

/*
 * An archive: a page that has the bytes of others in it, packed.
 *
 * Each of these begins anywhere in the archive, with the number of its packed bytes in 16 bits,
 * little-endian, and these bytes follow (codec.h).  Zeroes fill what is left.
 */
#include <stdbool.h>
#include <quire/types.h>

/* What takes more, with its length, is not archived: an archive has room for two pages at least. */
#define ARCHIVE_MOST_BYTES (QUIRE_PAGE_SIZE / 2)

struct archive {
	uint8_t bytes[QUIRE_PAGE_SIZE]; /* zeroes from byte `used` on */
	unsigned int used;
};

/*
 * Add a page to *a.  Returns where it begins; -ENOSPC: it does not fit in there any more; -E2BIG:
 * it takes more than ARCHIVE_MOST_BYTES.
 */
int archive_add(struct archive *a, const uint8_t *page);

/*
 * Unpack to `page` what begins at byte `at` of an archive.  False: nothing that was added begins
 * there, and `page` has any bytes.  *packed becomes how many bytes it takes; it may be NULL.
 */
bool archive_get(const uint8_t *bytes, unsigned int at, uint8_t *page, unsigned int *packed);

#endif
