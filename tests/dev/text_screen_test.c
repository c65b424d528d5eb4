/* SPDX-License-Identifier: MIT */
/* Which lines of a text screen are new. */
#include <stdio.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/dev/text_screen.h"

static struct text_screen screen;
static uint8_t cell[TEXT_SCREEN_BYTES];
static char out[8192];
static bool refuse;

static bool print(void *ctx, const char *line)
{
	(void)ctx;
	if (!refuse)
		strcat(out, line);
	return !refuse;
}

static void put(unsigned int row, const char *text)
{
	for (unsigned int x = 0; x < TEXT_SCREEN_COLUMNS; x++, text += *text != 0) {
		cell[2 * (row * TEXT_SCREEN_COLUMNS + x)] = (uint8_t)*text;
		cell[2 * (row * TEXT_SCREEN_COLUMNS + x) + 1] = 7;
	}
}

static void scroll_by(unsigned int by)
{
	memmove(cell, cell + 160 * by, sizeof(cell) - 160 * by);
	for (unsigned int i = 1; i <= by; i++)
		put(TEXT_SCREEN_ROWS - i, "");
}

static const char *look(bool final)
{
	out[0] = '\0';
	text_screen_look(&screen, cell, final, print, NULL);
	return out;
}

static void begin(void)
{
	memset(&screen, 0, sizeof(screen));
	memset(cell, 0, sizeof(cell));
}

static void says(bool final, const char *want, const char *what)
{
	const char *got = look(final);

	if (!ok(!strcmp(got, want), "%s", what))
		tap_note("got \"%s\", want \"%s\"", got, want);
}

static void test_lines(void)
{
	begin();
	says(false, "", "a blank screen says nothing");
	put(0, "one");
	put(1, "tw");
	says(false, "one\n", "a line that another follows is complete");
	put(1, "two");
	says(false, "", "the last one may be growing");
	says(false, "two\n", "... until it stays as it is");
	says(false, "", "... and it is said once");
	put(3, "four");
	says(true, "four\n", "at the end all is said, and no empty lines");
}

static void test_scroll(void)
{
	char line[16], want[8192] = "";

	begin();
	for (unsigned int i = 0; i < TEXT_SCREEN_ROWS; i++) {
		snprintf(line, sizeof(line), "line %u", i);
		put(i, line);
		strcat(strcat(want, line), "\n");
	}
	says(true, want, "a full screen");
	scroll_by(2);
	put(23, "next");
	put(24, "last");
	says(true, "next\nlast\n", "... that scrolls by two lines has two new ones");
	put(5, "changed");
	says(true, "changed\n", "a line that changed in its place is new");
	memset(cell, 0, sizeof(cell));
	put(0, "fresh");
	says(true, "fresh\n", "... and what is there after a clear");
}

static void test_cells(void)
{
	begin();
	put(0, "\xc9\xcd\xcd\xbb \xb3 \xdb ok");
	says(true, "+--+ | # ok\n", "frames are drawn with what ASCII has");
	begin();
	for (unsigned int i = 0; i < sizeof(cell); i++)
		cell[i] = (uint8_t)(i * 7 % 31 + 1);
	says(true, "", "what is no text is left alone");
	begin();
	put(0, "late");
	refuse = true;
	says(true, "", "a line that cannot be printed");
	refuse = false;
	says(true, "late\n", "... comes again");
}

int main(void)
{
	tap_init();
	test_lines();
	test_scroll();
	test_cells();
	return tap_done();
}
