/* SPDX-License-Identifier: MIT */
/*
 * The reclaimer on guest memory: what its policy knows against stage 2, what leaves and what stays,
 * and guests that have more memory than there are credits.
 *
 * Most of it is done step by step, without the thread.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "reclaimer_lab.h"

#define STEPS 250

static const char *policy_name(void)
{
	return r->policy->policy->name;
}

static enum page_state state_of(gfn_t gfn)
{
	struct stage2_page page;

	gmem_lookup(gm, gfn, &page);
	return page.state;
}

/* How many pages the policy knows that are not private, or does not know that are. */
static uint64_t differ(void)
{
	uint64_t sum = 0;

	for (gfn_t gfn = 0; gfn < NR_PAGES; gfn++)
		sum += is_known(gfn) != (state_of(gfn) == PG_PRIVATE);
	return sum;
}

/* ---- step by step ---- */

static void test_knows(void)
{
	uint64_t chosen, freed;

	begin(GMEM_HUGE_NEVER, RECLAIM_GEN);
	fill(0, 600, fill_text);
	is(r->policy->nr_resident, 0, "nothing is known before the first sample%s", guest_kind());
	reclaimer_sample(r);
	is(differ(), 0, "then the policy knows all private pages");
	gmem_drop(gm, 100, 50, NULL);
	gmem_balloon(gm, 200, 50, NULL);
	fill(700, 20, fill_text);
	reclaimer_sample(r);
	is(differ(), 0, "what came and went since is found by the next sample");
	is(stats().refault_pages, 0, "... and nothing of it is a refault");
	freed = reclaimer_evict(r, 64, false, &chosen);
	ok(freed > 32 && freed == stats().freed_pages, "some pages are freed (%lu)", (long)freed);
	is(chosen, 64, "... of 64 that were chosen");
	is(stats().gone_pages, 64, "... all of which went");
	is(pages_in(PG_COMPRESSED), 64, "... which is their state");
	is(differ(), 0, "... and the policy does not know them any more");
	reclaimer_sample(r);
	is(stats().refault_pages, 0, "none has come back");
	for (gfn_t gfn = 0; gfn < NR_PAGES; gfn++)
		if (state_of(gfn) == PG_COMPRESSED && gfn % 2)
			touch(gfn);
	reclaimer_sample(r);
	is(stats().refault_pages, 64 - pages_in(PG_COMPRESSED),
	   "those that come back are refaults");
	is(differ(), 0, "... and known again");
	is(stats().active_pages + stats().inactive_pages, pages_in(PG_PRIVATE),
	   "each private page is active or inactive");
	is(wrong(0, 100, fill_text, true) + wrong(300, 300, fill_text, true) +
		   wrong(700, 20, fill_text, true),
	   0, "all pages have their bytes");
	is_sound("after eviction");
	end();
}

static void test_used(void)
{
	uint64_t chosen, around = guest_on_shadow ? 16 : 1;

	begin(GMEM_HUGE_NEVER, RECLAIM_FIFO);
	fill(0, 128, fill_text);
	reclaimer_sample(r);
	for (gfn_t gfn = 0; gfn < 4; gfn++)
		touch(16 * gfn);
	reclaimer_evict(r, 64, false, &chosen);
	is(stats().busy_pages, 4 * around, "pages that were used again stay%s", guest_kind());
	is(stats().gone_pages, 64 - 4 * around, "... the others leave");
	is(differ(), 0, "... and the policy may choose from the former");
	for (unsigned int i = 0; i < 8 && pages_in(PG_PRIVATE); i++)
		reclaimer_evict(r, 64, true, &chosen);
	is(pages_in(PG_PRIVATE), 0, "if need be, all leave");
	is(wrong(0, 128, fill_text, true), 0, "all pages have their bytes");
	end();
}

static uint64_t nr_refused(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s.unpackable_pages;
}

