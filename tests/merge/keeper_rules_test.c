/* SPDX-License-Identifier: MIT */
/*
 * What the keeper looks at and when: pages written again and again, regions that are hot, 2 MiB
 * leaves, first reads, hashes that collide, and writes that it must not forget.
 */
#include "keeper_lab.h"

#define NR     1000
#define MEMORY (256 * MiB / QUIRE_PAGE_SIZE)

static struct lab_vm vm[3];

static void start(unsigned int nr, struct lab_vm like)
{
	lab_machine_open(MEMORY);
	for (unsigned int v = 0; v < nr; v++) {
		vm[v] = like;
		lab_vm_start(&vm[v]);
	}
}

static void end(unsigned int nr)
{
	for (unsigned int v = 0; v < nr; v++) {
		ok(lab_all_right(&vm[v], false), "every byte of vm %u is right", v);
		is(gmem_audit(vm[v].gm, lab_report, NULL), 0, "audit of vm %u", v);
	}
	ok(lab_eventually(lab_references_agree, vm, nr), "references are what entries name");
	for (unsigned int v = 0; v < nr; v++)
		lab_vm_end(&vm[v]);
	lab_machine_close();
}

static const struct lab_vm small = {
	.nr = NR, .domain = "a", .hugepages = GMEM_HUGE_NEVER, .mode = KEEPER_ON, .logged = true
};

static void write_all(struct lab_vm *v, gfn_t gfn, uint64_t nr, uint32_t first, uint32_t step)
{
	for (uint64_t i = 0; i < nr; i++)
		lab_write(v, gfn + i, first + (uint32_t)i * step, i % 2);
}

/* ---- the pace of looking ---- */

/* A page that is written as soon as it is shared is shared less and less often. */
static void test_backing_off(void)
{
	uint64_t merges = 0, first = 0, others;

	start(2, small);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 32, 100, 1);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 32, "pages and their partners are shared");
	for (unsigned int i = 0; i < 64; i++) {
		if (lab_page_state(&vm[0], 7) == PG_SHARED) {
			merges++;
			first += i < 16;
			lab_write(&vm[0], 7, 107, true);
		}
		lab_pass(&vm[0], 1);
	}
	ok(merges >= 3 && merges <= 8, "a page written each time is shared %lu times in 64 passes",
	   (long)merges);
	ok(first > merges - first, "%lu times of these in the first 16", (long)first);
	lab_write(&vm[0], 7, 999, true);
	is(lab_reason(&vm[0], NOTE_BACKING_OFF), 1, "then it is backing off");
	write_all(&vm[0], 32, 10, 100, 1);
	lab_pass(&vm[0], 2);
	others = lab_pages(&vm[0], PG_SHARED);
	is(others, 41, "others are shared at once");
	ok(lab_adds_up(&vm[0]), "all adds up");
	end(2);
}

static unsigned int level(struct lab_vm *v, gfn_t gfn)
{
	unsigned int backoff;

	gmem_lock(v->gm, GMEM_LOOK);
	backoff = note_backoff(v->gm->share.note[gfn]);
	gmem_unlock(v->gm);
	return backoff;
}

static bool is_away(struct lab_vm *v, gfn_t gfn)
{
	return lab_page_state(v, gfn) == PG_SHARED || lab_page_state(v, gfn) == PG_ZERO;
}

/* Break the page whenever it is away, until it backs off for 2^n passes. */
static void break_often(struct lab_vm *v, gfn_t gfn, unsigned int n)
{
	uint32_t content = v->content[gfn];

	for (unsigned int i = 0; i < 100 && level(v, gfn) < n; i++) {
		if (is_away(v, gfn)) {
			lab_write(v, gfn, 12345, true);
			lab_write(v, gfn, content, true);
		}
		lab_pass(v, 1);
	}
}

/* How many passes until the page backs off less; it is left alone. */
static unsigned int passes_to_relax(struct lab_vm *v, gfn_t gfn)
{
	unsigned int was = level(v, gfn), passes = 0;

	while (level(v, gfn) == was && passes < 100) {
		lab_pass(v, 1);
		passes++;
	}
	return level(v, gfn) == was - 1 ? passes : 0;
}

