/* SPDX-License-Identifier: MIT */
/* What the reclaimer knows of the age of each page, and which pages it looks at. */
#include "mmu/base/clock.h"
#include "reclaimer_lab.h"

static struct reclaimer_page page_of(gfn_t gfn)
{
	struct reclaimer_page p;

	reclaimer_look(r, gfn, &p);
	return p;
}

static void later(uint64_t seconds)
{
	r->age.began_ns -= seconds * NS_PER_S;
}

/* How many of the first pages a sample has left alone. */
static uint64_t left_alone(uint64_t nr)
{
	struct gmem_touched t;
	uint64_t sum = 0;

	gmem_touched(gm, GMEM_RECLAIMER, 0, nr, &t);
	for (unsigned int i = 0; i * 64 < nr; i++)
		sum += (uint64_t)__builtin_popcountll(t.touched[i]);
	return sum;
}

/* Pages that are used all the time are looked at seldom; and it is soon seen when that is over. */
static void test_heat(void)
{
	uint64_t alone = 0;

	begin(GMEM_HUGE_NEVER, RECLAIM_GEN);
	fill(0, 256, fill_text);
	reclaimer_sample(r);
	is(left_alone(256), 0, "at first all pages are looked at%s", guest_kind());
	for (unsigned int pass = 0; pass < 16; pass++) {
		for (gfn_t gfn = 0; gfn < 256; gfn++)
			touch(gfn);
		reclaimer_sample(r);
		alone += pass < 8 ? 0 : left_alone(256);
	}
	is(alone, 8 * 256 * 7 / 8, "one in eight of those that are used all the time are");
	is(stats().active_pages, 256, "... and all count as used");
	for (unsigned int pass = 0; pass < 4; pass++)
		reclaimer_sample(r);
	is(stats().active_pages, 0, "four samples after the guest has left them none does");
	is(left_alone(256), 0, "... and all are looked at");
	end();
}

static void test_ages(void)
{
	struct gmem_swapped out = { 0 };
	struct reclaimer_page p;
	uint64_t chosen;

	begin_with_swap();
	fill(0, 128, fill_text);
	is(page_of(3).passes, 0, "before the first sample nothing is known of a page%s",
	   guest_kind());
	reclaimer_sample(r);
	p = page_of(3);
	ok(p.passes == 1 && !p.idle_passes && !p.unused_s, "the first one finds all used");
	is(stats().active_pages, 128, "... and they are active");
	later(10);
	touch(3);
	reclaimer_sample(r);
	p = page_of(100);
	ok(p.idle_passes == 1 && p.unused_s == 10, "10 seconds later a page is as old (%lu)",
	   (long)p.unused_s);
	is(page_of(3).unused_s, 0, "... but for one that was touched");
	is(stats().age_pages[0] + stats().age_pages[4], 128, "... they are counted by their ages");
	is(stats().age_pages[0], stats().active_pages, "... those without an age are active");
	later(5);
	is(page_of(3).unused_s, 5, "an age grows between samples");
	gmem_swap_out(gm, 64, 32, GMEM_NR_WATCHERS, &out);
	for (gfn_t gfn = 64; gfn < 96; gfn++)
		touch(gfn);
	put_into((uint64_t *)hva(70), 1);
	reclaimer_sample(r);
	is(stats().active_clean_pages, 31,
	   "pages that came back from the file are clean, but for one that was written");
	is(stats().inactive_clean_pages, 0, "... and others are not");
	for (unsigned int i = 0; i < 300; i++)
		reclaimer_sample(r);
	is(page_of(100).idle_passes, 255, "samples are counted up to 255");
	is(stats().inactive_clean_pages, 31, "... and clean pages grow old, too");
	is(page_of(100).chosen_since, RECLAIM_NEW, "what was not chosen says so");
	reclaimer_evict(r, 32, true, &chosen);
	for (gfn_t gfn = 0; gfn < 128; gfn++)
		if (gmem_lookup(gm, gfn, &(struct stage2_page){ 0 }) == 0 && !is_known(gfn)) {
			is(page_of(gfn).chosen_since, 0, "what was, says when");
			touch(gfn);
			break;
		}
	reclaimer_sample(r);
	is(stats().refault_distances[0], 1, "its distance is counted when it is back");
	is(stats().refault_pages, 1, "... which is one refault");
	end();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_heat();
		test_ages();
	}
	return tap_done();
}
