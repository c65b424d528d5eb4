/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_CHART_H
#define QUIRE_VMM_PRINT_CHART_H

/*
 * Charts over time as SVG: lines, or areas on top of each other.
 *
 * A chart does not keep numbers.  It asks the caller for the value of each series at each point.
 */
#include <stdbool.h>
#include <stdint.h>
#include "svg.h"
#include "mmu/memory/stage2.h"

enum chart_unit { CHART_BYTES, CHART_PERCENT };

struct chart_series {
	const char *name, *colour; /* "#rrggbb" */
	const char *dashes;	   /* of a line: SVG's stroke-dasharray; NULL: it is whole */
};

/* A moment or a level that matters: a line with a text. */
struct chart_mark {
	double at; /* seconds, or a value */
	const char *text;
};

struct chart {
	const char *title; /* of the file, for those who cannot see it */
	const char *head;  /* a line above the plot */
	enum chart_unit unit;
	bool stacked; /* areas, the first series at the bottom; else lines */
	const struct chart_series *series;
	unsigned int nr_series, nr_points;
	const struct chart_mark *moment, *level;
	unsigned int nr_moments, nr_levels;
	/* Of a point: seconds, not below those of the point before; and values from 0 on. */
	double (*time)(const void *data, unsigned int point);
	double (*value)(const void *data, unsigned int point, unsigned int series);
	const void *data;
};

/* Draw it.  Of many points it draws about 1000, the last among them. */
void chart_svg(FILE *f, const struct chart *chart);

/*
 * A series for each state of pages, in the order of a stack: those that take memory come first, so
 * that the level of a machine's memory shows how much of it they fill.  Compressed pages count as
 * what they were before.  chart_state[i] is the state of chart_states[i].
 */
extern const struct chart_series chart_states[PG_NR_STATES];
extern const enum page_state chart_state[PG_NR_STATES];

#endif
