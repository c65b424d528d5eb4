/* SPDX-License-Identifier: MIT */
/*
 * The compressed pool against a model: an array of the pages that are in it.
 *
 * Its addresses are inaccessible but where it has asked for pages.  So an object beyond its span,
 * or a span that went too early, ends the test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/pool/bitmap.h"
#include "mmu/pool/codec.h"
#include "mmu/pool/pool.h"
#include "tests/tap.h"

#define PAGES 3000u

static struct lab {
	struct pool *pool;
	uint8_t *base;
	uint64_t span;
	uint64_t pages;	     /* behind it now, by our own count */
	uint64_t most_pages; /* there is no memory for more */
} lab;

static int bring(void *ctx, uint64_t offset, uint64_t pages)
{
	(void)ctx;
	if (lab.pages + pages > lab.most_pages)
		return -EDQUOT;
	if (mprotect(lab.base + offset, pages * QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE))
		tap_bail("mprotect");
	lab.pages += pages;
	return 0;
}

static void take(void *ctx, uint64_t offset, uint64_t pages)
{
	(void)ctx;
	if (madvise(lab.base + offset, pages * QUIRE_PAGE_SIZE, MADV_DONTNEED) ||
	    mprotect(lab.base + offset, pages * QUIRE_PAGE_SIZE, PROT_NONE))
		tap_bail("madvise");
	lab.pages -= pages;
}

