/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include "vmm/look/stats.h"
#include "columns.h"

#define GAP 1 /* between columns */

typedef void draw_fn(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		     const struct row *vm, unsigned int arg);

struct column {
	const char *name;      /* its head, too, where there is room for it */
	const char *head;      /* ... and where not: min cells are enough for it.  NULL: the name */
	unsigned int min, max; /* width */
	bool right;
	bar_value_fn *value; /* what is sorted by, and HISTORY's; NULL: see columns_compare() */
	unsigned int arg;
	draw_fn *draw;
};

/* ---- values ---- */

static uint64_t sum_pages(const struct watch_point *point, bool resident)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PG_NR_STATES; i++)
		if (!resident || page_states[i].resident)
			sum += point->state_pages[i];
	return sum;
}

static uint64_t ram(const struct watch_point *point, unsigned int none)
{
	(void)none;
	return sum_pages(point, false);
}

static uint64_t resident(const struct watch_point *point, unsigned int none)
{
	(void)none;
	return sum_pages(point, true);
}

uint64_t columns_rate(const struct watch_point *point, unsigned int rate)
{
	return point->per_second[rate];
}

uint64_t columns_stall(const struct watch_point *point, unsigned int none)
{
	(void)none;
	return point->stall_permille;
}

/* ---- cells ---- */

/* A name without its middle if it is too long, because the names of copies differ at the end. */
static void draw_name(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		      const struct row *vm, unsigned int none)
{
	const char *name = vm->vm ? vm->vm->name : "(all)";
	size_t bytes = strlen(name), tail = width / 2, head = width - 1 - tail;

	(void)none;
	if (bytes <= width)
		frame_print(f, row, column, frame_plain, "%s", name);
	else
		frame_print(f, row, column, frame_plain, "%.*s~%s", (int)head, name,
			    name + bytes - tail);
}

static const char *state_of(const struct roster_vm *vm)
{
	return vm->answers ? stats_state_name(vm->info.state) : "silent";
}

static void draw_state(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		       const struct row *vm, unsigned int none)
{
	bool runs = !vm->vm || (vm->vm->answers && vm->vm->info.state == VM_RUNNING);

	(void)none;
	if (vm->vm)
		frame_print(f, row, column, runs ? frame_plain : frame_bold, "%.*s", (int)width,
			    state_of(vm->vm));
}

/* In four characters: "1.5G", "64M". */
static void size_short(char *out, size_t bytes, uint64_t pages)
{
	static const char unit[] = "KMGTPE";
	double value = (double)pages * (QUIRE_PAGE_SIZE / KiB);
	unsigned int u = 0;

	for (; value >= 999.5; u++)
		value /= 1024;
	snprintf(out, bytes,
		 value >= 9.95 || value == (double)(uint64_t)value ? "%.0f%c" : "%.1f%c", value,
		 unit[u]);
}

/* In five characters: "99999", "100k", "1.0M". */
static void count_short(char *out, size_t bytes, uint64_t n)
{
	static const char unit[] = "kMGTPE";
	double value = (double)n / 1000;
	unsigned int u = 0;

	for (; value >= 999.5; u++)
		value /= 1000;
	if (n < 100000)
		snprintf(out, bytes, "%u", (unsigned int)n);
	else
		snprintf(out, bytes, value >= 99.5 ? "%.0f%c" : "%.1f%c", value, unit[u]);
}

static void draw_right(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		       const char *text)
{
	frame_print_right(f, row, column + width, frame_plain, text);
}

static void draw_pages(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		       const struct row *vm, unsigned int none)
{
	(void)none;
	if (vm->point)
		bar_draw_states(f, row, column, width, vm->point->state_pages);
}

static void draw_ram(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		     const struct row *vm, unsigned int only_resident)
{
	char text[32] = "-";

	if (vm->point)
		size_short(text, sizeof(text), sum_pages(vm->point, only_resident));
	draw_right(f, row, column, width, text);
}

static void draw_rate(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		      const struct row *vm, unsigned int rate)
{
	char text[32] = "-";

	if (vm->point && vm->point->over_ns)
		count_short(text, sizeof(text), vm->point->per_second[rate]);
	draw_right(f, row, column, width, text);
}

static void draw_stall(struct frame *f, unsigned int row, unsigned int column, unsigned int width,
		       const struct row *vm, unsigned int none)
{
	char text[32] = "-";

	(void)none;
	if (vm->point && vm->point->over_ns)
		snprintf(text, sizeof(text), "%u.%u", vm->point->stall_permille / 10,
			 vm->point->stall_permille % 10);
	draw_right(f, row, column, width, text);
}

/* ---- the table ---- */

#define RATE(rate, head, min) \
	[COLUMN_RATES + (rate)] = { NULL, head, min, 9, true, columns_rate, rate, draw_rate }

/*
 * With the smallest widths the table has 80 columns.  A rate is called as in watch_rates[], and
 * HISTORY is drawn by columns_draw(), which knows what the list is sorted by.
 */
static const struct column columns[NR_COLUMNS] = {
	[COLUMN_NAME] = { "name", NULL, 10, 24, false, NULL, 0, draw_name },
	[COLUMN_STATE] = { "state", "s", 2, 9, false, NULL, 0, draw_state },
	[COLUMN_RAM] = { "ram", NULL, 4, 5, true, ram, 0, draw_ram },
	[COLUMN_RESIDENT] = { "resident", "res", 4, 8, true, resident, 1, draw_ram },
	[COLUMN_PAGES] = { "pages", NULL, 7, 32, false, NULL, 0, draw_pages },
	RATE(WATCH_FAULTS, "fault", 5),
	RATE(WATCH_MERGES, "merge", 5),
	RATE(WATCH_UNSHARES, "cow", 5),
	RATE(WATCH_BALLOON, NULL, 7),
	RATE(WATCH_EVICTIONS, "evict", 5),
	RATE(WATCH_LOADS, NULL, 5),
	[COLUMN_STALL] = { "stall", NULL, 5, 6, true, columns_stall, 0, draw_stall },
	[COLUMN_HISTORY] = { "history", "hist", 4, 60, false, NULL, 0, NULL },
};

