/* SPDX-License-Identifier: MIT */
/*
 * A file into a struct scenario.  What an expression or an action may name is known when the guests
 * are, so the parts are read in this order: the machine, the guests, the timeline.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <quire/types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/swap/fault.h"
#include "mmu/swap/swap_file.h"
#include "vmm/launch/installed.h"
#include "amount.h"
#include "names.h"
#include "scenario_schema.h"

#define USUAL_TIMEOUT_NS (60 * NS_PER_S)
#define USUAL_RAM	 (128.0 * MiB)

#define DOMAIN_MAX_BYTES 41
#define DOMAIN_LETTERS	 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

const char *const scenario_actions[ACTION_NR] = {
	"wait",	 "start",   "end",     "stop", "kill", "pause",	 "resume",
	"merge", "balloon", "reclaim", "set",  "map",  "expect", "always",
};

/* ---- the machine ---- */

static const char *const overcommit[] = { "0", "0:estimate", "1", "2", NULL };

static const struct schema_row machine_rows[] = {
	{ "memory", SCHEMA_SIZE, .option = "--memory", .min = 4 * MiB },
	{ "swap", SCHEMA_SIZE, .option = "--swap" },
	{ "overcommit", SCHEMA_CHOICE, .option = "--overcommit", .words = overcommit },
	{ "overcommit-ratio", SCHEMA_COUNT, .option = "--overcommit-ratio", .max = 1000000 },
	{ "overcommit-bytes", SCHEMA_SIZE, .option = "--overcommit-bytes" },
	{ "reserved-huge", SCHEMA_SIZE, .option = "--reserved-huge" },
	{ "admin-reserve", SCHEMA_SIZE, .option = "--admin-reserve" },
	{ "user-reserve", SCHEMA_SIZE, .option = "--user-reserve" },
};

/* `set` has the same keys, of a machine that runs. */
static const struct schema machine_schema = {
	.what = "a machine",
	.row = machine_rows,
	.nr = ARRAY_SIZE(machine_rows),
};

static void read_machine(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario *s = object;

	schema_read(r, &machine_schema, node, &s->machine);
	if (!schema_value(s, node, "memory"))
		scenario_fault(r, node, "a machine needs a key 'memory'");
}

/* ---- guests ---- */

static bool is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISDIR(st.st_mode) && !access(path, R_OK);
}

/* A path of the scenario is from the folder of its file.  malloc'd. */
static char *beside_file(const struct scenario *s, const char *path)
{
	const char *slash = strrchr(s->file, '/');
	char *found = NULL;

	if (*path == '/' || !slash)
		return strdup(path);
	if (asprintf(&found, "%.*s%s", (int)(slash - s->file) + 1, s->file, path) < 0)
		return NULL;
	return found;
}

static void read_image(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	char *path;

	if (!text)
		return;
	path = beside_file(r->s, text);
	if (path && !is_file(path) && (!strcmp(text, "quill") || !strcmp(text, "quill.elf"))) {
		free(path);
		path = installed_quill();
	}
	if (!path || !is_file(path))
		scenario_fault(r, node, "there is no image '%.200s'", path ? path : text);
	group->image = path;
}

static void read_initrd(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	char *path = text ? beside_file(r->s, text) : NULL;

	if (!path)
		return;
	if (!is_file(path))
		scenario_fault(r, node, "there is no file '%.200s'", path);
	words_add(&group->options, "--initrd=%s", path);
	free(path);
}

/* A swap file is made there, and is gone at once. */
static void read_folder(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	struct quire_error err;
	uint32_t unit;
	int fd;

	if (!text)
		return;
	fd = swap_file_make(text, QUIRE_PAGE_SIZE, &unit, &err);
	if (fd < 0)
		scenario_fault(r, node, "%.250s", err.text);
	else
		close(fd);
	words_add(&group->options, "--swap-dir=%s", text);
}

static void read_faults(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	struct swap_faults faults;
	struct quire_error err;

	if (!text)
		return;
	if (swap_faults_parse(text, &faults, &err))
		scenario_fault(r, node, "%.250s", err.text);
	words_add(&group->options, "--swap-faults=%s", text);
}

