/* SPDX-License-Identifier: MIT */
/* Sizes and columns as text: see table.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <quire/types.h>
#include "table.h"

const char *size_text(uint64_t bytes)
{
	static const char unit[] = "KMGT";
	static char text[4][24];
	static unsigned int turn;
	char *out = text[turn++ % ARRAY_SIZE(text)];
	unsigned int u = 0;
	double value = (double)bytes / 1024;

	for (; value >= 1024 && unit[u + 1]; u++)
		value /= 1024;
	snprintf(out, sizeof(text[0]), value == (double)(uint64_t)value ? "%.0f %ciB" : "%.1f %ciB",
		 value, unit[u]);
	return out;
}

static void add_cell(struct table *t, const char *fmt, va_list ap)
{
	if (t->nr_cells == t->room && !t->failed) {
		unsigned int room = t->room ? 2 * t->room : 128;
		void *cell = realloc(t->cell, room * sizeof(*t->cell));

		if (cell) {
			t->cell = cell;
			t->room = room;
		}
		t->failed = !cell;
	}
	if (!t->failed)
		vsnprintf(t->cell[t->nr_cells++], TABLE_CELL, fmt, ap);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_cell(t, fmt, ap);
	va_end(ap);
}

void table_column(struct table *t, const char *head, bool right)
{
	if (t->nr_columns == TABLE_MAX_COLUMNS) {
		t->failed = true;
		return;
	}
	t->right[t->nr_columns++] = right;
	table_cell(t, "%s", head);
}

static int column_width(const struct table *t, unsigned int column)
{
	size_t width = 0;

	for (unsigned int i = column; i < t->nr_cells; i += t->nr_columns)
		if (strlen(t->cell[i]) > width)
			width = strlen(t->cell[i]);
	return (int)width;
}

int table_print(const struct table *t, FILE *f)
{
	int width[TABLE_MAX_COLUMNS];

	if (t->failed)
		return -ENOMEM;
	for (unsigned int c = 0; c < t->nr_columns; c++)
		width[c] = column_width(t, c);
	for (unsigned int i = 0; i < t->nr_cells; i++) {
		unsigned int c = i % t->nr_columns;
		bool last = c + 1 == t->nr_columns;

		if (t->right[c])
			fprintf(f, "%*s%s", width[c], t->cell[i], last ? "\n" : "  ");
		else
			fprintf(f, "%-*s%s", last ? 0 : width[c], t->cell[i], last ? "\n" : "  ");
	}
	return 0;
}

void table_finish(struct table *t)
{
	free(t->cell);
	*t = (struct table){ 0 };
}
