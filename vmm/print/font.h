/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_FONT_H
#define QUIRE_VMM_PRINT_FONT_H

/*
 * A bitmap font of 5 by 7 pixels for the legends of images.  It has printable ASCII.
 */
#include <stdbool.h>

#define FONT_WIDTH  5
#define FONT_HEIGHT 7

/* Is the pixel at (x, y) of c set?  A character that the font does not have is blank. */
bool font_pixel(char c, unsigned int x, unsigned int y);

#endif
