/* SPDX-License-Identifier: MIT */
/*
 * Contents of pages in all states, side by side: copied and written at odd places, shown in parts,
 * compared; against a flat copy of what is in them.
 */
#include "mmu/memory/contents.h"
#include "share_lab.h"

#define PAGES 48u /* in runs of four: private, shared, zero and not read, read, absent, ballooned */

static uint8_t model[PAGES * QUIRE_PAGE_SIZE];

static uint64_t *page_of(gfn_t gfn)
{
	return (uint64_t *)(model + gfn * QUIRE_PAGE_SIZE);
}

static void commit(gfn_t gfn, uint64_t nr, enum page_state to, unsigned int first)
{
	struct share_run run = { gfn, nr, to, frame_of(first) };
	struct share_result res = { 0 };

	gmem_lock(gm, GMEM_LOOK);
	if (to == PG_ZERO)
		zero_commit(gm, &run, 1, &res);
	else
		share_commit(gm, &run, &res);
	gmem_unlock(gm);
	is(res.merged, nr, "%lu pages from %#lx on are %s", (long)nr, (long)gfn,
	   page_states[to].name);
}

static void mix_states(void)
{
	for (gfn_t g = 0; g < PAGES; g++) {
		unsigned int kind = g / 4 % 6;

		fill_page(page_of(g), kind < 2 ? 1 + g % 4 + 10 * kind : 0);
		guest_write(gm, gfn_to_gpa(g), page_of(g), QUIRE_PAGE_SIZE);
	}
	for (gfn_t g = 0; g < PAGES; g += 24) {
		commit(g + 4, 4, PG_SHARED, 11);
		for (unsigned int i = 0; i < 4; i++)
			references[11 + i]++;
		commit(g + 8, 8, PG_ZERO, 0);
		for (gfn_t read = g + 12; read < g + 16; read++) {
			struct gfn_range in = { read, read + 1 };

			gmem_lock(gm, GMEM_LOOK);
			zero_map(gm, read, &in);
			gmem_unlock(gm);
		}
		gmem_drop(gm, g + 16, 4, NULL);
		gmem_balloon(gm, g + 20, 4, NULL);
	}
}

static bool all_right(void)
{
	static uint8_t got[sizeof(model)];

	return !guest_read(gm, 0, got, sizeof(got)) && !memcmp(got, model, sizeof(got));
}

/* --- tests ------------------------------------------------------------------------------- */

static void test_copies(void)
{
	uint8_t got[5 * QUIRE_PAGE_SIZE];
	unsigned int wrong = 0;

	ok(all_right(), "one read of all of it finds all states right");
	for (unsigned int i = 0; i < 3000; i++) {
		size_t len = tap_random(&rng) % sizeof(got);
		gpa_t gpa = tap_random(&rng) % (sizeof(model) - len);

		memset(got, 0xee, sizeof(got));
		wrong += guest_read(gm, gpa, got, len) || memcmp(got, model + gpa, len) ||
			 (len < sizeof(got) && got[len] != 0xee);
	}
	is(wrong, 0, "3000 reads from odd places, across states, are right to the byte");
}

struct parts {
	uint64_t next, calls, stop_at;
	const uint8_t *want;
	bool fine;
};

static int look_at_part(void *ctx, uint64_t first, uint64_t nr, const uint8_t *bytes)
{
	struct parts *p = ctx;

	p->fine &= first == p->next && nr > 0 &&
		   !memcmp(bytes, p->want + first * QUIRE_PAGE_SIZE, nr * QUIRE_PAGE_SIZE);
	p->next = first + nr;
	p->calls++;
	return p->calls == p->stop_at ? 7 : 0;
}

static void test_shows(void)
{
	unsigned int wrong = 0, runs = 0, stopped = 0;
	uint64_t nr;

	gmem_lock(gm, GMEM_LOOK);
	for (gfn_t g = 0; g < PAGES; g += nr, runs++) {
		struct parts all = { .want = model + gfn_to_gpa(g), .fine = true }, one = all;
		struct stage2_page page;

		nr = stage2_linear_run(gm->s2, g, PAGES, &page);
		wrong += contents_show(gm, g, nr, &page,
				       &(struct page_look){ look_at_part, &all }) != 0;
		wrong += !all.fine || all.next != nr;
		one.stop_at = 1;
		stopped += contents_show(gm, g, nr, &page,
					 &(struct page_look){ look_at_part, &one }) == 7 &&
			   one.calls == 1;
	}
	gmem_unlock(gm);
	is(runs, PAGES / 4, "runs end where states do, and where zero pages begin to be mapped");
	is(wrong, 0, "each run is shown whole, in order, with the right bytes");
	is(stopped, runs, "a look that has seen enough ends the show");
}

static void test_same(void)
{
	unsigned int wrong = 0;

	gmem_lock(gm, GMEM_LOOK);
	for (gfn_t g = 0; g < PAGES; g++)
		for (unsigned int c = 0; c < 16; c++) {
			struct stage2_page page, other = { .state = c ? PG_SHARED : PG_ZERO,
							   .pfn = c ? frame_of(c) : 0 };
			uint64_t want[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

			fill_page(want, c);
			stage2_lookup(gm->s2, g, &page);
			wrong += contents_same(gm, g, &page, &other) !=
				 !memcmp(want, page_of(g), sizeof(want));
		}
	gmem_unlock(gm);
	is(wrong, 0, "pages are compared with frames and zeroes, whatever their state");
}

/* Written pages come home, from wherever they were. */
static void test_writes(void)
{
	uint8_t bytes[3 * QUIRE_PAGE_SIZE];
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < 12; i++) {
		size_t len = 1 + tap_random(&rng) % sizeof(bytes);
		gpa_t gpa = tap_random(&rng) % (sizeof(model) - len);

		memset(bytes, (int)i + 1, len);
		memcpy(model + gpa, bytes, len);
		wrong += guest_write(gm, gpa, bytes, len) || !all_right();
	}
	is(wrong, 0, "writes to odd places, across states, change these bytes and no others");
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	memset(model, 0, sizeof(model));
	create(GMEM_HUGE_NEVER);
	mix_states();
	test_copies();
	test_shows();
	test_same();
	test_writes();
	is(gmem_audit(gm, describe, NULL), 0, "the audit finds nothing%s", guest_kind());
	destroy();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_all(false);
	test_all(true);
	return tap_done();
}
