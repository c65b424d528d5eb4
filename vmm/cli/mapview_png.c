/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as a PNG image.  See mapview.h for what is shown.
 *
 * A palette image: pixel value = 2 * state + large, then three more for what is not RAM, the
 * legend's paper and its ink.  So a program can read the states back from the pixels, and a
 * row costs 512 bytes of memory however large the guest is.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>
#include "mmu/memory/gmem.h"
#include "font.h"
#include "mapview.h"

enum { INDEX_NOT_RAM = 2 * PG_NR_STATES, INDEX_PAPER, INDEX_INK, NR_INDICES };

#define WIDTH	    MAPVIEW_PNG_WIDTH
#define LINE_HEIGHT (2 * FONT_HEIGHT + 6) /* text at double size, and room */
#define MARGIN	    8
#define LINE_CHARS  ((WIDTH - 2 * MARGIN) / (2 * (FONT_WIDTH + 1)))

static_assert(WIDTH == QUIRE_BLOCK_PAGES, "a block a row");

unsigned int mapview_png_index(uint8_t state)
{
	unsigned int plain = state & ~GMEM_STATE_LARGE;

	return plain < PG_NR_STATES ? 2 * plain + !!(state & GMEM_STATE_LARGE) : INDEX_NOT_RAM;
}

/* The 2 MiB variant: a third of the way to white. */
static uint32_t lighter(uint32_t rgb)
{
	uint32_t out = 0;

	for (unsigned int shift = 0; shift < 24; shift += 8) {
		uint32_t c = rgb >> shift & 0xff;

		out |= (c + (255 - c) / 3) << shift;
	}
	return out;
}

uint32_t mapview_png_rgb(unsigned int index)
{
	if (index < INDEX_NOT_RAM) {
		uint32_t rgb = page_states[index / 2].rgb;

		return index % 2 ? lighter(rgb) : rgb;
	}
	return index == INDEX_NOT_RAM ? 0x808080 : index == INDEX_PAPER ? 0xffffff : 0;
}

/* ---- the legend: lines of a colour swatch and text ---- */

struct line {
	unsigned int index; /* colour of the swatch; INDEX_PAPER: none */
	char text[LINE_CHARS + 1];
};

#define MAX_LINES (2 + 2 * PG_NR_STATES)

static unsigned int legend(const struct mapview *view, struct line *line)
{
	struct mapview_tally tally;
	unsigned int nr = 0;

	mapview_count(view, &tally);
	line[nr].index = INDEX_PAPER;
	snprintf(line[nr++].text, sizeof(line->text), "a pixel 4 KiB, a row 2 MiB");
	line[nr].index = INDEX_PAPER;
	snprintf(line[nr++].text, sizeof(line->text), "from %#" PRIx64 ": %" PRIu64 " pages RAM",
		 gfn_to_gpa(view->start), tally.ram);
	for (unsigned int state = 0; state < PG_NR_STATES; state++) {
		line[nr].index = 2 * state;
		snprintf(line[nr++].text, sizeof(line->text), "  %-10.10s %12" PRIu64 " pages",
			 page_states[state].name, tally.pages[state]);
		if (!page_states[state].large)
			continue;
		line[nr].index = 2 * state + 1;
		snprintf(line[nr++].text, sizeof(line->text), "   in 2 MiB  %12" PRIu64 " pages",
			 tally.large[state]);
	}
	return nr;
}

static void put_text(const char *text, unsigned int y, png_byte *row)
{
	for (unsigned int i = 0; text[i]; i++)
		for (unsigned int x = 0; x < 2 * FONT_WIDTH; x++)
			if (font_pixel(text[i], x / 2, y / 2))
				row[MARGIN + i * 2 * (FONT_WIDTH + 1) + x] = INDEX_INK;
}

