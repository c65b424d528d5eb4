/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/print/colour.h"
#include "vmm/print/mapview.h"
#include "vmm/print/table.h"
#include "mmu/memory/gmem.h"
#include "pagemap.h"

#define MOST_COLUMNS 1024

/* ---- moving ---- */

static uint64_t pages_in_row(const struct pagemap_place *place)
{
	return place->scale * place->columns;
}

uint64_t pagemap_pages(const struct pagemap_place *place)
{
	return pages_in_row(place) * place->rows;
}

/* The largest scale that makes sense: all of RAM is in sight. */
static uint64_t scale_of_all(gfn_t end, unsigned int columns, unsigned int rows)
{
	uint64_t scale = 1;

	while (scale * columns * rows < end)
		scale *= 2;
	return scale;
}

/* Rows begin at multiples of their length.  The cursor is in sight, and no row is beyond RAM. */
static void keep_in_sight(struct pagemap_place *place, gfn_t end)
{
	uint64_t row = pages_in_row(place), most;

	if (place->cursor >= end)
		place->cursor = end ? end - 1 : 0;
	place->cursor = align_down(place->cursor, place->scale);
	place->first -= place->first % row;
	if (place->cursor < place->first)
		place->first = place->cursor - place->cursor % row;
	if (place->cursor >= place->first + pagemap_pages(place))
		place->first = place->cursor - place->cursor % row + row - pagemap_pages(place);
	most = (end + row - 1) / row * row;
	most = most > pagemap_pages(place) ? most - pagemap_pages(place) : 0;
	place->first = min_u64(place->first, most);
}

void pagemap_size(struct pagemap_place *place, unsigned int columns, unsigned int rows)
{
	place->columns = 1;
	while (place->columns * 2 <= columns && place->columns < MOST_COLUMNS)
		place->columns *= 2;
	place->rows = rows ? rows : 1;
}

void pagemap_fit(struct pagemap_place *place, gfn_t end)
{
	uint64_t most = scale_of_all(end, place->columns, place->rows);

	if (!place->scale || place->scale > most)
		place->scale = most;
	keep_in_sight(place, end);
}

void pagemap_move(struct pagemap_place *place, gfn_t end, int64_t cells)
{
	uint64_t cell = place->scale ? place->cursor / place->scale : 0;
	uint64_t last = place->scale && end ? (end - 1) / place->scale : 0;

	if (cells < 0)
		cell = cell < -(uint64_t)cells ? 0 : cell + (uint64_t)cells;
	else
		cell = min_u64(last, cell + (uint64_t)cells);
	place->cursor = cell * place->scale;
	if (place->scale)
		keep_in_sight(place, end);
}

void pagemap_zoom(struct pagemap_place *place, gfn_t end, bool in)
{
	uint64_t half;

	if (!place->scale || (in && place->scale == 1))
		return;
	place->scale = in ? place->scale / 2 : place->scale * 2;
	half = pagemap_pages(place) / 2;
	place->first = place->cursor > half ? place->cursor - half : 0;
	pagemap_fit(place, end);
}

/* ---- what a cell shows ---- */

static uint64_t known_from(const struct pagemap *map, gfn_t gfn)
{
	if (gfn < map->start || gfn >= map->start + map->nr)
		return 0;
	return map->start + map->nr - gfn;
}

/* Of the pages [gfn, gfn + nr), which are known: how many VMs share each, at least and at most. */
static void owners_of(const struct pagemap *map, gfn_t gfn, uint64_t nr, unsigned int *least,
		      unsigned int *most)
{
	*least = *most = 0;
	for (uint64_t i = gfn - map->start; map->owners && nr; i++, nr--) {
		unsigned int owners = map->owners[i];

		if (owners && (!*least || owners < *least))
			*least = owners;
		if (owners > *most)
			*most = owners;
	}
}

/*
 * A shared cell tells by its character how many VMs share the page of it that most do: a digit, or
 * + for more; and by its shade: the darker, the more.
 */
