/* SPDX-License-Identifier: MIT */
/*
 * Pictures of guest memory.  Text is compared glyph by glyph and number by number; images are
 * read back with libpng and compared pixel by pixel with the states they were made from.
 */
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mmu/memory/gmem.h"
#include "vmm/print/font.h"
#include "vmm/print/mapview.h"
#include "tests/tap.h"

#define ABSENT	PG_ABSENT
#define PRIVATE PG_PRIVATE
#define LARGE	(PG_PRIVATE | GMEM_STATE_LARGE)
#define HOLE	PG_NR_STATES
#define PAPER	(2 * PG_NR_STATES + 1) /* in images */

static uint8_t states[1 << 20];

static void fill(uint64_t from, uint64_t to, uint8_t state)
{
	memset(states + from, state, to - from);
}

#define COLOURS true

/* The text of a view; valid until the next call. */
static const char *text_of(gfn_t start, uint64_t nr, uint64_t scale, bool colour)
{
	static char text[65536];
	struct mapview view = { .start = start, .nr = nr, .states = states };
	FILE *f = fmemopen(text, sizeof(text), "w");

	mapview_text(f, &view, scale, colour);
	fclose(f);
	return text;
}

/* The glyph of pages 0..nr - 1 together. */
static char glyph(uint64_t nr)
{
	uint64_t scale = 1;
	const char *text;

	while (scale < nr)
		scale *= 2;
	text = text_of(0, nr, scale, false);
	return *text == '0' ? text[strlen("0x0000000000  ")] : ' ';
}

static void test_glyphs(void)
{
	fill(0, 20, ABSENT);
	ok(glyph(16) == '.', "absent pages are dots");
	fill(0, 20, PRIVATE);
	ok(glyph(16) == 'p', "private pages are p");
	fill(0, 20, LARGE);
	ok(glyph(16) == 'P', "... and P in a 2 MiB leaf");
	states[3] = PRIVATE;
	ok(glyph(16) == 'p', "a leaf and single pages together are p");
	fill(0, 20, HOLE);
	ok(glyph(16) == ' ', "what is not RAM is blank");
	states[0] = PRIVATE;
	ok(glyph(16) == 'p', "holes do not count among the pages");
	states[0] = 0x55;
	ok(glyph(1) == ' ', "an unknown state is drawn as none of ours");
	for (unsigned int i = 1; i < PG_NR_STATES; i++) {
		fill(0, 16, ABSENT);
		fill(0, 9, (uint8_t)i);
		ok(glyph(16) == page_states[i].glyph, "9 of 16 pages %s: %c", page_states[i].name,
		   page_states[i].glyph);
		fill(7, 9, ABSENT);
		ok(glyph(16) == '.', "7 of 16 pages %s, the others absent: a dot",
		   page_states[i].name);
	}
	fill(0, 8, LARGE);
	fill(8, 20, ABSENT);
	ok(glyph(10) == 'P', "absent pages beside a leaf do not make it less of one");
}

/* How many glyphs of the row at 0 are c. */
static unsigned int in_row(const char *text, char c)
{
	unsigned int nr = 0;

	for (text += strlen("0x0000000000  "); *text != '\n'; text++)
		nr += *text == c;
	return nr;
}

/*
 * In each 16 pages 7 shared, 5 private, 3 zero and 1 absent: that is 28, 20, 12 and 4 of the 64
 * glyphs of a row.
 */
static void test_mixed(void)
{
	static const uint8_t mix[16] = {
		PG_SHARED, PRIVATE, PG_SHARED, PG_ZERO, PG_SHARED, PRIVATE, PG_SHARED, PRIVATE,
		PG_ZERO,   PRIVATE, PG_SHARED, ABSENT,	PG_SHARED, PG_ZERO, PG_SHARED, PRIVATE,
	};
	const char *text;

	for (unsigned int i = 0; i < 64 * 16; i++)
		states[i] = mix[i % 16];
	text = text_of(0, 64 * 16, 16, false);
	ok(in_row(text, 's') == 28 && in_row(text, 'p') == 20 && in_row(text, 'z') == 12 &&
		   in_row(text, '.') == 4,
	   "mixed states all stay visible, as often as they are common: %.64s", text + 14);
	fill(32 * 16, 64 * 16, ABSENT);
	text = text_of(0, 64 * 16, 16, false);
	ok(strspn(text + strlen("0x0000000000  ") + 32, ".") == 32,
	   "a glyph shows no state that none of its pages has: %.64s", text + 14);
}

