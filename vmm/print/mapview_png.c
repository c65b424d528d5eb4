/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as a PNG image.  See mapview.h for what is shown.
 *
 * The image has a palette.  A pixel's value is 2 * state + large, so a program can read the states
 * back from the pixels.  Three more values are for what is not RAM, for the paper, and for the ink
 * of what is written around the picture.
 *
 * The image is made row by row.  It takes memory for one row only, however large the guest is.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/memory/gmem.h"
#include "font.h"
#include "libpng.h"
#include "colour.h"
#include "mapview.h"
#include "table.h"

enum { INDEX_NOT_RAM = 2 * PG_NR_STATES, INDEX_PAPER, INDEX_INK, NR_INDICES };

#define MARGIN	      16
#define LETTER_WIDTH  (2 * (FONT_WIDTH + 1)) /* text is at double size */
#define LETTER_HEIGHT (2 * FONT_HEIGHT)
#define LINE_HEIGHT   (LETTER_HEIGHT + 6)
#define TICK	      6 /* from an address to its row */
#define TICK_EVERY    48
#define USUAL_SIDE    768
#define USUAL_SCALE   16 /* the largest that is chosen by itself */
#define MIN_COLUMNS   16

unsigned int mapview_png_index(uint8_t state)
{
	unsigned int plain = state & ~GMEM_STATE_LARGE;

	return plain < PG_NR_STATES ? 2 * plain + !!(state & GMEM_STATE_LARGE) : INDEX_NOT_RAM;
}

uint32_t mapview_png_rgb(unsigned int index)
{
	if (index < INDEX_NOT_RAM) {
		uint32_t rgb = page_states[index / 2].rgb;

		return index % 2 ? colour_lighter(rgb) : rgb;
	}
	return index == INDEX_NOT_RAM ? 0x808080 : index == INDEX_PAPER ? 0xffffff : 0;
}

/* ---- where things are ---- */

/* An address as --range takes it: with the largest unit that leaves no rest. */
static const char *address_text(gpa_t gpa, char buf[24])
{
	static const char units[] = "KMGT";
	unsigned int unit = 0;
	uint64_t value = gpa / KiB;

	for (; value && value % 1024 == 0 && units[unit + 1]; unit++)
		value /= 1024;
	snprintf(buf, 24, value ? "%" PRIu64 "%c" : "0", value, units[unit]);
	return buf;
}

static gfn_t first_gfn(const struct mapview *view, const struct mapview_layout *l)
{
	return view->start - view->start % l->columns;
}

static uint64_t nr_rows(const struct mapview *view, const struct mapview_layout *l)
{
	return (view->start + view->nr - first_gfn(view, l) + l->columns - 1) / l->columns;
}

/* Does this row have its address beside it? */
static bool has_tick(const struct mapview_layout *l, uint64_t row)
{
	uint64_t every = 1;

	while (every * l->scale < TICK_EVERY)
		every *= 2;
	return row % every == 0;
}

/* The longest address at the left needs so many pixels. */
static unsigned int label_width(const struct mapview *view, const struct mapview_layout *l)
{
	unsigned int longest = 0;
	char text[24];

	for (uint64_t row = 0; row < nr_rows(view, l); row++) {
		gpa_t gpa = gfn_to_gpa(first_gfn(view, l) + row * l->columns);

		if (has_tick(l, row))
			longest = (unsigned int)max_u64(longest, strlen(address_text(gpa, text)));
	}
	return longest * LETTER_WIDTH;
}

/* For a picture of so many pages on its longer side. */
static unsigned int usual_scale(uint64_t pages)
{
	return (unsigned int)max_u64(1, min_u64(USUAL_SCALE, USUAL_SIDE / pages));
}

int mapview_png_layout(const struct mapview *view, unsigned int scale, struct mapview_layout *l,
		       struct quire_error *err)
{
	uint64_t width, height;

	*l = (struct mapview_layout){ .columns = MIN_COLUMNS, .top = MARGIN + 2 * LINE_HEIGHT + 6 };
	/* Neither side is more than twice the other. */
	while (2 * (uint64_t)l->columns * l->columns < view->nr)
		l->columns *= 2;
	l->scale = scale ? scale : usual_scale(max_u64(l->columns, nr_rows(view, l)));
	width = (uint64_t)l->columns * l->scale;
	height = nr_rows(view, l) * l->scale;
	if (max_u64(width, height) > MAPVIEW_PNG_MAX_SIDE)
		return quire_fail(err, -EFBIG,
				  "an image of %" PRIu64 " x %" PRIu64
				  " pixels is too large, %d is "
				  "the most each way; try %s",
				  width, height, MAPVIEW_PNG_MAX_SIDE,
				  scale > 1 ? "a smaller --scale" : "a part of it with --range");
	l->width = (unsigned int)width;
	l->height = (unsigned int)height;
	l->left = MARGIN + label_width(view, l) + 2 * TICK;
	return 0;
}

