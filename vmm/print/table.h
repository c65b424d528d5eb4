/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PRINT_TABLE_H
#define QUIRE_VMM_PRINT_TABLE_H

/* Text for people: sizes with their units, and columns that line up. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A number of bytes as text with its unit: "1.6 MiB".  The buffer is static; four are in turn. */
const char *size_text(uint64_t bytes);

#define TABLE_MAX_COLUMNS 24
#define TABLE_CELL	  72 /* bytes, with the NUL; longer text is cut */

/*
 * A table is filled cell by cell, row by row, and printed at the end, when all widths are known.
 * The first row is the head.  The alignment of a column is that of its cell in the head.
 */
struct table {
	unsigned int nr_columns;
	unsigned int nr_cells, room;
	bool right[TABLE_MAX_COLUMNS];
	char (*cell)[TABLE_CELL]; /* malloc'd */
	bool failed;		  /* there was no memory, so nothing will be printed */
};

/*
 * Add a column to the head.  All columns are added before the first cell.  `right`: the cells of
 * the column end at the same place, as numbers do.
 */
void table_column(struct table *t, const char *head, bool right);

/* Add the next cell. */
__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *fmt, ...);

/* Print the table.  No line ends in blanks.  Returns 0 or -ENOMEM. */
int table_print(const struct table *t, FILE *f);
void table_finish(struct table *t);

#endif
