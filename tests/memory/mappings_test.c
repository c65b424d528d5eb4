/* SPDX-License-Identifier: MIT */
/*
 * The mappings that the window takes: our count against the kernel's, and what happens where there
 * are no more of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "mmu/memory/away.h"
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

/* ---- writes at random ---- */

#define RUN (CONTENTS - 1) /* contents 1.. follow each other */

static uint64_t written[NR_PAGES]; /* the first word of each page */

/* All of memory is shared, in runs that are as long as can be. */
static void share_all(void)
{
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		write_content(g, CONTENT_OF(g));
		written[g] = *(uint64_t *)hva(g);
	}
	for (gfn_t g = 0; g < NR_PAGES; g += RUN)
		share(g, min_u64(RUN, NR_PAGES - g));
}

static bool right_in(gfn_t start, gfn_t end)
{
	uint64_t want[QUIRE_PAGE_SIZE / sizeof(uint64_t)];

	for (gfn_t g = start; g < end; g++) {
		fill_page(want, CONTENT_OF(g));
		want[0] = written[g];
		if (memcmp(hva(g), want, sizeof(want))) {
			tap_note("gfn %#lx is wrong", (long)g);
			return false;
		}
	}
	return true;
}

static bool all_right(void)
{
	return right_in(0, NR_PAGES);
}

/* Write to a page at random.  False: there are too many mappings then. */
static bool write_somewhere(void)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;

	*(volatile uint64_t *)hva(gfn) = written[gfn] = tap_random(&rng);
	take_back();
	return gm->backend->mappings <= gm->backend->max_mappings;
}

/* Give a run its contents again, and share what may be shared of it. */
static void share_again(void)
{
	gfn_t gfn = tap_random(&rng) % NR_PAGES;
	uint64_t nr = 1 + tap_random(&rng) % 100;

	nr = min_u64(min_u64(nr, NR_PAGES - gfn), RUN - gfn % RUN);
	for (gfn_t g = gfn; g < gfn + nr; g++) {
		write_content(g, CONTENT_OF(g));
		written[g] = *(uint64_t *)hva(g);
	}
	share(gfn, nr);
}