/* As quire run takes it. */
static void read_domain(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	size_t bytes = text ? strlen(text) : 0;

	if (!text)
		return;
	if (!bytes || bytes > DOMAIN_MAX_BYTES || strspn(text, DOMAIN_LETTERS) < bytes)
		scenario_fault(r, node,
			       "'%.40s' is no domain: at most %d letters, digits, '.', '_' and '-'",
			       text, DOMAIN_MAX_BYTES);
	words_add(&group->options, "--domain=%s", text);
}

static void read_args(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_group *group = object;
	const yaml_node_t *item;

	for (unsigned int i = 0; (item = scenario_item(r->s, node, i)); i++)
		scenario_text(r, item);
	group->args = (int)(node - r->s->document.nodes.start) + 1;
}

static void read_exit(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_group *group = object;
	const yaml_node_t *item;
	uint64_t status;

	group->awaited = true;
	group->line_of_exit = (unsigned int)node->start_mark.line + 1;
	if (node->type == YAML_SCALAR_NODE && !strcmp((char *)node->data.scalar.value, "any")) {
		group->any_exit = true;
		return;
	}
	for (unsigned int i = 0; (item = scenario_item(r->s, node, i)); i++)
		if (scenario_count(r, item, 0, 255, &status))
			group->exits[status] = true;
}

static void read_start(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_group *group = object;

	if (node->type == YAML_SCALAR_NODE && !strcmp((char *)node->data.scalar.value, "later"))
		group->start_ns = SCENARIO_NEVER;
	else
		scenario_time(r, node, &group->start_ns);
}

static void read_rate(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_group *group = object;
	uint64_t rate;

	if (node->type == YAML_SCALAR_NODE && !strcmp((char *)node->data.scalar.value, "auto"))
		words_add(&group->options, "--merge-rate=auto");
	else if (scenario_count(r, node, 1, 1000000000, &rate))
		words_add(&group->options, "--merge-rate=%" PRIu64, rate);
}

static void read_oom_score(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	const char *text = scenario_text(r, node);
	struct scenario_group *group = object;
	char *end;
	long score;

	if (!text)
		return;
	score = strtol(text, &end, 10);
	if (*end || score < -1000 || score > 1000)
		scenario_fault(r, node, "'%.40s' is no number from -1000 to 1000", text);
	else
		words_add(&group->options, "--oom-score-adj=%ld", score);
}

static void read_guest_timeout(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_group *group = object;
	uint64_t ns;

	if (scenario_time(r, node, &ns))
		words_add(&group->options, "--timeout=%.3f", (double)ns / 1e9);
}

static const char *const merge_modes[] = { "on", "zero", "off", NULL };
static const char *const balloon_modes[] = { "auto", "manual", "off", NULL };
static const char *const pagings[] = { "ept", "shadow", NULL };
static const char *const hugepages[] = { "auto", "never", NULL };
static const char *const policies[] = {
	"gen", "clock", "lru", "lfu", "fifo", "random", "off", NULL
};
static const char *const losses[] = { "continue", "stop", NULL };

#define GROUP(field) offsetof(struct scenario_group, field)

static const struct schema_row guest_rows[] = {
	{ "name", SCHEMA_NAME, .field = GROUP(name), .needed = true },
	{ "count", SCHEMA_COUNT, .field = GROUP(count), .min = 1, .max = SCENARIO_MAX_GUESTS },
	{ "image", SCHEMA_OTHER, .read = read_image },
	{ "args", SCHEMA_OTHER, .read = read_args },
	{ "initrd", SCHEMA_OTHER, .read = read_initrd },
	{ "start", SCHEMA_OTHER, .read = read_start },
	{ "exit", SCHEMA_OTHER, .read = read_exit },
	{ "memory", SCHEMA_SIZE, .option = "-m", .min = QUIRE_PAGE_SIZE },
	{ "cpus", SCHEMA_COUNT, .option = "-c", .min = 1, .max = 255 },
	{ "domain", SCHEMA_OTHER, .read = read_domain },
	{ "merge", SCHEMA_CHOICE, .option = "--merge", .words = merge_modes },
	{ "merge-rate", SCHEMA_OTHER, .read = read_rate },
	{ "balloon", SCHEMA_CHOICE, .option = "--balloon", .words = balloon_modes },
	{ "balloon-min", SCHEMA_SIZE, .option = "--balloon-min" },
	{ "paging", SCHEMA_CHOICE, .option = "--paging", .words = pagings },
	{ "hugepages", SCHEMA_CHOICE, .option = "--hugepages", .words = hugepages },
	{ "reclaim", SCHEMA_CHOICE, .option = "--reclaim", .words = policies },
	{ "swap-dir", SCHEMA_OTHER, .read = read_folder },
	{ "swap-faults", SCHEMA_OTHER, .read = read_faults },
	{ "shares", SCHEMA_COUNT, .option = "--shares", .min = 1, .max = 1000000 },
	{ "oom-score-adj", SCHEMA_OTHER, .read = read_oom_score },
	{ "machine-lost", SCHEMA_CHOICE, .option = "--machine-lost", .words = losses },
	{ "timeout", SCHEMA_OTHER, .read = read_guest_timeout },
};

