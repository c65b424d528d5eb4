/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include "archive.h"
#include "codec.h"

#define LENGTH_BYTES 2u

int archive_add(struct archive *a, const uint8_t *page)
{
	uint8_t packed[ARCHIVE_MOST_BYTES - LENGTH_BYTES];
	unsigned int bytes = codec_pack(page, packed, sizeof(packed)), at = a->used;

	if (!bytes)
		return -E2BIG;
	if (at + LENGTH_BYTES + bytes > sizeof(a->bytes))
		return -ENOSPC;
	a->bytes[at] = (uint8_t)bytes;
	a->bytes[at + 1] = (uint8_t)(bytes >> 8);
	memcpy(a->bytes + at + LENGTH_BYTES, packed, bytes);
	a->used += LENGTH_BYTES + bytes;
	return (int)at;
}

bool archive_get(const uint8_t *bytes, unsigned int at, uint8_t *page, unsigned int *packed)
{
	unsigned int length;

	if (at > QUIRE_PAGE_SIZE - LENGTH_BYTES)
		return false;
	length = bytes[at] | (unsigned int)bytes[at + 1] << 8;
	if (packed)
		*packed = length;
	return length <= QUIRE_PAGE_SIZE - LENGTH_BYTES - at &&
	       codec_unpack(bytes + at + LENGTH_BYTES, length, page);
}