static void test_colours(void)
{
	const char *text;

	fill(0, 3, PRIVATE);
	fill(3, 4, HOLE);
	fill(4, 5, PG_ZERO);
	text = text_of(0, 5, 1, COLOURS);
	/* 69 is 5f87ff, near 3b82f6; 188 is d7d7d7, near cbd5e1; 16 is black, 231 white. */
	ok(strstr(text, "0x0000000000  \x1b[38;5;231;48;5;69mp\x1b[m\x1b[38;5;231;48;5;69mp") ==
		   text,
	   "with colours, private has its own: %.40s", strchr(text, 'p'));
	ok(strstr(text, "p\x1b[m \x1b[38;5;16;48;5;188mz\x1b[m\n") != NULL,
	   "... what is not RAM has none, and on a light colour the glyph is black");
	ok(strstr(text, "\x1b[38;5;16;48;5;188mz\x1b[m  zero ") != NULL, "... as in the legend");
	ok(!strchr(text_of(0, 5, 1, false), '\x1b'), "without colours, there are none");
}

static void test_scale(void)
{
	struct mapview view = { .states = states };
	static const struct {
		uint64_t nr, scale;
	} row[] = {
		{ 1, 1 }, { 2048, 1 }, { 2049, 2 }, { 4096, 2 }, { 16384, 8 }, { 1 << 20, 512 },
	};

	fill(0, 1 << 20, ABSENT);
	for (unsigned int i = 0; i < ARRAY_SIZE(row); i++) {
		view.nr = row[i].nr;
		ok(mapview_scale(&view, 2048) <= row[i].scale &&
			   mapview_scale(&view, 2048) * 2 > row[i].scale,
		   "%lu pages: about %lu a glyph", (unsigned long)row[i].nr,
		   (unsigned long)row[i].scale);
	}
	fill(0, 1 << 19, HOLE);
	view.nr = 1 << 20;
	ok(mapview_scale(&view, 2048) == 256, "holes take no part in the scale");
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void test_text(void)
{
	const char *text;

	fill(0, 200, ABSENT);
	fill(1, 3, PRIVATE);
	fill(64, 128, LARGE);
	fill(128, 192, HOLE);
	text = text_of(0x100000, 194, 1, false);
	ok(begins(text, "0x0100000000  .pp............"), "a row begins with its address: %.30s",
	   text);
	ok(strstr(text, "\n0x0100040000  PPPPPPPP") != NULL, "the next row");
	ok(!strstr(text, "0x0100080000"), "a row without RAM is left out");
	ok(strstr(text, "\n0x01000c0000  ..\n\n") != NULL, "the last row is as short as the view");
	ok(strstr(text, "absent             64 pages    256 KiB\n") != NULL, "absent is counted");
	ok(strstr(text, "private            66 pages    264 KiB\n") != NULL, "private is counted");
	ok(strstr(text, "in 2 MiB          64 pages    256 KiB\n") != NULL, "2 MiB leaves are");
	ok(strstr(text, "RAM               130 pages    520 KiB\n") != NULL, "all of RAM is");
	ok(strstr(text, "one glyph is 4 KiB, a row 256 KiB\n") != NULL, "the scale is told");
	ok(!strstr(text, "mixed"), "no states are mixed at one page a glyph");
	text = text_of(0, 194, 32, false);
	ok(begins(text, "0x0000000000  ..PP  .\n"), "aggregated: %.21s", text);
	ok(strstr(text, "one glyph is 128 KiB, a row 8 MiB\n") && strstr(text, "mixed"),
	   "... with its legend");
}

static void test_count(uint64_t *seed)
{
	struct mapview view = { .states = states, .nr = 70000 };
	struct mapview_tally tally, want = { 0 };
	static const uint8_t some[] = { ABSENT, PRIVATE, LARGE, HOLE };

	for (uint64_t i = 0; i < view.nr; i++) {
		states[i] = some[tap_random(seed) % 4];
		want.pages[ABSENT] += states[i] == ABSENT;
		want.pages[PRIVATE] += states[i] == PRIVATE || states[i] == LARGE;
		want.large[PRIVATE] += states[i] == LARGE;
	}
	want.ram = want.pages[ABSENT] + want.pages[PRIVATE];
	mapview_count(&view, &tally);
	ok(memcmp(&tally, &want, sizeof(want)) == 0, "random states are counted right");
}

/* ---- images ---- */

struct image {
	unsigned int width, height;
	png_bytep *row; /* palette indices */
	png_colorp palette;
	int nr_colours;
	png_structp png;
	png_infop info;
};

static bool read_image(FILE *f, struct image *im)
{
	im->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	im->info = png_create_info_struct(im->png);
	if (setjmp(png_jmpbuf(im->png)))
		return false;
	png_init_io(im->png, f);
	png_read_png(im->png, im->info, PNG_TRANSFORM_IDENTITY, NULL);
	im->width = png_get_image_width(im->png, im->info);
	im->height = png_get_image_height(im->png, im->info);
	im->row = png_get_rows(im->png, im->info);
	return png_get_PLTE(im->png, im->info, &im->palette, &im->nr_colours) != 0;
}

static void free_image(struct image *im)
{
	png_destroy_read_struct(&im->png, &im->info, NULL);
}

/* Does every pixel of the picture tell the state of its page? */
static bool pixels_match(const struct image *im, const struct mapview *view,
			 const struct mapview_layout *l)
{
	for (unsigned int y = 0; y < l->height; y++) {
		gfn_t gfn = view->start / l->columns * l->columns + y / l->scale * l->columns;

		for (unsigned int x = 0; x < l->width; x++) {
			gfn_t at = gfn + x / l->scale;
			bool inside = at >= view->start && at < view->start + view->nr;
			unsigned int want = PAPER;

			if (inside)
				want = mapview_png_index(view->states[at - view->start]);
			if (im->row[l->top + y][l->left + x] != want)
				return false;
		}
	}
	return true;
}

static bool palette_matches(const struct image *im)
{
	for (int i = 0; i < im->nr_colours; i++) {
		uint32_t rgb = (uint32_t)im->palette[i].red << 16 |
			       (uint32_t)im->palette[i].green << 8 | im->palette[i].blue;

		if (rgb != mapview_png_rgb((unsigned int)i))
			return false;
	}
	return im->nr_colours == 2 * PG_NR_STATES + 3;
}

/* Is `text` written with its upper left corner at (left, top), pixel for pixel? */
static bool says(const struct image *im, unsigned int left, unsigned int top, const char *text)
{
	for (unsigned int x = 0; x < 12 * strlen(text); x++) {
		for (unsigned int y = 0; y < 14; y++) {
			bool got = im->row[top + y][left + x] == 2 * PG_NR_STATES + 2;

			if (got != font_pixel(text[x / 12], x % 12 / 2, y / 2))
				return false;
		}
	}
	return true;
}

/* One kind of image: what it shows, and how it should be laid out. */
struct kind {
	const char *what;
	gfn_t start;
	uint64_t nr;
	unsigned int asked, scale, columns, rows;
	const char *second; /* address beside the second tick, if there is one ... */
	unsigned int tick;  /* ... at this row of pixels of the picture */
};

static void check_image(const struct kind *k)
{
	struct mapview view = { .start = k->start, .nr = k->nr, .states = states };
	struct quire_error err = { "" };
	struct mapview_layout l;
	struct image im = { 0 };
	FILE *f = tmpfile();
	struct mapview_tally tally;
	unsigned int legend, hole;

	ok(mapview_png(f, &view, "VM x: a title", k->asked, &err) == 0,
	   "%s: an image is written (%s)", k->what, err.text);
	rewind(f);
	if (!ok(read_image(f, &im), "%s: libpng reads it back", k->what))
		return;
	mapview_png_layout(&view, k->asked, &l, NULL);
	ok(l.scale == k->scale && l.columns == k->columns && l.width == k->columns * k->scale &&
		   l.height == k->rows * k->scale && l.left + l.width < im.width &&
		   l.top + l.height < im.height,
	   "%s: %u x %u pages, %u pixels each, within %u x %u", k->what, l.columns,
	   l.height / l.scale, l.scale, im.width, im.height);
	ok(pixels_match(&im, &view, &l), "%s: a square of pixels a page", k->what);
	ok(palette_matches(&im), "%s: colours are those of page_states[]", k->what);
	ok(says(&im, 16, 16, "VM x: a title"), "%s: the title is above it", k->what);
	ok(!k->second || says(&im, l.left - 12 - 12 * (unsigned int)strlen(k->second),
			      l.top + k->tick, k->second),
	   "%s: at its left are addresses", k->what);
	legend = l.top + l.height + 16;
	ok(says(&im, 40, legend, "absent    "), "%s: the legend can be read", k->what);
	ok(im.row[legend + 5][20] == mapview_png_index(ABSENT) &&
		   im.row[legend + 45][20] == mapview_png_index(LARGE),
	   "%s: ... and shows colours", k->what);
	hole = legend + 20 * (PG_NR_STATES + 2);
	ok(im.height < hole + 20 || says(&im, 40, hole, "not RAM"),
	   "%s: ... also that of what is not RAM", k->what);
	mapview_count(&view, &tally);
	ok((im.height > hole + 20) == (tally.ram < view.nr), "%s: ... if there is some", k->what);
	free_image(&im);
	fclose(f);
}

static void test_png(void)
{
	static const struct kind kinds[] = {
		{ "64 MiB", 0, 16384, 0, 6, 128, 128, "4M", 48 },
		{ "64 MiB at scale 1", 0, 16384, 1, 1, 128, 128, "32M", 64 },
		{ "one page", 0, 1, 0, 16, 16, 1, NULL, 0 },
		{ "a part of rows", 700, 1000, 0, 16, 32, 33, "3200K", 64 },
		{ "a view far up", 0x100000000, 512, 20, 20, 16, 32, "17179869440K", 80 },
		{ "128 MiB", 0, 32768, 0, 3, 128, 256, "8M", 48 },
		{ "4 GiB", 0, 1 << 20, 0, 1, 1024, 1024, "256M", 64 },
	};

	fill(0, 1 << 20, ABSENT);
	fill(3, 9, PRIVATE);
	fill(512, 1024, LARGE);
	fill(1500, 2000, HOLE);
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		check_image(&kinds[i]);
	ok(mapview_png_rgb(mapview_png_index(LARGE)) != mapview_png_rgb(mapview_png_index(PRIVATE)),
	   "a 2 MiB leaf has a shade of its own");
}

static void test_png_refused(void)
{
	struct mapview view = { .nr = 1UL << 29, .states = NULL };
	struct quire_error err = { "" };
	FILE *f = fopen("/dev/full", "w");

	ok(mapview_png(f, &view, "", 0, &err) == -EFBIG && strstr(err.text, "--range"),
	   "too much memory for an image: %s", err.text);
	view.nr = 1UL << 20;
	ok(mapview_png(f, &view, "", 32, &err) == -EFBIG && strstr(err.text, "smaller --scale"),
	   "pages too large for an image: %s", err.text);
	view = (struct mapview){ .nr = 16384, .states = states };
	ok(mapview_png(f, &view, "", 0, &err) == -EIO, "a full disk is reported: %s", err.text);
	ok(mapview_png(f, &view, "", 0, NULL) == -EIO, "... and err may be NULL");
	fclose(f);
}

static void test_font(void)
{
	unsigned int blank = 0;

	for (char c = '!'; c <= '~'; c++) {
		unsigned int set = 0;

		for (unsigned int i = 0; i < FONT_WIDTH * FONT_HEIGHT; i++)
			set += font_pixel(c, i % FONT_WIDTH, i / FONT_WIDTH);
		blank += set == 0;
	}
	ok(blank == 0, "every printable character has a shape");
	ok(!font_pixel(' ', 2, 3) && !font_pixel('\xff', 2, 3) && !font_pixel('A', 5, 0) &&
		   !font_pixel('A', 0, 7),
	   "blanks and what is outside have none");
	ok(font_pixel('T', 0, 0) && font_pixel('T', 2, 6) && !font_pixel('T', 0, 6),
	   "T has its bar on top");
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_glyphs();
	test_mixed();
	test_colours();
	test_scale();
	test_text();
	test_count(&seed);
	test_png();
	test_png_refused();
	test_font();
	return tap_done();
}
