/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_TEXT_SCREEN_H
#define QUIRE_VMM_DEV_TEXT_SCREEN_H

/*
 * A PC's text screen as lines.  There is no display, and its memory is plain guest RAM.  Whoever
 * looks at that now and then can tell which lines are new: those that were not there the last time,
 * when what was there is taken to have scrolled up.
 *
 * A line is printed when another follows it, or when it has not changed between two looks: so one
 * that is just being written is not printed in pieces.  What comes and goes between two looks is
 * not seen.
 */
#include <stdbool.h>
#include <stdint.h>

#define TEXT_SCREEN_GPA	    0xb8000
#define TEXT_SCREEN_ROWS    25
#define TEXT_SCREEN_COLUMNS 80
#define TEXT_SCREEN_BYTES   (TEXT_SCREEN_ROWS * TEXT_SCREEN_COLUMNS * 2)

typedef char text_row[TEXT_SCREEN_COLUMNS + 1]; /* without blanks at its end */

/* All zeroes is a blank screen.  One thread's. */
struct text_screen {
	text_row shown[TEXT_SCREEN_ROWS]; /* as they were printed; "": not */
	text_row seen[TEXT_SCREEN_ROWS];  /* at the last look */
};

/*
 * Look at the cells of the screen: a character of code page 437 and a colour each.  Calls print for
 * each new line, which ends with a newline.  If that returns false, the line and those after it
 * come again at the next look.  final: there will be no other look.  Cells that are no text at all
 * are left alone.
 */
void text_screen_look(struct text_screen *screen, const uint8_t cell[TEXT_SCREEN_BYTES], bool final,
		      bool (*print)(void *ctx, const char *line), void *ctx);

#endif
