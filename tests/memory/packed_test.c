/* SPDX-License-Identifier: MIT */
/*
 * Compressed pages: exactly, with no memory to spare, and in a storm against threads that write in
 * the window.
 *
 * The storm's model: each writer owns a word of each page, and nobody else writes it.  So it finds
 * what it wrote last, whatever becomes of the page.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include "pages.h"
#include "storm.h"

static struct gmem_stats stats(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s;
}

static uint64_t pages_in(enum page_state state)
{
	return stats().s2.pages[state];
}

static uint64_t file_pages(void)
{
	return ramfile_pages(gm->window.ram_fd);
}

/* Of all kinds: from a few bytes to what hardly packs, and some that do not. */
static void fill_any(uint64_t *page, uint64_t number)
{
	uint64_t seed = number * 77, random = tap_random(&seed) % 560;

	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = i < random ? tap_random(&seed) : number;
}

static struct gmem_packed compress(gfn_t gfn, uint64_t nr)
{
	struct gmem_packed out = { 0 };

	if (gmem_compress(gm, gfn, nr, GMEM_NR_WATCHERS, &out))
		tap_bail("gmem_compress");
	return out;
}

/* ---- exactly ---- */

static void test_exact(void)
{
	struct gmem_packed out;
	uint64_t before;

	create(GMEM_HUGE_NEVER);
	fill(512, 256, fill_text);
	before = file_pages();
	out = compress(512, 256);
	is(out.compressed, 256, "256 pages are compressed%s", guest_kind());
	is(out.refused + out.kept, 0, "... none is refused");
	is(pages_in(PG_COMPRESSED), 256, "... that is their state");
	is(stats().pool.object_pages, 256, "... and the pool has them");
	is(file_pages(), before - 256 + stats().pool.pool_pages,
	   "the RAM file has the pool in place of them");
	ok(stats().pool.pool_pages < 64, "... which takes less than a quarter (%lu pages)",
	   (long)stats().pool.pool_pages);
	is_sound("then");
	is(wrong(512, 256, fill_text, false), 0, "the VMM reads what was written");
	is(pages_in(PG_COMPRESSED), 256, "... and they stay compressed");
	is(wrong(512, 256, fill_text, true), 0, "the guest reads what was written");
	is(pages_in(PG_COMPRESSED), 0, "... and they are home");
	is(stats().loaded_pages, 256, "... which is counted");
	is(stats().pool.pool_pages, 0, "... and the pool is empty");
	is(stats().unshared_pages, 0, "no page was un-shared");
	is(file_pages(), before, "the RAM file is as before");
	is_sound("in the end");
	destroy();
}

/* What packs, what does not, what is one word, and what is not private. */
static void test_kinds(void)
{
	struct gmem_packed out;

	create(GMEM_HUGE_NEVER);
	fill(0, 32, fill_text);
	fill(32, 32, fill_random);
	for (gfn_t g = 64; g < 96; g++)
		memset(hva(g), (int)g, QUIRE_PAGE_SIZE);
	fill(96, 16, fill_text);
	gmem_hold(gm, gfn_to_gpa(100), 2 * QUIRE_PAGE_SIZE);
	gmem_drop(gm, 104, NR_PAGES - 104, NULL);
	out = compress(0, NR_PAGES);
	is(out.compressed, 32 + 32 + 6, "pages that pack are compressed%s", guest_kind());
	is(out.refused, 32, "... random ones are refused");
	is(out.kept, 2, "... held ones stay");
	is(stats().pool.filled_pages, 32, "a page of one word costs nothing");
	is(pages_in(PG_ABSENT), NR_PAGES - 104, "absent pages stay absent");
	is(wrong(0, 32, fill_text, true) + wrong(32, 32, fill_random, true), 0,
	   "all have their bytes");
	is(hva(70)[100], 70, "... those of one word, too");
	is_sound("after all kinds");
	fill(32, 32, fill_text);
	out = compress(32, 32);
	is(out.refused, 32, "pages that did not compress are not tried at the next time%s",
	   guest_kind());
	is(stats().put_off_pages, 32, "... which is counted");
	out = compress(32, 32);
	is(out.compressed, 32, "... but at the one after that, and now they do");
	is(wrong(32, 32, fill_text, false), 0, "... with all their bytes");
	gmem_release(gm, gfn_to_gpa(100), 2 * QUIRE_PAGE_SIZE);
	compress(0, 104);
	is(gmem_balloon(gm, 0, 50, NULL) ?: gmem_drop(gm, 50, 54, NULL), 0,
	   "compressed pages can be given up");
	is(stats().pool.pool_pages + stats().pool.filled_pages, 0, "... and leave the pool");
	is(gmem_compress(gm, NR_PAGES - 1, 2, GMEM_NR_WATCHERS, &out), -EFAULT,
	   "what is not RAM is not compressed");
	is_sound("after giving up");
	destroy();
}

