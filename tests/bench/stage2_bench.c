/* SPDX-License-Identifier: MIT */
/* What stage 2 costs: metadata per guest page, and time per change and per look. */
#include <stdio.h>
#include <stdlib.h>
#include "mmu/base/clock.h"
#include "mmu/memory/stage2.h"

#define PAGES (1UL << 20) /* 4 GiB */

static struct stage2 *create(void)
{
	const struct gfn_range ram = { 0, PAGES };
	struct stage2 *s2;

	if (stage2_create(&ram, 1, &s2))
		exit(1);
	return s2;
}

static void metadata(const char *what, struct stage2 *s2, uint64_t pages)
{
	struct stage2_counters c;

	stage2_counters(s2, &c);
	printf("stage2 metadata %s: bytes=%lu per_touched_page=%.3f\n", what,
	       (unsigned long)c.metadata_bytes, (double)c.metadata_bytes / pages);
}

int main(void)
{
	struct stage2 *s2 = create();
	struct stage2_page page;
	uint64_t start;

	stage2_set(s2, PAGES / 3, 1, PG_PRIVATE, PAGES / 3);
	metadata("one page of 4 GiB", s2, 1);
	stage2_set(s2, PAGES / 3, 1, PG_ABSENT, 0);
	for (gfn_t g = 0; g < PAGES; g += QUIRE_BLOCK_PAGES)
		stage2_set_large(s2, g, g);
	metadata("4 GiB as 2 MiB leaves", s2, PAGES);
	for (gfn_t g = 0; g < PAGES; g += QUIRE_BLOCK_PAGES)
		stage2_split(s2, g);
	metadata("4 GiB as 4 KiB leaves (aim <= 16)", s2, PAGES);

	start = monotonic_ns();
	for (gfn_t g = 0; g < PAGES; g++)
		stage2_lookup(s2, g * 0x9e3779b1 % PAGES, &page);
	printf("stage2 lookup, random: ns=%.1f\n", (double)(monotonic_ns() - start) / PAGES);
	start = monotonic_ns();
	for (gfn_t g = 0; g < PAGES; g++)
		stage2_set(s2, g, 1, PG_ABSENT, 0);
	printf("stage2 set, one page at a time: ns=%.1f\n",
	       (double)(monotonic_ns() - start) / PAGES);
	start = monotonic_ns();
	stage2_set(s2, 0, PAGES, PG_PRIVATE, 0);
	printf("stage2 set, as a run: ns_per_page=%.1f\n",
	       (double)(monotonic_ns() - start) / PAGES);
	stage2_destroy(s2);
	return 0;
}
