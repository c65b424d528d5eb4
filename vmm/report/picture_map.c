/* SPDX-License-Identifier: MIT */
/*
 * A VM's memory as SVG.  The runs of quire.map/1 become the bytes that vmm/print/mapview.h draws
 * from, and neighbours of one colour in a row one rectangle.
 */
#include <stdlib.h>
#include <string.h>
#include <quire/types.h>
#include "mmu/memory/gmem.h"
#include "picture.h"
#include "vmm/print/mapview.h"
#include "vmm/print/svg.h"
#include "vmm/print/table.h"

#define COLUMNS	  128u
#define CELL	  4u		 /* units a side */
#define MAX_CELLS (COLUMNS * 64) /* about */
#define MAX_PAGES (1ull << 24)	 /* from the first page to the last: 64 GiB */
#define NOT_RAM	  PG_NR_STATES

#define TOP	 28.0
#define LEGEND_X (COLUMNS * CELL + 20.0)
#define ALL_X	 (LEGEND_X + 190)

/* The state byte of a run; NOT_RAM: it has a state that we do not know. */
static uint8_t byte_of(const json_t *run)
{
	const char *name = picture_text(run, "state");

	for (unsigned int s = 0; s < PG_NR_STATES; s++)
		if (!strcmp(name, page_states[s].name))
			return (uint8_t)(s |
					 (picture_number(run, "large_leaf") > 0 ? GMEM_STATE_LARGE :
										  0));
	return NOT_RAM;
}

static void bounds(const json_t *runs, uint64_t *start, uint64_t *end)
{
	*start = UINT64_MAX;
	*end = 0;
	for (size_t i = 0; i < json_array_size(runs); i++) {
		const json_t *run = json_array_get(runs, i);
		uint64_t gfn = (uint64_t)picture_number(run, "gfn");

		*start = min_u64(*start, gfn);
		*end = max_u64(*end, gfn + (uint64_t)picture_number(run, "pages"));
	}
}

/* The states from the first page to the last; NULL: they cannot be had. */
static uint8_t *states_of(const json_t *runs, struct mapview *view)
{
	uint64_t start, end;
	uint8_t *states;

	bounds(runs, &start, &end);
	if (start >= end || end - start > MAX_PAGES)
		return NULL;
	states = malloc(end - start);
	if (!states)
		return NULL;
	memset(states, NOT_RAM, end - start);
	for (size_t i = 0; i < json_array_size(runs); i++) {
		const json_t *run = json_array_get(runs, i);

		memset(states + (uint64_t)picture_number(run, "gfn") - start, byte_of(run),
		       (uint64_t)picture_number(run, "pages"));
	}
	*view = (struct mapview){ .start = start, .nr = end - start, .states = states };
	return states;
}

static bool is_ram(const struct mapview_cell *row, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (row[i].state < PG_NR_STATES)
			return true;
	return false;
}

static void put_row(FILE *f, const struct mapview_cell *row, unsigned int nr, unsigned int y)
{
	unsigned int run;

	for (unsigned int i = 0; i < nr; i += run) {
		for (run = 1; i + run < nr && row[i + run].state == row[i].state &&
			      row[i + run].large == row[i].large;)
			run++;
		if (row[i].state < PG_NR_STATES)
			fprintf(f,
				"<rect x=\"%u\" y=\"%.0f\" width=\"%u\" height=\"%u\" "
				"fill=\"#%06x\"/>\n",
				i * CELL, TOP + y * CELL, run * CELL, CELL, mapview_rgb(row[i]));
	}
}

/* Draw the rows that have RAM, or only count them (f NULL). */
static unsigned int put_rows(FILE *f, const struct mapview *view, uint64_t scale)
{
	struct mapview_cell row[COLUMNS];
	unsigned int rows = 0;

	for (uint64_t i = 0; i < view->nr; i += scale * COLUMNS) {
		unsigned int nr = mapview_row(view, i, scale, row, COLUMNS);

		if (!is_ram(row, nr))
			continue;
		if (f)
			put_row(f, row, nr, rows);
		rows++;
	}
	return rows;
}

static double legend_y(unsigned int line)
{
	return TOP + 12 + 20.0 * line;
}

static void put_legend(FILE *f, const struct mapview *view, uint64_t scale)
{
	struct mapview_tally tally;
	unsigned int line = 0;

	mapview_count(view, &tally);
	for (unsigned int s = 0; s < PG_NR_STATES; s++) {
		if (!tally.pages[s])
			continue;
		fprintf(f,
			"<rect x=\"%.0f\" y=\"%.0f\" width=\"12\" height=\"12\" fill=\"#%06x\"/>\n",
			LEGEND_X, legend_y(line) - 10,
			mapview_rgb((struct mapview_cell){ .state = s }));
		svg_text(f, LEGEND_X + 20, legend_y(line++), "start", "%s: %s", page_states[s].name,
			 size_text(tally.pages[s] * QUIRE_PAGE_SIZE));
	}
	svg_text(f, LEGEND_X, legend_y(line), "start", "a square is %s",
		 size_text(scale * QUIRE_PAGE_SIZE));
}

bool picture_map(FILE *f, const json_t *map)
{
	struct mapview view;
	uint8_t *states = states_of(json_object_get(json_object_get(map, "map"), "runs"), &view);
	uint64_t scale;
	unsigned int rows;
	char title[200];

	if (!states)
		return false;
	scale = mapview_scale(&view, MAX_CELLS);
	rows = max_u64(put_rows(NULL, &view, scale), (PG_NR_STATES + 1) * 20 / CELL + 1);
	snprintf(title, sizeof(title), "%.80s at %.1f s", picture_text(map, "vm"),
		 picture_number(map, "t_s"));
	svg_begin(f, ALL_X, TOP + rows * CELL + 8, title);
	svg_text(f, 0, 18, "start", "%s", title);
	put_rows(f, &view, scale);
	put_legend(f, &view, scale);
	svg_end(f);
	free(states);
	return true;
}