/* The VMM writes a compressed page, and a leaf is split to be compressed. */
static void test_leaf(void)
{
	struct gmem_packed out;
	uint64_t word = 99;

	create(GMEM_HUGE_AUTO);
	fill(0, 1024, fill_text);
	out = compress(512, 512);
	is(out.compressed, 512, "a 2 MiB leaf is compressed%s", guest_kind());
	is(stats().s2.large_leaves, 1, "... and the other stays whole");
	guest_write(gm, gfn_to_gpa(600) + 64, &word, sizeof(word));
	is(pages_in(PG_COMPRESSED), 511, "a page that the VMM writes comes home");
	is(*(uint64_t *)(hva(600) + 64), 99, "... with what was written");
	is(((uint64_t *)hva(600))[9], 600, "... and what was in it");
	is_sound("after a write");
	destroy();
}

/* ---- who is idle ---- */

/* How far a touch is seen: on shadow tables the entries around it come with it. */
/* By turns text and one word: no two that follow each other lie together in the pool. */
static void fill_by_turns(uint64_t *page, uint64_t number)
{
	fill_text(page, number);
	for (unsigned int i = 0; number % 2 && i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = number << 32 | number;
}

/* A guest that goes on from page to page finds them home; one that jumps gets what it touches. */
static void test_ahead(void)
{
	create(GMEM_HUGE_NEVER);
	fill(512, 256, fill_by_turns);
	compress(512, 256);
	for (gfn_t gfn = 512; gfn < 768; gfn += 4)
		look_at((uint64_t *)hva(gfn));
	is(stats().loaded_pages, 64, "each page that is touched here and there comes home%s",
	   guest_kind());
	is(stats().load_ahead_pages, 0, "... and no other does");
	is(wrong(512, 256, fill_by_turns, true), 0,
	   "then all of them are read, one after the other");
	ok(stats().load_ahead_pages >= 64, "... some came before that, between those at home (%lu)",
	   (long)stats().load_ahead_pages);
	compress(512, 256);
	is(wrong(512, 256, fill_by_turns, true), 0, "and again, when none is at home");
	ok(stats().load_ahead_pages >= 256, "... then most came ahead (%lu)",
	   (long)stats().load_ahead_pages);
	is(stats().loaded_pages, 512, "... and none of them twice");
	is_sound("after pages that came ahead");
	destroy();
}

static uint64_t around(void)
{
	return guest_on_shadow ? 16 : 1;
}

static void test_idle(void)
{
	struct gmem_packed out = { 0 };

	create(GMEM_HUGE_NEVER);
	fill(0, 256, fill_text);
	gmem_compress(gm, 0, 256, GMEM_BY_HAND, &out);
	is(out.touched, 256, "what the guest has just touched is not idle%s", guest_kind());
	is(gmem_forget_touches(gm, GMEM_BY_HAND, 0, 256), 0, "its touches are forgotten");
	is(wrong(0, 256, fill_text, false), 0, "... the VMM reads the pages, which is no touch");
	look_at((uint64_t *)hva(64));
	put_into((uint64_t *)hva(128), look_at((uint64_t *)hva(128)));
	out = (struct gmem_packed){ 0 };
	gmem_compress(gm, 0, 256, GMEM_BY_HAND, &out);
	ok(out.touched >= 2 && out.touched <= 2 * around(),
	   "the two pages that it touches then are not idle (%lu pages)", (long)out.touched);
	is(out.compressed + out.touched, 256, "... all others are compressed");
	is(wrong(64, 1, fill_text, true) + pages_in(PG_COMPRESSED), out.compressed,
	   "... so a touched page is home");
	is(wrong(0, 256, fill_text, true), 0, "all pages have their bytes");
	is(gmem_forget_touches(gm, GMEM_BY_HAND, NR_PAGES, 1), -EFAULT,
	   "what is not RAM is not looked at");
	is_sound("after looking");
	destroy();
}

static uint64_t touched(enum gmem_watcher who, gfn_t gfn, uint64_t nr, uint64_t *resident)
{
	struct gmem_touched out;
	uint64_t sum = 0;

	*resident = 0;
	if (gmem_touched(gm, who, gfn, nr, &out))
		tap_bail("gmem_touched");
	for (unsigned int i = 0; i < ARRAY_SIZE(out.touched); i++) {
		sum += (uint64_t)__builtin_popcountll(out.touched[i]);
		*resident += (uint64_t)__builtin_popcountll(out.resident[i]);
	}
	return sum;
}

/* What one has forgotten, another one still hears of. */
static void test_watchers(void)
{
	struct gmem_packed packed = { 0 };
	struct gmem_touched out;
	uint64_t resident, seen;

	create(GMEM_HUGE_NEVER);
	fill(500, 140, fill_text);
	gmem_compress(gm, 600, 10, GMEM_NR_WATCHERS, &packed);
	gmem_forget_touches(gm, GMEM_BY_HAND, 500, 140);
	gmem_forget_touches(gm, GMEM_RECLAIMER, 500, 140);
	is(touched(GMEM_RECLAIMER, 512, 128, &resident), 0, "nothing is touched%s", guest_kind());
	is(resident, 118, "... of the pages that are private");
	look_at((uint64_t *)hva(530));
	seen = touched(GMEM_RECLAIMER, 512, 128, &resident);
	ok(seen >= 1 && seen <= around(), "one hears of a touch");
	gmem_forget_touches(gm, GMEM_RECLAIMER, 512, 128);
	is(touched(GMEM_RECLAIMER, 512, 128, &resident), 0, "... and forgets it");
	is(touched(GMEM_BY_HAND, 512, 128, &resident), seen, "... another one hears of it still");
	gmem_touched(gm, GMEM_BY_HAND, 525, 16, &out);
	ok(out.touched[0] >> 5 & 1, "... of that page");
	packed = (struct gmem_packed){ 0 };
	gmem_compress(gm, 512, 64, GMEM_BY_HAND, &packed);
	is(packed.touched, seen, "... and leaves it where it is");
	is(gmem_touched(gm, GMEM_BY_HAND, 0, QUIRE_BLOCK_PAGES + 1, &out), -EFAULT,
	   "more than a block is not looked at");
	is(gmem_touched(gm, GMEM_BY_HAND, NR_PAGES, 1, &out), -EFAULT, "... nor what is no RAM");
	is(wrong(500, 140, fill_text, true), 0, "all pages have their bytes");
	is_sound("after two who look");
	destroy();
}

/* Of some pages touches are forgotten, and of those between them not. */
static void test_forget_these(void)
{
	uint64_t which[QUIRE_BLOCK_PAGES / 64] = { [1] = 0xffff0000ffff0000, [3] = UINT64_MAX };
	struct gmem_packed packed = { 0 };
	struct gmem_touched out;
	uint64_t other = 0;

	create(GMEM_HUGE_NEVER);
	fill(512, 256, fill_text);
	gmem_compress(gm, 512 + 210, 10, GMEM_NR_WATCHERS, &packed);
	gmem_forget_touches(gm, GMEM_BY_HAND, 512, 256);
	for (gfn_t gfn = 512; gfn < 512 + 210; gfn++)
		look_at((uint64_t *)hva(gfn));
	is(gmem_forget_these(gm, GMEM_RECLAIMER, 512, 256, which), 0, "some are forgotten%s",
	   guest_kind());
	gmem_touched(gm, GMEM_RECLAIMER, 512, 256, &out);
	for (unsigned int i = 0; i < ARRAY_SIZE(which); i++)
		other += (uint64_t)__builtin_popcountll(out.touched[i] & which[i]);
	is(other, 0, "... they are not touched");
	is(out.touched[0], UINT64_MAX, "... but those before them");
	is(out.touched[1], ~which[1], "... between them");
	is(out.touched[2], UINT64_MAX, "... and behind them are");
	gmem_touched(gm, GMEM_BY_HAND, 512, 210, &out);
	is(out.touched[1] & out.touched[2], UINT64_MAX, "another one hears of all touches");
	is(gmem_forget_these(gm, GMEM_RECLAIMER, NR_PAGES, 1, which), -EFAULT,
	   "what is no RAM has none");
	is(wrong(512, 256, fill_text, true), 0, "all pages have their bytes");
	is_sound("after forgetting some");
	destroy();
}

/* A 2 MiB leaf is touched as a whole. */
static void test_idle_leaf(void)
{
	struct gmem_packed out = { 0 };

	create(GMEM_HUGE_AUTO);
	fill(0, 1024, fill_text);
	gmem_forget_touches(gm, GMEM_BY_HAND, 0, 1024);
	look_at((uint64_t *)hva(700));
	gmem_compress(gm, 0, 1024, GMEM_BY_HAND, &out);
	is(out.compressed, 512, "a leaf that is not touched is compressed%s", guest_kind());
	is(out.touched, 512, "... the other was touched");
	is(stats().s2.large_leaves, 1, "... and stays whole");
	is(wrong(0, 1024, fill_text, true), 0, "all pages have their bytes");
	is_sound("after a leaf");
	destroy();
}

/* ---- no memory to spare ---- */

/*
 * All of RAM is in use, and there is no credit more.  Some can be compressed all the same, and all
 * can come home: at no moment there is more in the RAM file than RAM.
 */
static void test_tight(unsigned int of, void (*with)(uint64_t *page, uint64_t number),
		       uint64_t least)
{
	uint64_t most = 0;

	create(GMEM_HUGE_NEVER);
	fill(0, NR_PAGES, with);
	is(pages_in(PG_PRIVATE), NR_PAGES, "all of RAM is private%s", guest_kind());
	atomic_store(&most_taken, NR_PAGES);
	for (gfn_t g = 0; g < NR_PAGES; g += of) {
		compress(g, min_u64(of / 2, NR_PAGES - g));
		most = max_u64(most, file_pages());
	}
	is_sound("when half is compressed");
	ok(pages_in(PG_COMPRESSED) >= least, "of runs of %u pages %lu pages are compressed", of / 2,
	   (long)pages_in(PG_COMPRESSED));
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		gfn_t at = g * 5 % NR_PAGES;

		if (wrong(at, 1, with, true))
			most = UINT64_MAX;
		most = max_u64(most, file_pages());
	}
	ok(most <= NR_PAGES, "all come home, and at most %ld of %lu pages are there", (long)most,
	   (long)NR_PAGES);
	is(pages_in(PG_PRIVATE), NR_PAGES, "... all are private again");
	is_sound("when all are home");
	atomic_store(&most_taken, LONG_MAX);
	destroy();
}

