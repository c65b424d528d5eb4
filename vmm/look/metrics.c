/* SPDX-License-Identifier: MIT */
/*
 * Samples are collected in the order of the document, a VM after the other.  Both forms want all
 * samples of a metric together.  So each metric has a list of its own, and the lists are printed in
 * the order of the table.
 *
 * A VM has some 450 lines, and may be asked for them each second.  So no text of the document is
 * made and read again, what the lines of a VM have in common is made once, and no number goes
 * through printf() that has few enough digits to be exact without.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <quire/abi.h>
#include "look.h"
#include "metrics.h"
#include "metrics_member.h"
#include "vmm/print/json.h"

#define FIRST_BOUND_LOG2 12 /* histograms: 4 us ... */
#define LAST_BOUND_LOG2	 34 /* ... to 17 s, each four times the one before */
#define NR_BOUNDS	 ((LAST_BOUND_LOG2 - FIRST_BOUND_LOG2) / 2 + 1)
#define NR_BUCKETS	 (NR_BOUNDS + 1) /* the last has no bound */

/* So far a double is exact, and so are nine decimals of it when it is divided by 1e9. */
#define EXACT_BELOW (1ULL << 52)

#define SERIES_BYTES \
	(METRICS_LABEL_BYTES(sizeof("vm"), VM_NAME_MAX) + \
	 METRICS_LABEL_BYTES(sizeof("domain"), VM_DOMAIN_MAX))

struct series {
	char labels[SERIES_BYTES]; /* of all samples of a VM: `{vm="NAME",domain="NAME"` */
};

struct sample {
	const struct metrics_member *member;
	unsigned int vm;   /* from 1; 0: the machine's */
	unsigned int next; /* of the same metric; 0: none */
	double number;	   /* METRIC_GAUGE, METRIC_COUNTER */
	char *text;	   /* METRIC_STATES: which; METRIC_INFO: a label; malloc()ed */
	double *bucket;	   /* METRIC_HISTOGRAM: NR_BUCKETS of them; malloc()ed */
};

struct metric_list {
	unsigned int first, last; /* samples; 0: none */
};

struct metrics {
	FILE *f;
	enum metrics_form form;
	bool failed; /* there was no memory */
	struct metrics_members members;
	struct metrics_member *object; /* that the next member is in */
	struct sample *sample;	       /* from 1 */
	unsigned int nr, room;
	struct metric_list *list; /* for each row; used is the first one of a name */
	struct series *series;	  /* for each VM, from 1 */
	unsigned int nr_vms;
	char bound[NR_BUCKETS][32]; /* `,le="0.004"} ` */
};

/* ---- collecting ---- */

static struct sample *new_sample(struct metrics *m, struct metrics_member *member)
{
	struct metric_list *list = &m->list[member->metric];
	struct sample *more;

	if (m->nr + 1 >= m->room) {
		m->room = m->room ? 2 * m->room : 1024;
		more = reallocarray(m->sample, m->room, sizeof(*more));
		if (!more)
			return NULL;
		m->sample = more;
	}
	m->sample[++m->nr] = (struct sample){ .member = member, .vm = m->nr_vms };
	*(list->last ? &m->sample[list->last].next : &list->first) = m->nr;
	list->last = m->nr;
	member->sample = m->nr;
	return &m->sample[m->nr];
}

/*
 * The sample of this member, or NULL: it has no row, or one of another type.  No series may be
 * there twice, so a VM that says a thing twice has its last word.
 */
static struct sample *sample_of(struct metrics *m, struct metrics_member *member,
				unsigned int types)
{
	struct sample *s;

	if (!member->row || !(types & 1u << member->row->type))
		return NULL;
	if (member->sample && m->sample[member->sample].vm == m->nr_vms)
		return &m->sample[member->sample];
	s = new_sample(m, member);
	m->failed |= !s;
	return s;
}

/* The member of this key in the object that is being told; NULL: there is no memory. */
static struct metrics_member *member_of(struct metrics *m, const char *key)
{
	struct metrics_member *member = NULL;

	if (!m->failed)
		member = metrics_member(&m->members, m->object, key ? key : "");
	m->failed |= !member;
	return member;
}

static unsigned int log2_of(unsigned long long number)
{
	return number ? 63 - (unsigned int)__builtin_clzll(number) : 0;
}

