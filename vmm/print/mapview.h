/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_MAPVIEW_H
#define QUIRE_VMM_PRINT_MAPVIEW_H

/*
 * Pictures of guest memory.  These functions turn an array of page states into text or PNG.
 *
 * The name, glyph and colour of a state are in its row of page_states[], so a new state needs
 * nothing here.  A page in a 2 MiB leaf has the capital letter of its state, or a lighter shade.
 */
#include <quire/error.h>
#include <stdio.h>
#include "mmu/memory/stage2.h"

/* The states of pages [start, start + nr) of a guest, a byte each, as gmem_states() has them. */
struct mapview {
	gfn_t start;
	uint64_t nr;
	const uint8_t *states;
};

struct mapview_tally {
	uint64_t pages[PG_NR_STATES]; /* by state, 2 MiB leaves included */
	uint64_t large[PG_NR_STATES]; /* ... and how many of these are in 2 MiB leaves */
	uint64_t ram;		      /* all pages that are RAM */
};

/* Count the pages of the view in each state. */
void mapview_count(const struct mapview *view, struct mapview_tally *tally);

/*
 * How many pages a glyph must stand for so that the RAM of the view needs about max_glyphs at most.
 * It is a power of two, from 1 on.
 */
uint64_t mapview_scale(const struct mapview *view, uint64_t max_glyphs);

/* What a glyph shows of the pages that it stands for. */
struct mapview_cell {
	unsigned int state; /* PG_NR_STATES: none of them is RAM */
	bool large;	    /* all its pages of that state are in 2 MiB leaves */
};

/*
 * The cells of a row as mapview_text() draws it: `columns` of them at most, of `scale` pages each,
 * from page `first` of the view on.  Returns how many there are.
 */
unsigned int mapview_row(const struct mapview *view, uint64_t first, uint64_t scale,
			 struct mapview_cell *row, unsigned int columns);

char mapview_glyph(struct mapview_cell cell); /* a blank if it is no RAM */
uint32_t mapview_rgb(struct mapview_cell cell);

#define MAPVIEW_COLUMNS 64   /* glyphs in a row */
#define MAPVIEW_GLYPHS	2048 /* 32 rows: about a screen */

/*
 * Draw the view as text, `scale` pages (a power of two) a glyph, and under it the legend with
 * exact counts.  A glyph whose pages have several states shows one of these: the commonest, unless
 * the glyphs to its left have shown that one too often.  So a row shows each state about as often
 * as it is common, and none disappears where states are mixed.  What is not RAM is blank, and rows
 * of nothing else are left out.
 *
 * With `colour`, each glyph has its state's colour behind it, in the terminal's 256 colours.
 */
void mapview_text(FILE *f, const struct mapview *view, uint64_t scale, bool colour);

/* How an image is laid out, in pixels but for `columns`, which are pages. */
struct mapview_layout {
	unsigned int scale;	    /* each page is a square of so many pixels a side */
	unsigned int columns;	    /* pages a row, a power of two; the first is a multiple of it */
	unsigned int left, top;	    /* the corner of the picture in the image */
	unsigned int width, height; /* of the picture */
};

#define MAPVIEW_PNG_MAX_SIDE  16384 /* pixels of a picture, each way */
#define MAPVIEW_PNG_MAX_SCALE 64

/*
 * Lay out an image with a picture about as wide as it is high.  `scale` 0: as large as fits in some
 * 768 pixels each way.  0; -EFBIG with *err: the picture would have sides of more than the maximum.
 */
int mapview_png_layout(const struct mapview *view, unsigned int scale,
		       struct mapview_layout *layout, struct quire_error *err);

/*
 * Draw the view as a PNG image: the title, the picture with addresses at its left, and the legend
 * with exact counts.  Pixels of the picture tell the state of their page: see mapview_png_index.
 *
 * 0; -EFBIG as mapview_png_layout; -EIO (f or libpng failed), -ENOMEM; with *err.
 */
int mapview_png(FILE *f, const struct mapview *view, const char *title, unsigned int scale,
		struct quire_error *err);

/* Palette index of a state byte, and the colour behind an index. */
unsigned int mapview_png_index(uint8_t state);
uint32_t mapview_png_rgb(unsigned int index);

#endif
