/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_SCENARIO_YAML_H
#define QUIRE_VMM_PLAY_SCENARIO_YAML_H

/* Values of a scenario's file, and where they are.  A wrong value is a fault, noted once. */
#include "scenario.h"

struct scenario_reader {
	struct scenario *s;
	struct scenario_faults *faults;
	struct expr_scope scope;
};

/* Note what is wrong with a node of the document. */
__attribute__((format(printf, 3, 4))) void
scenario_fault(struct scenario_reader *r, const yaml_node_t *node, const char *fmt, ...);

/* ... so many bytes behind its beginning. */
void scenario_fault_at(struct scenario_reader *r, const yaml_node_t *node, unsigned int at,
		       const char *text);

/* A node's text; NULL and a fault: it has none. */
const char *scenario_text(struct scenario_reader *r, const yaml_node_t *node);

/* A value of this kind.  False and a fault: it is none. */
bool scenario_count(struct scenario_reader *r, const yaml_node_t *node, uint64_t min, uint64_t max,
		    uint64_t *value);
bool scenario_size(struct scenario_reader *r, const yaml_node_t *node, uint64_t *bytes);
bool scenario_time(struct scenario_reader *r, const yaml_node_t *node, uint64_t *ns);
bool scenario_choice(struct scenario_reader *r, const yaml_node_t *node, const char *const *words);

/* An expression; NULL and a fault: it is none. */
struct expr *scenario_expr(struct scenario_reader *r, const yaml_node_t *node);

/* Items of a list; a single value is a list of one.  i counts from 0; NULL: there are no more. */
const yaml_node_t *scenario_item(const struct scenario *s, const yaml_node_t *list, unsigned int i);

/* Guests of the scenario: `web`, `web.2`, `web.*`, `*`, `machine` if that may be, or a list. */
void scenario_targets(struct scenario_reader *r, const yaml_node_t *node, bool machine,
		      struct scenario_targets *on);

#endif