/*
 * The document has a member for each power of two that is not 0: "below_4096_ns" is "at most 4095".
 * The bounds of a metric are always the same, and each bucket has what is in those before it too.
 */
static void add_times(double *bucket, const char *key, double count)
{
	unsigned int i = 0, log2;

	if (strncmp(key, "below_", strlen("below_")) != 0)
		return;
	log2 = log2_of(strtoull(key + strlen("below_"), NULL, 10));
	while (i < NR_BOUNDS && FIRST_BOUND_LOG2 + 2 * i < log2)
		i++;
	for (; i < NR_BUCKETS; i++)
		bucket[i] += count;
}

static void take_number(void *ctx, const char *key, double value)
{
	struct metrics *m = ctx;
	struct metrics_member *object = m->object, *member;
	struct sample *s;

	if (!m->failed && object->row && object->row->type == METRIC_HISTOGRAM) {
		add_times(m->sample[object->sample].bucket, key, value);
		return;
	}
	member = member_of(m, key);
	s = member ? sample_of(m, member, 1u << METRIC_GAUGE | 1u << METRIC_COUNTER) : NULL;
	if (s)
		s->number = value;
}

static void take_text(void *ctx, const char *key, const char *value)
{
	struct metrics *m = ctx;
	struct metrics_member *member = member_of(m, key);
	struct sample *s;

	s = member ? sample_of(m, member, 1u << METRIC_STATES | 1u << METRIC_INFO) : NULL;
	if (!s)
		return;
	free(s->text);
	s->text = malloc(METRICS_LABEL_BYTES(strlen(key), strlen(value)));
	if (!s->text)
		m->failed = true;
	else if (member->row->type == METRIC_INFO)
		metrics_label(s->text, ',', key, value);
	else
		strcpy(s->text, value);
}

static void take_begin(void *ctx, const char *key)
{
	struct metrics *m = ctx;
	struct metrics_member *member = member_of(m, key);
	struct sample *s;

	if (!member)
		return;
	m->object = member;
	s = sample_of(m, member, 1u << METRIC_HISTOGRAM);
	if (!s)
		return;
	free(s->bucket);
	s->bucket = calloc(NR_BUCKETS, sizeof(*s->bucket));
	m->failed |= !s->bucket;
}

static void take_end(void *ctx)
{
	struct metrics *m = ctx;

	if (!m->failed)
		m->object = m->object->parent;
}

static const struct json_listener listener = {
	.begin = take_begin,
	.end = take_end,
	.number = take_number,
	.text = take_text,
};

static void collect_vm(struct metrics *m, struct json *json, const struct stats_vm *vm)
{
	char *labels = m->series[++m->nr_vms].labels;

	labels = metrics_label(labels, '{', "vm", vm->info->name);
	metrics_label(labels, ',', "domain", stats_domain(vm->info));
	take_begin(m, "vm");
	stats_vm(json, vm);
	take_end(m);
}