static void test_incompressible(void)
{
	uint64_t chosen, before;

	begin(GMEM_HUGE_NEVER, RECLAIM_CLOCK);
	fill(0, 64, fill_random);
	reclaimer_sample(r);
	is(reclaimer_evict(r, 64, false, &chosen), 0, "what does not pack frees nothing%s",
	   guest_kind());
	before = nr_refused();
	is(before, 64, "... each page was tried");
	is(differ(), 0, "... and is still known");
	fill(0, 64, fill_text);
	for (unsigned int i = 0; i < 2; i++)
		reclaimer_evict(r, 64, true, &chosen);
	is(stats().gone_pages, 64, "when they can be packed they are tried again, and go");
	is(wrong(0, 64, fill_text, true), 0, "all pages have their bytes");
	end();
}

/* ... and goes to the swap file, if there is one. */
static void test_swap(void)
{
	uint64_t chosen;

	begin_with_swap();
	fill(0, 32, fill_random);
	fill(32, 32, fill_text);
	reclaimer_sample(r);
	touch(0);
	reclaimer_evict(r, 64, false, &chosen);
	is(stats().gone_pages, 32, "with a swap file, what packs is compressed");
	ok(stats().swapped_pages >= 16 && stats().swapped_pages < 32,
	   "... and what does not goes there (%lu)", (long)stats().swapped_pages);
	is(pages_in(PG_SWAPPED), stats().swapped_pages, "... which is its state");
	is(differ(), 0, "... but not what has just been used");
	is(wrong(0, 32, fill_random, true) + wrong(32, 32, fill_text, true), 0,
	   "all pages have their bytes");
	is_sound("after swapping");
	end();
}

static void test_spill(void)
{
	uint64_t chosen;

	begin_with_swap();
	fill(128, 32, fill_text);
	reclaimer_sample(r);
	reclaimer_evict(r, 32, false, &chosen);
	fill(0, 64, fill_text);
	reclaimer_sample(r);
	reclaimer_evict(r, 64, false, &chosen);
	is(pages_in(PG_COMPRESSED), 96, "pages are compressed, the higher ones first%s",
	   guest_kind());
	is(reclaimer_spill(r, 4, false), 0, "... and stay while the pool is small");
	ok(reclaimer_spill(r, 4, true) > 0, "if they must, they go on to the file");
	is(stats().spilled_pages, 32, "... those that left first");
	is(pages_in(PG_SWAPPED), 32, "... which is their state");
	while (reclaimer_spill(r, 64, true))
		;
	is(pages_in(PG_COMPRESSED), 0, "... and in the end all of them");
	is(wrong(0, 64, fill_text, true) + wrong(128, 32, fill_text, true), 0,
	   "all pages have their bytes");
	is_sound("after spilling");
	end();
}

static void test_leaf(void)
{
	struct gmem_stats s;
	uint64_t chosen;

	begin(GMEM_HUGE_AUTO, RECLAIM_FIFO);
	fill(0, 1024, fill_text);
	reclaimer_sample(r);
	touch(5);
	reclaimer_evict(r, 64, false, &chosen);
	gmem_stats(gm, &s);
	is(s.s2.large_leaves, 1, "a leaf that was touched is split%s", guest_kind());
	is(s.s2.pages[PG_COMPRESSED], 64, "... by pages that leave");
	reclaimer_sample(r);
	touch(5);
	for (unsigned int i = 0; i < 8; i++)
		reclaimer_evict(r, 64, false, &chosen);
	ok(stats().busy_pages <= 16, "... and then its pages are told apart (%lu)",
	   (long)stats().busy_pages);
	is(wrong(0, 1024, fill_text, true), 0, "all pages have their bytes");
	is_sound("after a leaf");
	end();
}

/* How often the estimate of a guest that uses `used` of 1000 pages is as good as it says. */
static unsigned int nr_good(uint64_t used, unsigned int rounds, bool *far)
{
	unsigned int good = 0;

	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t got, error;

		reclaimer_draw(r);
		for (uint64_t u = 0; u < used; u++)
			touch(u * 619 % 1000);
		reclaimer_estimate(r);
		got = stats().working_set_pages;
		error = stats().working_set_error_pages;
		good += got + error >= used && got <= used + error;
		*far |= got + 4 * error < used || got > used + 4 * error;
	}
	return good;
}

