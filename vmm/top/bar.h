/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_BAR_H
#define QUIRE_VMM_TOP_BAR_H

/* Numbers drawn as bars and as sparklines. */
#include "vmm/look/watch.h"
#include "frame.h"

/* A part of a bar, which is filled with its letter on its colour. */
struct bar_part {
	uint64_t amount;
	char glyph;
	uint32_t rgb;
};

#define BAR_MAX_PARTS 16

/*
 * Share out `cells` in proportion to the amounts.  What is not 0 gets one cell at least, as long as
 * there are cells; the larger amounts get theirs first.  cells[] becomes the number of each, and
 * their sum is `cells`, or 0 if all amounts are 0.
 */
void bar_share(const struct bar_part *part, unsigned int nr, unsigned int cells,
	       unsigned int *share);

/* Draw the parts, one after the other, in `width` cells from this place on. */
void bar_draw(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
	      const struct bar_part *part, unsigned int nr);

/* Pages by state: their letters and colours are those of page_states[]. */
void bar_draw_states(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		     const uint64_t pages[PG_NR_STATES]);

/* What a sparkline shows of a point. */
typedef uint64_t bar_value_fn(const struct watch_point *point, unsigned int arg);

/*
 * Draw what a ring remembers in `width` cells, the newest at the right.  A cell is the largest
 * value of as many points as it takes for all of them to fit.  `whole` fills a cell; 0: the largest
 * value does.
 */
void bar_draw_spark(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		    const struct watch_ring *ring, bar_value_fn *value, unsigned int arg,
		    uint64_t whole);

#endif
