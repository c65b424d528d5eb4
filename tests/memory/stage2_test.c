/* SPDX-License-Identifier: MIT */
/*
 * Stage 2 against a naive model: a flat array with one byte a page and one flag a block,
 * driven in lockstep by 100 000 seeded random operations, audited as it goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/memory/stage2.h"
#include "tests/tap.h"

#define LOW_END	  (QUIRE_BLOCK_PAGES * 5 + 77) /* an odd end: a last block that is not whole */
#define HIGH_BASE (1ULL << 20)		       /* 4 GiB */
#define HIGH_END  (HIGH_BASE + QUIRE_BLOCK_PAGES * 4)
#define NR_BLOCKS ((LOW_END >> 9) + 1 + 4)
#define OPS	  100000

static const struct gfn_range ram[] = { { 0, LOW_END }, { HIGH_BASE, HIGH_END } };

/* The model. */
static uint8_t low[LOW_END], high[HIGH_END - HIGH_BASE];
static bool large[NR_BLOCKS];
static uint64_t model_large;

static uint8_t *page(gfn_t gfn)
{
	return gfn >= HIGH_BASE ? &high[gfn - HIGH_BASE] : &low[gfn];
}

static bool *block(gfn_t gfn)
{
	return gfn >= HIGH_BASE ? &large[(LOW_END >> 9) + 1 + ((gfn - HIGH_BASE) >> 9)] :
				  &large[gfn >> 9];
}

static bool in_ram(gfn_t gfn, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (gfn + i >= LOW_END && (gfn + i < HIGH_BASE || gfn + i >= HIGH_END))
			return false;
	return true;
}

static void clear_large(gfn_t gfn)
{
	model_large -= *block(gfn);
	*block(gfn) = false;
}

/* The rules, once more: to have other bytes a page has to be private first, or to be given up. */
static bool legal(enum page_state from, enum page_state to)
{
	if (from == to)
		return from == PG_ZERO; /* the page of zeroes comes, or goes */
	if (to == PG_SHARED)
		return from == PG_PRIVATE;
	if (to == PG_ZERO || to == PG_BALLOONED)
		return from == PG_PRIVATE || from == PG_ABSENT;
	if (from == PG_BALLOONED)
		return to == PG_ABSENT;
	return true;
}

static int model_set(gfn_t gfn, uint64_t nr, enum page_state to)
{
	if (nr == 0 || !in_ram(gfn, nr))
		return -EFAULT;
	for (uint64_t i = 0; i < nr; i++)
		if (!legal(*page(gfn + i), to))
			return -EPERM;
	for (uint64_t i = 0; i < nr; i++) {
		*page(gfn + i) = to;
		clear_large(gfn + i);
	}
	return 0;
}

static int model_set_large(gfn_t gfn)
{
	unsigned int absent = 0, private = 0;

	if (gfn % 512)
		return -EINVAL;
	if (!in_ram(gfn, 512))
		return -EFAULT;
	if (*block(gfn))
		return -EEXIST;
	for (unsigned int i = 0; i < 512; i++) {
		absent += *page(gfn + i) == PG_ABSENT;
		private += *page(gfn + i) == PG_PRIVATE;
	}
	if (absent != 512 && private != 512)
		return -EBUSY;
	memset(page(gfn), PG_PRIVATE, 512);
	*block(gfn) = true;
	model_large++;
	return 0;
}

static int model_split(gfn_t gfn)
{
	if (!in_ram(gfn, 1) || !*block(gfn))
		return -ENOENT;
	clear_large(gfn);
	return 0;
}

/* --- lockstep ---------------------------------------------------------------------------- */

static uint64_t rng;

static gfn_t random_gfn(void)
{
	gfn_t base = tap_random(&rng) % 2 ? HIGH_BASE : 0;
	uint64_t span = base ? HIGH_END - HIGH_BASE : LOW_END;

	if (tap_random(&rng) % 50 == 0)
		return tap_random(&rng) >> (tap_random(&rng) % 64);
	return base + tap_random(&rng) % span;
}

static uint64_t random_nr(void)
{
	switch (tap_random(&rng) % 8) {
	case 0: return tap_random(&rng) % 2000;
	case 1: return 512;
	case 2: return tap_random(&rng) % 100 ? 1 : UINT64_MAX - tap_random(&rng) % 5;
	default: return 1 + tap_random(&rng) % 40;
	}
}

static void describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

/* Pages from gfn on that are in gfn's state, so that changing them all is allowed. */
static uint64_t model_run(gfn_t gfn)
{
	uint64_t nr = 1;

	while (in_ram(gfn, nr + 1) && *page(gfn + nr) == *page(gfn))
		nr++;
	return nr;
}

