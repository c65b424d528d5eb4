/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for expr_parse() and expr_holds(): the input is an expression of a scenario.
 * Whatever it is, it holds or not, in a world with guests and in one without, or is refused with a
 * line and a place in it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/play/expr.h"
#include "vmm/play/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct expr_group groups[] = { { "web", 3 }, { "db", 0 } };
static struct expr_scope scope = { .group = groups, .nr_groups = 2 };
static json_t *example, *some, *none;

static void begin(void)
{
	example = names_example();
	scope.machine = json_object_get(example, "machine");
	scope.vm = json_object_get(example, "vm");
	some = json_pack("{s:O, s:n, s:{s:s, s:i}}", "web.1", scope.vm, "db", "web.2", "state",
			 "ended", "exit_status", 0);
	none = json_object();
}

static void evaluate(const struct expr *expr)
{
	const struct expr_world full = { .machine = scope.machine, .vms = some };
	const struct expr_world empty = { .vms = none };
	char why[EXPR_WHY];

	expr_holds(expr, &full, why);
	if (expr_holds(expr, &empty, why) == EXPR_UNKNOWN && !why[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct expr_fault fault = { 0 };
	struct expr *expr = NULL;
	char *text;

	if (!some)
		begin();
	text = strndup((const char *)data, bytes);
	if (!expr_parse(text, &scope, &expr, &fault))
		evaluate(expr);
	else if (!fault.text[0] || strchr(fault.text, '\n') || fault.at > strlen(text))
		abort();
	free(expr);
	free(text);
	return 0;
}
