/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_MACHINE_H
#define QUIRE_VMM_TOP_MACHINE_H

/* The rows at the top of a frame: where the machine's memory is, what is promised, how it was. */
#include "model.h"

#define MACHINE_ROWS 5 /* all of them */

/* How many there are in a frame of so many rows. */
unsigned int machine_rows(unsigned int rows);

/* Draw so many of them.  Returns their number. */
unsigned int machine_draw(const struct model *m, struct frame *f, const char *time,
			  unsigned int rows);

/* What the letters in the bar of memory mean, in a row. */
void machine_draw_legend(struct frame *f, unsigned int row);

#endif
