/* SPDX-License-Identifier: MIT */
/* Charts over the samples of a result: a matrix of numbers, a row for each sample. */
#include <stdlib.h>
#include <quire/types.h>
#include "picture.h"
#include "vmm/print/chart.h"

#define MOST 1e18
#define DAY  86400.0

double picture_number(const json_t *of, const char *member)
{
	double value = json_number_value(json_object_get(of, member));

	return value < 0 ? 0 : value > MOST ? MOST : value;
}

const char *picture_text(const json_t *of, const char *member)
{
	const char *text = json_string_value(json_object_get(of, member));

	return text ? text : "";
}

/* ---- the matrix ---- */

struct matrix {
	const json_t *samples;
	unsigned int rows, columns;
	double *value;
};

static double cell(const void *data, unsigned int point, unsigned int series)
{
	const struct matrix *m = data;

	return m->value[(size_t)point * m->columns + series];
}

static double seconds(const void *data, unsigned int point)
{
	const struct matrix *m = data;
	double s = picture_number(json_array_get(m->samples, point), "t_s");

	return s < 365 * DAY ? s : 365 * DAY;
}

/* No memory: a chart without points. */
static struct matrix matrix_of(const json_t *result, unsigned int columns)
{
	struct matrix m = { .samples = json_object_get(result, "samples"), .columns = columns };
	size_t rows = json_array_size(m.samples);

	m.value = rows ? calloc(rows * columns, sizeof(*m.value)) : NULL;
	m.rows = m.value ? (unsigned int)rows : 0;
	return m;
}

static double *row_of(const struct matrix *m, unsigned int row)
{
	return &m->value[(size_t)row * m->columns];
}

static const json_t *sample_of(const struct matrix *m, unsigned int row)
{
	return json_array_get(m->samples, row);
}

/* The sum over the VMs of a sample. */
static double sum(const json_t *sample, const char *member)
{
	const json_t *vms = json_object_get(sample, "vms");
	double all = 0;

	for (size_t i = 0; i < json_array_size(vms); i++)
		all += picture_number(json_array_get(vms, i), member);
	return all;
}

static double sum_bytes(const json_t *sample, const char *pages)
{
	return sum(sample, pages) * QUIRE_PAGE_SIZE;
}

static void draw(FILE *f, const struct matrix *m, struct chart *chart)
{
	chart->nr_series = m->columns;
	chart->nr_points = m->rows;
	chart->time = seconds;
	chart->value = cell;
	chart->data = m;
	chart_svg(f, chart);
	free(m->value);
}

/* ---- where the memory was ---- */

static double machine_memory(const struct matrix *m)
{
	double most = 0, now;

	for (unsigned int i = 0; i < m->rows; i++) {
		now = picture_number(json_object_get(sample_of(m, i), "machine"), "memory_bytes");
		most = now > most ? now : most;
	}
	return most;
}

static void draw_memory(FILE *f, const json_t *result)
{
	struct matrix m = matrix_of(result, PG_NR_STATES);
	struct chart_mark level = { machine_memory(&m), "memory of the machine" };
	char member[64];

	for (unsigned int i = 0; i < m.rows; i++)
		for (unsigned int s = 0; s < PG_NR_STATES; s++) {
			snprintf(member, sizeof(member), "state_%s_pages",
				 page_states[chart_state[s]].name);
			row_of(&m, i)[s] = sum_bytes(sample_of(&m, i), member);
		}
	draw(f, &m,
	     &(struct chart){ .title = "Where the guests' memory was",
			      .head = "Where the memory of all guests was",
			      .unit = CHART_BYTES,
			      .stacked = true,
			      .series = chart_states,
			      .level = &level,
			      .nr_levels = level.at > 0 });
}

/* ---- merging ---- */

enum { SHARING, FRAMES, ZERO, SAVED, NR_MERGING };

