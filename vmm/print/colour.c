/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "colour.h"

/* Colours 16 to 231 are 6 x 6 x 6 shades of red, green and blue. */
unsigned int colour_256(uint32_t rgb)
{
	unsigned int colour = 0;

	for (int shift = 16; shift >= 0; shift -= 8) {
		unsigned int c = rgb >> shift & 0xff;

		colour = colour * 6 + (c < 48 ? 0 : c < 115 ? 1 : (c - 35) / 40);
	}
	return 16 + colour;
}

#define FULL 205 /* of red, green and blue, as xterm has the first eight */

unsigned int colour_8(uint32_t rgb)
{
	unsigned int best = 0, best_distance = ~0u;

	for (unsigned int i = 0; i < 8; i++) {
		int red = (int)(rgb >> 16) - (i & 1 ? FULL : 0);
		int green = (int)(rgb >> 8 & 0xff) - (i & 2 ? FULL : 0);
		int blue = (int)(rgb & 0xff) - (i & 4 ? FULL : 0);
		unsigned int distance = (unsigned int)(red * red + green * green + blue * blue);

		if (distance < best_distance) {
			best = i;
			best_distance = distance;
		}
	}
	return best;
}

uint32_t colour_ink(uint32_t rgb)
{
	return (rgb >> 16) * 3 + (rgb >> 8 & 0xff) * 6 + (rgb & 0xff) > 1280 ? 0 : 0xffffff;
}

/* A third of the way to a grey. */
static uint32_t towards(uint32_t rgb, int grey)
{
	uint32_t out = 0;

	for (unsigned int shift = 0; shift < 24; shift += 8) {
		int c = (int)(rgb >> shift & 0xff);

		out |= (uint32_t)(c + (grey - c) / 3) << shift;
	}
	return out;
}

uint32_t colour_lighter(uint32_t rgb)
{
	return towards(rgb, 255);
}

uint32_t colour_darker(uint32_t rgb)
{
	return towards(rgb, 0);
}

bool colour_wanted(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
}