/* What stays away is forgiven, step by step, and no sooner than it would have been shared again. */
static void test_backing_off_less(void)
{
	static const gfn_t page[] = { 7, 40 }; /* shared, zero */
	unsigned int passes;

	start(2, small);
	for (unsigned int v = 0; v < 2; v++) {
		write_all(&vm[v], 0, 32, 100, 1);
		write_all(&vm[v], 40, 8, 0, 0);
	}
	lab_rounds(vm, 2, 4);
	for (unsigned int i = 0; i < ARRAY_SIZE(page); i++) {
		gfn_t gfn = page[i];

		break_often(&vm[0], gfn, 3);
		is(level(&vm[0], gfn), 3, "page %lu was broken three times", (long)gfn);
		lab_always(&vm[0], gfn, 1, true);
		lab_pass(&vm[0], 20);
		lab_always(&vm[0], gfn, 1, false);
		is(level(&vm[0], gfn), 3, "who goes on writing it gains nothing by waiting");
		for (passes = 0; !is_away(&vm[0], gfn) && passes < 16; passes++)
			lab_pass(&vm[0], 1);
		ok(is_away(&vm[0], gfn) && level(&vm[0], gfn) == 3,
		   "that it is away again changes nothing");
		passes = passes_to_relax(&vm[0], gfn);
		ok(passes >= 8 && passes <= 16, "it backs off less after %u passes", passes);
		is(passes_to_relax(&vm[0], gfn), 4, "... again after 4");
		is(passes_to_relax(&vm[0], gfn), 2, "... and 2");
		is(level(&vm[0], gfn), 0, "then it is like any other");
		break_often(&vm[0], gfn, 1);
		is(level(&vm[0], gfn), 1, "broken once more it starts anew");
	}
	lab_pass(&vm[0], 20);
	ok(!vm[0].gm->share.any_backoff, "in the end nobody backs off");
	is(lab_pages(&vm[0], PG_SHARED), 32, "and all is shared");
	end(2);
}

/* An idle VM costs a question a region. */
static void test_idle(void)
{
	struct keeper_stats before, after;

	start(2, small);
	for (unsigned int v = 0; v < 2; v++) {
		write_all(&vm[v], 0, 300, 100, 1);
		write_all(&vm[v], 300, 300, 1000 + 1000 * v, 1);
		write_all(&vm[v], 600, 100, 0, 0);
	}
	lab_rounds(vm, 2, 4);
	before = lab_keeper(&vm[0]);
	lab_pass(&vm[0], 5);
	after = lab_keeper(&vm[0]);
	is(after.pages_scanned, before.pages_scanned, "an idle VM's passes scan nothing");
	ok(after.pages_skipped >= before.pages_skipped + 5 * 300, "they pass over what is private");
	ok(after.full_scans >= before.full_scans + 5, "and are counted");
	lab_write(&vm[0], 310, 100, true);
	lab_pass(&vm[0], 3);
	is(lab_keeper(&vm[0]).pages_scanned, after.pages_scanned + 1,
	   "of what is written one page is scanned, once");
	is(lab_page_state(&vm[0], 310), PG_SHARED, "and shared");
	end(2);
}

static uint64_t until_passes(struct lab_vm *v, uint64_t done)
{
	while (keeper_passes_done(v->k) < done)
		usleep(10000);
	return monotonic_ns();
}

/*
 * The pauses of a VM that has settled grow to more than the 4 s of one that may have something
 * soon.  A page that comes in ends them.  A busy host makes pauses only longer, so the last one is
 * compared with those before it.
 */
static void test_settling(void)
{
	uint64_t done, before, now, longest = 0;

	start(2, small);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 300, 100, 1);
	lab_rounds(vm, 2, 4);
	done = keeper_passes_done(vm[0].k);
	before = monotonic_ns();
	while (longest < 12 * NS_PER_S) {
		now = until_passes(&vm[0], ++done);
		longest = max_u64(longest, now - before);
		before = now;
	}
	ok(true, "an idle VM is looked at ever more rarely");
	ok(lab_adds_up(&vm[0]), "all adds up");
	before = monotonic_ns();
	lab_write(&vm[0], 700, 1, true);
	now = until_passes(&vm[0], ++done);
	ok(now - before < longest / 2, "a page that comes in ends the pause, %lu ms",
	   (long)((now - before) / NS_PER_MS));
	end(2);
}

