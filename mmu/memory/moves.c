/* SPDX-License-Identifier: MIT */
/*
 * Changes of state, and what depends on them.
 *
 * The kernel limits the mappings of a process (vm.max_map_count).  Each run of pages that is mapped
 * away, and each whole block, costs up to two mappings.  So the mappings of the window are counted,
 * as the kernel would.  Two neighbouring pages are in one mapping only if
 *
 *   both are at home, or not mapped, and both are managed singly or both in whole blocks;
 *   or both are mapped from the same provider, with frames that follow each other.
 *
 * Merging stops well below the limit.  What is left is for un-sharing, which may split a run in the
 * middle (away.c).
 *
 * A page that becomes private is noted as written, because the keeper has to look at it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "away.h"

#define DEFAULT_MAX_MAPPINGS 65530u /* the kernel's */
#define OTHER_MAPPINGS	     512u   /* code, stacks, malloc, the store */

/* May one mapping hold both?  The run of `a` would go on with frame next_pfn. */
static bool joins(const struct stage2_page *a, pfn_t next_pfn, const struct stage2_page *b)
{
	if (page_is_mapped_away(a) || page_is_mapped_away(b))
		return a->state == b->state && b->mapped && b->pfn == next_pfn;
	return a->level == b->level;
}

static const struct gfn_range *ram_of(const struct gmem *gm, gfn_t gfn)
{
	const struct gfn_range *r = gm->ram;

	while (gfn >= r->end)
		r++;
	return r;
}

/* How many mappings end at a place in [start, end], both included.  [start, end) is RAM. */
static uint64_t ends_in(const struct gmem *gm, gfn_t start, gfn_t end)
{
	const struct gfn_range *r = ram_of(gm, start);
	gfn_t at = start > r->start ? start - 1 : start;
	struct stage2_page last = { .level = 0 }, page;
	pfn_t next_pfn = 0;
	uint64_t nr = 0;

	for (end = min_u64(end + 1, r->end); at < end;) {
		uint64_t run = stage2_linear_run(gm->s2, at, end, &page);

		nr += last.level && !joins(&last, next_pfn, &page);
		last = page;
		next_pfn = stage2_frame(page.state, page.pfn, run);
		at += run;
	}
	return nr;
}

int gmem_set(struct gmem *gm, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn)
{
	uint64_t before;
	int err;

	assert_held(&gm->lock);
	before = ends_in(gm, gfn, gfn + nr);
	err = stage2_set(gm->s2, gfn, nr, to, pfn);
	assert(!err);
	gm->backend->mappings += ends_in(gm, gfn, gfn + nr) - before;
	if (to == PG_PRIVATE)
		share_note_written(gm, gfn, nr);
	return err;
}

int gmem_set_large(struct gmem *gm, gfn_t block)
{
	uint64_t before = ends_in(gm, block, block + QUIRE_BLOCK_PAGES);
	int err = stage2_set_large(gm->s2, block, block);

	gm->backend->mappings += ends_in(gm, block, block + QUIRE_BLOCK_PAGES) - before;
	share_note_written(gm, block, QUIRE_BLOCK_PAGES);
	return err;
}

int gmem_set_single(struct gmem *gm, gfn_t block)
{
	uint64_t before = ends_in(gm, block, block + QUIRE_BLOCK_PAGES);
	int err = stage2_split(gm->s2, block);

	gm->backend->mappings += ends_in(gm, block, block + QUIRE_BLOCK_PAGES) - before;
	return err;
}

/* What is left of vm.max_map_count for the window. */
static uint64_t kernel_max_mappings(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	uint64_t max = DEFAULT_MAX_MAPPINGS;

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			max = strtoull(text, NULL, 10);
		close(fd);
	}
	return max > 2 * OTHER_MAPPINGS ? max - OTHER_MAPPINGS : max / 2;
}

void moves_init(struct gmem *gm)
{
	struct backend *b = gm->backend;

	b->mappings = gm->config.nr_ram;
	b->max_mappings = kernel_max_mappings();
	if (gm->config.max_mappings)
		b->max_mappings = min_u64(b->max_mappings, gm->config.max_mappings);
}

uint64_t moves_recount(const struct gmem *gm)
{
	uint64_t nr = gm->config.nr_ram;

	for (unsigned int i = 0; i < gm->config.nr_ram; i++)
		nr += ends_in(gm, gm->ram[i].start, gm->ram[i].end);
	return nr;
}
