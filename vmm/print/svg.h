/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_SVG_H
#define QUIRE_VMM_PRINT_SVG_H

/*
 * What our diagrams have in common: SVG 1.1 with styles for light and dark.  Positions are in user
 * units, y downwards.  Classes are back, grid, axis and line.
 */
#include <stdio.h>

/*
 * The head, up to the background; svg_end() closes it.  What comes of it may be a file, or stand in
 * a page of HTML, among others.
 */
void svg_begin(FILE *f, double width, double height, const char *title);
void svg_end(FILE *f);

/* Text in XML.  It may hold any bytes; what is not printable ASCII becomes a question mark. */
void svg_escaped(FILE *f, const char *text);

/* A line of text.  anchor: start, middle or end, which is at x. */
__attribute__((format(printf, 5, 6))) void svg_text(FILE *f, double x, double y, const char *anchor,
						    const char *fmt, ...);

/* The same, turned a quarter to the left, with its middle at x, y. */
void svg_upright(FILE *f, double x, double y, const char *text);

void svg_line(FILE *f, const char *class, double x1, double y1, double x2, double y2);

#endif
