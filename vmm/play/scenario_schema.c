/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <inttypes.h>
#include <quire/types.h>
#include <string.h>
#include "vmm/look/near.h"
#include "scenario_schema.h"

#define MAX_ROWS 48

static yaml_node_t *node_of(const struct scenario *s, int index)
{
	return yaml_document_get_node((yaml_document_t *)&s->document, index);
}

/* ---- values ---- */

static bool is_name(const char *text)
{
	if (!islower((unsigned char)*text) || strlen(text) > 20)
		return false;
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static void read_text(struct scenario_reader *r, const struct schema_row *row,
		      const yaml_node_t *node, const char **field)
{
	const char *text = scenario_text(r, node);

	if (text && row->type == SCHEMA_NAME && !is_name(text))
		scenario_fault(r, node,
			       "'%.40s' is no name: at most 20 lower-case letters, digits and '_', "
			       "a letter first",
			       text);
	else if (text)
		*field = text;
}

/* A size that has a least one is memory: whole pages of it. */
static bool read_size(struct scenario_reader *r, const struct schema_row *row,
		      const yaml_node_t *node, uint64_t *value)
{
	if (!scenario_size(r, node, value))
		return false;
	if (*value >= row->min && (!row->min || *value % QUIRE_PAGE_SIZE == 0))
		return true;
	scenario_fault(r, node, "it has to be a multiple of 4K, and at least %" PRIu64 "K",
		       row->min / KiB);
	return false;
}

/* A value that becomes an option is what the file has, but a size is bytes then. */
static void add_option(struct scenario_reader *r, const struct schema_row *row,
		       const yaml_node_t *node, struct words *options)
{
	const char *text = (const char *)node->data.scalar.value;
	const char *sign = row->option[1] == '-' ? "=" : ""; /* --memory=64M, but -m64M */
	uint64_t value = 0;
	bool ok;

	switch (row->type) {
	case SCHEMA_SIZE: ok = read_size(r, row, node, &value); break;
	case SCHEMA_COUNT: ok = scenario_count(r, node, row->min, row->max, &value); break;
	case SCHEMA_CHOICE: ok = scenario_choice(r, node, row->words); break;
	default: ok = scenario_text(r, node) != NULL;
	}
	if (ok && (row->type == SCHEMA_SIZE || row->type == SCHEMA_COUNT))
		words_add(options, "%s%s%" PRIu64, row->option, sign, value);
	else if (ok)
		words_add(options, "%s%s%s", row->option, sign, text);
}

static void set_field(struct scenario_reader *r, const struct schema_row *row,
		      const yaml_node_t *node, void *field)
{
	struct expr **expr = field;

	switch (row->type) {
	case SCHEMA_TEXT:
	case SCHEMA_NAME: read_text(r, row, node, field); return;
	case SCHEMA_COUNT: scenario_count(r, node, row->min, row->max, field); return;
	case SCHEMA_SIZE: scenario_size(r, node, field); return;
	case SCHEMA_TIME: scenario_time(r, node, field); return;
	case SCHEMA_TARGETS: scenario_targets(r, node, row->min, field); return;
	case SCHEMA_EXPR: *expr = scenario_expr(r, node); return;
	case SCHEMA_CHOICE:
		if (scenario_choice(r, node, row->words))
			snprintf(field, 32, "%s", (const char *)node->data.scalar.value);
		return;
	case SCHEMA_OTHER: return;
	}
}

static void read_value(struct scenario_reader *r, const struct schema *schema,
		       const struct schema_row *row, const yaml_node_t *node, void *object)
{
	char *bytes = object;

	if (row->read)
		row->read(r, node, object);
	else if (row->option)
		add_option(r, row, node, (struct words *)(bytes + schema->options));
	else
		set_field(r, row, node, bytes + row->field);
}

/* ---- mappings ---- */

static void refuse_key(struct scenario_reader *r, const struct schema *schema,
		       const yaml_node_t *key, const char *text)
{
	char *names[MAX_ROWS], near[NEAR_BYTES];

	for (unsigned int i = 0; i < schema->nr && i < MAX_ROWS; i++)
		names[i] = (char *)schema->row[i].key;
	if (near_names(text, names, schema->nr, near))
		scenario_fault(r, key, "%s has no key '%.40s'; is it %s?", schema->what, text,
			       near);
	else
		scenario_fault(r, key, "%s has no key '%.40s'", schema->what, text);
}

static const struct schema_row *find_row(const struct schema *schema, const char *key)
{
	for (unsigned int i = 0; i < schema->nr; i++)
		if (!strcmp(schema->row[i].key, key))
			return &schema->row[i];
	return NULL;
}

static void read_pair(struct scenario_reader *r, const struct schema *schema,
		      const yaml_node_pair_t *pair, bool *seen, void *object)
{
	const yaml_node_t *key = node_of(r->s, pair->key), *value = node_of(r->s, pair->value);
	const char *text = scenario_text(r, key);
	const struct schema_row *row = text ? find_row(schema, text) : NULL;

	if (!text)
		return;
	if (!row) {
		refuse_key(r, schema, key, text);
		return;
	}
	if (seen[row - schema->row])
		scenario_fault(r, key, "'%s' is there twice", text);
	seen[row - schema->row] = true;
	read_value(r, schema, row, value, object);
}

void schema_read(struct scenario_reader *r, const struct schema *schema, const yaml_node_t *node,
		 void *object)
{
	bool seen[MAX_ROWS] = { false };

	if (!node || node->type != YAML_MAPPING_NODE) {
		scenario_fault(r, node, "%s has to be a mapping, of `key: value`", schema->what);
		return;
	}
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++)
		read_pair(r, schema, pair, seen, object);
	for (unsigned int i = 0; i < schema->nr; i++)
		if (schema->row[i].needed && !seen[i])
			scenario_fault(r, node, "%s needs a key '%s'", schema->what,
				       schema->row[i].key);
}

const yaml_node_t *schema_value(const struct scenario *s, const yaml_node_t *mapping,
				const char *key)
{
	if (!mapping || mapping->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
	     pair < mapping->data.mapping.pairs.top; pair++) {
		const yaml_node_t *k = node_of(s, pair->key);

		if (k->type == YAML_SCALAR_NODE && !strcmp((char *)k->data.scalar.value, key))
			return node_of(s, pair->value);
	}
	return NULL;
}