static void test_hot_region(void)
{
	struct lab_vm like = small;

	like.region_pages = 512;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, NR, 100, 1);
	lab_always(&vm[0], 0, 200, true);
	lab_pass(&vm[0], 3);
	is(lab_keeper(&vm[0]).watched_regions, 1,
	   "a region that is hot is not watched after 3 visits");
	ok(!vm[0].watched[0] && vm[0].watched[1], "and its log is off");
	/* Quiet now, and written while nobody looked. */
	lab_always(&vm[0], 0, 200, false);
	write_all(&vm[0], 300, 50, 5000, 1);
	lab_pass(&vm[0], 4);
	is(lab_keeper(&vm[0]).watched_regions, 2, "some passes later it is watched again");
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), NR - 50, "and its pages are shared");
	end(2);
}

/* The grace of a second: nothing is watched or looked at unless somebody asks. */
static void test_grace(void)
{
	start(1, small);
	lab_write(&vm[0], 0, 1, true);
	usleep(300000);
	is(vm[0].watches + lab_keeper(&vm[0]).pages_scanned + keeper_passes_done(vm[0].k), 0,
	   "a VM that has just begun is left alone");
	end(1);
}

/* While the guest fills its memory it is not watched, and soon after it is. */
#define FILLING 4u /* passes */

static atomic_uint filled, watched_early;

static void fill_some(struct lab_vm *v)
{
	if (filled == FILLING)
		return;
	watched_early += v->watches;
	write_all(v, filled * 100, 100, 1000, 1);
	filled++;
}

static void test_filling(void)
{
	struct lab_vm like = small;
	unsigned int tries = 0;

	filled = watched_early = 0;
	like.on_pass = fill_some;
	start(1, like);
	while (filled < FILLING)
		usleep(10000);
	is(watched_early, 0, "a region that grows is not watched");
	while (!lab_keeper(&vm[0]).watched_regions && tries++ < 1000)
		usleep(10000);
	is(lab_keeper(&vm[0]).watched_regions, 1, "one that does not grow any more is");
	end(1);
}

/* What was written before anybody watched is quiet if it is not written in the epoch. */
static void test_first_pass(void)
{
	start(2, small);
	for (unsigned int v = 0; v < 2; v++) {
		write_all(&vm[v], 0, 100, 1000, 1);
		lab_pass(&vm[v], 1);
	}
	is(lab_pages(&vm[1], PG_SHARED), 100, "the first pass shares what it finds");
	end(2);
}

/* ---- nothing is forgotten ---- */

static enum keeper_mode next_mode;

static void change_mode(struct lab_vm *v)
{
	keeper_set_mode(v->k, next_mode);
	v->on_fetch = NULL;
}

/* A change of mode in the middle of a visit, which has fetched what was written. */
static void test_interrupted(void)
{
	struct lab_vm like = small;

	like.nr = 3000;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 3000, 10000 * (v + 1), 1);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 0, "all is unique");
	write_all(&vm[0], 2500, 100, 20000 + 2500, 1);
	next_mode = KEEPER_ZERO;
	vm[0].on_fetch = change_mode;
	lab_pass(&vm[0], 1);
	ok(!vm[0].on_fetch, "a visit is cut short by a change of mode");
	keeper_set_mode(vm[0].k, KEEPER_ON);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 100, "what was written before it is not forgotten");
	end(2);
}

/* What was unique and is written while the keeper is off. */
static void test_written_while_off(void)
{
	start(2, small);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 100, 1000 * (v + 1), 1);
	lab_rounds(vm, 2, 4);
	keeper_set_mode(vm[0].k, KEEPER_OFF);
	lab_pass(&vm[0], 1);
	write_all(&vm[0], 0, 100, 2000, 1);
	keeper_set_mode(vm[0].k, KEEPER_ON);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 100, "what was written while it was off is found");
	end(2);
}

