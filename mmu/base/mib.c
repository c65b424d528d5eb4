/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include "mib.h"

#define PAGES_PER_MIB (MiB / QUIRE_PAGE_SIZE)

const char *mib_text(uint64_t pages)
{
	static char text[16][32];
	static unsigned int turn;
	char *out = text[turn++ % ARRAY_SIZE(text)];

	if (pages && pages * 20 < PAGES_PER_MIB)
		snprintf(out, sizeof(text[0]), "<0.1 MiB");
	else
		snprintf(out, sizeof(text[0]), "%.1f MiB", (double)pages / PAGES_PER_MIB);
	return out;
}