/* A guest that writes at random.  There are as many mappings as it needs at most. */
static void test_random(void)
{
	uint64_t over = 0, apart = 0, most = 0, max;
	bool right = true;
	struct gmem_stats s;

	create(GMEM_HUGE_NEVER);
	share_all();
	max = gm->backend->max_mappings = gm->backend->mappings + 4 * 2 * NR_BLOCKS;
	for (unsigned int i = 0; i < 4000 * tap_storm(); i++) {
		over += !write_somewhere();
		if (i % 64 == 0 && i > 1000)
			share_again();
		most = max_u64(most, gm->backend->mappings);
		apart += !mappings_agree();
		if (i % 256 == 0)
			right &= all_right();
	}
	gmem_stats(gm, &s);
	is(over, 0, "at most %lu mappings: never more (%lu)", (long)max, (long)most);
	is(apart, 0, "and the kernel has as many as we count");
	ok(right && all_right(), "every byte is right");
	ok(s.unshared_pages > 1000, "%lu pages came home", (long)s.unshared_pages);
	is(s.mapping_reliefs, 0, "and nothing else did for the sake of mappings");
	ok(references_agree(), "no reference is lost");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

static unsigned int backoff_of(gfn_t gfn)
{
	unsigned int backoff;

	gmem_lock(gm, GMEM_LOOK);
	backoff = note_backoff(gm->share.note[gfn]);
	gmem_unlock(gm);
	return backoff;
}

/* A page that comes home alone is soon shared again.  A group is not. */
static void test_group_backs_off(void)
{
	create(GMEM_HUGE_NEVER);
	share_all();
	*(volatile uint64_t *)hva(100) = written[100] = 1;
	is(backoff_of(100), 1, "a page that comes home alone backs off once");
	gm->backend->max_mappings = gm->backend->mappings + 2;
	*(volatile uint64_t *)hva(110) = written[110] = 1;
	for (gfn_t g = 96; g < 112; g++)
		if (g != 100)
			is(backoff_of(g), NOTE_GROUP_BACKOFF, "%lu, of a group, more often", g);
	is(backoff_of(95) + backoff_of(112), 0, "and no other page");
	ok(all_right(), "every byte is right");
	destroy();
}

/* There are fewer: a mapping of zeroes is broken, and other parts of it must come home for that. */
static void test_relief(void)
{
	uint64_t page[QUIRE_PAGE_SIZE / sizeof(uint64_t)] = { 0 }, over = 0;
	bool right = true;
	struct gmem_stats s;

	create(GMEM_HUGE_NEVER);
	gm->share.zero_reads = true;
	for (gfn_t g = 0; g < NR_PAGES; g++)
		written[g] = *(volatile uint64_t *)hva(g);
	is(gm->backend->mappings, 1, "all of memory is one mapping of zeroes");
	gm->backend->max_mappings = 5;
	/* In three blocks, each in the middle of a mapping. */
	for (gfn_t g = 100; g < 3 * QUIRE_BLOCK_PAGES; g += QUIRE_BLOCK_PAGES)
		*(volatile uint64_t *)hva(g) = written[g] = 1;
	for (unsigned int i = 0; i < 1000; i++) {
		over += !write_somewhere();
		over += !mappings_agree();
	}
	for (gfn_t g = 0; g < NR_PAGES; g++) {
		page[0] = written[g];
		right &= !memcmp(hva(g), page, sizeof(page));
	}
	gmem_stats(gm, &s);
	is(over, 0, "there are at most 5, and the kernel has as many");
	ok(s.mapping_reliefs > 0, "%lu parts of it came home for the others",
	   (long)s.mapping_reliefs);
	ok(right, "every byte is right");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

/* ---- no mapping to spare ---- */

/* Nothing goes away, and no block becomes whole, but what is away comes home. */
static void test_margin(void)
{
	struct share_result res = { 0 };
	struct share_run run = { 3 * RUN, 1, PG_SHARED, frame_of(CONTENT_OF(0)) };

	create(GMEM_HUGE_AUTO);
	for (gfn_t g = 0; g < NR_PAGES; g++)
		write_content(g, CONTENT_OF(g));
	for (gfn_t block = 0; block < 3 * QUIRE_BLOCK_PAGES; block += QUIRE_BLOCK_PAGES)
		block_split(gm, block);
	share(RUN / 2, 1);
	gm->backend->max_mappings = 5;
	ok(!away_has_room(gm), "with 3 mappings of 5 in use there is no room");
	references[CONTENT_OF(0)]++;
	gmem_lock(gm, GMEM_LOOK);
	share_commit(gm, &run, &res);
	gmem_unlock(gm);
	is(res.no_room, 1, "so another run is not shared");
	is(note_reason(gm->share.note[run.gfn]), NOTE_BUDGET, "and says why");
	is(block_collapse(gm, 2 * QUIRE_BLOCK_PAGES), -ENOMEM, "and no block becomes whole");
	ok(references_agree(), "no reference is lost");
	destroy();
}

static atomic_bool stop;

/* The machine has a credit now and then. */
static void *machine(void *arg)
{
	while (!atomic_load(&stop)) {
		give_credits(1);
		usleep(50);
	}
	return arg;
}

/* Neither mappings nor credits are left: writers wait for credits, and are not killed. */
static void test_no_credits(void)
{
	uint64_t over = 0;
	pthread_t t;

	create(GMEM_HUGE_NEVER);
	share_all();
	gm->backend->max_mappings = gm->backend->mappings + 3;
	atomic_store(&most_taken, atomic_load(&taken));
	atomic_store(&stop, false);
	pthread_create(&t, NULL, machine, NULL);
	for (unsigned int i = 0; i < 1000; i++)
		over += !write_somewhere();
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	is(over, 0, "with few credits and mappings, never too many (%lu)",
	   (long)gm->backend->mappings);
	ok(mappings_agree(), "and the kernel has as many as we count");
	ok(all_right(), "every byte is right");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
	atomic_store(&most_taken, LONG_MAX);
}

/* Take up all mappings of the process.  NULL: there are more than this test wants to use up. */
static uint8_t *exhaust_mappings(size_t *bytes)
{
	uint8_t *p;

	*bytes = 140000 * QUIRE_PAGE_SIZE;
	p = mmap(NULL, *bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		tap_bail("mmap");
	for (size_t at = 0; at < *bytes; at += 2 * QUIRE_PAGE_SIZE)
		if (mprotect(p + at, QUIRE_PAGE_SIZE, PROT_READ))
			return p;
	return NULL;
}

/* Others have taken the mappings that the guest memory counts on. */
static void test_refused(void)
{
	uint64_t max;
	size_t bytes;
	uint8_t *hog;

	create(GMEM_HUGE_NEVER);
	share_all();
	for (gfn_t g = 5; g < NR_PAGES; g += 10)
		*(volatile uint64_t *)hva(g) = written[g] = 1;
	take_back();
	max = gm->backend->max_mappings;
	hog = exhaust_mappings(&bytes);
	if (!hog) {
		tap_skip("vm.max_map_count is larger than this test wants to use up");
		destroy();
		return;
	}
	/* In the middle of a mapping. */
	*(volatile uint64_t *)hva(10) = written[10] = 1;
	for (unsigned int i = 0; i < 500; i++)
		write_somewhere();
	munmap(hog, bytes);
	ok(gm->backend->max_mappings < max,
	   "the kernel refuses mappings, and the guest goes on with %lu",
	   (long)gm->backend->max_mappings);
	ok(mappings_agree(), "and the kernel has as many as we count");
	ok(all_right(), "every byte is right");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

/* ---- a host that has no memory for a mapping ---- */

static int refuse_home(struct backend *b, gfn_t gfn, uint64_t nr)
{
	(void)b, (void)gfn, (void)nr;
	return -ENOMEM;
}

/*
 * Pages are shared whose frames the host cannot free just now, because somebody holds the huge page
 * that they are in.  They come home; or if the host cannot even map them, they stay away.
 */
static void test_held(bool refuse)
{
	struct backend_ops ops;
	const struct backend_ops *whole;
	struct gmem_stats s;
	uint64_t shared;
	int pipes[2];
	struct iovec held;

	create(GMEM_HUGE_AUTO);
	write_content(0, CONTENT_OF(0));
	held = (struct iovec){ gm->window.alias, QUIRE_PAGE_SIZE };
	if (pipe(pipes) || !backend_is_huge(gm->backend, 0) ||
	    vmsplice(pipes[1], &held, 1, 0) < 0) {
		tap_skip("no huge page to be had, or to be held");
		gmem_destroy(gm);
		return;
	}
	block_split(gm, 0);
	for (gfn_t g = 10; g < 20; g++)
		write_content(g, CONTENT_OF(g));
	whole = gm->backend->ops;
	ops = *whole;
	if (refuse)
		ops.home = refuse_home;
	gm->backend->ops = &ops;
	shared = share(10, 10);
	gm->backend->ops = whole;
	is(shared, refuse ? 10 : 0, "pages whose frames cannot be freed %s",
	   refuse ? "stay away, if they cannot come home" : "come home");
	close(pipes[0]);
	close(pipes[1]);
	for (gfn_t g = 10; g < 20; g++)
		*(volatile uint64_t *)hva(g) = written[g] = g;
	take_back();
	gmem_stats(gm, &s);
	is(s.unshared_pages, shared, "and are written");
	ok(right_in(10, 20), "every byte is right");
	ok(references_agree(), "no reference is lost");
	is(gmem_audit(gm, describe, NULL), 0, "audit");
	destroy();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	test_apart();
	test_random();
	test_group_backs_off();
	test_relief();
	test_margin();
	test_no_credits();
	test_refused();
	test_held(false);
	test_held(true);
	return tap_done();
}