/* ---- what is written around the picture ---- */

/* A line of text with its upper left corner; where the text is "", a square of colour. */
struct item {
	unsigned int x, y, index;
	char text[80];
};

struct sheet {
	struct item *item;
	unsigned int nr;
	unsigned int width, height;
};

/* Add an item.  sheet_of() has made room for all there will be. */
__attribute__((format(printf, 4, 5))) static void put(struct sheet *s, unsigned int x,
						      unsigned int y, const char *fmt, ...)
{
	struct item *item = &s->item[s->nr++];
	va_list ap;

	*item = (struct item){ .x = x, .y = y, .index = INDEX_INK };
	va_start(ap, fmt);
	vsnprintf(item->text, sizeof(item->text), fmt, ap);
	va_end(ap);
	s->width = (unsigned int)max_u64(s->width, x + LETTER_WIDTH * strlen(item->text) + MARGIN);
	s->height = (unsigned int)max_u64(s->height, y + LETTER_HEIGHT + MARGIN);
}

static void put_state(struct sheet *s, unsigned int y, unsigned int index, const char *name,
		      uint64_t pages, uint64_t ram)
{
	double percent = ram ? 100.0 * (double)pages / (double)ram : 0;

	s->item[s->nr++] = (struct item){ .x = MARGIN, .y = y, .index = index };
	put(s, MARGIN + LETTER_HEIGHT + 10, y, "%-10s %10" PRIu64 " pages %9s %5.1f%%", name, pages,
	    size_text(gfn_to_gpa(pages)), percent);
}

static void put_legend(struct sheet *s, const struct mapview *view, unsigned int y)
{
	struct mapview_tally tally;

	mapview_count(view, &tally);
	for (unsigned int state = 0; state < PG_NR_STATES; state++) {
		put_state(s, y, 2 * state, page_states[state].name, tally.pages[state], tally.ram);
		y += LINE_HEIGHT;
		if (!page_states[state].large)
			continue;
		put_state(s, y, 2 * state + 1, " in 2 MiB", tally.large[state], tally.ram);
		y += LINE_HEIGHT;
	}
	put_state(s, y, INDEX_PAPER, "RAM", tally.ram, tally.ram);
	if (tally.ram == view->nr)
		return;
	s->item[s->nr++] =
		(struct item){ .x = MARGIN, .y = y + LINE_HEIGHT, .index = INDEX_NOT_RAM };
	put(s, MARGIN + LETTER_HEIGHT + 10, y + LINE_HEIGHT, "not RAM");
}

static void put_addresses(struct sheet *s, const struct mapview *view,
			  const struct mapview_layout *l)
{
	char text[24];

	for (uint64_t row = 0; row < nr_rows(view, l); row++) {
		if (!has_tick(l, row))
			continue;
		address_text(gfn_to_gpa(first_gfn(view, l) + row * l->columns), text);
		put(s, l->left - 2 * TICK - LETTER_WIDTH * (unsigned int)strlen(text),
		    l->top + (unsigned int)row * l->scale, "%s", text);
	}
}

static int sheet_of(struct sheet *s, const struct mapview *view, const struct mapview_layout *l,
		    const char *title)
{
	uint64_t most = 2 + 4 * PG_NR_STATES + 4 + l->height / TICK_EVERY + 1;

	*s = (struct sheet){ .item = calloc(most, sizeof(*s->item)),
			     .width = l->left + l->width + MARGIN };
	if (!s->item)
		return -ENOMEM;
	put(s, MARGIN, MARGIN, "%s", title);
	put(s, MARGIN, MARGIN + LINE_HEIGHT, "a %s is a page of 4 KiB, a row %s",
	    l->scale > 1 ? "square" : "pixel", size_text(gfn_to_gpa(l->columns)));
	put_addresses(s, view, l);
	put_legend(s, view, l->top + l->height + MARGIN);
	return 0;
}