/* What devices write is in no log of the guest's writes. */
static void test_written_by_accessors(void)
{
	start(2, small);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 100, 1000 * (v + 1), 1);
	lab_rounds(vm, 2, 4);
	for (gfn_t g = 0; g < 100; g++)
		lab_write(&vm[0], g, 2000 + (uint32_t)g, false);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 100, "what the accessors wrote is found");
	end(2);
}

/* Regions may begin in the middle of a block. */
static void test_odd_regions(void)
{
	struct lab_vm like = small;

	like.nr = 2000;
	like.region_pages = 448;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 2000, 100, 1);
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 2000, "regions of 448 pages: all is shared");
	end(2);
}

/* Without a log all is looked at each time. */
static void test_no_log(void)
{
	struct lab_vm like = small;

	like.logged = false;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++)
		write_all(&vm[v], 0, 100, 1000 * (v + 1), 1);
	lab_rounds(vm, 2, 3);
	write_all(&vm[0], 0, 100, 2000, 1);
	lab_rounds(vm, 2, 3);
	is(lab_pages(&vm[0], PG_SHARED), 100,
	   "without a log too what was unique is shared when it is not");
	end(2);
}

/* ---- leaves ---- */

static bool is_large(struct lab_vm *v, gfn_t gfn)
{
	struct stage2_page page;

	gmem_lookup(v->gm, gfn, &page);
	return page.level == 2;
}

/* A block that is all private: `dup` pages as in the other VM, the others unique. */
static void fill_block(struct lab_vm *v, gfn_t block, uint64_t dup, uint32_t unique)
{
	range_bring_in(v->gm, block, QUIRE_BLOCK_PAGES);
	write_all(v, block, QUIRE_BLOCK_PAGES, unique + (uint32_t)block, 1);
	for (uint64_t i = 0; i < dup; i++)
		lab_write(v, block + i * 5, 1000000 + (uint32_t)(block + i), true);
}

static void test_leaves(void)
{
	struct lab_vm like = small;

	like.nr = 4 * QUIRE_BLOCK_PAGES;
	like.hugepages = GMEM_HUGE_AUTO;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++) {
		fill_block(&vm[v], 0, LEAF_WORTH - 1, 10000 * (v + 1));
		fill_block(&vm[v], 512, LEAF_WORTH, 10000 * (v + 1));
		fill_block(&vm[v], 1024, 20, 10000 * (v + 1));
		for (gfn_t g = 1500; g < 1500 + 36 - (v ? 0 : 20); g++)
			lab_write(&vm[v], g, 0, true);
	}
	lab_rounds(vm, 2, 2);
	lab_rounds(vm, 2, 16); /* each block has its turn, after both were looked at */
	ok(is_large(&vm[0], 0) && is_large(&vm[1], 0), "%lu equal pages: the leaf is kept",
	   LEAF_WORTH - 1);
	ok(!is_large(&vm[0], 512) && !is_large(&vm[1], 512), "%lu: it is split", LEAF_WORTH);
	ok(is_large(&vm[0], 1024) && is_large(&vm[1], 1024),
	   "20, and 16 or 36 of zeroes: it is kept");
	is(lab_pages(&vm[0], PG_SHARED), LEAF_WORTH, "what is shared is of the second block");
	is(lab_reason(&vm[1], NOTE_KEPT_HUGE), LEAF_WORTH - 1 + 20 + 36,
	   "the others are private for the sake of their leaves");
	ok(lab_adds_up(&vm[0]) && lab_adds_up(&vm[1]), "all adds up");
	end(2);
}