static void begin(uint64_t pages)
{
	struct pool_backing backing = { .bring = bring, .take = take };

	lab = (struct lab){ .span = POOL_BYTES(pages), .most_pages = UINT64_MAX };
	lab.base = backing.base =
		mmap(NULL, lab.span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (lab.base == MAP_FAILED || pool_create(&backing, pages, &lab.pool))
		tap_bail("no pool");
}

static void end(void)
{
	pool_destroy(lab.pool);
	munmap(lab.base, lab.span);
}

static void report(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("%s", what);
}

/* ---- pages ---- */

static int put(const uint8_t *page, uint64_t owner, pool_handle_t *handle)
{
	struct pool_packed packed;

	return pool_pack(page, &packed) ? pool_put(lab.pool, &packed, owner, handle) : -EFBIG;
}

/* A page of which so many bytes are random, so it packs to a little more. */
static void make_page(uint8_t *page, uint64_t *seed, unsigned int random)
{
	memset(page, (int)(tap_random(seed) & 0xff), QUIRE_PAGE_SIZE);
	for (unsigned int i = 0; i < random; i++)
		page[i] = (uint8_t)tap_random(seed);
}

static void make_filled(uint8_t *page, uint64_t *seed)
{
	codec_fill(page, (uint32_t)tap_random(seed));
}

static void any_page(uint8_t *page, uint64_t *seed)
{
	if (tap_random(seed) % 5 == 0)
		make_filled(page, seed);
	else
		make_page(page, seed, (unsigned int)(tap_random(seed) % 3400));
}

/* ---- bitmap and codec ---- */

static void test_bitmap(uint64_t *seed, uint64_t nr)
{
	uint64_t *words = calloc(bitmap_words(nr), sizeof(*words));
	uint8_t *model = calloc(nr, 1);
	unsigned int wrong = 0;
	struct bitmap b;

	bitmap_init(&b, nr, words);
	for (unsigned int i = 0; i < 3000; i++) {
		uint64_t n = tap_random(seed) % nr, first;

		/* Now it fills, and then it empties. */
		model[n] = tap_random(seed) % 1000 < (i / 1000 % 2 ? 100 : 700);
		if (model[n])
			bitmap_set(&b, n);
		else
			bitmap_clear(&b, n);
		for (first = 0; first < nr && !model[first];)
			first++;
		wrong += bitmap_has(&b, n) != model[n];
		wrong += bitmap_first(&b) != (first < nr ? first : BITMAP_NONE);
	}
	is(wrong, 0, "a set of numbers below %lu knows its members and the least of them",
	   (unsigned long)nr);
	free(model);
	free(words);
}

static void test_codec(uint64_t *seed)
{
	uint8_t page[QUIRE_PAGE_SIZE], back[QUIRE_PAGE_SIZE];
	unsigned int missed = 0;
	uint32_t word;

	for (unsigned int i = 0; i < 300; i++) {
		make_filled(page, seed);
		missed += !codec_is_filled(page, &word);
		codec_fill(back, word);
		missed += memcmp(page, back, sizeof(page)) != 0;
		page[tap_random(seed) % sizeof(page)] ^= 1u << (tap_random(seed) % 8);
		missed += codec_is_filled(page, &word);
	}
	is(missed, 0, "a page of one word is known by its word, and a bit more makes it another");
}

/* ---- the pool ---- */

static void test_one(const char *what, const uint8_t *page, uint64_t pages)
{
	uint8_t back[QUIRE_PAGE_SIZE];
	pool_handle_t handle;

	is(put(page, 7, &handle), 0, "%s goes in", what);
	ok(handle < 1ULL << 40, "... its handle fits in 40 bits");
	is(lab.pages, pages, "... and pages behind the pool are %lu", (unsigned long)pages);
	pool_get(lab.pool, handle, back);
	ok(!memcmp(page, back, sizeof(back)), "... it comes out as it was");
	pool_drop(lab.pool, handle);
	is(lab.pages, 0, "... and leaves nothing");
}

static void test_kinds(uint64_t *seed)
{
	uint8_t page[QUIRE_PAGE_SIZE];
	struct pool_stats stats;
	pool_handle_t handle;

	begin(PAGES);
	memset(page, 0, sizeof(page));
	test_one("a page of zeroes", page, 0);
	make_filled(page, seed);
	test_one("a page of one word", page, 0);
	make_page(page, seed, 10);
	test_one("a page that packs to a few bytes", page, 1);
	make_page(page, seed, 3000);
	test_one("a page that hardly packs", page, 3);
	make_page(page, seed, QUIRE_PAGE_SIZE);
	is(put(page, 7, &handle), -EFBIG, "a random page does not go in");
	lab.most_pages = 0;
	make_page(page, seed, 1000);
	is(put(page, 7, &handle), -EDQUOT, "without memory a page does not go in");
	pool_stats(lab.pool, &stats);
	is(stats.object_pages + stats.filled_pages + stats.pool_pages, 0, "... and nothing is");
	end();
}

/* The pool is full of the same kind of page. */
static void test_full(uint64_t *seed, unsigned int random)
{
	pool_handle_t *handle = calloc(PAGES, sizeof(*handle));
	uint8_t page[QUIRE_PAGE_SIZE];
	struct pool_stats stats;
	unsigned int failed = 0;

	begin(PAGES);
	make_page(page, seed, random);
	for (unsigned int i = 0; i < PAGES; i++)
		failed += put(page, i, &handle[i]) != 0;
	is(failed, 0, "%u pages with %u random bytes go in", PAGES, random);
	pool_stats(lab.pool, &stats);
	is(stats.pool_pages, lab.pages, "... it counts the pages behind it");
	tap_note("%lu bytes packed, %lu bytes of pages: %.1f %% lost",
		 (unsigned long)stats.object_bytes, (unsigned long)lab.pages * 4096,
		 100 - 100.0 * (double)stats.object_bytes / ((double)lab.pages * 4096));
	/* The largest step between classes is 64 bytes, and spans waste no more than a sixth. */
	ok(lab.pages * 4096 < (stats.object_bytes + 66ul * PAGES) * 6 / 5 + 4 * 4096,
	   "... which are not many more than what was packed needs");
	is(pool_audit(lab.pool, report, NULL), 0, "... and its books are right");
	for (unsigned int i = 0; i < PAGES; i++)
		pool_drop(lab.pool, handle[i]);
	is(lab.pages, 0, "... when all have left, nothing is behind it");
	free(handle);
	end();
}

struct model {
	pool_handle_t handle[PAGES];
	uint64_t owner[PAGES];
	uint8_t page[PAGES][QUIRE_PAGE_SIZE];
	unsigned int nr;
};

static bool put_any(struct model *m, uint64_t *seed)
{
	int err;

	any_page(m->page[m->nr], seed);
	m->owner[m->nr] = tap_random(seed) >> 16;
	err = put(m->page[m->nr], m->owner[m->nr], &m->handle[m->nr]);
	m->nr += !err;
	return !err || err == -EFBIG || (err == -EDQUOT && lab.pages + 4 > lab.most_pages);
}

static bool check(const struct model *m, unsigned int i)
{
	uint8_t back[QUIRE_PAGE_SIZE];

	if (!pool_has(lab.pool, m->handle[i], m->owner[i]))
		return false;
	pool_get(lab.pool, m->handle[i], back);
	return !memcmp(back, m->page[i], sizeof(back));
}

static void drop(struct model *m, unsigned int i)
{
	pool_drop(lab.pool, m->handle[i]);
	m->nr--;
	m->handle[i] = m->handle[m->nr];
	m->owner[i] = m->owner[m->nr];
	memcpy(m->page[i], m->page[m->nr], QUIRE_PAGE_SIZE);
}

/* Drop what a poor span has, as long as there is one.  Its owners are numbers of the model. */
static void test_poor(uint64_t *seed)
{
	pool_handle_t handle[PAGES], poor[POOL_MOST_PAGES];
	uint64_t owner[POOL_MOST_PAGES];
	uint8_t page[QUIRE_PAGE_SIZE];
	struct pool_stats stats;
	unsigned int nr, wrong = 0, gone = 0;

	begin(PAGES);
	make_page(page, seed, 2900);
	for (unsigned int i = 0; i < PAGES; i++)
		wrong += put(page, i, &handle[i]) != 0;
	ok(!pool_poor(lab.pool, owner, poor), "a pool that is full has no poor span");
	for (unsigned int i = 0; i < PAGES; i++)
		if (i % 4)
			pool_drop(lab.pool, handle[i]);
	is(lab.pages, PAGES / 4 * 3, "spans with one object each keep all their pages");
	make_page(page, seed, 100);
	is(put(page, 0, &handle[1]), -ENOSPC, "... and there are no addresses for another class");
	while ((nr = pool_poor(lab.pool, owner, poor))) {
		uint64_t before = lab.pages;

		for (unsigned int i = 0; i < nr; i++)
			pool_drop(lab.pool, poor[i]);
		gone += nr;
		wrong += owner[0] % 4 != 0 || poor[0] != handle[owner[0]];
		wrong += before - lab.pages < nr;
	}
	is(wrong, 0, "the owners of a poor span have no more pages than went with it");
	is(gone, PAGES / 4, "... and all of them were such");
	pool_stats(lab.pool, &stats);
	is(stats.object_pages + lab.pages, 0, "... so nothing is left");
	end();
}

/* With no more objects than pages some span must be poor. */
static bool is_poor_right(void)
{
	pool_handle_t handle[POOL_MOST_PAGES];
	uint64_t owner[POOL_MOST_PAGES];
	struct pool_stats stats;

	pool_stats(lab.pool, &stats);
	return !stats.object_pages || stats.object_pages > stats.pool_pages ||
	       pool_poor(lab.pool, owner, handle);
}

static void test_storm(uint64_t *seed)
{
	struct model *m = calloc(1, sizeof(*m));
	unsigned int wrong = 0, faults = 0, rounds = 30000 * tap_storm();

	begin(PAGES);
	for (unsigned int i = 0; i < rounds && !wrong; i++) {
		bool grows = i / 5000 % 2 == 0;

		if (i % 2500 == 0)
			lab.most_pages = tap_random(seed) % 3 ? UINT64_MAX : lab.pages + 20;
		if (m->nr < PAGES && (!m->nr || tap_random(seed) % 100 < (grows ? 70 : 35)))
			wrong += !put_any(m, seed);
		else
			drop(m, (unsigned int)(tap_random(seed) % m->nr));
		if (m->nr)
			wrong += !check(m, (unsigned int)(tap_random(seed) % m->nr));
		if (i % 500 == 0)
			faults += pool_audit(lab.pool, report, NULL) + !is_poor_right();
	}
	for (unsigned int i = 0; i < m->nr; i++)
		wrong += !check(m, i);
	is(wrong, 0, "in a storm of %u rounds each page comes out as it went in", rounds);
	is(faults, 0, "... and the books are right all the time");
	while (m->nr)
		drop(m, 0);
	is(lab.pages, 0, "... and in the end nothing is left");
	free(m);
	end();
}

/*
 * Random batches.  What a plan lets in goes in with no more pages than it lets in, and those that
 * are to spare; and what it leaves out would have taken more.
 */
static void test_plan(uint64_t *seed)
{
	static struct pool_packed batch[16];
	unsigned int wrong = 0, let_in = 0, left_out = 0;
	uint8_t page[QUIRE_PAGE_SIZE];
	pool_handle_t handle;

	begin(PAGES);
	for (unsigned int round = 0; round < 150; round++) {
		uint64_t spare = tap_random(seed) % 3 ? 0 : tap_random(seed) % 9;
		uint64_t room = spare;
		bool in[16];

		for (unsigned int i = 0; i < 16; i++) {
			any_page(page, seed);
			in[i] = pool_pack(page, &batch[i]) && tap_random(seed) % 8;
		}
		pool_plan(lab.pool, batch, 16, spare, in);
		for (unsigned int i = 0; i < 16; i++) {
			room += in[i];
			let_in += in[i];
			left_out += !in[i];
		}
		lab.most_pages = lab.pages + room;
		for (unsigned int i = 0; i < 16; i++)
			wrong += in[i] && pool_put(lab.pool, &batch[i], i, &handle);
	}
	is(wrong, 0, "all that plans let in goes in, with no more pages than come free");
	ok(let_in > 300 && left_out > 300, "... %u of %u", let_in, let_in + left_out);
	is(pool_audit(lab.pool, report, NULL), 0, "... and the books are right");
	end();
}

static void test_false_handles(void)
{
	begin(PAGES);
	ok(!pool_has(lab.pool, 0, 0) && !pool_has(lab.pool, 64, 0) &&
		   !pool_has(lab.pool, 3ULL << 37, 0) && !pool_has(lab.pool, 1ULL << 40, 0),
	   "an empty pool has no object of any number");
	end();
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_bitmap(&seed, 1);
	test_bitmap(&seed, 64);
	test_bitmap(&seed, 65);
	test_bitmap(&seed, 5000);
	test_bitmap(&seed, 300000);
	test_codec(&seed);
	test_kinds(&seed);
	test_full(&seed, 20);
	test_full(&seed, 500);
	test_full(&seed, 1300);
	test_full(&seed, 2100);
	test_full(&seed, 2900);
	test_plan(&seed);
	test_false_handles();
	test_poor(&seed);
	test_storm(&seed);
	return tap_done();
}
