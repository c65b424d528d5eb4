/* SPDX-License-Identifier: MIT */
/*
 * The table of states: what a page is in each of them, and where it may go.
 *
 * Compressed, swapped and archived pages have a payload.  Nothing need be known of one that is
 * absent, ballooned, or zero and not mapped, and a shared page is always mapped.
 */
#include "stage2.h"

#define TO(state) (1u << (state))

const struct page_state_info page_states[PG_NR_STATES] = {
	[PG_ABSENT] = {
		.name = "absent", .glyph = '.', .rgb = 0x20242c,
		.moves = TO(PG_PRIVATE) | TO(PG_ZERO) | TO(PG_BALLOONED),
	},
	[PG_PRIVATE] = {
		.name = "private", .glyph = 'p', .rgb = 0x3b82f6,
		.frame = NUMBER_FOLLOWS, .writable = true, .resident = true, .large = true,
		.moves = TO(PG_ABSENT) | TO(PG_SHARED) | TO(PG_ZERO) | TO(PG_BALLOONED) |
			 TO(PG_COMPRESSED) | TO(PG_SWAPPED) | TO(PG_ARCHIVED),
	},
	[PG_SHARED] = {
		.name = "shared", .glyph = 's', .rgb = 0x22c55e,
		.frame = NUMBER_FOLLOWS,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT),
	},
	[PG_ZERO] = {
		.name = "zero", .glyph = 'z', .rgb = 0xcbd5e1,
		.frame = NUMBER_SAME, .maps_late = true,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT) | TO(PG_ZERO),
	},
	[PG_BALLOONED] = {
		.name = "ballooned", .glyph = 'b', .rgb = 0xf97316,
		.moves = TO(PG_ABSENT),
	},
	[PG_COMPRESSED] = {
		.name = "compressed", .glyph = 'c', .rgb = 0xa855f7,
		.payload = NUMBER_FOLLOWS, .loads = true,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT) | TO(PG_SWAPPED),
	},
	[PG_SWAPPED] = {
		.name = "swapped", .glyph = 'w', .rgb = 0xef4444,
		.payload = NUMBER_FOLLOWS, .loads = true,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT),
	},
	[PG_ARCHIVED] = {
		.name = "archived", .glyph = 'a', .rgb = 0x0d9488,
		.payload = NUMBER_SAME, .loads = true,
		.moves = TO(PG_PRIVATE) | TO(PG_ABSENT),
	},
};