static void test_working_set(void)
{
	const uint64_t used[] = { 0, 20, 250, 500, 1000 };
	const unsigned int rounds = 40;

	begin(GMEM_HUGE_NEVER, RECLAIM_GEN);
	fill(0, 1000, fill_text);
	for (unsigned int i = 0; i < ARRAY_SIZE(used); i++) {
		bool far = false;
		unsigned int good = nr_good(used[i], rounds, &far);

		ok(good >= rounds * 7 / 10, "%lu of 1000 pages used: %u of %u estimates are good",
		   (long)used[i], good, rounds);
		ok(!far, "... and none is far off");
	}
	ok(stats().working_set_error_pages < 100, "... nor is the error large (%lu)",
	   (long)stats().working_set_error_pages);
	is(stats().passes, 0, "... without looking at all pages");
	end();
}

/* Half of the pages are away.  The guest uses none; then these; then all, which leave again. */
static void test_working_set_away(void)
{
	const unsigned int rounds = 40;
	uint64_t chosen;
	bool far = false;
	unsigned int good;

	begin(GMEM_HUGE_NEVER, RECLAIM_FIFO);
	fill(512, 512, fill_text);
	reclaimer_sample(r);
	while (pages_in(PG_PRIVATE))
		reclaimer_evict(r, EVICT_BATCH, true, &chosen);
	fill(0, 512, fill_text);
	is(reclaimer_used_at_most(r), 1024, "pages that had to leave may be in use");
	good = nr_good(0, rounds, &far);
	ok(good >= rounds * 7 / 10, "half is away, and nothing is used: %u of %u estimates", good,
	   rounds);
	ok(!far, "... and none is far off");
	reclaimer_draw(r);
	for (gfn_t gfn = 512; gfn < 1024; gfn++)
		touch(gfn);
	reclaimer_estimate(r);
	ok(stats().working_set_pages > 300 && stats().working_set_pages < 700,
	   "what came home was used (%lu)", (long)stats().working_set_pages);
	for (gfn_t gfn = 0; gfn < 1024; gfn++)
		touch(gfn);
	reclaimer_sample(r);
	while (pages_in(PG_PRIVATE))
		reclaimer_evict(r, EVICT_BATCH, true, &chosen);
	reclaimer_draw(r);
	for (gfn_t gfn = 0; gfn < 1024; gfn++)
		touch(gfn);
	reclaimer_sample(r);
	while (pages_in(PG_PRIVATE))
		reclaimer_evict(r, EVICT_BATCH, true, &chosen);
	reclaimer_estimate(r);
	is(stats().working_set_pages, 1024, "... also what has left again");
	reclaimer_draw(r);
	reclaimer_estimate(r);
	is(stats().working_set_pages, 0, "... and what stayed away was not");
	end();
}

/* The guest writes pages that are like frames of the store, or all zeroes; and they become so. */
static void merge(gfn_t gfn, uint64_t nr, enum page_state to)
{
	struct share_run run = { gfn, nr, to, frame_of(1) };
	struct share_result res = { 0 };

	for (uint64_t i = 0; i < nr; i++)
		fill_page((uint64_t *)hva(gfn + i), to == PG_ZERO ? 0 : 1 + i);
	gmem_lock(gm, GMEM_LOOK);
	if (to == PG_ZERO) {
		zero_commit(gm, &run, 1, &res);
	} else {
		for (uint64_t i = 0; i < nr; i++)
			references[1 + i]++;
		share_commit(gm, &run, &res);
	}
	gmem_unlock(gm);
	take_back();
}

/* Chosen, because the policy has not heard of it yet; but they have not left by that. */
static void test_merged(void)
{
	uint64_t chosen;

	begin(GMEM_HUGE_NEVER, RECLAIM_FIFO);
	fill(0, 64, fill_text);
	reclaimer_sample(r);
	merge(0, 16, PG_SHARED);
	merge(16, 16, PG_ZERO);
	gmem_balloon(gm, 32, 16, NULL);
	reclaimer_evict(r, 64, false, &chosen);
	is(chosen, 64, "pages are chosen that are merged, zero or ballooned by now%s",
	   guest_kind());
	is(stats().gone_pages, 16, "... and the others leave");
	fill(0, 64, fill_text);
	reclaimer_sample(r);
	is(stats().refault_pages, 16, "when all are back, only these are refaults");
	is(differ(), 0, "... and all are known");
	end();
}

