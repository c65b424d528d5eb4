/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_REPORT_PICTURE_H
#define QUIRE_VMM_REPORT_PICTURE_H

/*
 * Pictures of the result of a scenario, as SVG.
 *
 * A result is quire.play/1 (docs/play.md), as vmm/play/result.h builds it, or as it was read from a
 * file.  So it may be anything that is JSON: what is not there, or of another type, counts as 0 or
 * as nothing, and no picture depends on more.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* What may be drawn of every result. */
struct picture {
	const char *name; /* of its file, without .svg */
	const char *head; /* a line about it */
	void (*draw)(FILE *f, const json_t *result);
};

#define PICTURES 3u
extern const struct picture pictures[PICTURES];

/*
 * Draw a VM's memory, an element of the result's `maps`: a square for some pages, a colour for each
 * state.  False, and nothing is written: it has no page, or they are too far apart, or no memory.
 */
bool picture_map(FILE *f, const json_t *map);

/* Members of an object: 0 to 10^18, and "" if it is no text. */
double picture_number(const json_t *of, const char *member);
const char *picture_text(const json_t *of, const char *member);

#endif
