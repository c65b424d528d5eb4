/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as text; mapview_png.c draws the image.  See mapview.h for what is shown.
 *
 * A glyph has room for one state.  Where the states of pages alternate, the commonest one would
 * hide the others in every glyph.  So a row is drawn as a printer draws grey with black dots: each
 * glyph shows the state of which most has not been shown yet, and what it leaves out counts for the
 * next glyph.
 */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include "mmu/memory/gmem.h"
#include "mapview.h"
#include "table.h"

#define NOT_RAM PG_NR_STATES

static unsigned int state_of(uint8_t byte)
{
	unsigned int state = byte & ~GMEM_STATE_LARGE;

	return state < PG_NR_STATES ? state : NOT_RAM;
}

static void count(const uint8_t *states, uint64_t nr, struct mapview_tally *tally)
{
	memset(tally, 0, sizeof(*tally));
	for (uint64_t i = 0; i < nr; i++) {
		unsigned int state = state_of(states[i]);

		if (state == NOT_RAM)
			continue;
		tally->ram++;
		tally->pages[state]++;
		if (states[i] & GMEM_STATE_LARGE)
			tally->large[state]++;
	}
}

void mapview_count(const struct mapview *view, struct mapview_tally *tally)
{
	count(view->states, view->nr, tally);
}

uint64_t mapview_scale(const struct mapview *view, uint64_t max_glyphs)
{
	struct mapview_tally tally;
	uint64_t scale = 1;

	mapview_count(view, &tally);
	while (tally.ram / scale > max_glyphs)
		scale *= 2;
	return scale;
}

static char state_glyph(unsigned int state, bool large)
{
	char glyph = page_states[state].glyph;

	return large ? (char)toupper((unsigned char)glyph) : glyph;
}

/* ---- a glyph ---- */

struct cell {
	unsigned int state; /* the one that is shown; NOT_RAM */
	bool large;	    /* all its pages of that state are in 2 MiB leaves */
};

/*
 * How many pages of each state the glyphs of a row have not shown yet.  A glyph adds its pages of
 * each state, and then subtracts all its pages from the state that it shows.
 */
struct unsaid {
	int64_t pages[PG_NR_STATES];
};

/* Of the states that the glyph's pages have, the one of which most is unsaid. */
static unsigned int choose(const struct mapview_tally *tally, const struct unsaid *unsaid)
{
	unsigned int best = NOT_RAM;

	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		if (tally->pages[state] &&
		    (best == NOT_RAM || unsaid->pages[state] >= unsaid->pages[best]))
			best = state;
	return best;
}

static struct cell next_cell(const uint8_t *states, uint64_t nr, struct unsaid *unsaid)
{
	struct mapview_tally tally;
	struct cell cell;

	count(states, nr, &tally);
	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		unsaid->pages[state] += (int64_t)tally.pages[state];
	cell.state = choose(&tally, unsaid);
	cell.large = false;
	if (cell.state != NOT_RAM) {
		unsaid->pages[cell.state] -= (int64_t)tally.ram;
		cell.large = tally.large[cell.state] == tally.pages[cell.state];
	}
	return cell;
}

static char cell_glyph(struct cell cell)
{
	return cell.state == NOT_RAM ? ' ' : state_glyph(cell.state, cell.large);
}

/* ---- colours ---- */

/* A terminal's colours 16 to 231 are 6 x 6 x 6 shades of red, green and blue: the nearest one. */
static unsigned int terminal_colour(uint32_t rgb)
{
	unsigned int colour = 0;

	for (int shift = 16; shift >= 0; shift -= 8) {
		unsigned int c = rgb >> shift & 0xff;

		colour = colour * 6 + (c < 48 ? 0 : c < 115 ? 1 : (c - 35) / 40);
	}
	return 16 + colour;
}

/* Black or white, whichever can be read on it. */
static uint32_t ink_on(uint32_t rgb)
{
	return (rgb >> 16) * 3 + (rgb >> 8 & 0xff) * 6 + (rgb & 0xff) > 1280 ? 0 : 0xffffff;
}

static uint32_t cell_rgb(struct cell cell)
{
	return mapview_png_rgb(2 * cell.state + cell.large);
}

static void put_cell(FILE *f, struct cell cell, bool colour)
{
	uint32_t paper;

	if (!colour || cell.state == NOT_RAM) {
		putc(cell_glyph(cell), f);
		return;
	}
	paper = cell_rgb(cell);
	fprintf(f, "\x1b[38;5;%u;48;5;%um%c\x1b[m", terminal_colour(ink_on(paper)),
		terminal_colour(paper), cell_glyph(cell));
}

/* ---- the picture ---- */

static void text_row(FILE *f, const struct mapview *view, uint64_t first, uint64_t scale,
		     bool colour)
{
	struct cell row[MAPVIEW_COLUMNS];
	struct unsaid unsaid = { 0 };
	unsigned int nr = 0;
	bool ram = false;

	for (uint64_t i = first; i < view->nr && nr < MAPVIEW_COLUMNS; i += scale) {
		row[nr] = next_cell(view->states + i, min_u64(scale, view->nr - i), &unsaid);
		ram = ram || row[nr].state != NOT_RAM;
		nr++;
	}
	if (!ram)
		return;
	fprintf(f, "0x%010" PRIx64 "  ", gfn_to_gpa(view->start + first));
	for (unsigned int column = 0; column < nr; column++)
		put_cell(f, row[column], colour);
	putc('\n', f);
}

static void legend_line(FILE *f, struct cell cell, const char *name, uint64_t pages, bool colour)
{
	fputs("  ", f);
	put_cell(f, cell, colour);
	fprintf(f, "  %-10s %10" PRIu64 " pages  %9s\n", name, pages, size_text(gfn_to_gpa(pages)));
}

static void legend(FILE *f, const struct mapview *view, uint64_t scale, bool colour)
{
	struct cell cell = { 0 };
	struct mapview_tally tally;

	mapview_count(view, &tally);
	fprintf(f, "\none glyph is %s, a row %s\n", size_text(gfn_to_gpa(scale)),
		size_text(gfn_to_gpa(scale * MAPVIEW_COLUMNS)));
	for (cell.state = 0; cell.state < PG_NR_STATES; cell.state++) {
		legend_line(f, cell, page_states[cell.state].name, tally.pages[cell.state], colour);
		cell.large = page_states[cell.state].large;
		if (cell.large)
			legend_line(f, cell, " in 2 MiB", tally.large[cell.state], colour);
		cell.large = false;
	}
	legend_line(f, cell, "RAM", tally.ram, false);
	if (scale > 1)
		fputs("where states are mixed, a row shows each about as often as it is common\n",
		      f);
}

void mapview_text(FILE *f, const struct mapview *view, uint64_t scale, bool colour)
{
	for (uint64_t i = 0; i < view->nr; i += scale * MAPVIEW_COLUMNS)
		text_row(f, view, i, scale, colour);
	legend(f, view, scale, colour);
}
