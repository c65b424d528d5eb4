/* SPDX-License-Identifier: MIT */
#include <quire/types.h>
#include <stdio.h>
#include <string.h>
#include "text_screen.h"

/* Code page 437 as ASCII; 0: nothing that stands in a text. */
static char ascii(uint8_t c)
{
	if (c == 0 || c == 0xff)
		return ' ';
	if (c >= ' ' && c <= '~')
		return (char)c;
	if (c == 0xb3 || c == 0xba)
		return '|';
	if (c == 0xc4 || c == 0xcd)
		return '-';
	if (c >= 0xb0 && c <= 0xdf)
		return c <= 0xb2 || c >= 0xdb ? '#' : '+';
	return 0;
}

/* False: too much of it is no text. */
static bool read_rows(const uint8_t cell[TEXT_SCREEN_BYTES], text_row row[TEXT_SCREEN_ROWS])
{
	unsigned int odd = 0, used = 0;

	for (unsigned int y = 0; y < TEXT_SCREEN_ROWS; y++) {
		unsigned int end = 0;

		for (unsigned int x = 0; x < TEXT_SCREEN_COLUMNS; x++) {
			char c = ascii(cell[2 * (y * TEXT_SCREEN_COLUMNS + x)]);

			row[y][x] = c ? c : '?';
			odd += !c;
			if (row[y][x] != ' ')
				end = x + 1;
		}
		used += end;
		row[y][end] = '\0';
	}
	return odd <= used / 8;
}

/* How many lines that were shown are where they would be, had the screen scrolled by so many. */
static unsigned int matches(const struct text_screen *s, text_row row[TEXT_SCREEN_ROWS],
			    unsigned int by)
{
	unsigned int nr = 0;

	for (unsigned int y = 0; y + by < TEXT_SCREEN_ROWS; y++)
		nr += s->shown[y + by][0] && !strcmp(row[y], s->shown[y + by]);
	return nr;
}

static unsigned int scrolled(const struct text_screen *s, text_row row[TEXT_SCREEN_ROWS])
{
	unsigned int best = 0, most = matches(s, row, 0);

	for (unsigned int by = 1; by < TEXT_SCREEN_ROWS; by++) {
		unsigned int nr = matches(s, row, by);

		if (nr > most) {
			most = nr;
			best = by;
		}
	}
	return best;
}

static void scroll(struct text_screen *s, unsigned int by)
{
	memmove(s->shown, s->shown + by, (TEXT_SCREEN_ROWS - by) * sizeof(s->shown[0]));
	memset(s->shown + TEXT_SCREEN_ROWS - by, 0, by * sizeof(s->shown[0]));
}

/* The row behind the last that has anything in it. */
static unsigned int end_of(text_row row[TEXT_SCREEN_ROWS])
{
	unsigned int end = TEXT_SCREEN_ROWS;

	while (end && !row[end - 1][0])
		end--;
	return end;
}

void text_screen_look(struct text_screen *screen, const uint8_t cell[TEXT_SCREEN_BYTES], bool final,
		      bool (*print)(void *ctx, const char *line), void *ctx)
{
	text_row row[TEXT_SCREEN_ROWS];
	char line[TEXT_SCREEN_COLUMNS + 2];
	unsigned int end;

	if (!read_rows(cell, row))
		return;
	scroll(screen, scrolled(screen, row));
	end = end_of(row);
	for (unsigned int y = 0; y < TEXT_SCREEN_ROWS; y++) {
		bool whole = final || y + 1 < end || !strcmp(row[y], screen->seen[y]);

		if (!strcmp(row[y], screen->shown[y]) || (row[y][0] && !whole))
			continue;
		snprintf(line, sizeof(line), "%.80s\n", row[y]);
		if (row[y][0] && !print(ctx, line))
			break;
		strcpy(screen->shown[y], row[y]);
	}
	memcpy(screen->seen, row, sizeof(row));
}
