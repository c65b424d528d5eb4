/* SPDX-License-Identifier: MIT */
/*
 * Stage 2 against a naive model: flat arrays with a state and a pfn for each page and one flag for
 * each block, driven in lockstep by 100 000 seeded random operations, audited as it goes.
 */
#include <errno.h>
#include <string.h>
#include "stage2_lab.h"
#include "tests/tap.h"

#define LOW_END	  (QUIRE_BLOCK_PAGES * 5 + 77) /* an odd end: a last block that is not whole */
#define HIGH_BASE (1ULL << 20)		       /* 4 GiB */
#define HIGH_END  (HIGH_BASE + QUIRE_BLOCK_PAGES * 4)
#define NR_PAGES  (LOW_END + HIGH_END - HIGH_BASE)
#define NR_BLOCKS ((LOW_END >> 9) + 1 + 4)
#define OPS	  100000

static const struct gfn_range ram[] = { { 0, LOW_END }, { HIGH_BASE, HIGH_END } };

/* The model. */
static const struct stage2_model *rules;
static uint8_t state_of[NR_PAGES];
static pfn_t pfn_of[NR_PAGES];
static bool large[NR_BLOCKS];
static uint64_t model_large;

static uint64_t at(gfn_t gfn)
{
	return gfn >= HIGH_BASE ? LOW_END + gfn - HIGH_BASE : gfn;
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

/* The n-th page of a run whose first has pfn. */
static pfn_t nth(enum page_state state, pfn_t pfn, uint64_t n)
{
	return rules->follows >> state & 1 ? pfn + n : pfn;
}

static int model_set(gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn)
{
	if (nr == 0 || !in_ram(gfn, nr))
		return -EFAULT;
	for (uint64_t i = 0; i < nr; i++)
		if (!rules->legal(state_of[at(gfn + i)], to))
			return -EPERM;
	for (uint64_t i = 0; i < nr; i++) {
		state_of[at(gfn + i)] = to;
		pfn_of[at(gfn + i)] = nth(to, pfn, i);
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
		absent += state_of[at(gfn + i)] == PG_ABSENT;
		private += state_of[at(gfn + i)] == PG_PRIVATE;
	}
	if (absent != 512 && private != 512)
		return -EBUSY;
	for (unsigned int i = 0; i < 512; i++) {
		state_of[at(gfn + i)] = PG_PRIVATE;
		pfn_of[at(gfn + i)] = gfn + i;
	}
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

void stage2_lab_describe(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

/* Pages from gfn on that are in gfn's state, so that changing them all is allowed. */
static uint64_t model_run(gfn_t gfn)
{
	uint64_t nr = 1;

	while (in_ram(gfn, nr + 1) && state_of[at(gfn + nr)] == state_of[at(gfn)])
		nr++;
	return nr;
}

static unsigned int done; /* operations that changed something */

/* Steer towards operations that are allowed, without excluding the others. */
static enum page_state random_state(gfn_t gfn)
{
	enum page_state to = tap_random(&rng) % PG_NR_STATES;

	if (!in_ram(gfn, 1) || tap_random(&rng) % 8 == 0)
		return to;
	switch (state_of[at(gfn)]) {
	case PG_PRIVATE: return to;
	case PG_BALLOONED: return PG_ABSENT;
	default: return PG_PRIVATE;
	}
}

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
		enum page_state to = random_state(gfn);
		pfn_t pfn = rules->first_pfn(to, gfn);

		if (in_ram(gfn, 1) && tap_random(&rng) % 3 == 0)
			nr = model_run(gfn);
		got = stage2_set(s2, gfn, nr, to, pfn);
		want = nr > (1ULL << 40) || gfn > (1ULL << 40) ? -EFAULT :
								 model_set(gfn, nr, to, pfn);
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

	return !stage2_lookup(s2, gfn, &p) && p.state == state_of[at(gfn)] &&
	       p.pfn == pfn_of[at(gfn)] && p.mapped == !(p.pfn & STAGE2_UNMAPPED) &&
	       (p.level == 2) == *block(gfn);
}

static bool all_agree(struct stage2 *s2)
{
	struct stage2_counters c;
	uint64_t nr[PG_NR_STATES] = { 0 };

	for (unsigned int r = 0; r < 2; r++)
		for (gfn_t g = ram[r].start; g < ram[r].end; g++) {
			nr[state_of[at(g)]]++;
			if (!page_agrees(s2, g)) {
				tap_note("gfn %#lx differs", (long)g);
				return false;
			}
		}
	stage2_counters(s2, &c);
	return !memcmp(nr, c.pages, sizeof(nr)) && c.large_leaves == model_large;
}

/* A linear run is part of a run of one state, its pfns are as the model's, and it cannot go on. */
static bool linear_agrees(struct stage2 *s2, gfn_t gfn, gfn_t end)
{
	struct stage2_page first, page;
	uint64_t nr = stage2_linear_run(s2, gfn, end, &first);

	for (uint64_t i = 0; i <= nr && gfn + i < end; i++) {
		bool follows;

		stage2_lookup(s2, gfn + i, &page);
		follows = page.state == first.state && page.mapped == first.mapped &&
			  page.pfn == nth(first.state, first.pfn, i) && page.level == first.level;
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
			if (state_of[at(g + i)] != state)
				return false;
		g += nr;
		last = state;
	}
	return true;
}

void stage2_lockstep(const struct stage2_model *model, uint64_t seed)
{
	unsigned int wrong = 0, audits = 0, differ = 0;
	struct stage2 *s2;

	rules = model;
	rng = seed;
	for (unsigned int i = 0; i < NR_PAGES; i++)
		pfn_of[i] = STAGE2_UNMAPPED;
	if (stage2_create(ram, ARRAY_SIZE(ram), &s2))
		tap_bail("stage2_create");
	for (unsigned int i = 0; i < OPS && !wrong && !audits && !differ; i++) {
		wrong += !step(s2);
		if (i % 16 == 0)
			audits += stage2_audit(s2, stage2_lab_describe, NULL);
		differ += !linear_agrees(s2, i % LOW_END, LOW_END);
		if (i % 256 == 0)
			differ += !all_agree(s2) || !runs_agree(s2, &ram[0]) ||
				  !runs_agree(s2, &ram[1]);
	}
	ok(done > OPS / 4, "%u of the operations changed something", done);
	is(wrong, 0, "%u random operations return what the model returns", OPS);
	is(audits, 0, "the audit finds nothing after them");
	is(differ, 0, "every page, leaf, run and counter agrees with the model");
	stage2_destroy(s2);
}