/* A page alone is not worth its place: the pool would have as many pages. */
static void test_alone(void)
{
	create(GMEM_HUGE_NEVER);
	fill(0, 16, fill_text);
	compress(3, 1);
	is(pages_in(PG_COMPRESSED), 0, "one page alone comes back%s", guest_kind());
	is(wrong(0, 16, fill_text, true), 0, "... as it was");
	compress(0, 16);
	is(pages_in(PG_COMPRESSED), 16, "sixteen do not");
	is_sound("after one and sixteen");
	destroy();
}

/* ---- the storm ---- */

#define STORM_MS 1500 /* times tap_storm() */

static void disturb(uint64_t *packed)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;
	uint64_t nr = 1 + tap_random(&rng) % (tap_random(&rng) % 8 ? 40 : 700);
	struct gmem_packed out = { 0 };

	nr = min_u64(nr, NR_PAGES - gfn);
	switch (tap_random(&rng) % 8) {
	case 0: zero_some(gm, gfn, nr); break;
	case 1: range_bring_in(gm, gfn, nr); break;
	case 2: block_collapse(gm, align_down(gfn, QUIRE_BLOCK_PAGES)); break;
	case 3: gmem_forget_touches(gm, GMEM_BY_HAND, gfn, nr); break;
	case 4:
		gmem_compress(gm, gfn, nr, GMEM_BY_HAND, &out);
		*packed += out.compressed;
		break;
	default: *packed += compress(gfn, nr).compressed;
	}
}

