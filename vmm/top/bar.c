/* SPDX-License-Identifier: MIT */
#include "bar.h"

/* ---- bars ---- */

static uint64_t sum_of(const struct bar_part *part, unsigned int nr)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < nr; i++)
		sum += part[i].amount;
	return sum;
}

/* How many cells too few the part has, for its amount. */
static double lack(const struct bar_part *part, uint64_t sum, unsigned int cells,
		   unsigned int share)
{
	return (double)part->amount * cells / (double)sum - share;
}

/* The part that misses a cell most; if one has to give, the one that misses it least. */
static unsigned int neediest(const struct bar_part *part, unsigned int nr, uint64_t sum,
			     unsigned int cells, const unsigned int *share)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < nr; i++)
		if (lack(&part[i], sum, cells, share[i]) >
		    lack(&part[best], sum, cells, share[best]))
			best = i;
	return best;
}

/* A part with more than one cell gives first; then the smallest amount. */
static unsigned int richest(const struct bar_part *part, unsigned int nr, uint64_t sum,
			    unsigned int cells, const unsigned int *share)
{
	unsigned int best = nr;

	for (unsigned int i = 0; i < nr; i++) {
		if (!share[i])
			continue;
		if (best == nr || (share[i] > 1) > (share[best] > 1) ||
		    ((share[i] > 1) == (share[best] > 1) &&
		     lack(&part[i], sum, cells, share[i]) <
			     lack(&part[best], sum, cells, share[best])))
			best = i;
	}
	return best;
}

void bar_share(const struct bar_part *part, unsigned int nr, unsigned int cells,
	       unsigned int *share)
{
	uint64_t sum = sum_of(part, nr);
	unsigned int given = 0;

	for (unsigned int i = 0; i < nr; i++) {
		share[i] = sum ? (unsigned int)((double)part[i].amount * cells / (double)sum) : 0;
		if (part[i].amount && !share[i])
			share[i] = 1;
		given += share[i];
	}
	for (; sum && given < cells; given++)
		share[neediest(part, nr, sum, cells, share)]++;
	for (; given > cells; given--)
		share[richest(part, nr, sum, cells, share)]--;
}

void bar_draw(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
	      const struct bar_part *part, unsigned int nr)
{
	unsigned int share[BAR_MAX_PARTS];

	bar_share(part, nr, width, share);
	for (unsigned int i = 0; i < nr; i++)
		for (unsigned int k = 0; k < share[i]; k++)
			frame_put(f, row, column++, frame_on(part[i].rgb),
				  (unsigned char)part[i].glyph);
}

void bar_draw_states(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		     const uint64_t pages[PG_NR_STATES])
{
	struct bar_part part[PG_NR_STATES];

	/* What is there is at the left, and what is not, PG_ABSENT, is at the right. */
	for (unsigned int i = 0; i < PG_NR_STATES; i++) {
		unsigned int state = (i + 1) % PG_NR_STATES;

		part[i] = (struct bar_part){
			.amount = pages[state],
			.glyph = page_states[state].glyph,
			.rgb = page_states[state].rgb,
		};
	}
	bar_draw(f, row, column, width, part, PG_NR_STATES);
}

/* ---- sparklines ---- */

struct spark {
	const struct watch_ring *ring;
	bar_value_fn *value;
	unsigned int arg;
	uint64_t points; /* that are remembered */
	uint64_t each;	 /* so many are a cell */
};

/*
 * The largest value of a cell, counted from the newest.  A point is in a cell by its number in the
 * ring, so a peak stays in one cell while it moves to the left.
 */
static uint64_t peak(const struct spark *s, unsigned int cell)
{
	uint64_t newest = s->ring->nr - 1, top = newest / s->each, max = 0, first, last;

	if (cell > top)
		return 0;
	first = (top - cell) * s->each;
	last = min_u64(first + s->each - 1, newest);
	for (uint64_t i = first; i <= last; i++) {
		uint64_t back = newest - i;

		if (back < s->points)
			max = max_u64(max,
				      s->value(watch_point(s->ring, (unsigned int)back), s->arg));
	}
	return max;
}

void bar_draw_spark(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		    const struct watch_ring *ring, bar_value_fn *value, unsigned int arg,
		    uint64_t whole)
{
	struct spark s = { .ring = ring, .value = value, .arg = arg };
	uint64_t v, most = 0;

	if (!ring || !ring->nr || !width)
		return;
	s.points = min_u64(ring->nr, WATCH_POINTS);
	s.each = (s.points + width - 1) / width;
	for (unsigned int i = 0; i < width; i++)
		most = max_u64(most, peak(&s, i));
	whole = whole ? whole : most;
	if (!whole)
		return;
	for (unsigned int i = 0; i < width; i++) {
		v = min_u64(peak(&s, i), whole);
		v = (uint64_t)((double)v * FRAME_BLOCK_MAX / (double)whole + 0.999);
		if (v)
			frame_put(f, row, column + width - 1 - i, frame_plain,
				  FRAME_BLOCK + (unsigned int)v);
	}
}
