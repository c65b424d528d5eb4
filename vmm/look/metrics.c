/* SPDX-License-Identifier: MIT */
/*
 * Samples are collected in the order of the document, a VM after the other.  Both forms want all
 * samples of a metric together.  So they are sorted by their row of the table, and printed then.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "look.h"
#include "metrics.h"
#include "metrics_table.h"

#define PATH_MAX_BYTES	 160
#define MAX_LABELS	 2
#define LABEL_MAX_BYTES	 63
#define FIRST_BOUND_LOG2 12 /* histograms: 4 us ... */
#define LAST_BOUND_LOG2	 34 /* ... to 17 s, each four times the one before */

struct label {
	char name[16], value[LABEL_MAX_BYTES + 1];
};

struct sample {
	unsigned int row, order;
	const json_t *vm; /* the object that it is of; NULL: the machine's */
	const json_t *value;
	struct label label[MAX_LABELS];
};

struct metrics {
	FILE *f;
	enum metrics_form form;
	struct sample *sample;
	size_t nr, room;
	unsigned int last_row; /* of the last sample */
};

/* ---- which row ---- */

/* A "{label}" of a pattern, which ends where `rest` is found in the text first. */
static bool capture(const char **pattern, const char **text, struct label *label)
{
	const char *close = strchr(*pattern, '}'), *end;
	char rest[PATH_MAX_BYTES];
	size_t bytes = (size_t)(close - *pattern) - 1, rest_bytes = strcspn(close + 1, "{");

	snprintf(label->name, sizeof(label->name), "%.*s", (int)bytes, *pattern + 1);
	snprintf(rest, sizeof(rest), "%.*s", (int)rest_bytes, close + 1);
	end = rest_bytes && close[1 + rest_bytes] ? strstr(*text + 1, rest) :
						    *text + strlen(*text) - rest_bytes;
	if (!end || end <= *text || memchr(*text, '.', (size_t)(end - *text)))
		return false;
	snprintf(label->value, sizeof(label->value), "%.*s", (int)(end - *text), *text);
	*pattern = close + 1;
	*text = end;
	return true;
}

