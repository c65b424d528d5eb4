/* SPDX-License-Identifier: MIT */
/*
 * Pages that are given back: exactly, with what becomes of each; and a storm of balloon, unballoon,
 * drop, sharing, splitting and holding against threads that write in the window.
 *
 * The storm's model.  Each writer owns a word of each page.  A page's `given` is odd while it is
 * being given back, and even else; one thread gives back, so a word that was written when it was g
 * must be found as it was written, unless a whole round began after that, and zero only if a round
 * was under way since.
 */
#include <errno.h>
#include "storm.h"

static uint64_t pages_in(enum page_state state)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s.s2.pages[state];
}

static bool is_gone(const struct gmem_gone *gone, uint64_t went, uint64_t already, uint64_t kept)
{
	bool same = gone->gone == went && gone->already == already && gone->kept == kept;

	if (!same)
		tap_note("gone %lu already %lu kept %lu", (long)gone->gone, (long)gone->already,
			 (long)gone->kept);
	return same;
}

static void fill(gfn_t gfn, uint64_t nr, uint32_t content)
{
	for (uint64_t i = 0; i < nr; i++)
		fill_page((uint64_t *)hva(gfn + i), content ? content + i : 0);
}

static uint64_t share(gfn_t gfn, uint64_t nr, enum page_state to, unsigned int content)
{
	struct share_run run = { gfn, nr, to, frame_of(content) };
	struct share_result res = { 0 };

	for (uint64_t i = 0; i < nr && to == PG_SHARED; i++)
		references[content + i]++;
	gmem_lock(gm, GMEM_LOOK);
	if (to == PG_ZERO)
		zero_commit(gm, &run, 1, &res);
	else
		share_commit(gm, &run, &res);
	gmem_unlock(gm);
	take_back();
	return res.merged;
}

/* Pages 512.. are: 50 private, 50 shared, 50 zero, 50 absent. */
static void mixture(enum gmem_hugepages hugepages)
{
	struct gmem_gone gone;

	create(hugepages);
	range_bring_in(gm, 512, 150);
	gmem_drop(gm, 662, 362, NULL); /* what came with them */
	fill(512, 100, 20);
	if (share(562, 50, PG_SHARED, 70) != 50 || share(612, 50, PG_ZERO, 0) != 50)
		tap_bail("cannot share");
	gmem_drop(gm, 662, 50, &gone);
	is(ramfile_pages(gm->window.ram_fd), 50, "50 pages of 200 have frames of their own");
}