static void collect(struct metrics *m, const struct look *look)
{
	const struct roster *r = &look->roster;
	struct stats_vm vm;
	struct json json;

	json_init_listener(&json, &listener, m);
	take_begin(m, "machine");
	stats_machine(&json, look->machine ? &look->machine->state : NULL);
	take_end(m);
	for (unsigned int i = 0; i < r->nr_vms; i++) {
		if (!r->vm[i].answers)
			continue;
		vm = look_stats(r, &r->vm[i]);
		collect_vm(m, &json, &vm);
	}
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

static void put(const struct metrics *m, const char *text)
{
	fputs_unlocked(text, m->f);
}

/* The sample's name and its labels, but for the closing brace. */
static void put_name(const struct metrics *m, const struct sample *s)
{
	put(m, s->member->row->name);
	put(m, suffix_of(s->member->row));
	if (!s->vm)
		return;
	put(m, m->series[s->vm].labels);
	put(m, s->member->labels);
}

/*
 * The value divided by 10^decimals, with so many decimals: 0 or 9.  Up to EXACT_BELOW the digits
 * are those that "%.*f" gives.
 */
static void put_value(const struct metrics *m, double value, unsigned int decimals)
{
	char text[32], *p = text + sizeof(text);
	uint64_t rest;

	if (!(value >= 0 && value < EXACT_BELOW)) {
		fprintf(m->f, "%.*f\n", (int)decimals, decimals ? value / 1e9 : value);
		return;
	}
	rest = (uint64_t)value;
	*--p = '\0';
	*--p = '\n';
	for (unsigned int i = 0; rest || i <= decimals; i++) {
		if (decimals && i == decimals)
			*--p = '.';
		*--p = (char)('0' + rest % 10);
		rest /= 10;
	}
	put(m, p);
}

static void put_number(const struct metrics *m, const struct sample *s)
{
	const char *member = s->member->row->member;

	put_name(m, s);
	put(m, s->vm ? "} " : " ");
	if (ends_in(member, "_pages"))
		put_value(m, s->number * QUIRE_PAGE_SIZE, 0);
	else if (ends_in(member, "_ns"))
		put_value(m, s->number, 9);
	else if (ends_in(member, "_percent"))
		fprintf(m->f, "%.4f\n", s->number / 100);
	else
		put_value(m, s->number, 0);
}

static void put_histogram(const struct metrics *m, const struct sample *s)
{
	for (unsigned int i = 0; i < NR_BUCKETS; i++) {
		put_name(m, s);
		put(m, m->bound[i]);
		put_value(m, s->bucket[i], 0);
	}
}

static void put_states(const struct metrics *m, const struct sample *s)
{
	for (uint32_t state = 0; state < VM_NR_STATES; state++) {
		const char *name = stats_state_name(state);

		put_name(m, s);
		fprintf(m->f, ",%s=\"%s\"} %d\n", s->member->row->name, name,
			!strcmp(s->text, name));
	}
}

/* Each row adds a label to the one series of its VM.  Returns the last sample of that. */
static const struct sample *put_info(const struct metrics *m, const struct sample *s)
{
	put_name(m, s);
	put(m, s->text);
	for (; s->next && m->sample[s->next].vm == s->vm; put(m, s->text))
		s = &m->sample[s->next];
	put(m, "} 1\n");
	return s;
}

static void put_list(const struct metrics *m, unsigned int first)
{
	const struct sample *s;

	for (unsigned int i = first; i; i = s->next) {
		s = &m->sample[i];
		switch (s->member->row->type) {
		case METRIC_GAUGE:
		case METRIC_COUNTER: put_number(m, s); break;
		case METRIC_HISTOGRAM: put_histogram(m, s); break;
		case METRIC_STATES: put_states(m, s); break;
		case METRIC_INFO: s = put_info(m, s); break;
		}
	}
}

static void put_all(const struct metrics *m)
{
	for (unsigned int row = 0; row < metrics_rows; row++) {
		if (!m->list[row].first)
			continue;
		put_head(m, &metrics_table[row]);
		put_list(m, m->list[row].first);
	}
	if (m->form == METRICS_OPENMETRICS)
		put(m, "# EOF\n");
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

/* Make what is needed before the first member.  False: no memory. */
static bool begin(struct metrics *m, const struct look *look)
{
	for (unsigned int i = 0; i < NR_BOUNDS; i++)
		snprintf(m->bound[i], sizeof(m->bound[i]), ",le=\"%.11g\"} ",
			 (double)((1ULL << (FIRST_BOUND_LOG2 + 2 * i)) - 1) / 1e9);
	strcpy(m->bound[NR_BOUNDS], ",le=\"+Inf\"} ");
	m->list = calloc(metrics_rows, sizeof(*m->list));
	m->series = calloc(look->roster.nr_vms + 1, sizeof(*m->series));
	return m->list && m->series;
}

static void finish(struct metrics *m)
{
	for (unsigned int i = 1; i <= m->nr; i++) {
		free(m->sample[i].text);
		free(m->sample[i].bucket);
	}
	free(m->sample);
	free(m->list);
	free(m->series);
	metrics_members_finish(&m->members);
}

int metrics_write(FILE *f, enum metrics_form form, const struct look *look, struct quire_error *err)
{
	struct metrics m = { .f = f, .form = form };

	m.failed = !begin(&m, look);
	if (!m.failed)
		collect(&m, look);
	if (!m.failed)
		put_all(&m);
	finish(&m);
	if (m.failed)
		return quire_fail(err, -ENOMEM, "no memory for the metrics");
	return ferror(f) ? quire_fail(err, -EIO, "cannot write the metrics") : 0;
}
