/* SPDX-License-Identifier: MIT */
/*
 * The second half of loading: a plan's bytes into guest memory.  Apart from image.c, so that
 * plans can be drawn up, tested and fuzzed without any guest memory at all.
 *
 * Only file bytes are written.  What a segment has beyond them is zero already, because RAM
 * starts out so, and stays absent until the guest touches it.
 */
#include <inttypes.h>
#include "mmu/memory/gmem.h"
#include <string.h>
#include "image.h"

int image_place(const struct image_plan *plan, struct gmem *gm, struct quire_error *err)
{
	unsigned int i;
	int ret;

	for (i = 0; i < plan->nr_segments; i++) {
		const struct image_segment *s = &plan->segment[i];

		ret = s->file_bytes ? guest_write(gm, s->gpa, s->data, s->file_bytes) : 0;
		if (ret)
			return quire_fail(err, ret,
					  "cannot load the image: writing %" PRIu64 " "
					  "bytes at gpa %#" PRIx64 " failed: %s",
					  s->file_bytes, s->gpa, strerror(-ret));
	}
	return 0;
}
