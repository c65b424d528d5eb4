/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_TOP_COLUMNS_H
#define QUIRE_VMM_TOP_COLUMNS_H

/* The columns of the list of VMs: what each shows, and how the list is sorted by it. */
#include "bar.h"

/* A VM of the list, or all of them together. */
struct row {
	const struct roster_vm *vm;	 /* NULL: all of them together */
	const struct watch_ring *ring;	 /* NULL: the VM has not answered yet */
	const struct watch_point *point; /* the newest of the ring, or NULL */
};

enum column_id {
	COLUMN_NAME,
	COLUMN_STATE,
	COLUMN_RAM,
	COLUMN_RESIDENT,
	COLUMN_PAGES,
	COLUMN_RATES, /* the first of WATCH_NR_RATES */
	COLUMN_STALL = COLUMN_RATES + WATCH_NR_RATES,
	COLUMN_HISTORY,
	NR_COLUMNS
};

/* The name of a column in small letters, for --sort and in messages. */
const char *column_name(unsigned int column);

/* May the list be sorted by it? */
bool column_sorts(unsigned int column);

/* How wide each column is; 0: there is no room for it. */
struct column_widths {
	unsigned int of[NR_COLUMNS];
};

/* Choose widths for a frame of so many columns; `longest`: the length of the longest name. */
struct column_widths columns_fit(unsigned int columns, size_t longest);

void columns_draw_head(struct frame *f, unsigned int row, const struct column_widths *widths,
		       unsigned int sort);

/* HISTORY shows the column that the list is sorted by; what is resident where that has none. */
void columns_draw(struct frame *f, unsigned int row, const struct column_widths *widths,
		  const struct row *vm, unsigned int sort);

/*
 * Compare two VMs for the list: below 0 if a comes first.  Numbers are sorted from the largest on,
 * names from A on, or with `reverse` the other way round; then VMs are sorted by name and process.
 */
int columns_compare(const struct row *a, const struct row *b, unsigned int sort, bool reverse);

/* Values of a point, for bar_draw_spark(). */
uint64_t columns_rate(const struct watch_point *point, unsigned int rate);
uint64_t columns_stall(const struct watch_point *point, unsigned int none);

#endif
