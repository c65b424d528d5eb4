/* SPDX-License-Identifier: MIT */
/*
 * One page's story: in each state, exactly; what is remembered of pages that leave and come back;
 * and the history on its own, with time that cannot be waited for.
 */
#include <errno.h>
#include "mmu/memory/away.h"
#include "mmu/memory/story.h"
#include "share_lab.h"

static struct gmem_story story(gfn_t gfn)
{
	struct gmem_story s;

	if (gmem_story(gm, gfn, &s))
		tap_bail("gmem_story");
	return s;
}

/* A page that packs. */
static void fill(gfn_t gfn)
{
	uint64_t *page = (uint64_t *)hva(gfn), seed = gfn;

	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = i % 16 ? gfn : tap_random(&seed);
}

static void fill_random(gfn_t gfn)
{
	uint64_t *page = (uint64_t *)hva(gfn);

	for (unsigned int i = 0; i < QUIRE_PAGE_SIZE / sizeof(*page); i++)
		page[i] = tap_random(&rng);
}

static void compress(gfn_t gfn, uint64_t nr)
{
	struct gmem_packed out = { 0 };

	gmem_compress(gm, gfn, nr, GMEM_NR_WATCHERS, &out);
}

/* ---- states ---- */

static void test_home(void)
{
	struct gmem_story s;

	create(GMEM_HUGE_NEVER);
	s = story(5);
	ok(s.gfn == 5 && s.state == PG_ABSENT && !s.mapped, "an absent page%s", guest_kind());
	fill(5);
	s = story(5);
	ok(s.state == PG_PRIVATE && s.level == 1 && s.mapped, "a private page");
	is_hex(s.maddr, gfn_to_gpa(5), "... is at home");
	is(note_reason(s.note), NOTE_NEW, "... merging has not looked at it");
	ok(!s.held && !s.waits && !s.refusals && !s.returns && !s.watched, "... and that is all");
	gmem_lock(gm, GMEM_LOOK);
	share_note(gm, 5, 1, NOTE_UNIQUE);
	gmem_unlock(gm);
	is(note_reason(story(5).note), NOTE_UNIQUE, "why it is not merged");
	gmem_hold(gm, gfn_to_gpa(5) + 100, 8);
	ok(story(5).held && !story(6).held, "a page that is held");
	gmem_release(gm, gfn_to_gpa(5) + 100, 8);
	ok(!story(5).held, "... and released");
	gmem_balloon(gm, 5, 1, NULL);
	is(story(5).state, PG_BALLOONED, "a page in the balloon");
	is(gmem_story(gm, NR_PAGES, &s), -EFAULT, "what is no RAM has no story");
	destroy();
}

static void test_leaf(void)
{
	create(GMEM_HUGE_AUTO);
	fill(700);
	is(story(700).level, 2, "a page of a leaf%s", guest_kind());
	is_hex(story(701).maddr, gfn_to_gpa(701), "... has its own frame there");
	destroy();
}

static void test_touched(void)
{
	struct gmem_story s;

	create(GMEM_HUGE_NEVER);
	fill(64);
	fill(128);
	gmem_forget_touches(gm, GMEM_RECLAIMER, 0, 256);
	look_at((uint64_t *)hva(64));
	s = story(64);
	is_hex(s.watched, 1 << GMEM_RECLAIMER, "who watches touches%s", guest_kind());
	is_hex(s.touched, 1 << GMEM_RECLAIMER, "... sees one");
	is_hex(story(128).touched, 0, "... and none where there is none");
	destroy();
}

/* Who forgets one page of a leaf takes nothing from others, nor from itself. */
static void test_touched_leaf(void)
{
	const uint8_t both = 1 << GMEM_RECLAIMER | 1 << GMEM_WORKING_SET;

	create(GMEM_HUGE_AUTO);
	fill(700);
	gmem_forget_touches(gm, GMEM_RECLAIMER, 512, 512);
	gmem_forget_touches(gm, GMEM_WORKING_SET, 512, 512);
	look_at((uint64_t *)hva(700));
	is_hex(story(700).touched, both, "a page of a leaf was touched%s", guest_kind());
	gmem_forget_touches(gm, GMEM_WORKING_SET, 600, 1);
	is_hex(story(700).touched, both, "... which others know when one page is forgotten");
	is_hex(story(600).touched & 1 << GMEM_WORKING_SET, 0, "... but for that page");
	destroy();
}