static const struct schema guest_schema = {
	.what = "a guest",
	.row = guest_rows,
	.nr = ARRAY_SIZE(guest_rows),
	.options = GROUP(options),
};

/* Bytes of a size that was read already; `usual`: there is none. */
static double size_of(const struct scenario *s, const yaml_node_t *node, const char *key,
		      double usual)
{
	const yaml_node_t *value = schema_value(s, node, key);
	struct amount amount = { .value = usual };

	if (value && value->type == YAML_SCALAR_NODE)
		amount_read((char *)value->data.scalar.value, &amount);
	return amount.value;
}

static void finish_group(struct scenario_reader *r, const yaml_node_t *node,
			 struct scenario_group *group)
{
	struct scenario *s = r->s;

	if (!group->image && !schema_value(s, node, "image"))
		group->image = installed_quill();
	if (!group->image)
		scenario_fault(r, node, "there is no quill.elf beside the program; name an image");
	if (schema_value(s, node, "swap-faults") && !schema_value(s, node, "swap-dir"))
		scenario_fault(r, schema_value(s, node, "swap-faults"),
			       "there is no disk to fail: name one by swap-dir");
	if (!group->awaited)
		group->exits[0] = true;
	if (size_of(s, node, "balloon-min", 0) > size_of(s, node, "memory", USUAL_RAM))
		scenario_fault(r, schema_value(s, node, "balloon-min"),
			       "a guest cannot keep more than its memory");
	if (!schema_value(s, node, "domain"))
		words_add(&group->options, "--domain=%s", group->name);
	for (unsigned int i = 0; group->name && &s->group[i] < group; i++)
		if (s->group[i].name && !strcmp(s->group[i].name, group->name))
			scenario_fault(r, node, "there are two groups '%s'", group->name);
	if (group->name && (!strcmp(group->name, "machine") || !strcmp(group->name, "vm")))
		scenario_fault(r, node, "no group may be called '%s'", group->name);
	if (group->start_ns != SCENARIO_NEVER && group->start_ns > s->timeout_ns)
		scenario_fault(r, schema_value(s, node, "start"),
			       "this is after the scenario's timeout of %.0f s",
			       (double)s->timeout_ns / 1e9);
}

/* What a command line cannot hold. */
static void check_words(struct scenario_reader *r, const yaml_node_t *node, unsigned int guest)
{
	const struct scenario_group *group = &r->s->group[r->s->guest[guest].group];
	struct words w = { .lost = group->options.lost };

	for (unsigned int i = 0; i < group->options.nr; i++)
		words_add(&w, "%s", group->options.word[i]);
	scenario_args(r->s, &r->s->guest[guest], &w);
	if (w.lost || w.nr > WORDS_MAX - 8 || w.used > sizeof(w.text) - 512)
		scenario_fault(r, node, "the words of 'args' are too many, or too long");
}

/* The guests of a group, each with its name. */
static void add_guests(struct scenario_reader *r, const yaml_node_t *node, unsigned int index)
{
	const struct scenario_group *group = &r->s->group[index];
	unsigned int nr = group->count ? (unsigned int)group->count : 1;

	if (r->s->nr_guests + nr > SCENARIO_MAX_GUESTS) {
		scenario_fault(r, node, "there are more than %u guests", SCENARIO_MAX_GUESTS);
		return;
	}
	for (unsigned int i = 0; i < nr; i++) {
		struct scenario_guest *guest = &r->s->guest[r->s->nr_guests++];

		guest->group = index;
		guest->number = group->count ? i + 1 : 0;
		snprintf(guest->name, sizeof(guest->name), group->count ? "%.20s.%u" : "%.20s",
			 group->name, i + 1);
	}
	check_words(r, node, r->s->nr_guests - 1);
}