static void draw_merging(FILE *f, const json_t *result)
{
	static const struct chart_series series[NR_MERGING] = {
		[SHARING] = { "shared pages", "#16a34a", NULL },
		[FRAMES] = { "their frames", "#f97316", "6 3" },
		[ZERO] = { "zero pages", "#94a3b8", "9 3 2 3" },
		[SAVED] = { "saved", "#3b82f6", "3 3" },
	};
	struct matrix m = matrix_of(result, NR_MERGING);

	for (unsigned int i = 0; i < m.rows; i++) {
		const json_t *sample = sample_of(&m, i);
		double *row = row_of(&m, i);

		row[SHARING] = sum_bytes(sample, "state_shared_pages");
		row[FRAMES] = picture_number(json_object_get(sample, "machine"), "store_bytes");
		row[ZERO] = sum_bytes(sample, "state_zero_pages");
		row[SAVED] = row[SHARING] + row[ZERO] - row[FRAMES];
	}
	draw(f, &m,
	     &(struct chart){ .title = "What merging saved",
			      .head = "Pages that are merged, and what that saves",
			      .unit = CHART_BYTES,
			      .series = series });
}

/* ---- stalls ---- */

enum { WORST, MEAN, FULL, NR_STALLS };

/* How much of the time between two looks a VM's counter of nanoseconds grew, in percent. */
static double grown(const json_t *vm, const json_t *before, const char *member, double over_s)
{
	double ns = picture_number(vm, member) - picture_number(before, member);
	double percent = over_s > 0 ? ns / over_s / 1e7 : 0;

	return percent < 0 ? 0 : percent > 100 ? 100 : percent;
}

/* The VMs of a sample by their names; NULL: no memory. */
static json_t *by_name(const json_t *sample)
{
	const json_t *vms = json_object_get(sample, "vms");
	json_t *names = json_object();

	for (size_t i = 0; i < json_array_size(vms); i++) {
		json_t *vm = json_array_get(vms, i);

		json_object_set(names, picture_text(vm, "name"), vm);
	}
	return names;
}

static void stalls(const json_t *sample, const json_t *before, double over_s, double *row)
{
	const json_t *vms = json_object_get(sample, "vms");
	size_t nr = json_array_size(vms), known = 0;

	for (size_t i = 0; i < nr; i++) {
		const json_t *vm = json_array_get(vms, i);
		const json_t *was = json_object_get(before, picture_text(vm, "name"));
		double some = grown(vm, was, "stall_some_ns", over_s);

		if (!was)
			continue;
		known++;
		row[WORST] = some > row[WORST] ? some : row[WORST];
		row[MEAN] += some;
		row[FULL] += grown(vm, was, "stall_full_ns", over_s);
	}
	row[MEAN] /= (double)max_u64(known, 1);
	row[FULL] /= (double)max_u64(known, 1);
}

static void draw_stalls(FILE *f, const json_t *result)
{
	static const struct chart_series series[NR_STALLS] = {
		[WORST] = { "some, worst guest", "#ef4444", NULL },
		[MEAN] = { "some, mean", "#f97316", "6 3" },
		[FULL] = { "full, mean", "#3b82f6", "3 3" },
	};
	struct matrix m = matrix_of(result, NR_STALLS);

	for (unsigned int i = 1; i < m.rows; i++) {
		json_t *before = by_name(sample_of(&m, i - 1));

		stalls(sample_of(&m, i), before, seconds(&m, i) - seconds(&m, i - 1),
		       row_of(&m, i));
		json_decref(before);
	}
	draw(f, &m,
	     &(struct chart){ .title = "Stalls",
			      .head = "How much of the time guests waited for memory",
			      .unit = CHART_PERCENT,
			      .series = series });
}

const struct picture pictures[PICTURES] = {
	{ "memory", "Where the memory of all guests was", draw_memory },
	{ "merging", "What merging saved", draw_merging },
	{ "stalls", "How much of the time guests waited for memory", draw_stalls },
};
