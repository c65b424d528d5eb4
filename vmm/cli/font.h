/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_FONT_H
#define QUIRE_VMM_CLI_FONT_H

/*
 * A 5x7 bitmap font for the legends of images: printable ASCII, one byte a column, bit 0 on
 * top.
 */
#include <stdbool.h>

#define FONT_WIDTH  5
#define FONT_HEIGHT 7

/* Is the pixel at (x, y) of c set?  Anything without a shape is blank. */
bool font_pixel(char c, unsigned int x, unsigned int y);

#endif