static unsigned int nr_items(const struct scenario *s, const yaml_node_t *list)
{
	unsigned int nr = 0;

	while (scenario_item(s, list, nr))
		nr++;
	return nr;
}

static void read_guests(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario *s = object;
	unsigned int nr = nr_items(s, node);

	s->group = calloc(nr + 1, sizeof(*s->group));
	s->guest = calloc(SCENARIO_MAX_GUESTS, sizeof(*s->guest));
	if (!s->group || !s->guest) {
		scenario_fault(r, node, "no memory for so many guests");
		return;
	}
	for (unsigned int i = 0; i < nr; i++) {
		const yaml_node_t *item = scenario_item(s, node, i);

		s->group[i].line = (unsigned int)item->start_mark.line + 1;
		s->nr_groups++;
		schema_read(r, &guest_schema, item, &s->group[i]);
		finish_group(r, item, &s->group[i]);
		if (s->group[i].name)
			add_guests(r, item, i);
	}
}

/* ---- the timeline ---- */

#define STEP(field) offsetof(struct scenario_step, field)

static const char *const merge_words[] = { "now", "on", "zero", "off", NULL };

static void read_balloon(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_step *step = object;
	uint64_t bytes;

	if (node->type == YAML_SCALAR_NODE && !strcmp((char *)node->data.scalar.value, "auto"))
		strcpy(step->word, "auto");
	else if (scenario_size(r, node, &bytes))
		snprintf(step->word, sizeof(step->word), "%" PRIu64, bytes);
}

static void read_set(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario_step *step = object;

	schema_read(r, &machine_schema, node, &step->set);
	if (node->type == YAML_MAPPING_NODE &&
	    node->data.mapping.pairs.start == node->data.mapping.pairs.top)
		scenario_fault(r, node, "it sets nothing");
}

static const struct schema_row step_rows[] = {
	/* when: one of these at most */
	{ "at", SCHEMA_TIME, .field = STEP(at_ns) },
	{ "after", SCHEMA_TIME, .field = STEP(after_ns) },
	{ "when", SCHEMA_EXPR, .field = STEP(when) },
	/* what: one of these at most */
	{ "start", SCHEMA_TARGETS, .field = STEP(on), .min = true },
	{ "end", SCHEMA_TARGETS, .field = STEP(on) },
	{ "stop", SCHEMA_TARGETS, .field = STEP(on), .min = true },
	{ "kill", SCHEMA_TARGETS, .field = STEP(on), .min = true },
	{ "pause", SCHEMA_TARGETS, .field = STEP(on) },
	{ "resume", SCHEMA_TARGETS, .field = STEP(on) },
	{ "merge", SCHEMA_CHOICE, .field = STEP(word), .words = merge_words },
	{ "balloon", SCHEMA_OTHER, .read = read_balloon },
	{ "reclaim", SCHEMA_TARGETS, .field = STEP(on) },
	{ "set", SCHEMA_OTHER, .read = read_set },
	{ "map", SCHEMA_TARGETS, .field = STEP(on) },
	{ "expect", SCHEMA_EXPR, .field = STEP(check) },
	{ "always", SCHEMA_EXPR, .field = STEP(check) },
	/* more about these */
	{ "vm", SCHEMA_TARGETS, .field = STEP(on) },
	{ "within", SCHEMA_TIME, .field = STEP(within_ns) },
	{ "eventually", SCHEMA_TIME, .field = STEP(eventually_ns) },
};

static const struct schema step_schema = {
	.what = "a step",
	.row = step_rows,
	.nr = ARRAY_SIZE(step_rows),
};

/* The action of a step, which has at most one. */
static void find_action(struct scenario_reader *r, const yaml_node_t *node,
			struct scenario_step *step)
{
	for (unsigned int i = ACTION_WAIT + 1; i < ACTION_NR; i++) {
		if (!schema_value(r->s, node, scenario_actions[i]))
			continue;
		if (step->has_action)
			scenario_fault(r, node, "a step does one thing, not '%s' and '%s'",
				       scenario_actions[step->action], scenario_actions[i]);
		step->has_action = true;
		step->action = i;
	}
}

/* `key` means something only if one of two others is there, too. */
static void needs(struct scenario_reader *r, const yaml_node_t *node, const char *key,
		  const char *other, const char * or)
{
	const yaml_node_t *value = schema_value(r->s, node, key);

	if (value && !schema_value(r->s, node, other) && !(or &&schema_value(r->s, node, or)))
		scenario_fault(r, value, "'%s' needs '%s'%s%s%s", key, other, or ? " or '" : "",
			       or ? or : "", or ? "'" : "");
}