/* The frames of a run of gfns: each state has its own. */
static pfn_t frame_for(enum page_state to, gfn_t gfn)
{
	if (to == PG_ZERO)
		return gfn / 7 % 2 ? STAGE2_ZERO_PFN : STAGE2_UNMAPPED;
	return to == PG_SHARED ? STAGE2_STORE_PFN + gfn % (1ULL << 24) * 3 / 2 : gfn;
}

static unsigned int done; /* operations that changed something */

/* One random operation on both; true if they agree. */
static bool step(struct stage2 *s2)
{
	gfn_t gfn = random_gfn();
	uint64_t nr = random_nr();
	int got, want;

	switch (tap_random(&rng) % 8) {
	case 0:
		gfn &= ~511ULL;
		got = stage2_set_large(s2, gfn, gfn);
		want = gfn > (1ULL << 40) ? -EFAULT : model_set_large(gfn);
		break;
	case 1:
		gfn = gfn % (1ULL << 30);
		got = stage2_split(s2, gfn);
		want = model_split(gfn);
		break;
	case 2:
		gfn = (gfn & ~511ULL) + 512 * (gfn % 2);
		nr = 512;
		/* fall through */
	default: {
		enum page_state to = tap_random(&rng) % PG_NR_STATES;

		/* Steer towards operations that are allowed, without excluding the others. */
		if (in_ram(gfn, 1) && tap_random(&rng) % 8)
			to = *page(gfn) == PG_PRIVATE	? tap_random(&rng) % PG_NR_STATES :
			     *page(gfn) == PG_BALLOONED ? PG_ABSENT :
							  PG_PRIVATE;
		if (in_ram(gfn, 1) && tap_random(&rng) % 3 == 0)
			nr = model_run(gfn);
		got = stage2_set(s2, gfn, nr, to, frame_for(to, gfn));
		want = nr > (1ULL << 40) || gfn > (1ULL << 40) ? -EFAULT : model_set(gfn, nr, to);
	}
	}
	if (got != want)
		tap_note("gfn %#lx nr %#lx: got %d, want %d", (long)gfn, (long)nr, got, want);
	done += got == 0;
	return got == want;
}

static bool page_agrees(struct stage2 *s2, gfn_t gfn)
{
	struct stage2_page p;

	if (stage2_lookup(s2, gfn, &p))
		return false;
	return p.state == *page(gfn) && (p.state != PG_PRIVATE || p.pfn == gfn) &&
	       (p.state != PG_SHARED || p.pfn >= STAGE2_STORE_PFN) &&
	       (p.state != PG_ZERO || p.pfn == (p.mapped ? STAGE2_ZERO_PFN : STAGE2_UNMAPPED)) &&
	       (p.state == PG_ZERO || p.mapped == page_states[p.state].present) &&
	       (p.level == 2) == *block(gfn);
}

static bool all_agree(struct stage2 *s2)
{
	struct stage2_counters c;
	uint64_t nr[PG_NR_STATES] = { 0 };

	for (unsigned int r = 0; r < 2; r++)
		for (gfn_t g = ram[r].start; g < ram[r].end; g++) {
			nr[*page(g)]++;
			if (!page_agrees(s2, g)) {
				tap_note("gfn %#lx differs", (long)g);
				return false;
			}
		}
	stage2_counters(s2, &c);
	return !memcmp(nr, c.pages, sizeof(nr)) && c.large_leaves == model_large;
}

/* A linear run is part of a run of one state, its frames follow each other, and it cannot go on. */
static bool linear_agrees(struct stage2 *s2, gfn_t gfn, gfn_t end)
{
	struct stage2_page first, page;
	uint64_t nr = stage2_linear_run(s2, gfn, end, &first), step;

	step = first.state == PG_PRIVATE || first.state == PG_SHARED;
	for (uint64_t i = 0; i <= nr && gfn + i < end; i++) {
		bool follows;

		stage2_lookup(s2, gfn + i, &page);
		follows = page.state == first.state && page.pfn == first.pfn + i * step &&
			  page.level == first.level;
		if (follows != (i < nr) && (i < nr || (gfn + i) % 512))
			return false;
	}
	return nr > 0 && nr <= end - gfn;
}