static void tint(struct frame_cell *cell, unsigned int owners)
{
	uint32_t rgb = page_states[PG_SHARED].rgb;

	if (owners < 2)
		rgb = colour_lighter(rgb);
	else if (owners >= 8)
		rgb = colour_darker(colour_darker(rgb));
	else if (owners >= 4)
		rgb = colour_darker(rgb);
	cell->style = frame_on(rgb);
	cell->character = owners > 9 ? '+' : (uint16_t)('0' + owners);
}

static void draw_cell(struct frame *f, unsigned int row, unsigned int column,
		      const struct pagemap *map, const struct pagemap_place *place, gfn_t gfn,
		      struct mapview_cell shown)
{
	unsigned int least, most;

	if (shown.state == PG_NR_STATES)
		return;
	frame_put(f, row, column, frame_on(mapview_rgb(shown)),
		  (unsigned char)mapview_glyph(shown));
	owners_of(map, gfn, min_u64(place->scale, known_from(map, gfn)), &least, &most);
	if (shown.state == PG_SHARED && most && frame_at(f, row, column))
		tint(frame_at(f, row, column), most);
}

#define CELLS_FROM 14 /* the address is before them */

static void draw_row(struct frame *f, unsigned int row, const struct pagemap *map,
		     const struct pagemap_place *place, gfn_t gfn)
{
	struct mapview view = { .start = map->start, .nr = map->nr, .states = map->states };
	struct mapview_cell cells[MOST_COLUMNS];
	unsigned int nr = 0;

	if (gfn >= map->end)
		return;
	frame_print(f, row, 0, frame_plain, "0x%010" PRIx64, gfn_to_gpa(gfn));
	if (known_from(map, gfn))
		nr = mapview_row(&view, gfn - map->start, place->scale, cells, place->columns);
	for (unsigned int i = 0; i < nr; i++)
		draw_cell(f, row, CELLS_FROM + i, map, place, gfn + i * place->scale, cells[i]);
}

/* ---- what is under the cursor ---- */

static void draw_owners(struct frame *f, unsigned int row, unsigned int column, unsigned int least,
			unsigned int most)
{
	if (most && least == most)
		frame_print(f, row, column, frame_plain, "; shared by %u VM%s", most,
			    most == 1 ? "" : "s");
	else if (most)
		frame_print(f, row, column, frame_plain, "; shared by %u to %u VMs", least, most);
}

static void draw_cursor(struct frame *f, unsigned int row, const struct pagemap *map,
			const struct pagemap_place *place)
{
	uint64_t nr = min_u64(place->scale, known_from(map, place->cursor));
	unsigned int at, least, most;
	struct mapview_tally tally;

	at = frame_print(f, row, 0, frame_bold, "%#" PRIx64 "+%s", gfn_to_gpa(place->cursor),
			 size_text(gfn_to_gpa(place->scale)));
	at = frame_print(f, row, at, frame_plain, " page %#" PRIx64 ":", place->cursor);
	if (!nr)
		return;
	mapview_count(&(struct mapview){ .start = place->cursor,
					 .nr = nr,
					 .states = map->states + (place->cursor - map->start) },
		      &tally);
	if (!tally.ram)
		at = frame_print(f, row, at, frame_plain, " no RAM");
	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		if (tally.pages[i])
			at = frame_print(f, row, at, frame_plain, " %" PRIu64 " %s", tally.pages[i],
					 page_states[i].name);
	owners_of(map, place->cursor, nr, &least, &most);
	draw_owners(f, row, at, least, most);
}

void pagemap_draw(struct frame *f, unsigned int row, const struct pagemap *map,
		  const struct pagemap_place *place)
{
	uint64_t cell = (place->cursor - place->first) / place->scale;
	struct frame_cell *cursor;

	for (unsigned int i = 0; i < place->rows; i++)
		draw_row(f, row + i, map, place, place->first + i * pages_in_row(place));
	cursor = frame_at(f, row + (unsigned int)(cell / place->columns),
			  CELLS_FROM + (unsigned int)(cell % place->columns));
	if (cursor)
		cursor->style = (struct frame_style){ FRAME_OWN, FRAME_OWN, true, true };
	draw_cursor(f, row + place->rows, map, place);
}

void pagemap_finish(struct pagemap *map)
{
	free(map->states);
	free(map->owners);
	*map = (struct pagemap){ 0 };
}