static void test_exact(enum gmem_hugepages hugepages)
{
	struct gmem_gone gone;

	mixture(hugepages);
	is(gmem_balloon(gm, 522, 180, &gone), 0, "all kinds of pages go into the balloon");
	ok(is_gone(&gone, 180, 0, 0), "and are counted");
	is(ramfile_pages(gm->window.ram_fd), 10, "those with frames lost them");
	is(pages_in(PG_BALLOONED), 180, "all are ballooned");
	is(pages_in(PG_SHARED) + pages_in(PG_ZERO), 0, "none is shared or zero");
	ok(references_agree(), "references are back");
	is(gmem_balloon(gm, 512, 200, &gone), 0, "again");
	ok(is_gone(&gone, 20, 180, 0), "what is in it already is counted as that");
	is(gmem_drop(gm, 512, 200, &gone), 0, "dropping what is in the balloon");
	ok(is_gone(&gone, 0, 200, 0) && pages_in(PG_BALLOONED) == 200, "changes nothing");
	is_hex(hva(600)[77], 0, "a page that is touched untold is zero");
	is(pages_in(PG_BALLOONED), 199, "and not in the balloon any more");
	is(gm->stats.balloon_touches, 1, "which is counted");
	is(gmem_unballoon(gm, 512, 200, &gone), 0, "deflating");
	ok(is_gone(&gone, 199, 1, 0), "finds one that had left it");
	is(gmem_unballoon(gm, 0, NR_PAGES, &gone), 0, "what never was in the balloon");
	ok(is_gone(&gone, 0, NR_PAGES, 0), "does not leave it");
	is(gmem_unballoon(gm, NR_PAGES - 1, 2, &gone), -EFAULT, "what is not RAM is refused");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

/* A 2 MiB leaf, in part and as a whole. */
static void test_leaf(void)
{
	struct gmem_gone gone;
	struct gmem_stats s;

	create(GMEM_HUGE_AUTO);
	range_bring_in(gm, 0, 3 * QUIRE_BLOCK_PAGES);
	fill(0, 3 * QUIRE_BLOCK_PAGES, 1);
	is(gmem_balloon(gm, 500, 536, &gone), 0,
	   "the end of a leaf, one, and the beginning of one");
	ok(is_gone(&gone, 536, 0, 0), "go");
	is(ramfile_pages(gm->window.ram_fd), 1000, "all of them");
	gmem_stats(gm, &s);
	is(s.s2.large_leaves, 0, "no leaf is left");
	for (gfn_t g = 0; g < 3 * QUIRE_BLOCK_PAGES; g++)
		if (g < 500 || g >= 1036)
			gone.kept += *(uint64_t *)hva(g) != (1 + g) * 0x9e3779b97f4a7c15ULL;
	is(gone.kept, 0, "and their neighbours are as they were");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	gmem_unballoon(gm, 0, NR_PAGES, NULL);
	hva(512)[0] = 1;
	gmem_stats(gm, &s);
	is(s.s2.large_leaves, 1, "a whole block that is deflated comes in as one");
	destroy();
}

/* Pages that are held stay, whatever is wanted of them. */
static void test_held(void)
{
	struct gmem_gone gone;
	uint8_t byte = 9;

	create(GMEM_HUGE_NEVER);
	is_hex(gmem_hold(gm, gfn_to_gpa(600) + 4000, 200), 0, "two pages are held");
	is(pages_in(PG_PRIVATE), 16, "which brings them in, with their group");
	is_hex(gmem_hold(gm, gfn_to_gpa(601), 1), 0, "one of them twice");
	fill(590, 20, 0);
	is(share(590, 20, PG_ZERO, 0), 18, "they are not merged");
	is(gmem_balloon(gm, 590, 20, &gone), -EAGAIN, "nor given up");
	ok(is_gone(&gone, 18, 0, 2), "the others are");
	hva(600)[4095] = 7;
	is(gmem_drop(gm, 600, 2, &gone), -EAGAIN, "nor dropped");
	is_hex(hva(600)[4095], 7, "nor changed");
	gmem_release(gm, gfn_to_gpa(600) + 4000, 200);
	is(gmem_drop(gm, 600, 2, &gone), -EAGAIN, "one is released");
	ok(is_gone(&gone, 1, 0, 1), "and goes");
	is_hex(guest_write(gm, gfn_to_gpa(601), &byte, 1), 0, "the other can be written");
	gmem_release(gm, gfn_to_gpa(601), 1);
	is(gmem_drop(gm, 590, 20, &gone), 0, "in the end all can go");
	ok(is_gone(&gone, 1, 19, 0), "and do");
	is(gmem_hold(gm, gfn_to_gpa(NR_PAGES) - 1, 2), -EFAULT, "what is not RAM is not held");
	for (unsigned int i = 0; i < GMEM_MAX_HELD; i++)
		gmem_hold(gm, 0, 1);
	is(gmem_hold(gm, 0, 1), -ENOSPC, "there is a limit");
	destroy();
}

/* ---- the storm ---- */

#define STORM_PAGES 1100u
#define STORM_MS    2000 /* times tap_storm() */

static atomic_ulong given[NR_PAGES];
static uint64_t lost, found; /* words that went with their page; that stayed */

struct word {
	uint64_t value;
	unsigned long before, after; /* given, around the write */
};
static struct word word[WRITERS][NR_PAGES];

/* Is that what the word may hold?  given was `early` before it was read, and `late` after. */
static bool is_possible(const struct word *w, uint64_t value, unsigned long early,
			unsigned long late)
{
	if (value == w->value && (!value || early < w->after + 2 + w->after % 2))
		return true;
	return value == 0 && (late != w->before || w->before % 2);
}

static void *writer(void *arg)
{
	uint64_t me = (uintptr_t)arg, seed = writer_seed + me, bad = 0, value;
	volatile uint64_t *at;
	unsigned long early;
	struct word *w;
	gfn_t gfn = 0;

	while (storm_step(me)) {
		/*
		 * Sometimes the same page at once: the storm may be faster than we come back to
		 * others.
		 */
		if (tap_random(&seed) % 4)
			gfn = tap_random(&seed) % STORM_PAGES;
		at = (uint64_t *)hva(gfn) + me;
		w = &word[me][gfn];
		early = atomic_load(&given[gfn]);
		value = look_at(at);
		bad += !is_possible(w, value, early, atomic_load(&given[gfn]));
		if (me == 0) {
			found += w->value && value == w->value;
			lost += w->value && !value;
		}
		w->value = tap_random(&seed) % 3;
		w->before = atomic_load(&given[gfn]);
		put_into(at, w->value);
		w->after = atomic_load(&given[gfn]);
		if (tap_random(&seed) % 64 == 0)
			usleep(100);
	}
	return (void *)bad;
}

static uint64_t in, out; /* of the balloon */
static uint64_t odd;	 /* results that make no sense */

static void give_back(gfn_t gfn, uint64_t nr, bool balloon)
{
	struct gmem_gone gone = { 0 };
	int err;

	for (uint64_t i = 0; i < nr; i++)
		atomic_fetch_add(&given[gfn + i], 1);
	err = balloon ? gmem_balloon(gm, gfn, nr, &gone) : gmem_drop(gm, gfn, nr, &gone);
	for (uint64_t i = 0; i < nr; i++)
		atomic_fetch_add(&given[gfn + i], 1);
	in += balloon ? gone.gone : 0;
	odd += gone.gone + gone.already + gone.kept != nr || (gone.kept != 0) != (err == -EAGAIN) ||
	       (err && err != -EAGAIN);
}

static void share_some(gfn_t gfn)
{
	uint64_t page[QUIRE_PAGE_SIZE / 8];
	unsigned int frame;

	guest_read(gm, gfn_to_gpa(gfn), page, sizeof(page));
	frame = (unsigned int)min_u64(frame_for(page), 24);
	block_split(gm, align_down(gfn, QUIRE_BLOCK_PAGES));
	share(gfn, 1 + tap_random(&rng) % 3, frame ? PG_SHARED : PG_ZERO, frame);
}

static void disturb(void)
{
	gfn_t gfn = tap_random(&rng) % STORM_PAGES;
	uint64_t nr = 1 + tap_random(&rng) % (tap_random(&rng) % 8 ? 40 : 1000);
	struct gmem_gone gone;

	nr = min_u64(nr, NR_PAGES - gfn);
	switch (tap_random(&rng) % 16) {
	case 0:
	case 1: give_back(gfn, nr, true); break;
	case 2: give_back(gfn, nr, false); break;
	case 3: give_back(align_down(gfn, 512), 512, tap_random(&rng) % 2); break;
	case 4:
	case 5:
		gmem_unballoon(gm, gfn, nr, &gone);
		out += gone.gone;
		break;
	case 6: range_bring_in(gm, gfn, nr); break;
	case 7: block_collapse(gm, align_down(gfn, QUIRE_BLOCK_PAGES)); break;
	default: share_some(gfn);
	}
}

static void test_storm(enum gmem_hugepages hugepages)
{
	const char *mode = hugepages == GMEM_HUGE_AUTO ? "auto" : "never";
	uint64_t audits = 0;

	create(hugepages);
	gmem_lock(gm, GMEM_LOOK);
	gm->share.zero_reads = true;
	gmem_unlock(gm);
	count_refusals();
	make_race_frames();
	memset(word, 0, sizeof(word));
	memset(given, 0, sizeof(given));
	in = out = odd = lost = found = 0;
	storm_begin(STORM_MS, writer);
	while (storm_goes_on() && !audits) {
		disturb();
		if (storm_rounds() % 64 == 0)
			audits += gmem_audit(gm, describe, NULL);
	}
	is(storm_end(), 0, "%s: no wrong word in %u rounds", mode, storm_rounds());
	ok(lost > 100 && found > 20, "%s: %lu words went with their pages, %lu stayed", mode,
	   (long)lost, (long)found);
	is(odd, 0, "%s: each page of a range is counted once", mode);
	audits += gmem_audit(gm, describe, NULL) + !references_agree();
	is(audits, 0, "%s: the audits agree", mode);
	is(pages_in(PG_BALLOONED), in - out - gm->stats.balloon_touches,
	   "%s: %lu pages in, %lu out, %lu touched untold", mode, (long)in, (long)out,
	   (long)gm->stats.balloon_touches);
	destroy();
	is(end_refusals(), 0, "%s: no access failed", mode);
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	test_exact(GMEM_HUGE_AUTO);
	test_exact(GMEM_HUGE_NEVER);
	test_leaf();
	test_held();
	test_storm(GMEM_HUGE_AUTO);
	test_storm(GMEM_HUGE_NEVER);
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