/* ---- at random ---- */

static bool left[NR_PAGES]; /* the page was chosen, and left */
static uint64_t came_back;  /* such pages, as samples should have found them */

static void sample(void)
{
	for (gfn_t gfn = 0; gfn < NR_PAGES; gfn++) {
		if (state_of(gfn) != PG_PRIVATE || is_known(gfn))
			continue;
		came_back += left[gfn];
		left[gfn] = false;
	}
	reclaimer_sample(r);
}

/* A page that stays is known again.  If it is private and not known, the pool sent it back. */
static void evict(uint64_t nr, bool any)
{
	bool known[NR_PAGES];
	uint64_t chosen;

	for (gfn_t gfn = 0; gfn < NR_PAGES; gfn++)
		known[gfn] = is_known(gfn);
	reclaimer_evict(r, nr, any, &chosen);
	for (gfn_t gfn = 0; gfn < NR_PAGES; gfn++)
		if (known[gfn] && !is_known(gfn))
			left[gfn] = state_of(gfn) == PG_COMPRESSED || state_of(gfn) == PG_PRIVATE;
}

static void one_step(void)
{
	gfn_t gfn = tap_random(&rng) % (NR_PAGES - 64);
	uint64_t nr = 1 + tap_random(&rng) % 64;
	struct gmem_packed packed = { 0 };

	switch (tap_random(&rng) % 11) {
	case 0:
	case 1: fill(gfn, nr, fill_text); break;
	case 2: fill(gfn, nr / 8, fill_random); break;
	case 3: gmem_drop(gm, gfn, nr, NULL); break;
	case 4: gmem_balloon(gm, gfn, nr, NULL); break;
	case 5: gmem_compress(gm, gfn, nr, GMEM_NR_WATCHERS, &packed); break;
	case 6: touch(gfn); break;
	case 7: sample(); break;
	case 8: evict(nr, tap_random(&rng) % 4 == 0); break;
	case 9: merge(gfn, nr, PG_SHARED); break;
	case 10: merge(gfn, nr, PG_ZERO);
	}
}

static void test_lockstep(enum reclaim_kind kind)
{
	uint64_t bad = 0, known = 0;

	begin(kind % 2 ? GMEM_HUGE_NEVER : GMEM_HUGE_AUTO, kind);
	memset(left, 0, sizeof(left));
	came_back = 0;
	for (unsigned int i = 0; i < STEPS; i++) {
		one_step();
		if (i % 10)
			continue;
		sample();
		bad += differ();
		known += r->policy->nr_resident != pages_in(PG_PRIVATE);
	}
	is(bad + known, 0, "%s knows what is private after each sample%s", policy_name(),
	   guest_kind());
	ok(stats().gone_pages > 0 && came_back > 0, "... and pages left and came back (%lu)",
	   (long)came_back);
	is(stats().refault_pages, came_back, "... which are the refaults");
	is_sound("at random");
	end();
}

/* ---- more memory than credits ---- */

#define PAGES 1200u
#define ROOM  700u

static uint64_t wrong_pages;

static void *guest(void *arg)
{
	(void)arg;
	fill(0, PAGES, fill_text);
	wrong_pages = wrong(0, PAGES, fill_text, true);
	return NULL;
}

static void test_direct(enum gmem_hugepages hugepages, enum reclaim_kind kind)
{
	struct quire_error err;
	struct gmem_stats s;
	pthread_t thread;

	begin(hugepages, kind);
	atomic_store(&most_taken, ROOM);
	if (reclaimer_start(r, &err))
		tap_bail("%s", err.text);
	pthread_create(&thread, NULL, guest, NULL);
	pthread_join(thread, NULL);
	gmem_stats(gm, &s);
	is(wrong_pages, 0, "%s: a guest of more pages than credits finds all its bytes%s",
	   policy_name(), guest_kind());
	ok(s.most_resident_pages <= ROOM, "... and never had more than it may (%lu)",
	   (long)s.most_resident_pages);
	ok(s.pool.object_pages >= PAGES - ROOM, "... the others are compressed (%lu)",
	   (long)s.pool.object_pages);
	ok(stats().direct > 0, "... because it waited");
	is_sound("after a guest that is too large");
	atomic_store(&most_taken, LONG_MAX);
	end();
}

