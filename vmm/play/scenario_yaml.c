/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <quire/types.h>
#include <stdarg.h>
#include <string.h>
#include "amount.h"
#include "scenario_yaml.h"

/* ---- faults ---- */

/* They are kept in the order of the file; those beyond the last place are not told. */
static void insert(struct scenario_faults *faults, const struct scenario_fault *fault)
{
	unsigned int i = faults->nr;

	if (faults->nr == SCENARIO_MAX_FAULTS)
		return;
	for (; i > 0; i--) {
		const struct scenario_fault *f = &faults->fault[i - 1];

		if (f->line < fault->line || (f->line == fault->line && f->column <= fault->column))
			break;
		faults->fault[i] = *f;
	}
	faults->fault[i] = *fault;
	faults->nr++;
}

void scenario_fault_at(struct scenario_reader *r, const yaml_node_t *node, unsigned int at,
		       const char *text)
{
	struct scenario_fault fault = {
		.line = node ? (unsigned int)node->start_mark.line + 1 : 1,
		.column = node ? (unsigned int)node->start_mark.column + 1 + at : 1,
	};

	snprintf(fault.text, sizeof(fault.text), "%s", text);
	insert(r->faults, &fault);
}

void scenario_fault(struct scenario_reader *r, const yaml_node_t *node, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	scenario_fault_at(r, node, 0, text);
}

/* ---- values ---- */

const char *scenario_text(struct scenario_reader *r, const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;

	if (node->type != YAML_SCALAR_NODE) {
		scenario_fault(r, node, "a single value is needed here, not a %s",
			       node->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
		return NULL;
	}
	if (strlen(text) != node->data.scalar.length || !*text) {
		scenario_fault(r, node, "the value is empty");
		return NULL;
	}
	return text;
}

/* An amount of one of two kinds; `kinds` says what they are. */
static bool read_amount(struct scenario_reader *r, const yaml_node_t *node, enum amount_kind kind,
			enum amount_kind or, const char *kinds, double *value)
{
	const char *text = scenario_text(r, node), *end;
	struct amount amount;

	if (!text)
		return false;
	end = amount_read(text, &amount);
	*value = amount.value;
	if (end && !*end && (amount.kind == kind || amount.kind == or))
		return true;
	scenario_fault(r, node, "'%.40s' is no %s", text, kinds);
	return false;
}

bool scenario_count(struct scenario_reader *r, const yaml_node_t *node, uint64_t min, uint64_t max,
		    uint64_t *value)
{
	double number;

	if (!read_amount(r, node, AMOUNT_PLAIN, AMOUNT_PLAIN, "whole number", &number))
		return false;
	if (number >= (double)min && number <= (double)max && number == (double)(uint64_t)number) {
		*value = (uint64_t)number;
		return true;
	}
	scenario_fault(r, node, "it has to be a whole number from %" PRIu64 " to %" PRIu64, min,
		       max);
	return false;
}

bool scenario_size(struct scenario_reader *r, const yaml_node_t *node, uint64_t *bytes)
{
	double number;

	if (!read_amount(r, node, AMOUNT_SIZE, AMOUNT_PLAIN, "size, use 64M or 1G", &number))
		return false;
	*bytes = (uint64_t)number;
	return true;
}

bool scenario_time(struct scenario_reader *r, const yaml_node_t *node, uint64_t *ns)
{
	double number;

	if (!read_amount(r, node, AMOUNT_TIME, AMOUNT_TIME, "time, use 5s or 250ms", &number))
		return false;
	*ns = (uint64_t)number;
	return true;
}

bool scenario_choice(struct scenario_reader *r, const yaml_node_t *node, const char *const *words)
{
	const char *text = scenario_text(r, node);
	char all[200] = "";

	if (!text)
		return false;
	for (unsigned int i = 0; words[i]; i++) {
		if (!strcmp(text, words[i]))
			return true;
		strncat(all, i ? ", " : "", sizeof(all) - strlen(all) - 1);
		strncat(all, words[i], sizeof(all) - strlen(all) - 1);
	}
	scenario_fault(r, node, "'%.40s' is none of %s", text, all);
	return false;
}

struct expr *scenario_expr(struct scenario_reader *r, const yaml_node_t *node)
{
	const char *text = scenario_text(r, node);
	struct expr_fault fault = { 0 };
	struct expr *expr = NULL;
	bool quoted;

	if (!text)
		return NULL;
	quoted = node->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE ||
		 node->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE;
	switch (expr_parse(text, &r->scope, &expr, &fault)) {
	case 0: return expr;
	case -ENOMEM: scenario_fault(r, node, "no memory"); return NULL;
	default: scenario_fault_at(r, node, fault.at + quoted, fault.text); return NULL;
	}
}

const yaml_node_t *scenario_item(const struct scenario *s, const yaml_node_t *list, unsigned int i)
{
	const yaml_node_item_t *item;

	if (list->type != YAML_SEQUENCE_NODE)
		return i ? NULL : list;
	item = list->data.sequence.items.start + i;
	if (item >= list->data.sequence.items.top)
		return NULL;
	return yaml_document_get_node((yaml_document_t *)&s->document, *item);
}

/* ---- guests ---- */

static bool matches(const struct scenario *s, const struct scenario_guest *guest, const char *text)
{
	const char *group = s->group[guest->group].name;
	size_t n = strlen(group);

	if (!strcmp(text, "*") || !strcmp(text, group) || !strcmp(text, guest->name))
		return true;
	return !strncmp(text, group, n) && !strcmp(text + n, ".*");
}

static void target(struct scenario_reader *r, const yaml_node_t *node, bool machine,
		   struct scenario_targets *on)
{
	const char *text = scenario_text(r, node);
	unsigned int nr = 0;

	if (!text)
		return;
	if (machine && !strcmp(text, "machine")) {
		on->machine = true;
		return;
	}
	for (unsigned int i = 0; i < r->s->nr_guests; i++)
		if (matches(r->s, &r->s->guest[i], text)) {
			on->on[i] = true;
			nr++;
		}
	if (!nr)
		scenario_fault(r, node,
			       "there is no guest '%.40s'; use GROUP, GROUP.1, GROUP.* or *", text);
}

void scenario_targets(struct scenario_reader *r, const yaml_node_t *node, bool machine,
		      struct scenario_targets *on)
{
	const yaml_node_t *item;

	for (unsigned int i = 0; (item = scenario_item(r->s, node, i)); i++)
		target(r, item, machine, on);
	if (!scenario_item(r->s, node, 0))
		scenario_fault(r, node, "the list is empty: name guests");
}