/* Does the path fit, and what are its labels? */
static bool fits(const char *pattern, const char *path, struct label *label)
{
	memset(label, 0, MAX_LABELS * sizeof(*label));
	while (*pattern) {
		if (*pattern == '{') {
			if (!*path || !capture(&pattern, &path, label++))
				return false;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

/*
 * The row of this path; metrics_rows: there is none.  Mostly it is the one after the last, because
 * the table has the document's order; that may be taken if it has no labels.
 */
static unsigned int row_of(const char *path, unsigned int last, struct label *label)
{
	unsigned int i = 0;

	if (last + 1 < metrics_rows && !strcmp(metrics_table[last + 1].member, path)) {
		memset(label, 0, MAX_LABELS * sizeof(*label));
		return last + 1;
	}
	while (i < metrics_rows && !fits(metrics_table[i].member, path, label))
		i++;
	return i;
}

/* ---- collecting ---- */

static int add(struct metrics *m, const struct sample *sample)
{
	struct sample *more;

	if (m->nr == m->room) {
		m->room = m->room ? 2 * m->room : 1024;
		more = realloc(m->sample, m->room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		m->sample = more;
	}
	m->sample[m->nr] = *sample;
	m->sample[m->nr].order = (unsigned int)m->nr;
	m->nr++;
	return 0;
}

/* Is the value what the row expects?  A document of a newer quire may differ. */
static bool has_type(const json_t *value, enum metric_type type)
{
	switch (type) {
	case METRIC_HISTOGRAM: return json_is_object(value);
	case METRIC_STATES:
	case METRIC_INFO: return json_is_string(value);
	default: return json_is_number(value);
	}
}

/* All members of an object, and of the objects in it.  Those without a row are no metrics. */
static int collect(struct metrics *m, const json_t *vm, const char *path, const json_t *object)
{
	int code = 0;

	/* jansson's iterators take no const. */
	for (void *i = json_object_iter((json_t *)object); i && !code;
	     i = json_object_iter_next((json_t *)object, i)) {
		const json_t *value = json_object_iter_value(i);
		struct sample sample = { .vm = vm, .value = value };
		char below[PATH_MAX_BYTES];

		snprintf(below, sizeof(below), "%s.%s", path, json_object_iter_key(i));
		sample.row = row_of(below, m->last_row, sample.label);
		if (sample.row < metrics_rows) {
			m->last_row = sample.row;
			if (has_type(value, metrics_table[sample.row].type))
				code = add(m, &sample);
		} else if (json_is_object(value)) {
			code = collect(m, vm, below, value);
		}
	}
	return code;
}

static int collect_all(struct metrics *m, const json_t *document)
{
	int code = collect(m, NULL, "machine", json_object_get(document, "machine"));
	const json_t *vms = json_object_get(document, "vms");

	for (size_t i = 0; i < json_array_size(vms) && !code; i++)
		code = collect(m, json_array_get(vms, i), "vm", json_array_get(vms, i));
	return code;
}

/* Rows of one name are one metric. */
static unsigned int metric_of(const struct sample *s)
{
	unsigned int row = s->row;

	while (row && !strcmp(metrics_table[row].name, metrics_table[row - 1].name))
		row--;
	return row;
}

static int compare(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	unsigned int row_x = metric_of(x), row_y = metric_of(y);

	if (row_x != row_y)
		return row_x < row_y ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* ---- printing ---- */

static bool ends_in(const char *text, const char *end)
{
	size_t bytes = strlen(text);

	return bytes >= strlen(end) && !strcmp(text + bytes - strlen(end), end);
}

/* What follows the metric's name in a sample's, by the metric's type. */
static const char *suffix_of(const struct metric *metric)
{
	static const char *const suffix[] = { [METRIC_GAUGE] = "",
					      [METRIC_COUNTER] = "_total",
					      [METRIC_STATES] = "",
					      [METRIC_INFO] = "_info",
					      [METRIC_HISTOGRAM] = "_bucket" };

	return suffix[metric->type];
}

/* In text 0.0.4 the metric has the name of its samples, and there are fewer types. */
static void put_head(const struct metrics *m, const struct metric *metric)
{
	static const char *const type[][2] = {
		[METRIC_GAUGE] = { "gauge", "gauge" },
		[METRIC_COUNTER] = { "counter", "counter" },
		[METRIC_HISTOGRAM] = { "histogram", "histogram" },
		[METRIC_STATES] = { "stateset", "gauge" },
		[METRIC_INFO] = { "info", "gauge" },
	};
	static const char *const units[] = { "bytes", "seconds", "ratio" };
	bool text = m->form == METRICS_TEXT;
	const char *suffix = text && metric->type != METRIC_HISTOGRAM ? suffix_of(metric) : "";

	fprintf(m->f, "# TYPE %s%s %s\n", metric->name, suffix, type[metric->type][text]);
	for (unsigned int i = 0; i < ARRAY_SIZE(units) && !text; i++)
		if (ends_in(metric->name, units[i]))
			fprintf(m->f, "# UNIT %s %s\n", metric->name, units[i]);
	fprintf(m->f, "# HELP %s%s %s\n", metric->name, suffix, metric->help);
}

static void put_label(const struct metrics *m, const char *before, const char *name,
		      const char *value)
{
	fprintf(m->f, "%s%s=\"", before, name);
	for (const char *p = value ? value : ""; *p; p++) {
		if (*p == '\n')
			fputs("\\n", m->f);
		else if (*p == '"' || *p == '\\')
			fprintf(m->f, "\\%c", *p);
		else
			fputc(*p, m->f);
	}
	fputc('"', m->f);
}

/* The sample's name and its labels, but for the closing brace. */
static void put_name(const struct metrics *m, const struct sample *s)
{
	const struct metric *metric = &metrics_table[s->row];

	fprintf(m->f, "%s%s", metric->name, suffix_of(metric));
	if (!s->vm)
		return;
	put_label(m, "{", "vm", json_string_value(json_object_get(s->vm, "name")));
	put_label(m, ",", "domain", json_string_value(json_object_get(s->vm, "domain")));
	for (unsigned int i = 0; i < MAX_LABELS && s->label[i].name[0]; i++)
		put_label(m, ",", s->label[i].name, s->label[i].value);
}

static void put_number(const struct metrics *m, const struct sample *s)
{
	const char *member = metrics_table[s->row].member;
	double value = json_number_value(s->value);

	put_name(m, s);
	fputs(s->vm ? "} " : " ", m->f);
	if (ends_in(member, "_pages"))
		fprintf(m->f, "%.0f\n", value * QUIRE_PAGE_SIZE);
	else if (ends_in(member, "_ns"))
		fprintf(m->f, "%.9f\n", value / 1e9);
	else if (ends_in(member, "_percent"))
		fprintf(m->f, "%.4f\n", value / 100);
	else
		fprintf(m->f, "%.0f\n", value);
}

static unsigned int log2_of(unsigned long long number)
{
	return number ? 63 - (unsigned int)__builtin_clzll(number) : 0;
}

static void put_bucket(const struct metrics *m, const struct sample *s, const char *le,
		       double count)
{
	put_name(m, s);
	put_label(m, ",", "le", le);
	fprintf(m->f, "} %.0f\n", count);
}

/*
 * The document has a member for each power of two that is not 0: "below_4096_ns" is "at most 4095".
 * The bounds here are always the same.
 */
static void put_histogram(const struct metrics *m, const struct sample *s)
{
	double below[64] = { 0 }, sum = 0;
	const char *key;
	json_t *value;
	char le[32];

	json_object_foreach((json_t *)s->value, key,
			    value) if (!strncmp(key, "below_", strlen("below_")))
		below[log2_of(strtoull(key + strlen("below_"), NULL, 10))] +=
		json_number_value(value);
	for (unsigned int i = 0; i <= LAST_BOUND_LOG2; i++) {
		sum += below[i];
		if (i < FIRST_BOUND_LOG2 || (i - FIRST_BOUND_LOG2) % 2)
			continue;
		snprintf(le, sizeof(le), "%.11g", (double)((1ULL << i) - 1) / 1e9);
		put_bucket(m, s, le, sum);
	}
	for (unsigned int i = LAST_BOUND_LOG2 + 1; i < ARRAY_SIZE(below); i++)
		sum += below[i];
	put_bucket(m, s, "+Inf", sum);
}

static void put_states(const struct metrics *m, const struct sample *s)
{
	const char *is = json_string_value(s->value);

	for (uint32_t state = 0; state < VM_NR_STATES; state++) {
		put_name(m, s);
		put_label(m, ",", metrics_table[s->row].name, stats_state_name(state));
		fprintf(m->f, "} %d\n", !strcmp(is, stats_state_name(state)));
	}
}

/* Each row adds a label to the one series of its VM.  The label has the name of the member. */
static void put_info(const struct metrics *m, const struct sample *s, const struct sample *end)
{
	const struct sample *last = s;

	put_name(m, s);
	for (; last < end && last->vm == s->vm && metrics_table[last->row].type == METRIC_INFO;
	     last++)
		put_label(m, ",", strrchr(metrics_table[last->row].member, '.') + 1,
			  json_string_value(last->value));
	fputs("} 1\n", m->f);
}

static void put_sample(const struct metrics *m, const struct sample *s, const struct sample *end)
{
	bool goes_on = s > m->sample && s[-1].vm == s->vm && metric_of(&s[-1]) == metric_of(s);

	switch (metrics_table[s->row].type) {
	case METRIC_GAUGE:
	case METRIC_COUNTER: put_number(m, s); break;
	case METRIC_HISTOGRAM: put_histogram(m, s); break;
	case METRIC_STATES: put_states(m, s); break;
	case METRIC_INFO:
		if (!goes_on)
			put_info(m, s, end);
		break;
	}
}

static void put_all(const struct metrics *m)
{
	const struct sample *end = m->sample + m->nr;

	for (const struct sample *s = m->sample; s < end; s++) {
		if (s == m->sample || metric_of(&s[-1]) != metric_of(s))
			put_head(m, &metrics_table[metric_of(s)]);
		put_sample(m, s, end);
	}
	if (m->form == METRICS_OPENMETRICS)
		fputs("# EOF\n", m->f);
}

/* ---- what others call ---- */

enum metrics_form metrics_form_accepted(const char *accept)
{
	return accept && strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS :
									  METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_form form)
{
	return form == METRICS_OPENMETRICS ?
		       "application/openmetrics-text; version=1.0.0; charset=utf-8" :
		       "text/plain; version=0.0.4; charset=utf-8";
}

/*
 * The tree of the document, to be freed by json_decref(); NULL: no memory.  Numbers are read as
 * real ones, because jansson's whole ones end at 2^63.  Metrics are of that type anyway.
 */
static json_t *document_of(const struct look *look)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);
	json_t *document = NULL;
	int code;

	if (!f)
		return NULL;
	/* Without a seed jansson opens /dev/urandom, and the observer may open no file. */
	json_object_seed((size_t)look->at_ns | 1);
	code = look_document(f, &look->roster, look->machine);
	if (!fclose(f) && !code)
		document = json_loadb(text, bytes, JSON_DECODE_INT_AS_REAL, NULL);
	free(text);
	return document;
}

int metrics_write(FILE *f, enum metrics_form form, const struct look *look, struct quire_error *err)
{
	struct metrics m = { .f = f, .form = form };
	json_t *document = document_of(look);
	int code = document ? collect_all(&m, document) : -ENOMEM;

	if (!code) {
		qsort(m.sample, m.nr, sizeof(*m.sample), compare);
		put_all(&m);
	}
	free(m.sample);
	json_decref(document);
	if (code)
		return quire_fail(err, code, "no memory for the metrics");
	return ferror(f) ? quire_fail(err, -EIO, "cannot write the metrics") : 0;
}
