/* SPDX-License-Identifier: MIT */
#include "reclaim_policy.h"

#define PIECES	  64u
#define PIECE_MIN 16u
#define NOBODY	  UINT32_MAX

/* What VM i could free besides what it gives. */
static uint64_t room(const struct reclaim_input *in, uint64_t give)
{
	uint64_t keep = RECLAIM_KEEP_PAGES + give;

	return in->able && in->held_pages > keep ? in->held_pages - keep : 0;
}

/* Thousand times the charge for what it has left. */
static uint64_t charge(const struct reclaim_input *in, uint64_t give)
{
	uint64_t left = in->held_pages - give, active = min_u64(in->active_pages, left);

	return (1000 - RECLAIM_TAX_PERMILLE) * active + 1000 * (left - active);
}

/* Is a to give before b? */
static bool gives_before(const struct reclaim_input *a, uint64_t a_gives,
			 const struct reclaim_input *b, uint64_t b_gives)
{
	return (__uint128_t)charge(a, a_gives) * b->shares >
	       (__uint128_t)charge(b, b_gives) * a->shares;
}

/* The next to give: the first one among equals. */
static unsigned int next_of(const struct reclaim_input *in, const uint64_t *give, unsigned int nr)
{
	unsigned int found = NOBODY;

	for (unsigned int i = 0; i < nr; i++)
		if (room(&in[i], give[i]) &&
		    (found == NOBODY || gives_before(&in[i], give[i], &in[found], give[found])))
			found = i;
	return found;
}

uint64_t reclaim_split(const struct reclaim_input *in, uint64_t *give, unsigned int nr,
		       uint64_t demand)
{
	uint64_t piece = max_u64(demand / PIECES, PIECE_MIN), given = 0;

	for (unsigned int i = 0; i < nr; i++)
		give[i] = in[i].still ? room(&in[i], 0) : 0;
	for (unsigned int i = 0; i < nr; i++)
		given += give[i];
	for (unsigned int i; given < demand && (i = next_of(in, give, nr)) != NOBODY;) {
		uint64_t pages = min_u64(min_u64(piece, demand - given), room(&in[i], give[i]));

		give[i] += pages;
		given += pages;
	}
	return given;
}