static void test_collapse(void)
{
	struct lab_vm like = small;
	int host;

	like.nr = 2 * QUIRE_BLOCK_PAGES;
	like.hugepages = GMEM_HUGE_AUTO;
	start(2, like);
	for (unsigned int v = 0; v < 2; v++)
		fill_block(&vm[v], 0, 100, 10000 * (v + 1));
	lab_rounds(vm, 2, 4);
	is(lab_pages(&vm[0], PG_SHARED), 100, "a block is split for 100 pages");
	lab_vm_end(&vm[1]);
	vm[1].k = NULL;
	for (gfn_t i = 0; i < 100; i++)
		lab_write(&vm[0], i * 5, 500000 + (uint32_t)i, true);
	is(lab_pages(&vm[0], PG_SHARED), 0, "its pages come home");
	range_bring_in(vm[0].gm, 512, 512);
	block_split(vm[0].gm, 512);
	host = block_collapse(vm[0].gm, 512);
	lab_pass(&vm[0], 8);
	if (host)
		tap_skip("the host makes no huge pages now: %s", strerror(-host));
	else
		ok(is_large(&vm[0], 0) && lab_keeper(&vm[0]).collapsed_blocks == 1,
		   "and it is put together again");
	end(1);
}

/* ---- first reads ---- */

static void test_first_reads(void)
{
	uint64_t spent;

	start(1, small);
	spent = credits_held(vm[0].credits) - credits_spare(vm[0].credits);
	ok(lab_reads_right(&vm[0], 600, true), "what was never written reads as zeroes");
	is(lab_page_state(&vm[0], 600), PG_ZERO, "and is a page of zeroes then");
	ok(lab_stats(&vm[0]).zero_read_pages > 0, "which is counted");
	is(credits_held(vm[0].credits) - credits_spare(vm[0].credits), spent, "it costs no credit");
	is(ramfile_pages(vm[0].gm->window.ram_fd), 0, "and no memory");
	lab_write(&vm[0], 600, 5, true);
	is(lab_page_state(&vm[0], 600), PG_PRIVATE, "a write makes it private");
	ok(lab_reads_right(&vm[0], 600, true) && lab_reads_right(&vm[0], 601, true), "alone");
	ok(lab_adds_up(&vm[0]), "and is paid for");
	end(1);
}

/* ---- collisions ---- */

static uint64_t one_hash(const struct hash_secret *secret, const void *page)
{
	(void)secret, (void)page;
	return 42;
}

static uint64_t four_hashes(const struct hash_secret *secret, const void *page)
{
	(void)secret;
	return *(const uint64_t *)page % 4;
}

static void test_collisions(page_hasher *hash, const char *what)
{
	uint64_t shared = 0;

	lab.hash = hash;
	start(3, small);
	for (unsigned int v = 0; v < 3; v++) {
		write_all(&vm[v], 0, 300, 100, 1);
		write_all(&vm[v], 300, 100, 7, 0);
		write_all(&vm[v], 400, 100, 1000 * v, 1);
	}
	lab_rounds(vm, 3, 6);
	for (gfn_t g = 0; g < 200; g++)
		lab_write(&vm[g % 3], g * 2, (uint32_t)g, g % 2);
	lab_rounds(vm, 3, 6);
	for (unsigned int v = 0; v < 3; v++) {
		shared += lab_pages(&vm[v], PG_SHARED);
		ok(lab_adds_up(&vm[v]), "%s: all of vm %u adds up", what, v);
	}
	ok(shared && lab_keeper(&vm[0]).mismatches + lab_keeper(&vm[1]).mismatches,
	   "%s: %lu pages are shared, others were refused", what, (long)shared);
	is(lab_machine_audit(), 0, "%s: audit of the machine", what);
	end(3);
	lab.hash = NULL;
}

int main(int argc, char **argv)
{
	tap_init();
	(void)tap_seed(argc, argv);
	guest_take_mode();
	lab_catch_segv();
	test_grace();
	test_filling();
	test_first_pass();
	test_idle();
	test_settling();
	test_backing_off();
	test_backing_off_less();
	test_hot_region();
	test_interrupted();
	test_written_while_off();
	test_written_by_accessors();
	test_odd_regions();
	test_no_log();
	test_leaves();
	test_collapse();
	test_first_reads();
	test_collisions(one_hash, "one hash");
	test_collisions(four_hashes, "four hashes");
	return tap_done();
}
