/* SPDX-License-Identifier: MIT */
/*
 * Stage 2 with payloads of all kinds, of which quire's own table has two: so this program has a
 * table of its own, and the same model in lockstep.
 */
#include "mmu/memory/stage2.h"
#include "stage2_lab.h"
#include "tests/tap.h"

#define TO(state) (1u << (state))

const struct page_state_info page_states[PG_NR_STATES] = {
	[PG_ABSENT] = {
		.name = "absent",
		.moves = TO(PG_PRIVATE),
	},
	[PG_PRIVATE] = {
		.name = "private",
		.frame = NUMBER_FOLLOWS, .writable = true, .resident = true, .large = true,
		.moves = TO(PG_ABSENT) | TO(PG_SHARED) | TO(PG_ZERO) | TO(PG_BALLOONED) |
			 TO(PG_COMPRESSED) | TO(PG_SWAPPED) | TO(PG_ARCHIVED),
	},
	[PG_SHARED] = {
		.name = "a frame, mapped or not",
		.frame = NUMBER_FOLLOWS, .payload = NUMBER_FOLLOWS, .maps_late = true,
		.moves = TO(PG_PRIVATE) | TO(PG_SHARED),
	},
	[PG_ZERO] = {
		.name = "filled with one value",
		.payload = NUMBER_SAME,
		.moves = TO(PG_PRIVATE),
	},
	[PG_BALLOONED] = {
		.name = "in a slot",
		.payload = NUMBER_FOLLOWS,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT),
	},
	[PG_COMPRESSED] = {
		.name = "in a slot of another kind",
		.payload = NUMBER_FOLLOWS,
		.moves = TO(PG_PRIVATE),
	},
	[PG_SWAPPED] = {
		.name = "filled with one value of another kind",
		.payload = NUMBER_SAME,
		.moves = TO(PG_PRIVATE),
	},
	[PG_ARCHIVED] = {
		.name = "with nothing to know",
		.moves = TO(PG_PRIVATE),
	},
};

static bool legal(enum page_state from, enum page_state to)
{
	switch (from) {
	case PG_ABSENT: return to == PG_PRIVATE;
	case PG_PRIVATE: return to != PG_PRIVATE;
	case PG_SHARED: return to == PG_PRIVATE || to == PG_SHARED;
	case PG_BALLOONED: return to == PG_PRIVATE || to == PG_ABSENT;
	default: return to == PG_PRIVATE;
	}
}

/* Some runs go on where others end, in number too, and some are mapped. */
static pfn_t first_pfn(enum page_state to, gfn_t gfn)
{
	uint64_t number = gfn % (1ULL << 24) * 3 / 2;

	switch (to) {
	case PG_PRIVATE: return gfn;
	case PG_SHARED: return (STAGE2_STORE_PFN + number) | (gfn / 7 % 2 ? STAGE2_UNMAPPED : 0);
	case PG_ZERO: return STAGE2_UNMAPPED | gfn / 64 % 3;
	case PG_BALLOONED: return STAGE2_UNMAPPED | ((1ULL << 40) - (1ULL << 25) + number);
	case PG_COMPRESSED: return STAGE2_UNMAPPED | number;
	case PG_SWAPPED: return STAGE2_UNMAPPED | gfn / 16 % 2;
	default: return STAGE2_UNMAPPED;
	}
}

static const struct stage2_model model = {
	.legal = legal,
	.first_pfn = first_pfn,
	.follows = TO(PG_PRIVATE) | TO(PG_SHARED) | TO(PG_BALLOONED) | TO(PG_COMPRESSED),
};

/* A payload of 0 is one, too, and its page is not absent. */
static void test_zero(void)
{
	const struct gfn_range r = { 0, 512 };
	struct stage2_page page;
	struct stage2 *s2;

	if (stage2_create(&r, 1, &s2))
		tap_bail("stage2_create");
	stage2_set_large(s2, 0, 0);
	stage2_set(s2, 0, 512, PG_BALLOONED, STAGE2_UNMAPPED);
	is(stage2_linear_run(s2, 0, 512, &page), 512, "512 slots in a row are one run");
	ok(page.state == PG_BALLOONED && !page.mapped && page.pfn == STAGE2_UNMAPPED,
	   "which begins with slot 0");
	stage2_lookup(s2, 511, &page);
	is(page.pfn, STAGE2_UNMAPPED | 511, "and ends with slot 511");
	stage2_set(s2, 100, 1, PG_PRIVATE, 100);
	is(stage2_linear_run(s2, 0, 512, &page), 100, "a page that leaves it ends the run");
	is(stage2_linear_run(s2, 101, 512, &page), 411, "and behind that page");
	is(page.pfn, STAGE2_UNMAPPED | 101, "slots go on");
	stage2_set(s2, 100, 1, PG_BALLOONED, STAGE2_UNMAPPED | 900);
	is(stage2_linear_run(s2, 0, 512, &page), 100, "another slot in the middle ends it as well");
	stage2_destroy(s2);
}

int main(int argc, char **argv)
{
	tap_init();
	test_zero();
	stage2_lockstep(&model, tap_seed(argc, argv));
	return tap_done();
}
