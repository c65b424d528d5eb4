/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_FRAME_H
#define QUIRE_VMM_TOP_FRAME_H

/*
 * A frame is what `quire top` shows at one moment: rows and columns of characters with colours.  It
 * is drawn by curses (screen.h), or written as text.
 *
 * Only printable ASCII and eight block characters get into a frame, so nothing that a guest, a VM
 * or a machine says can steer a terminal.  What lies beyond an edge is cut.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define FRAME_OWN UINT32_MAX /* of ink and paper: the terminal's own colour */

struct frame_style {
	uint32_t ink, paper; /* 0xRRGGBB */
	bool bold, reverse;
};

extern const struct frame_style frame_plain, frame_bold, frame_head, frame_alarm;

/* Black or white on a paper of this colour. */
struct frame_style frame_on(uint32_t paper);

/* Characters: printable ASCII, and FRAME_BLOCK + n, of which the lower n eighths are filled. */
#define FRAME_BLOCK	0x2580
#define FRAME_BLOCK_MAX 8

struct frame_cell {
	uint16_t character;
	struct frame_style style;
};

struct frame {
	unsigned int rows, columns;
	struct frame_cell *cell; /* row by row */
};

/* Begin with blanks.  0 or -ENOMEM. */
int frame_init(struct frame *f, unsigned int rows, unsigned int columns);
void frame_finish(struct frame *f);

/* The cell at this place; NULL: beyond an edge. */
struct frame_cell *frame_at(const struct frame *f, unsigned int row, unsigned int column);

/* Put a character; what is neither printable ASCII nor a block becomes a question mark. */
void frame_put(struct frame *f, unsigned int row, unsigned int column, struct frame_style style,
	       unsigned int character);

/* Put text.  Returns the column behind it. */
__attribute__((format(printf, 5, 6))) unsigned int frame_print(struct frame *f, unsigned int row,
							       unsigned int column,
							       struct frame_style style,
							       const char *fmt, ...);

/* Put text so that it ends before column `end`; what does not fit is cut at its beginning. */
void frame_print_right(struct frame *f, unsigned int row, unsigned int end,
		       struct frame_style style, const char *text);

/* A whole row in reverse. */
void frame_reverse(struct frame *f, unsigned int row);

struct frame_look {
	bool blocks; /* the terminal knows them (UTF-8); else there are ASCII characters for them */
	bool colour; /* in the terminal's 256 colours */
};

/* What stands for a block where there is only ASCII. */
char frame_ascii(unsigned int character);

/* Write the rows as text.  Without colours, no row ends in blanks. */
void frame_write(FILE *out, const struct frame *f, struct frame_look look);

#endif
