/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as text; mapview_png.c draws the image.  See mapview.h for what is shown.
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

static uint64_t resident_pages(const struct mapview_tally *tally)
{
	uint64_t sum = 0;

	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		if (page_states[state].resident)
			sum += tally->pages[state];
	return sum;
}

static char state_glyph(unsigned int state, bool large)
{
	char glyph = page_states[state].glyph;

	return large ? (char)toupper((unsigned char)glyph) : glyph;
}

static unsigned int commonest(const struct mapview_tally *tally)
{
	unsigned int best = 0;

	for (unsigned int state = 1; state < PG_NR_STATES; state++)
		if (tally->pages[state] > tally->pages[best])
			best = state;
	return best;
}

char mapview_glyph(const uint8_t *states, uint64_t nr)
{
	struct mapview_tally tally;
	uint64_t resident, tenths;
	unsigned int state;

	count(states, nr, &tally);
	if (tally.ram == 0)
		return ' ';
	resident = resident_pages(&tally);
	if (resident == 0 || resident == tally.ram) {
		state = commonest(&tally);
		return state_glyph(state, tally.large[state] == tally.ram);
	}
	tenths = resident * 10 / tally.ram;
	return (char)('0' + (tenths ? tenths : 1));
}

static bool row_is_blank(const char *row)
{
	return row[strspn(row, " ")] == '\0';
}

static void text_row(FILE *f, const struct mapview *view, uint64_t first, uint64_t scale)
{
	char row[MAPVIEW_COLUMNS + 1];
	unsigned int column = 0;

	for (uint64_t i = first; i < view->nr && column < MAPVIEW_COLUMNS; i += scale)
		row[column++] = mapview_glyph(view->states + i, min_u64(scale, view->nr - i));
	row[column] = '\0';
	if (!row_is_blank(row))
		fprintf(f, "0x%010" PRIx64 "  %s\n", gfn_to_gpa(view->start + first), row);
}

static void legend(FILE *f, const struct mapview *view, uint64_t scale)
{
	struct mapview_tally tally;

	mapview_count(view, &tally);
	fprintf(f, "\none glyph is %s, a row %s\n", size_text(gfn_to_gpa(scale)),
		size_text(gfn_to_gpa(scale * MAPVIEW_COLUMNS)));
	for (unsigned int state = 0; state < PG_NR_STATES; state++) {
		fprintf(f, "  %c  %-10s %10" PRIu64 " pages  %9s\n", state_glyph(state, false),
			page_states[state].name, tally.pages[state],
			size_text(gfn_to_gpa(tally.pages[state])));
		if (page_states[state].large)
			fprintf(f, "  %c   in 2 MiB %10" PRIu64 " pages  %9s\n",
				state_glyph(state, true), tally.large[state],
				size_text(gfn_to_gpa(tally.large[state])));
	}
	fprintf(f, "     %-10s %10" PRIu64 " pages  %9s\n", "RAM", tally.ram,
		size_text(gfn_to_gpa(tally.ram)));
	if (scale > 1)
		fprintf(f, "  1-9 mixed: tenths of the glyph's pages that occupy memory\n");
}

void mapview_text(FILE *f, const struct mapview *view, uint64_t scale)
{
	for (uint64_t i = 0; i < view->nr; i += scale * MAPVIEW_COLUMNS)
		text_row(f, view, i, scale);
	legend(f, view, scale);
}
