/* SPDX-License-Identifier: MIT */
/*
 * Sorting PFNs, by a radix sort: its time does not depend on what a guest sends.  qsort may
 * allocate, which the sandbox of a vCPU does not expect.  Most drivers send pages as their
 * allocator handed them out, which is often ascending or descending.  So the batch is looked at
 * before it is sorted.
 */
#include <string.h>
#include "balloon_pfns.h"

#define RADIX 256u

static bool is_sorted(const struct pfn_batch *b)
{
	for (unsigned int i = 1; i < b->nr; i++)
		if (b->pfn[i - 1] > b->pfn[i])
			return false;
	return true;
}

/* Sort by the byte at `shift`, from pfn to scratch and back.  Stable. */
static void pass(struct pfn_batch *b, unsigned int shift)
{
	unsigned int place[RADIX + 1] = { 0 };

	for (unsigned int i = 0; i < b->nr; i++)
		place[(b->pfn[i] >> shift) % RADIX + 1]++;
	for (unsigned int r = 0; r < RADIX; r++)
		place[r + 1] += place[r];
	for (unsigned int i = 0; i < b->nr; i++)
		b->scratch[place[(b->pfn[i] >> shift) % RADIX]++] = b->pfn[i];
	memcpy(b->pfn, b->scratch, b->nr * sizeof(b->pfn[0]));
}

static void sort(struct pfn_batch *b)
{
	if (is_sorted(b))
		return;
	for (unsigned int shift = 0; shift < 32; shift += 8)
		pass(b, shift);
}

unsigned int pfn_batch_runs(struct pfn_batch *b, void (*run)(void *ctx, gfn_t gfn, uint64_t nr),
			    void *ctx)
{
	unsigned int duplicates = 0;
	uint64_t nr;

	sort(b);
	for (unsigned int i = 0; i < b->nr;) {
		gfn_t gfn = b->pfn[i++];

		for (nr = 1; i < b->nr && b->pfn[i] - gfn <= nr; i++) {
			if (b->pfn[i] - gfn == nr)
				nr++;
			else
				duplicates++;
		}
		run(ctx, gfn, nr);
	}
	b->nr = 0;
	return duplicates;
}
