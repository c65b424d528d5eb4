/* SPDX-License-Identifier: MIT */
/*
 * The mappings that the window takes: our count against the kernel's, and what happens where there
 * are no more of them.
 */
#include "share_lab.h"

#define CONTENT_OF(gfn) (1 + (uint32_t)(gfn) % (CONTENTS - 1))

static void write_content(gfn_t gfn, uint32_t c)
{
	uint64_t page[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

	fill_page(page, c);
	memcpy(hva(gfn), page, sizeof(page));
}

/* Share [gfn, gfn + nr), whose contents follow each other. */
static uint64_t share(gfn_t gfn, uint64_t nr)
{
	struct share_run run = { gfn, nr, PG_SHARED, frame_of(CONTENT_OF(gfn)) };
	struct share_result res = { 0 };

	for (uint64_t i = 0; i < nr; i++)
		references[CONTENT_OF(gfn) + i]++;
	gmem_lock(gm, GMEM_LOOK);
	share_commit(gm, &run, &res);
	gmem_unlock(gm);
	take_back();
	return res.merged;
}

/* ---- our count and the kernel's ---- */

/*
 * Pages are shared in pairs, and the first of each pair is written.  The kernel would keep what is
 * left of the pairs apart for good, if their mappings had ever had pages of their own.
 */
static void test_apart(void)
{
	const gfn_t end = 3 * ((CONTENTS - 1) / 3);
	uint64_t shared = 0;

	create(GMEM_HUGE_NEVER);
	for (gfn_t g = 0; g < end; g++)
		write_content(g, CONTENT_OF(g));
	for (gfn_t g = 0; g < end; g += 3)
		share(g + 1, 2);
	for (gfn_t g = 0; g < end; g += 3)
		write_content(g + 1, CONTENT_OF(g + 1));
	for (gfn_t g = 0; g < end; g += 3)
		shared += share(g, 2);
	is(shared, end / 3 * 2, "pages are shared, written, and shared again");
	is(gm->backend->mappings, 2, "all of them lie in one mapping");
	ok(mappings_agree(), "which is what the kernel has");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_apart();
	return tap_done();
}