/* Asked, it frees so many pages and no more than a batch beyond. */
static void test_asked(void)
{
	struct quire_error err;
	uint64_t freed;

	begin(GMEM_HUGE_NEVER, RECLAIM_GEN);
	fill(0, 1000, fill_text);
	if (reclaimer_start(r, &err))
		tap_bail("%s", err.text);
	is(stats().passes, 0, "who is not asked looks at nothing%s", guest_kind());
	reclaimer_ask(r, 300);
	while (atomic_load(&r->asked))
		usleep(1000);
	freed = stats().freed_pages;
	ok(freed >= 300 && freed < 300 + EVICT_BATCH, "who is asked frees as much (%lu pages)",
	   (long)freed);
	is(wrong(0, 1000, fill_text, true), 0, "all pages have their bytes");
	reclaimer_ask(r, 100000);
	while (!r->dry_until_ns)
		usleep(1000);
	ok(pages_in(PG_COMPRESSED) > 900, "... and as much as can be freed, if that is less (%lu)",
	   (long)pages_in(PG_COMPRESSED));
	reclaimer_ask(r, 0);
	is_sound("after requests");
	end();
}

/* ---- by hand ---- */

/* Whoever asks does not wait for the disk: the thread does, whose part is done here. */
static void test_by_hand(void)
{
	struct gmem_swapped out;
	uint64_t first, last = 0;

	begin_with_swap();
	fill(0, 64, fill_text);
	is(reclaimer_end_swap(r, 1, &out), -ESTALE, "no ticket is good at first%s", guest_kind());
	first = reclaimer_begin_swap(r, 0, 32, GMEM_NR_WATCHERS);
	ok(first, "pages are to be swapped out by hand");
	is(pages_in(PG_SWAPPED), 0, "... which is not done at once");
	is(reclaimer_end_swap(r, first, &out), -EINPROGRESS, "... as whoever asks hears");
	is(reclaimer_begin_swap(r, 32, 32, GMEM_NR_WATCHERS), 0, "... and nothing else is begun");
	reclaimer_swap_by_hand(r);
	is(pages_in(PG_SWAPPED), 32, "the thread does it");
	reclaimer_swap_by_hand(r);
	is(reclaimer_end_swap(r, first, &out), 0, "... once");
	is(out.swapped, 32, "... and that is the result");
	for (unsigned int i = 0; i < BY_HAND_RESULTS; i++) {
		last = reclaimer_begin_swap(r, NR_PAGES - 1, 2, GMEM_NR_WATCHERS);
		reclaimer_swap_by_hand(r);
	}
	is(reclaimer_end_swap(r, last, &out), -EFAULT, "what is no RAM is not swapped out");
	is(reclaimer_end_swap(r, first, &out), -ESTALE, "old results are forgotten");
	is(reclaimer_end_swap(r, last - BY_HAND_RESULTS + 1, &out), -EFAULT,
	   "... but not the last few");
	is(wrong(0, 64, fill_text, true), 0, "all pages have their bytes");
	end();
}

/* ---- what is given back first ---- */

static bool looks;     /* somebody looks for pages that need no frame ... */
static bool busy_now;  /* ... and still does ... */
static uint64_t found; /* ... and found so many so far */
static unsigned int nr_looks;

static bool start_look(void *ctx)
{
	(void)ctx;
	nr_looks += looks;
	busy_now = looks;
	return looks;
}

static uint64_t found_so_far(void *ctx, bool *busy)
{
	(void)ctx;
	*busy = busy_now;
	return found;
}

static void begin_giving(enum tendency_rule rule, unsigned int swappiness)
{
	begin(GMEM_HUGE_NEVER, RECLAIM_GEN);
	r->config.rule = rule;
	r->config.swappiness = swappiness;
	r->config.give_back = start_look;
	r->config.given_back = found_so_far;
	looks = true;
	busy_now = false;
	nr_looks = 0;
}