const char *column_name(unsigned int column)
{
	return columns[column].name ? columns[column].name :
				      watch_rates[column - COLUMN_RATES].name;
}

bool column_sorts(unsigned int column)
{
	return column == COLUMN_NAME || column == COLUMN_STATE || columns[column].value;
}

/* ---- layout ---- */

typedef unsigned int width_fn(unsigned int column, size_t longest);

static unsigned int width_of_name(unsigned int column, size_t longest)
{
	(void)longest;
	return (unsigned int)strlen(column_name(column));
}

static unsigned int widest(unsigned int column, size_t longest)
{
	if (column == COLUMN_NAME)
		return (unsigned int)(longest > columns[column].max ? columns[column].max :
								      longest);
	return columns[column].max;
}

/* A cell for each column in turn, up to such widths.  Returns how many cells are used then. */
static unsigned int grow(struct column_widths *widths, unsigned int used, unsigned int all,
			 width_fn *width, size_t longest)
{
	bool grew = true;

	while (grew && used < all) {
		grew = false;
		for (unsigned int i = 0; i < NR_COLUMNS && used < all; i++)
			if (widths->of[i] < width(i, longest)) {
				widths->of[i]++;
				used++;
				grew = true;
			}
	}
	return used;
}

struct column_widths columns_fit(unsigned int all, size_t longest)
{
	struct column_widths widths = { { 0 } };
	unsigned int used = 0;

	for (unsigned int i = 0; i < NR_COLUMNS; i++) {
		if (used + columns[i].min > all)
			return widths;
		widths.of[i] = columns[i].min;
		used += columns[i].min + GAP;
	}
	/* The gap behind the last column is not needed. */
	used = grow(&widths, used - GAP, all, width_of_name, longest);
	grow(&widths, used, all, widest, longest);
	return widths;
}

/* A word that is whole. */
static const char *head_of(unsigned int column, unsigned int width)
{
	const char *name = column_name(column), *head = columns[column].head;

	return head && strlen(name) > width ? head : name;
}

static void put_head(struct frame *f, unsigned int row, unsigned int at, unsigned int width,
		     const struct column *column, const char *name, bool sorted)
{
	size_t bytes = strlen(name);
	struct frame_style style = sorted ? frame_bold : frame_plain;
	unsigned int first = column->right ? at + width - (unsigned int)bytes : at;

	for (size_t i = 0; i < bytes; i++)
		frame_put(f, row, first + (unsigned int)i, style,
			  (unsigned int)toupper((unsigned char)name[i]));
}

void columns_draw_head(struct frame *f, unsigned int row, const struct column_widths *widths,
		       unsigned int sort)
{
	struct frame_cell *cell;
	unsigned int at = 0;

	for (unsigned int i = 0; i < NR_COLUMNS; i++) {
		if (widths->of[i])
			put_head(f, row, at, widths->of[i], &columns[i], head_of(i, widths->of[i]),
				 i == sort);
		at += widths->of[i] + GAP;
	}
	/* The column that is sorted by stands out as the one that is not in reverse. */
	for (unsigned int i = 0; (cell = frame_at(f, row, i)); i++)
		cell->style.reverse = !cell->style.bold;
}

void columns_draw(struct frame *f, unsigned int row, const struct column_widths *widths,
		  const struct row *vm, unsigned int sort)
{
	const struct column *history = &columns[columns[sort].value ? sort : COLUMN_RESIDENT];
	unsigned int at = 0;
	uint64_t whole = 0;

	for (unsigned int i = 0; i < NR_COLUMNS; i++) {
		unsigned int width = widths->of[i];

		if (!width)
			return;
		if (columns[i].draw)
			columns[i].draw(f, row, at, width, vm, columns[i].arg);
		at += width + GAP;
	}
	if (history->value == resident && vm->point)
		whole = ram(vm->point, 0);
	else if (history->value == columns_stall)
		whole = 1000;
	bar_draw_spark(f, row, at - widths->of[COLUMN_HISTORY] - GAP, widths->of[COLUMN_HISTORY],
		       vm->ring, history->value, history->arg, whole);
}

/* ---- order ---- */

static int compare_keys(const struct row *a, const struct row *b, const struct column *column)
{
	uint64_t x, y;

	if (!column->value)
		return column == &columns[COLUMN_STATE] ? strcmp(state_of(a->vm), state_of(b->vm)) :
							  0;
	x = a->point ? column->value(a->point, column->arg) : 0;
	y = b->point ? column->value(b->point, column->arg) : 0;
	return x > y ? -1 : x < y;
}

int columns_compare(const struct row *a, const struct row *b, unsigned int sort, bool reverse)
{
	int order = compare_keys(a, b, &columns[sort]),
	    names = strverscmp(a->vm->name, b->vm->name);

	if (sort == COLUMN_NAME)
		order = names;
	if (order)
		return reverse ? -order : order;
	if (names)
		return names;
	return a->vm->pid < b->vm->pid ? -1 : a->vm->pid > b->vm->pid;
}