/* Runs cover a range exactly, each run is of one state, and neighbours differ. */
static bool runs_agree(struct stage2 *s2, const struct gfn_range *r)
{
	enum page_state state, last = PG_NR_STATES;

	for (gfn_t g = r->start; g < r->end;) {
		uint64_t nr = stage2_run(s2, g, r->end, &state);

		if (nr == 0 || g + nr > r->end || state == last)
			return false;
		for (uint64_t i = 0; i < nr; i++)
			if (*page(g + i) != state)
				return false;
		g += nr;
		last = state;
	}
	return true;
}

static void test_lockstep(struct stage2 *s2)
{
	unsigned int wrong = 0, audits = 0, differ = 0;

	for (unsigned int i = 0; i < OPS && !wrong && !audits && !differ; i++) {
		wrong += !step(s2);
		if (i % 16 == 0)
			audits += stage2_audit(s2, describe, NULL);
		differ += !linear_agrees(s2, i % LOW_END, LOW_END);
		if (i % 256 == 0)
			differ += !all_agree(s2) || !runs_agree(s2, &ram[0]) ||
				  !runs_agree(s2, &ram[1]);
	}
	ok(done > OPS / 4, "%u of the operations changed something", done);
	is(wrong, 0, "%u random operations return what the model returns", OPS);
	is(audits, 0, "the audit finds nothing after them");
	is(differ, 0, "every page, leaf, run and counter agrees with the model");
}

static void test_moves(void)
{
	for (unsigned int from = 0; from < PG_NR_STATES; from++)
		for (unsigned int to = 0; to < PG_NR_STATES; to++) {
			bool allowed = legal(from, to);
			struct gfn_range r = { 0, 512 };
			struct stage2 *s2;

			if (stage2_create(&r, 1, &s2))
				tap_bail("stage2_create");
			if (from == PG_PRIVATE || from == PG_SHARED)
				stage2_set(s2, 7, 1, PG_PRIVATE, 7);
			if (from != PG_ABSENT && from != PG_PRIVATE)
				stage2_set(s2, 7, 1, from, STAGE2_STORE_PFN);
			is(stage2_set(s2, 7, 1, to, STAGE2_STORE_PFN), allowed ? 0 : -EPERM,
			   "%s -> %s is %s", page_states[from].name, page_states[to].name,
			   allowed ? "legal" : "refused");
			stage2_destroy(s2);
		}
}

static void test_create(void)
{
	static const struct {
		const char *what;
		struct gfn_range r[2];
		unsigned int nr;
	} bad[] = {
		{ "no range", { { 0, 0 } }, 0 },
		{ "an empty range", { { 5, 5 } }, 1 },
		{ "a reversed range", { { 5, 4 } }, 1 },
		{ "overlapping ranges", { { 0, 10 }, { 9, 20 } }, 2 },
		{ "ranges out of order", { { 20, 30 }, { 0, 10 } }, 2 },
		{ "a range beyond four levels", { { 0, (1ULL << 36) + 1 } }, 1 },
	};
	struct stage2 *s2;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		is(stage2_create(bad[i].r, bad[i].nr, &s2), -EINVAL, "create refuses %s",
		   bad[i].what);
	stage2_destroy(NULL);
}

static void test_metadata(void)
{
	const struct gfn_range r = { 0, 1 << 18 }; /* 1 GiB */
	struct stage2_counters c;
	struct stage2 *s2;

	if (stage2_create(&r, 1, &s2))
		tap_bail("stage2_create");
	stage2_set(s2, 12345, 1, PG_PRIVATE, 12345);
	stage2_counters(s2, &c);
	ok(c.metadata_bytes <= 8 * QUIRE_PAGE_SIZE, "one page of 1 GiB costs %lu bytes of metadata",
	   (unsigned long)c.metadata_bytes);
	stage2_set(s2, 12345, 1, PG_ABSENT, 0);
	stage2_counters(s2, &c);
	is(c.tables, 1, "and only the root is left when it goes");
	stage2_set(s2, 0, 1 << 18, PG_PRIVATE, 0);
	stage2_counters(s2, &c);
	ok(c.metadata_bytes <= 16ULL << 18, "all of it at 4 KiB costs %.2f bytes a page (limit 16)",
	   (double)c.metadata_bytes / (1 << 18));
	is(stage2_audit(s2, describe, NULL), 0, "and the audit agrees");
	stage2_destroy(s2);
}

int main(int argc, char **argv)
{
	struct stage2 *s2;

	tap_init();
	rng = tap_seed(argc, argv);
	test_create();
	test_moves();
	test_metadata();
	if (stage2_create(ram, ARRAY_SIZE(ram), &s2))
		tap_bail("stage2_create");
	test_lockstep(s2);
	stage2_destroy(s2);
	return tap_done();
}
