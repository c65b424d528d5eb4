/* SPDX-License-Identifier: MIT */
/*
 * The second half of loading writes a plan's bytes to guest memory.  It is apart from image.c, so
 * that plans can be drawn up, tested and fuzzed without any guest memory.
 *
 * Only the file's bytes are written.  The rest of a segment is zero already, as all RAM is at
 * first, and stays absent until the guest touches it.
 */
#include <inttypes.h>
#include "mmu/memory/gmem.h"
#include <string.h>
#include "bios.h"
#include "image.h"

int image_place(const struct image_plan *plan, struct gmem *gm, struct quire_error *err)
{
	unsigned int i;
	int ret = bios_place(plan->kind, gm);

	/* The image comes second: what loads over the BIOS's data replaces it, as on a PC. */
	if (ret)
		return quire_fail(err, ret, "cannot write what a BIOS leaves: %s", strerror(-ret));
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
