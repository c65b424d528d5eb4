/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_SCENARIO_SCHEMA_H
#define QUIRE_VMM_PLAY_SCENARIO_SCHEMA_H

/*
 * The schema: a table for each kind of mapping in a scenario's file.  A row is a key, what its
 * value has to be, and where the value goes: a field of the struct that is filled, or an option of
 * a command.
 */
#include "scenario_yaml.h"

enum schema_type {
	SCHEMA_TEXT,	/* const char * */
	SCHEMA_NAME,	/* const char *: lower-case letters, digits and '_', a letter first */
	SCHEMA_COUNT,	/* uint64_t, from min to max */
	SCHEMA_SIZE,	/* uint64_t, bytes */
	SCHEMA_TIME,	/* uint64_t, ns */
	SCHEMA_CHOICE,	/* char[32]: one of `words` */
	SCHEMA_EXPR,	/* struct expr * */
	SCHEMA_TARGETS, /* struct scenario_targets; with `min` the machine, too */
	SCHEMA_OTHER,	/* as `read` does it */
};

struct schema_row {
	const char *key;
	enum schema_type type;
	const char *option; /* the value becomes this option, "--merge"; NULL: the field */
	size_t field;
	uint64_t min, max;
	const char *const *words; /* ends in NULL */
	void (*read)(struct scenario_reader *r, const yaml_node_t *node, void *object);
	bool needed;
};

/* A kind of mapping. */
struct schema {
	const char *what;
	const struct schema_row *row;
	unsigned int nr;
	size_t options; /* field: the struct words for rows with an option */
};

/*
 * Read a mapping into an object.  Each key that is unknown, twice there, or has a wrong value is a
 * fault, and so is one that is needed and not there.
 */
void schema_read(struct scenario_reader *r, const struct schema *schema, const yaml_node_t *node,
		 void *object);

/* The value of a key of a mapping; NULL: it has not got it, or is no mapping. */
const yaml_node_t *schema_value(const struct scenario *s, const yaml_node_t *mapping,
				const char *key);

#endif
