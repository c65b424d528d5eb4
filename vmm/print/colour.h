/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_COLOUR_H
#define QUIRE_VMM_PRINT_COLOUR_H

/* Colours, as 0xRRGGBB, and the nearest that a terminal has. */
#include <stdbool.h>
#include <stdint.h>

/* A number from 16 to 231: the shades that are the same in all terminals of 256 colours. */
unsigned int colour_256(uint32_t rgb);

/* A number from 0 to 7: black, red, green, yellow, blue, magenta, cyan, white. */
unsigned int colour_8(uint32_t rgb);

/* Black or white, whichever can be read on it. */
uint32_t colour_ink(uint32_t rgb);

/* A third of the way to white. */
uint32_t colour_lighter(uint32_t rgb);

/* A third of the way to black. */
uint32_t colour_darker(uint32_t rgb);

/*
 * Does this user want colours on standard output?  It is a terminal, not a dumb one, and NO_COLOR
 * is not set: see https://no-color.org.
 */
bool colour_wanted(void);

#endif
