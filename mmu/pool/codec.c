/* SPDX-License-Identifier: MIT */
#include <lz4.h>
#include <string.h>
#include <quire/types.h>
#include "codec.h"

/* A page repeats its first word if it is the same as itself, a word further on. */
bool codec_is_filled(const uint8_t *page, uint32_t *word)
{
	memcpy(word, page, sizeof(*word));
	return !memcmp(page, page + sizeof(*word), QUIRE_PAGE_SIZE - sizeof(*word));
}

void codec_fill(uint8_t *page, uint32_t word)
{
	for (size_t at = 0; at < QUIRE_PAGE_SIZE; at += sizeof(word))
		memcpy(page + at, &word, sizeof(word));
}

unsigned int codec_pack(const uint8_t *page, uint8_t *out, unsigned int most)
{
	int bytes =
		LZ4_compress_default((const char *)page, (char *)out, QUIRE_PAGE_SIZE, (int)most);

	return bytes > 0 ? (unsigned int)bytes : 0;
}

bool codec_unpack(const uint8_t *packed, unsigned int bytes, uint8_t *page)
{
	return LZ4_decompress_safe((const char *)packed, (char *)page, (int)bytes,
				   QUIRE_PAGE_SIZE) == (int)QUIRE_PAGE_SIZE;
}