static void test_storm(enum gmem_hugepages hugepages)
{
	const char *mode = hugepages == GMEM_HUGE_AUTO ? "auto" : "never";
	uint64_t audits = 0, packed = 0;

	create(hugepages);
	count_refusals();
	storm_begin(STORM_MS, storm_words);
	while (storm_goes_on() && !audits) {
		disturb(&packed);
		if (storm_rounds() % 64 == 0)
			audits += gmem_audit(gm, describe, NULL);
	}
	is(storm_end(), 0, "%s: no wrong word in %u rounds%s", mode, storm_rounds(), guest_kind());
	ok(packed > 1000, "%s: %lu pages were compressed, %lu came home", mode, (long)packed,
	   (long)stats().loaded_pages);
	audits += gmem_audit(gm, describe, NULL);
	is(audits, 0, "%s: the audits agree", mode);
	destroy();
	is(end_refusals(), 0, "%s: no access failed", mode);
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_exact();
		test_ahead();
		test_kinds();
		test_leaf();
		test_idle();
		test_watchers();
		test_forget_these();
		test_idle_leaf();
		test_tight(64, fill_text, NR_PAGES / 3);
		test_tight(1000, fill_text, NR_PAGES / 3);
		test_tight(64, fill_any, 50);
		test_tight(2 * NR_PAGES, fill_any, NR_PAGES / 3);
		test_alone();
		test_storm(GMEM_HUGE_NEVER);
		test_storm(GMEM_HUGE_AUTO);
	}
	return tap_done();
}