/* A time beyond the scenario's end. */
static void check_end(struct scenario_reader *r, const yaml_node_t *node, const char *key,
		      uint64_t ns)
{
	if (schema_value(r->s, node, key) && ns != SCENARIO_NEVER && ns > r->s->timeout_ns)
		scenario_fault(r, schema_value(r->s, node, key),
			       "this is after the scenario's timeout of %.0f s",
			       (double)r->s->timeout_ns / 1e9);
}

static void check_times(struct scenario_reader *r, const yaml_node_t *node,
			const struct scenario_step *step)
{
	check_end(r, node, "at", step->at_ns);
	check_end(r, node, "after", step->after_ns);
	check_end(r, node, "within", step->within_ns);
	check_end(r, node, "eventually", step->eventually_ns);
	for (const struct scenario_step *before = r->s->step; before < step; before++) {
		if (step->at_ns == SCENARIO_NEVER || before->at_ns == SCENARIO_NEVER ||
		    before->at_ns <= step->at_ns)
			continue;
		scenario_fault(r, schema_value(r->s, node, "at"),
			       "the step at line %u is later: steps are done one after the other",
			       before->line);
		return;
	}
}

static void check_step(struct scenario_reader *r, const yaml_node_t *node,
		       const struct scenario_step *step)
{
	const struct scenario *s = r->s;
	unsigned int triggers = !!schema_value(s, node, "at") + !!schema_value(s, node, "after") +
				!!schema_value(s, node, "when");

	if (triggers > 1)
		scenario_fault(r, node, "a step has one of 'at', 'after' and 'when'");
	if (!triggers && !step->has_action)
		scenario_fault(r, node,
			       "the step does nothing; it needs one of start, end, stop, "
			       "kill, pause, resume, merge, balloon, reclaim, set, map, "
			       "expect, always, or a time");
	needs(r, node, "within", "when", NULL);
	needs(r, node, "eventually", "expect", NULL);
	needs(r, node, "vm", "merge", "balloon");
	check_times(r, node, step);
}

static void read_step(struct scenario_reader *r, const yaml_node_t *node,
		      struct scenario_step *step)
{
	step->line = (unsigned int)node->start_mark.line + 1;
	step->at_ns = step->after_ns = step->within_ns = step->eventually_ns = SCENARIO_NEVER;
	schema_read(r, &step_schema, node, step);
	step->has_vm = schema_value(r->s, node, "vm") != NULL;
	if (node->type != YAML_MAPPING_NODE)
		return;
	find_action(r, node, step);
	check_step(r, node, step);
}

static void read_timeline(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	struct scenario *s = object;
	unsigned int nr = nr_items(s, node);

	s->step = calloc(nr + 1, sizeof(*s->step));
	if (!s->step) {
		scenario_fault(r, node, "no memory for so many steps");
		return;
	}
	for (unsigned int i = 0; i < nr; i++) {
		s->nr_steps++;
		read_step(r, scenario_item(s, node, i), &s->step[i]);
	}
}

/* ---- the file ---- */

static void read_later(struct scenario_reader *r, const yaml_node_t *node, void *object)
{
	(void)r, (void)node, (void)object;
}

static const struct schema_row file_rows[] = {
	{ "name", SCHEMA_TEXT, .field = offsetof(struct scenario, name), .needed = true },
	{ "about", SCHEMA_TEXT, .field = offsetof(struct scenario, about) },
	{ "seed", SCHEMA_COUNT, .field = offsetof(struct scenario, seed), .max = INT32_MAX },
	{ "timeout", SCHEMA_TIME, .field = offsetof(struct scenario, timeout_ns) },
	{ "machine", SCHEMA_OTHER, .read = read_machine, .needed = true },
	{ "guests", SCHEMA_OTHER, .read = read_later, .needed = true },
	{ "timeline", SCHEMA_OTHER, .read = read_later },
};

static const struct schema file_schema = {
	.what = "a scenario",
	.row = file_rows,
	.nr = ARRAY_SIZE(file_rows),
};

