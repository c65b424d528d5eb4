/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/print/colour.h"
#include "frame.h"

const struct frame_style frame_plain = { .ink = FRAME_OWN, .paper = FRAME_OWN };
const struct frame_style frame_bold = { .ink = FRAME_OWN, .paper = FRAME_OWN, .bold = true };
const struct frame_style frame_head = { .ink = FRAME_OWN, .paper = FRAME_OWN, .reverse = true };
const struct frame_style frame_alarm = { .ink = 0xef4444, .paper = FRAME_OWN, .bold = true };

struct frame_style frame_on(uint32_t paper)
{
	return (struct frame_style){ .ink = colour_ink(paper), .paper = paper };
}

int frame_init(struct frame *f, unsigned int rows, unsigned int columns)
{
	size_t nr = (size_t)rows * columns;

	*f = (struct frame){ .rows = rows, .columns = columns };
	f->cell = calloc(nr + 1, sizeof(*f->cell));
	if (!f->cell)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		f->cell[i] = (struct frame_cell){ .character = ' ', .style = frame_plain };
	return 0;
}

void frame_finish(struct frame *f)
{
	free(f->cell);
	*f = (struct frame){ 0 };
}

struct frame_cell *frame_at(const struct frame *f, unsigned int row, unsigned int column)
{
	if (row >= f->rows || column >= f->columns)
		return NULL;
	return &f->cell[(size_t)row * f->columns + column];
}

static bool is_good(unsigned int character)
{
	return (character >= ' ' && character <= '~') ||
	       (character > FRAME_BLOCK && character <= FRAME_BLOCK + FRAME_BLOCK_MAX);
}

void frame_put(struct frame *f, unsigned int row, unsigned int column, struct frame_style style,
	       unsigned int character)
{
	struct frame_cell *cell = frame_at(f, row, column);

	if (cell)
		*cell = (struct frame_cell){
			.character = (uint16_t)(is_good(character) ? character : '?'),
			.style = style,
		};
}

static unsigned int put_text(struct frame *f, unsigned int row, unsigned int column,
			     struct frame_style style, const char *text)
{
	for (; *text; text++)
		frame_put(f, row, column++, style, (unsigned char)*text);
	return column;
}

unsigned int frame_print(struct frame *f, unsigned int row, unsigned int column,
			 struct frame_style style, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return put_text(f, row, column, style, text);
}

void frame_print_right(struct frame *f, unsigned int row, unsigned int end,
		       struct frame_style style, const char *text)
{
	size_t bytes = strlen(text);

	if (bytes > end)
		text += bytes - end;
	put_text(f, row, bytes > end ? 0 : end - (unsigned int)bytes, style, text);
}

void frame_reverse(struct frame *f, unsigned int row)
{
	struct frame_cell *cell;

	for (unsigned int column = 0; (cell = frame_at(f, row, column)); column++)
		cell->style.reverse = true;
}

/* ---- as text ---- */

char frame_ascii(unsigned int character)
{
	static const char height[] = " .:-=+*#@";

	return character > FRAME_BLOCK ? height[character - FRAME_BLOCK] : (char)character;
}

static bool is_plain(const struct frame_style *style)
{
	return style->ink == FRAME_OWN && style->paper == FRAME_OWN && !style->bold &&
	       !style->reverse;
}

static void begin_style(FILE *out, const struct frame_style *style)
{
	if (style->bold)
		fputs("\x1b[1m", out);
	if (style->reverse)
		fputs("\x1b[7m", out);
	if (style->ink != FRAME_OWN)
		fprintf(out, "\x1b[38;5;%um", colour_256(style->ink));
	if (style->paper != FRAME_OWN)
		fprintf(out, "\x1b[48;5;%um", colour_256(style->paper));
}

static void write_cell(FILE *out, const struct frame_cell *cell, struct frame_look look)
{
	bool styled = look.colour && !is_plain(&cell->style);
	unsigned int c = cell->character;

	if (styled)
		begin_style(out, &cell->style);
	if (c > FRAME_BLOCK && look.blocks)
		fprintf(out, "\xe2\x96%c", 0x80 + (c & 0x3f)); /* UTF-8 */
	else
		putc(frame_ascii(c), out);
	if (styled)
		fputs("\x1b[m", out);
}

static bool is_blank(const struct frame_cell *cell, bool colour)
{
	return cell->character == ' ' && !(colour && !is_plain(&cell->style));
}

void frame_write(FILE *out, const struct frame *f, struct frame_look look)
{
	for (unsigned int row = 0; row < f->rows; row++) {
		unsigned int end = f->columns;

		while (end && is_blank(frame_at(f, row, end - 1), look.colour))
			end--;
		for (unsigned int column = 0; column < end; column++)
			write_cell(out, frame_at(f, row, column), look);
		putc('\n', out);
	}
}