static uint64_t weigh(uint64_t now_ms)
{
	return reclaimer_weigh(r, atomic_load(&r->asked), now_ms * NS_PER_MS);
}

/* Looks end without a find until there is no other one.  How many do? */
static unsigned int looks_in_vain(uint64_t now_ms)
{
	unsigned int nr = 0;

	for (; busy_now; nr++) {
		busy_now = false;
		weigh(now_ms);
	}
	return nr;
}

static void test_gives(void)
{
	begin_giving(TENDENCY_COST, 60);
	reclaimer_ask(r, 1000);
	is(weigh(0), 300, "of 1000 pages 300 are sent away at once with swappiness 60%s",
	   guest_kind());
	is(nr_looks, 1, "... and somebody looks for the others");
	found += 500;
	is(weigh(10), 300, "500 are found, and as many are to be sent as before");
	is(atomic_load(&r->asked), 500, "... but 500 less are wanted");
	reclaimer_done(r, 300);
	is(weigh(20), 0, "those that were sent are done, and the rest is waited for");
	is(weigh(1209), 0, "... while somebody looks, and the priority has not fallen to 0");
	is(weigh(1210), 200, "... and not longer");
	is(stats().given_pages, 500, "500 were given back");
	end();

	begin_giving(TENDENCY_COST, 0);
	reclaimer_ask(r, 1000);
	is(weigh(0), 0, "with swappiness 0 nothing is sent at first");
	found += 200;
	busy_now = false;
	is(weigh(1), 0, "... nor when 200 were found");
	reclaimer_ask(r, 2000);
	is(weigh(1), 0, "... nor when more is asked for");
	reclaimer_ask(r, 900);
	is(nr_looks, 2, "... because there is another look");
	is(looks_in_vain(2), 8, "... until eight have found nothing");
	is(weigh(2), 900, "... and then the rest is sent");
	reclaimer_ask(r, 0);
	weigh(3);
	reclaimer_ask(r, 100);
	is(weigh(4), 0, "it was worth it, so the next time is the same");
	looks_in_vain(5);
	is(weigh(5), 100, "... but if nothing at all was found");
	reclaimer_ask(r, 0);
	weigh(6);
	reclaimer_ask(r, 100);
	is(weigh(1004), 100, "... there is no look for a second");
	reclaimer_ask(r, 0);
	weigh(1004);
	reclaimer_ask(r, 100);
	is(weigh(1005), 0, "... and then there is");
	looks = false;
	end();

	begin_giving(TENDENCY_COST, 200);
	reclaimer_ask(r, 1000);
	is(weigh(0), 1000, "with swappiness 200 all is sent at once");
	is(nr_looks, 0, "... and nobody looks");
	end();

	begin_giving(TENDENCY_COST, 0);
	looks = false;
	reclaimer_ask(r, 1000);
	is(weigh(0), 1000, "if nobody can look, all is sent at once");
	end();

	begin_giving(TENDENCY_CLASSIC, 60);
	reclaimer_ask(r, 1000);
	is(weigh(0), 0, "classic: nothing is sent from a guest of which little is mapped");
	is(weigh(1100), 1000, "... until distress is 50");
	fill(0, NR_PAGES * 4 / 5, fill_text);
	reclaimer_ask(r, 0);
	weigh(1101);
	reclaimer_ask(r, 1000);
	is(weigh(5000), 1000, "... and all at once, when 80 of 100 pages are mapped");
	end();
}

static void test_all(void)
{
	test_knows();
	test_used();
	test_incompressible();
	test_leaf();
	test_swap();
	test_spill();
	test_merged();
	if (!guest_on_shadow)
		test_working_set();
	test_working_set_away();
	for (unsigned int kind = 0; kind < RECLAIM_NR_POLICIES; kind++)
		test_lockstep(kind);
	test_direct(GMEM_HUGE_NEVER, RECLAIM_GEN);
	test_direct(GMEM_HUGE_AUTO, RECLAIM_CLOCK);
	test_asked();
	test_by_hand();
	test_gives();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_all();
	guest_on_shadow = true;
	test_all();
	return tap_done();
}