/* Row y (0 is the top) of a legend line. */
static void legend_row(const struct line *line, unsigned int y, png_byte *row)
{
	unsigned int top = (LINE_HEIGHT - 2 * FONT_HEIGHT) / 2;

	memset(row, INDEX_PAPER, WIDTH);
	if (y < top || y >= top + 2 * FONT_HEIGHT)
		return;
	memset(row + MARGIN, (int)line->index, 2 * FONT_HEIGHT);
	put_text(line->text, y - top, row);
}

/* ---- the picture ---- */

/* The row of block number `block` (of guest memory): pages out of view are not RAM. */
static void block_row(const struct mapview *view, uint64_t block, png_byte *row)
{
	gfn_t gfn = block * QUIRE_BLOCK_PAGES;

	for (unsigned int x = 0; x < WIDTH; x++, gfn++) {
		bool inside = gfn - view->start < view->nr; /* below start it wraps */

		row[x] = (png_byte)(inside ? mapview_png_index(view->states[gfn - view->start]) :
					     INDEX_NOT_RAM);
	}
}

static void fill_palette(png_color *palette)
{
	for (unsigned int i = 0; i < NR_INDICES; i++) {
		uint32_t rgb = mapview_png_rgb(i);

		palette[i] = (png_color){
			.red = (png_byte)(rgb >> 16),
			.green = (png_byte)(rgb >> 8),
			.blue = (png_byte)rgb,
		};
	}
}

/* The part that libpng may leave by longjmp: nothing here needs undoing. */
static void write_image(png_structp png, png_infop info, FILE *f, const struct mapview *view)
{
	uint64_t first = view->start / QUIRE_BLOCK_PAGES;
	uint64_t end = align_up(view->start + view->nr, QUIRE_BLOCK_PAGES) / QUIRE_BLOCK_PAGES;
	struct line line[MAX_LINES];
	unsigned int nr_lines = legend(view, line);
	png_color palette[NR_INDICES];
	png_byte row[WIDTH];

	png_init_io(png, f);
	png_set_IHDR(png, info, WIDTH, (png_uint_32)(end - first + nr_lines * LINE_HEIGHT), 8,
		     PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		     PNG_FILTER_TYPE_DEFAULT);
	fill_palette(palette);
	png_set_PLTE(png, info, palette, NR_INDICES);
	png_write_info(png, info);
	for (uint64_t block = first; block < end; block++) {
		block_row(view, block, row);
		png_write_row(png, row);
	}
	for (unsigned int y = 0; y < nr_lines * LINE_HEIGHT; y++) {
		legend_row(&line[y / LINE_HEIGHT], y % LINE_HEIGHT, row);
		png_write_row(png, row);
	}
	png_write_end(png, info);
}

/* libpng must not print: the caller does. */
static void on_error(png_structp png, png_const_charp what)
{
	struct quire_error *err = png_get_error_ptr(png);

	quire_fail(err, 0, "cannot write the image: %s", what);
	longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp what)
{
	(void)png;
	(void)what;
}

int mapview_png(FILE *f, const struct mapview *view, struct quire_error *err)
{
	png_structp png;
	png_infop info;

	if (view->nr > (MAPVIEW_PNG_MAX_ROWS - 1) * QUIRE_BLOCK_PAGES)
		return quire_fail(err, -EFBIG,
				  "%" PRIu64 " MiB are too many for one image; choose "
				  "%u MiB of them with --range",
				  gfn_to_gpa(view->nr) / MiB, (MAPVIEW_PNG_MAX_ROWS - 1) * 2);
	png = png_create_write_struct(PNG_LIBPNG_VER_STRING, err, on_error, on_warning);
	if (!png)
		return quire_fail(err, -EIO, "cannot start libpng");
	info = png_create_info_struct(png);
	if (!info || setjmp(png_jmpbuf(png))) {
		png_destroy_write_struct(&png, &info);
		return -EIO;
	}
	write_image(png, info, f, view);
	png_destroy_write_struct(&png, &info);
	return fflush(f) ? quire_fail(err, -EIO, "cannot write the image: %m") : 0;
}
