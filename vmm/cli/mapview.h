/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_MAPVIEW_H
#define QUIRE_VMM_CLI_MAPVIEW_H

/*
 * Pictures of guest memory: pure functions from an array of page states to text or to PNG.
 *
 * Everything about a state (name, glyph, colour) comes from page_states[], so a new state
 * appears in both pictures and in both legends by its row there.  A page in a 2 MiB leaf is
 * drawn as its state's variant: the capital letter, the lighter shade.
 */
#include <quire/error.h>
#include "mmu/memory/stage2.h"

/* The states of [start, start + nr), one byte a page, as gmem_states gives them. */
struct mapview {
	gfn_t start;
	uint64_t nr;
	const uint8_t *states;
};

struct mapview_tally {
	uint64_t pages[PG_NR_STATES]; /* by state, 2 MiB leaves included */
	uint64_t large[PG_NR_STATES]; /* ... of which in 2 MiB leaves */
	uint64_t ram;		      /* their sum */
};

void mapview_count(const struct mapview *view, struct mapview_tally *tally);

/*
 * How many pages one glyph must stand for so that the view's RAM fits in about max_glyphs: 1
 * or a larger power of two.
 */
uint64_t mapview_scale(const struct mapview *view, uint64_t max_glyphs);

#define MAPVIEW_COLUMNS 64   /* glyphs a row */
#define MAPVIEW_GLYPHS	2048 /* 32 rows: about a screen */

/*
 * Draw the view as text, `scale` pages (a power of two) a glyph, and under it the legend with
 * exact counts.  A glyph that stands for pages of several states shows how much of its part
 * occupies memory, 1 to 9 tenths, unless all or none of it does: then the state that most of
 * its pages have.  What is not RAM is blank, and rows of nothing else are left out.
 */
void mapview_text(FILE *f, const struct mapview *view, uint64_t scale);

/* What mapview_text shows for states[0..nr): exposed for tests. */
char mapview_glyph(const uint8_t *states, uint64_t nr);

#define MAPVIEW_PNG_WIDTH    512   /* a 2 MiB block a row */
#define MAPVIEW_PNG_MAX_ROWS 65536 /* 128 GiB of addresses */

/*
 * Draw the view as a PNG image, one pixel a page, one block a row (the first row holds
 * `start` at its place in its block), and under it a legend.  Pixel values are page states
 * (palette images): see mapview_png_index.
 *
 * 0; -EFBIG (more rows than fit: ask for a range); -EIO (f or libpng failed), with *err.
 */
int mapview_png(FILE *f, const struct mapview *view, struct quire_error *err);

/* Palette index of a state byte, and the colour behind an index. */
unsigned int mapview_png_index(uint8_t state);
uint32_t mapview_png_rgb(unsigned int index);

#endif