static int name_guests(struct scenario_reader *r, struct expr_group **groups)
{
	*groups = calloc(r->s->nr_groups + 1, sizeof(**groups));
	if (!*groups)
		return -ENOMEM;
	for (unsigned int i = 0; i < r->s->nr_groups; i++) {
		(*groups)[i].name = r->s->group[i].name ? r->s->group[i].name : "";
		(*groups)[i].count = (unsigned int)r->s->group[i].count;
	}
	r->scope.group = *groups;
	r->scope.nr_groups = r->s->nr_groups;
	return 0;
}

static int read_document(struct scenario_reader *r)
{
	const yaml_node_t *root = yaml_document_get_root_node(&r->s->document), *guests, *timeline;
	json_t *example = names_example();
	struct expr_group *groups = NULL;
	int code;

	r->scope.machine = json_object_get(example, "machine");
	r->scope.vm = json_object_get(example, "vm");
	schema_read(r, &file_schema, root, r->s);
	guests = schema_value(r->s, root, "guests");
	timeline = schema_value(r->s, root, "timeline");
	if (!r->s->timeout_ns)
		scenario_fault(r, schema_value(r->s, root, "timeout"),
			       "in no time nothing is done");
	if (guests)
		read_guests(r, guests, r->s);
	code = example ? name_guests(r, &groups) : -ENOMEM;
	if (timeline && !code)
		read_timeline(r, timeline, r->s);
	json_decref(example);
	free(groups);
	return code;
}

static void fail_syntax(struct scenario_reader *r, const yaml_parser_t *parser)
{
	yaml_node_t place = { .start_mark = parser->problem_mark };

	scenario_fault(r, &place, "this is no YAML: %s%s%s",
		       parser->problem ? parser->problem : "unknown", parser->context ? ", " : "",
		       parser->context ? parser->context : "");
}

static void parse_text(struct scenario_reader *r, const char *text, size_t bytes)
{
	yaml_document_t more;
	yaml_parser_t parser;

	if (!yaml_parser_initialize(&parser))
		return;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
	r->s->has_document = yaml_parser_load(&parser, &r->s->document);
	if (!r->s->has_document) {
		fail_syntax(r, &parser);
	} else if (!yaml_parser_load(&parser, &more)) {
		fail_syntax(r, &parser);
	} else {
		if (yaml_document_get_root_node(&more))
			scenario_fault(r, yaml_document_get_root_node(&more),
				       "a second document begins here, and there may be only one");
		yaml_document_delete(&more);
	}
	yaml_parser_delete(&parser);
}

/* malloc'd; NULL with *err. */
static char *load_file(const char *path, size_t *bytes, struct quire_error *err)
{
	char *text = malloc(SCENARIO_MAX_BYTES + 1);
	FILE *f = fopen(path, "re");

	if (!text || !f) {
		quire_fail(err, -errno, "cannot read %.200s: %m", path);
	} else {
		*bytes = fread(text, 1, SCENARIO_MAX_BYTES + 1, f);
		if (!ferror(f) && *bytes <= SCENARIO_MAX_BYTES) {
			fclose(f);
			return text;
		}
		quire_fail(err, -EFBIG, "cannot read %.200s: %s", path,
			   ferror(f) ? strerror(errno) : "it is larger than 1 MiB");
	}
	free(text);
	if (f)
		fclose(f);
	return NULL;
}

int scenario_read(const char *path, struct scenario *s, struct scenario_faults *faults,
		  struct quire_error *err)
{
	struct scenario_reader r = { .s = s, .faults = faults };
	size_t bytes;
	char *text = load_file(path, &bytes, err);
	int code = 0;

	*s = (struct scenario){ .seed = 1, .timeout_ns = USUAL_TIMEOUT_NS, .file = strdup(path) };
	if (!text || !s->file) {
		free(text);
		return -EIO;
	}
	parse_text(&r, text, bytes);
	if (s->has_document)
		code = read_document(&r);
	free(text);
	if (code)
		return quire_fail(err, code, "no memory for %.200s", path);
	return faults->nr ? -EINVAL : 0;
}

void scenario_finish(struct scenario *s)
{
	for (unsigned int i = 0; i < s->nr_groups; i++)
		free((char *)s->group[i].image);
	for (unsigned int i = 0; i < s->nr_steps; i++) {
		free(s->step[i].when);
		free(s->step[i].check);
	}
	free(s->group);
	free(s->guest);
	free(s->step);
	free(s->file);
	if (s->has_document)
		yaml_document_delete(&s->document);
}