static void test_shared(void)
{
	struct share_run run = { .gfn = 3, .nr = 1, .to = PG_SHARED };
	struct share_result res = { 0 };
	struct gmem_story s;
	struct gmem_frame frame;

	create(GMEM_HUGE_NEVER);
	fill_page((uint64_t *)hva(3), 7);
	run.pfn = frame_of(7);
	gmem_lock(gm, GMEM_KEEPER);
	share_commit(gm, &run, &res);
	gmem_unlock(gm);
	s = story(3);
	ok(s.state == PG_SHARED && s.mapped, "a shared page%s", guest_kind());
	ok(!gmem_frame_of(gm, 3, &frame) && frame.segment == s.frame.segment &&
		   frame.index == s.frame.index,
	   "... and the frame that it shares");
	put_into((uint64_t *)hva(3), 1);
	is(story(3).state, PG_PRIVATE, "... until it is written");
	destroy();
}

/* ---- pages that leave ---- */

static void test_compressed(void)
{
	struct pool_stats before, after;
	struct gmem_stats stats;
	struct gmem_story s;

	create(GMEM_HUGE_NEVER);
	for (gfn_t g = 16; g < 32; g++)
		fill(g);
	memset(hva(32), 0x5a, QUIRE_PAGE_SIZE);
	fill_random(33);
	compress(16, 18);
	s = story(20);
	ok(s.state == PG_COMPRESSED && !s.mapped, "a compressed page%s", guest_kind());
	ok(!s.place.filled && s.place.bytes > 100 && s.place.room >= s.place.bytes &&
		   s.place.room % 64 == 0,
	   "... of %u bytes in a place of %u", s.place.bytes, s.place.room);
	ok(s.place.in_span > 1 && s.place.in_span <= s.place.objects && s.place.span_pages >= 1 &&
		   s.place.offset % QUIRE_PAGE_SIZE == 0,
	   "... with others in a span");
	s = story(32);
	ok(s.state == PG_COMPRESSED && s.place.filled, "a page of one word is in no span");
	is_hex(s.place.word, 0x5a5a5a5a, "... and that is the word");
	s = story(33);
	ok(s.state == PG_PRIVATE && s.refusals == 1, "a page that does not compress is remembered");
	gmem_stats(gm, &stats);
	before = stats.pool;
	look_at((uint64_t *)hva(20));
	gmem_stats(gm, &stats);
	after = stats.pool;
	s = story(20);
	is(s.state, PG_PRIVATE, "a page that is touched is home");
	is(s.returns, 1, "... it came back once");
	is(s.gone_s, 0, "... and is not gone any more");
	is(before.object_pages - after.object_pages, 1, "... alone");
	compress(16, 16);
	look_at((uint64_t *)hva(20));
	is(story(20).returns, 2, "... and twice");
	gmem_drop(gm, 20, 1, NULL);
	fill(20);
	is(story(20).returns, 0, "a page that was given up begins anew");
	destroy();
}

/* ---- the history alone ---- */

static void later(struct history *h, uint64_t seconds)
{
	h->began_ns -= seconds * 1000000000;
}

static void test_history(void)
{
	struct history h;

	if (history_init(&h, 100))
		tap_bail("history_init");
	history_note(&h, 0, 100, PG_PRIVATE);
	is(history_returns(&h, 7), 0, "a page that never left did not come back");
	history_note(&h, 7, 2, PG_COMPRESSED);
	later(&h, 10);
	is(history_gone_s(&h, 7), 10, "a page is gone since it left");
	is(history_gone_s(&h, 9), 0, "... and others are not");
	history_note(&h, 7, 1, PG_COMPRESSED);
	is(history_gone_s(&h, 7), 10, "... also if it moves on from there");
	history_note(&h, 7, 1, PG_PRIVATE);
	ok(history_gone_s(&h, 7) == 0 && history_returns(&h, 7) == 1, "until it comes back");
	later(&h, 5);
	is(history_back_s(&h, 7), 5, "... which was so long ago");
	is(history_back_s(&h, 9), 0, "... and one that never left did not come back");
	history_note(&h, 7, 1, PG_ZERO);
	history_note(&h, 7, 1, PG_PRIVATE);
	is(history_returns(&h, 7), 1, "a page that was merged did not leave");
	is(history_back_s(&h, 7), 5, "... nor come back anew");
	for (unsigned int i = 0; i < 300; i++) {
		history_note(&h, 7, 1, PG_COMPRESSED);
		history_note(&h, 7, 1, PG_PRIVATE);
	}
	is(history_returns(&h, 7), 255, "255 times are the most");
	history_note(&h, 7, 1, PG_ABSENT);
	is(history_returns(&h, 7), 0, "a page that was given up is another");
	later(&h, 1ULL << 25);
	history_note(&h, 7, 1, PG_COMPRESSED);
	later(&h, 1000);
	is(history_gone_s(&h, 7), 0, "after 97 days the clock stands still");
	is(history_gone_s(&h, 8), (1U << 23) - 2, "... and is right for what left before");
	history_finish(&h);
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_history();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_home();
		test_leaf();
		test_touched();
		test_touched_leaf();
		test_shared();
		test_compressed();
	}
	return tap_done();
}
