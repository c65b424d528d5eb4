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
#include "vmm/cli/font.h"
#include "vmm/cli/mapview.h"
#include "tests/tap.h"

#define ABSENT	PG_ABSENT
#define PRIVATE PG_PRIVATE
#define LARGE	(PG_PRIVATE | GMEM_STATE_LARGE)
#define HOLE	PG_NR_STATES

static uint8_t states[1 << 20];

static void fill(uint64_t from, uint64_t to, uint8_t state)
{
	memset(states + from, state, to - from);
}

/* The text of a view; valid until the next call. */
static const char *text_of(gfn_t start, uint64_t nr, uint64_t scale)
{
	static char text[16384];
	struct mapview view = { .start = start, .nr = nr, .states = states };
	FILE *f = fmemopen(text, sizeof(text), "w");

	mapview_text(f, &view, scale);
	fclose(f);
	return text;
}

static void test_glyphs(void)
{
	uint8_t s[20] = { 0 };

	ok(mapview_glyph(s, 16) == '.', "absent pages are dots");
	memset(s, PRIVATE, sizeof(s));
	ok(mapview_glyph(s, 16) == 'p', "private pages are p");
	memset(s, LARGE, sizeof(s));
	ok(mapview_glyph(s, 16) == 'P', "... and P in a 2 MiB leaf");
	s[3] = PRIVATE;
	ok(mapview_glyph(s, 16) == 'p', "a leaf and single pages together are p");
	memset(s, HOLE, sizeof(s));
	ok(mapview_glyph(s, 16) == ' ', "what is not RAM is blank");
	s[0] = PRIVATE;
	ok(mapview_glyph(s, 16) == 'p', "holes do not count among the pages");
	s[0] = 0x55;
	ok(mapview_glyph(s, 1) == ' ', "an unknown state is drawn as none of ours");
	for (unsigned int resident = 1; resident < 20; resident++) {
		char want = (char)('0' + (resident / 2 ? resident / 2 : 1));

		memset(s, ABSENT, sizeof(s));
		memset(s, PRIVATE, resident);
		ok(mapview_glyph(s, 20) == want, "%u of 20 resident: %c", resident, want);
	}
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
	text = text_of(0x100000, 194, 1);
	ok(begins(text, "0x0100000000  .pp............"), "a row begins with its address: %.30s",
	   text);
	ok(strstr(text, "\n0x0100040000  PPPPPPPP") != NULL, "the next row");
	ok(!strstr(text, "0x0100080000"), "a row without RAM is left out");
	ok(strstr(text, "\n0x01000c0000  ..\n\n") != NULL, "the last row is as short as the view");
	ok(strstr(text, "absent             64 pages    256 KiB\n") != NULL, "absent is counted");
	ok(strstr(text, "private            66 pages    264 KiB\n") != NULL, "private is counted");
	ok(strstr(text, "in 2 MiB         64 pages    256 KiB\n") != NULL, "2 MiB leaves are");
	ok(strstr(text, "RAM               130 pages    520 KiB\n") != NULL, "all of RAM is");
	ok(strstr(text, "one glyph is 4 KiB, a row 256 KiB\n") != NULL, "the scale is told");
	ok(!strstr(text, "tenths"), "tenths need no explanation at one page a glyph");
	text = text_of(0, 194, 32);
	ok(begins(text, "0x0000000000  1.PP  .\n"), "aggregated: %.21s", text);
	ok(strstr(text, "one glyph is 128 KiB, a row 8 MiB\n") && strstr(text, "tenths"),
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

/* Does every pixel above the legend tell the state of its page? */
static bool pixels_match(const struct image *im, const struct mapview *view, unsigned int rows)
{
	gfn_t gfn = view->start / 512 * 512;

	for (unsigned int y = 0; y < rows; y++) {
		for (unsigned int x = 0; x < 512; x++, gfn++) {
			bool inside = gfn >= view->start && gfn < view->start + view->nr;
			uint8_t state = inside ? view->states[gfn - view->start] : HOLE;

			if (im->row[y][x] != mapview_png_index(state))
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

/* Does the legend's line say `text`, pixel for pixel? */
static bool line_says(const struct image *im, unsigned int rows, unsigned int line,
		      const char *text)
{
	for (unsigned int i = 0; i < 12 * strlen(text); i++) {
		for (unsigned int y = 0; y < 14; y++) {
			bool got = im->row[rows + line * 20 + 3 + y][8 + i] == 2 * PG_NR_STATES + 2;

			if (got != font_pixel(text[i / 12], i % 12 / 2, y / 2))
				return false;
		}
	}
	return true;
}

static void check_image(gfn_t start, uint64_t nr, unsigned int rows, const char *what)
{
	struct mapview view = { .start = start, .nr = nr, .states = states };
	struct quire_error err = { "" };
	struct image im = { 0 };
	FILE *f = tmpfile();

	ok(mapview_png(f, &view, &err) == 0, "%s: an image is written (%s)", what, err.text);
	rewind(f);
	if (!ok(read_image(f, &im), "%s: libpng reads it back", what))
		return;
	ok(im.width == 512 && im.height > rows, "%s: %u x %u pixels", what, im.width, im.height);
	ok(pixels_match(&im, &view, rows), "%s: a pixel a page, %u rows", what, rows);
	ok(palette_matches(&im), "%s: colours are those of page_states[]", what);
	ok(line_says(&im, rows, 0, "a pixel 4 KiB, a row 2 MiB"), "%s: the legend can be read",
	   what);
	ok(im.row[rows + 40 + 10][10] == mapview_png_index(ABSENT), "%s: ... and shows colours",
	   what);
	free_image(&im);
	fclose(f);
}

static void test_png(void)
{
	fill(0, 1 << 20, ABSENT);
	fill(3, 9, PRIVATE);
	fill(512, 1024, LARGE);
	fill(1500, 2000, HOLE);
	check_image(0, 16384, 32, "64 MiB");
	check_image(0, 1, 1, "one page");
	check_image(700, 1000, 3, "a view that begins and ends inside blocks");
	check_image(0x100000000, 512, 1, "a view far up");
	check_image(0, 1 << 20, 2048, "4 GiB");
	ok(mapview_png_rgb(mapview_png_index(LARGE)) != mapview_png_rgb(mapview_png_index(PRIVATE)),
	   "a 2 MiB leaf has a shade of its own");
}

static void test_png_refused(void)
{
	struct mapview view = { .nr = MAPVIEW_PNG_MAX_ROWS * 512UL, .states = NULL };
	struct quire_error err = { "" };
	FILE *f = fopen("/dev/full", "w");

	ok(mapview_png(f, &view, &err) == -EFBIG && strstr(err.text, "--range"),
	   "too much memory for an image: %s", err.text);
	view = (struct mapview){ .nr = 16384, .states = states };
	ok(mapview_png(f, &view, &err) == -EIO, "a full disk is reported: %s", err.text);
	ok(mapview_png(f, &view, NULL) == -EIO, "... and err may be NULL");
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
	test_scale();
	test_text();
	test_count(&seed);
	test_png();
	test_png_refused();
	test_font();
	return tap_done();
}