/* The part of an item on this row of pixels. */
static void draw_item(const struct item *item, unsigned int y, png_byte *row)
{
	if (y < item->y || y >= item->y + LETTER_HEIGHT)
		return;
	if (!item->text[0])
		memset(row + item->x, (int)item->index, LETTER_HEIGHT);
	for (unsigned int i = 0; item->text[i]; i++)
		for (unsigned int x = 0; x < 2 * FONT_WIDTH; x++)
			if (font_pixel(item->text[i], x / 2, (y - item->y) / 2))
				row[item->x + i * LETTER_WIDTH + x] = (png_byte)item->index;
}

/* ---- the picture ---- */

/* Row y of the picture.  Nothing is drawn for pages that are not in the view. */
static void draw_pages(const struct mapview *view, const struct mapview_layout *l, unsigned int y,
		       png_byte *row)
{
	gfn_t gfn = first_gfn(view, l) + (uint64_t)(y / l->scale) * l->columns;

	if (y % l->scale == 0 && has_tick(l, y / l->scale))
		memset(row + l->left - TICK, INDEX_INK, TICK);
	for (unsigned int i = 0; i < l->columns; i++, gfn++) {
		if (gfn - view->start < view->nr) /* below start it wraps */
			memset(row + l->left + i * l->scale,
			       (int)mapview_png_index(view->states[gfn - view->start]), l->scale);
	}
}

static void draw_row(const struct mapview *view, const struct mapview_layout *l,
		     const struct sheet *s, unsigned int y, png_byte *row)
{
	memset(row, INDEX_PAPER, s->width);
	for (unsigned int i = 0; i < s->nr; i++)
		draw_item(&s->item[i], y, row);
	if (y >= l->top && y < l->top + l->height)
		draw_pages(view, l, y - l->top, row);
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

static struct libpng lib; /* loaded before it is used */

struct writer {
	png_structp png;
	png_infop info;
	jmp_buf failed;
	struct quire_error *err;
};

/* libpng may leave this function by longjmp(), so it has nothing to undo. */
static void write_image(struct writer *w, FILE *f, const struct mapview *view,
			const struct mapview_layout *l, const struct sheet *s, png_byte *row)
{
	png_color palette[NR_INDICES];

	lib.png_init_io(w->png, f);
	lib.png_set_IHDR(w->png, w->info, s->width, s->height, 8, PNG_COLOR_TYPE_PALETTE,
			 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	fill_palette(palette);
	lib.png_set_PLTE(w->png, w->info, palette, NR_INDICES);
	lib.png_write_info(w->png, w->info);
	for (unsigned int y = 0; y < s->height; y++) {
		draw_row(view, l, s, y, row);
		lib.png_write_row(w->png, row);
	}
	lib.png_write_end(w->png, w->info);
}

/* libpng must not print: the caller does. */
static void on_error(png_structp png, png_const_charp what)
{
	struct writer *w = lib.png_get_error_ptr(png);

	quire_fail(w->err, 0, "cannot write the image: %s", what);
	longjmp(w->failed, 1);
}

static void on_warning(png_structp png, png_const_charp what)
{
	(void)png;
	(void)what;
}

static int write_png(FILE *f, const struct mapview *view, const struct mapview_layout *l,
		     const struct sheet *s, png_byte *row, struct quire_error *err)
{
	struct writer w = { .err = err };
	int ret = libpng_load(&lib, err);

	if (ret)
		return ret;
	if (setjmp(w.failed)) {
		lib.png_destroy_write_struct(&w.png, &w.info);
		return -EIO;
	}
	w.png = lib.png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
	w.info = w.png ? lib.png_create_info_struct(w.png) : NULL;
	if (!w.info) {
		lib.png_destroy_write_struct(&w.png, NULL);
		return quire_fail(err, -EIO, "cannot start libpng");
	}
	write_image(&w, f, view, l, s, row);
	lib.png_destroy_write_struct(&w.png, &w.info);
	return fflush(f) ? quire_fail(err, -EIO, "cannot write the image: %m") : 0;
}

int mapview_png(FILE *f, const struct mapview *view, const char *title, unsigned int scale,
		struct quire_error *err)
{
	struct mapview_layout layout;
	struct sheet sheet;
	png_byte *row;
	int code = mapview_png_layout(view, scale, &layout, err);

	if (code)
		return code;
	code = sheet_of(&sheet, view, &layout, title);
	row = code ? NULL : malloc(sheet.width);
	if (row)
		code = write_png(f, view, &layout, &sheet, row, err);
	else
		code = quire_fail(err, -ENOMEM, "no memory for the image");
	free(row);
	free(sheet.item);
	return code;
}
