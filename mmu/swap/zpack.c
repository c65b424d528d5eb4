/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>
#include <quire/types.h>
#include "zpack.h"

#define LEVEL 1

struct zpack {
	ZSTD_CCtx *in;
	ZSTD_DCtx *out;
};

int zpack_create(struct zpack **out)
{
	struct zpack *z = calloc(1, sizeof(*z));

	if (!z)
		return -ENOMEM;
	z->in = ZSTD_createCCtx();
	z->out = ZSTD_createDCtx();
	if (z->in && z->out) {
		*out = z;
		return 0;
	}
	zpack_destroy(z);
	return -ENOMEM;
}

void zpack_destroy(struct zpack *z)
{
	if (!z)
		return;
	ZSTD_freeCCtx(z->in);
	ZSTD_freeDCtx(z->out);
	free(z);
}

size_t zpack_pack(struct zpack *z, const uint8_t *page, void *to, size_t most)
{
	size_t bytes = ZSTD_compressCCtx(z->in, to, most, page, QUIRE_PAGE_SIZE, LEVEL);

	return ZSTD_isError(bytes) ? 0 : bytes;
}

bool zpack_unpack(struct zpack *z, const void *from, size_t bytes, uint8_t *page)
{
	size_t frame = ZSTD_findFrameCompressedSize(from, bytes);

	return !ZSTD_isError(frame) &&
	       ZSTD_decompressDCtx(z->out, page, QUIRE_PAGE_SIZE, from, frame) == QUIRE_PAGE_SIZE;
}
