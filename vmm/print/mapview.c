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
#include "colour.h"
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

static struct mapview_cell next_cell(const uint8_t *states, uint64_t nr, struct unsaid *unsaid)
{
	struct mapview_tally tally;
	struct mapview_cell cell;

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

char mapview_glyph(struct mapview_cell cell)
{
	return cell.state == NOT_RAM ? ' ' : state_glyph(cell.state, cell.large);
}

/* ---- colours ---- */

uint32_t mapview_rgb(struct mapview_cell cell)
{
	return mapview_png_rgb(2 * cell.state + cell.large);
}

static void put_cell(FILE *f, struct mapview_cell cell, bool colour)
{
	uint32_t paper;

	if (!colour || cell.state == NOT_RAM) {
		putc(mapview_glyph(cell), f);
		return;
	}
	paper = mapview_rgb(cell);
	fprintf(f, "\x1b[38;5;%u;48;5;%um%c\x1b[m", colour_256(colour_ink(paper)),
		colour_256(paper), mapview_glyph(cell));
}

/* ---- the picture ---- */

unsigned int mapview_row(const struct mapview *view, uint64_t first, uint64_t scale,
			 struct mapview_cell *row, unsigned int columns)
{
	struct unsaid unsaid = { 0 };
	unsigned int nr = 0;

	for (uint64_t i = first; i < view->nr && nr < columns; i += scale)
		row[nr++] = next_cell(view->states + i, min_u64(scale, view->nr - i), &unsaid);
	return nr;
}

static bool has_ram(const struct mapview_cell *row, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (row[i].state != NOT_RAM)
			return true;
	return false;
}

static void text_row(FILE *f, const struct mapview *view, uint64_t first, uint64_t scale,
		     bool colour)
{
	struct mapview_cell row[MAPVIEW_COLUMNS];
	unsigned int nr = mapview_row(view, first, scale, row, MAPVIEW_COLUMNS);

	if (!has_ram(row, nr))
		return;
	fprintf(f, "0x%010" PRIx64 "  ", gfn_to_gpa(view->start + first));
	for (unsigned int column = 0; column < nr; column++)
		put_cell(f, row[column], colour);
	putc('\n', f);
}

static void legend_line(FILE *f, struct mapview_cell cell, const char *name, uint64_t pages,
			bool colour)
{
	fputs("  ", f);
	put_cell(f, cell, colour);
	fprintf(f, "  %-10s %10" PRIu64 " pages  %9s\n", name, pages, size_text(gfn_to_gpa(pages)));
}

static void legend(FILE *f, const struct mapview *view, uint64_t scale, bool colour)
{
	struct mapview_cell cell = { 0 };
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
