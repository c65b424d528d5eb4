/* SPDX-License-Identifier: MIT */
/* Expressions of scenarios: what they mean, and what is found wrong before anything runs. */
#include <errno.h>
#include <quire/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tap.h"
#include "vmm/play/expr.h"
#include "vmm/play/names.h"

static const struct expr_group groups[] = { { "web", 3 }, { "db", 0 }, { "sum", 2 } };
static struct expr_scope scope = { .group = groups, .nr_groups = ARRAY_SIZE(groups) };

/* ---- what they mean ---- */

static const char vms_text[] =
	"{\"web.1\": {\"state\": \"running\", \"ram_pages\": 100, \"state_shared_pages\": 70,"
	"   \"swapped_loads\": {\"longest_ns\": 5000000}},"
	" \"web.2\": {\"state\": \"paused\", \"ram_pages\": 100, \"state_shared_pages\": 60},"
	" \"web.3\": {\"state\": \"ended\", \"exit_status\": 0},"
	" \"db\": null}";

static const struct meaning {
	const char *text;
	enum expr_truth truth;
	const char *why; /* NULL: whatever it is */
} meanings[] = {
	{ "1 < 2", EXPR_TRUE, "1 < 2" },
	{ "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20", EXPR_TRUE, NULL },
	{ "10 - 4 - 3 == 3", EXPR_TRUE, NULL },
	{ "16 / 4 / 2 == 2", EXPR_TRUE, NULL },
	{ "-3 - -4 == 1", EXPR_TRUE, NULL },
	{ "4K == 4096 and 1.5M == 1536K and 1G/1M == 1K", EXPR_TRUE, NULL },
	{ "60% == 0.6 and 60% * 100 == 60", EXPR_TRUE, NULL },
	{ "5ms == 5000us and 2min == 120s", EXPR_TRUE, NULL },
	{ "1 <= 1 and 1 >= 1 and not 1 > 1 and not 1 < 1 and 1 != 2", EXPR_TRUE, NULL },
	{ "1 == 2 or 2 == 2", EXPR_TRUE, NULL },
	{ "not (1 == 1 or 1 == 2)", EXPR_FALSE, NULL },
	{ "1 == 1 or 1 == 1 and 1 == 2", EXPR_TRUE, NULL },
	{ "1 / 0 > 1", EXPR_UNKNOWN, "a number would be divided by 0" },
	{ "machine.free_bytes == 7", EXPR_TRUE, NULL },
	{ "vm.web.1.state_shared_pages >= 0.6 * ram", EXPR_TRUE, "web.1: 70 >= 60" },
	{ "vm.web.*.state_shared_pages >= 60% * ram", EXPR_TRUE, NULL },
	{ "vm.web.*.state_shared_pages > 0.6*ram", EXPR_FALSE, "web.2: 60 > 60" },
	{ "vm.web.1.state_shared_pages > vm.web.2.state_shared_pages", EXPR_TRUE, "70 > 60" },
	{ "vm.web.1.swapped_loads.longest_ns == 5ms", EXPR_TRUE, NULL },
	{ "vm.web.2.state == 'paused' and vm.web.1.state != \"paused\"", EXPR_TRUE, NULL },
	{ "vm.web.*.state == 'running'", EXPR_FALSE, "web.2: 'paused' == 'running'" },
	{ "sum(vm.web.*.state_shared_pages) == 130", EXPR_TRUE, NULL },
	{ "avg(vm.web.*.state_shared_pages) / 100 == 0.65", EXPR_TRUE, NULL },
	{ "min(vm.web.*.state_shared_pages) == 60 and max(vm.web.*.ram_pages) == 100", EXPR_TRUE,
	  NULL },
	{ "count(vm.web.*) == 2 and count(vm.web.*.state == 'ended') == 1", EXPR_TRUE, NULL },
	{ "count(vm.web.*.state_shared_pages > 60 and ram > 1) == 1", EXPR_TRUE, NULL },
	{ "vm.web.3.exit_status == 0", EXPR_TRUE, NULL },
	{ "vm.web.3.ram_pages > 0", EXPR_UNKNOWN, "web.3 has ended" },
	{ "vm.web.*.exit_status == 0", EXPR_UNKNOWN, "web.1 has no such number" },
	{ "vm.db.ram_pages > 0", EXPR_UNKNOWN, "db has not answered yet" },
	{ "vm.db.ram_pages > 0 or 1 == 1", EXPR_TRUE, NULL },
	{ "vm.db.ram_pages > 0 and 1 == 2", EXPR_FALSE, NULL },
	{ "vm.db.ram_pages > 0 and 1 == 1", EXPR_UNKNOWN, NULL },
	{ "not vm.db.ram_pages > 0", EXPR_UNKNOWN, NULL },
	{ "sum(vm.*.ram_pages) > 0", EXPR_UNKNOWN, "db has not answered yet" },
	{ "vm.sum.1.ram_pages > 0", EXPR_UNKNOWN, "sum.1 was not started" },
	{ "vm.sum.*.ram_pages > 0", EXPR_UNKNOWN, "no guest runs of which it says something" },
	{ "sum(vm.sum.*.ram_pages) == 0 and count(vm.sum.*) == 0", EXPR_TRUE, NULL },
	{ "max(vm.sum.*.ram_pages) == 0", EXPR_UNKNOWN, NULL },
};

static void meaning(const struct meaning *m, const struct expr_world *world)
{
	struct expr_fault fault = { 0 };
	enum expr_truth truth;
	struct expr *expr;
	char why[EXPR_WHY];

	if (expr_parse(m->text, &scope, &expr, &fault)) {
		ok(0, "%s: %s", m->text, fault.text);
		return;
	}
	truth = expr_holds(expr, world, why);
	ok(truth == m->truth && (!m->why || !strcmp(why, m->why)), "%s: %d, %s", m->text,
	   (int)truth, why);
	free(expr);
}

static void test_meanings(void)
{
	json_t *machine = json_pack("{s:i}", "free_bytes", 7);
	json_t *vms = json_loads(vms_text, 0, NULL);
	struct expr_world world = { .machine = machine, .vms = vms };
	const struct meaning dead = { "machine.free_bytes == 7", EXPR_UNKNOWN,
				      "the machine is not there" };

	for (unsigned int i = 0; i < ARRAY_SIZE(meanings); i++)
		meaning(&meanings[i], &world);
	world.machine = NULL;
	meaning(&dead, &world);
	json_decref(machine);
	json_decref(vms);
}

/* ---- what is wrong ---- */

static const struct mistake {
	const char *text;
	unsigned int at;
	const char *says;
} mistakes[] = {
	{ "", 0, "missing" },
	{ "1 <", 3, "missing" },
	{ "1", 0, "has to be a comparison" },
	{ "vm.web.*", 0, "guests, and has to be a comparison" },
	{ "1 < 2 3", 6, "not expected" },
	{ "1 < 2)", 5, "not expected" },
	{ "(1 < 2", 6, "')'" },
	{ "1 < $", 4, "is no value" },
	{ "1 < 3Q", 4, "no amount" },
	{ "1 < 3e5", 4, "no amount" },
	{ "1 < 99999999999999999999999999", 4, "no amount" },
	{ "1 < 2 < 3", 6, "not expected" },
	{ "1 = 2", 2, "not expected" },
	{ "1 and 2", 0, "true or false, and is a number" },
	{ "1 < 2 + (3 < 4)", 8, "a number, and is true or false" },
	{ "'a' < 'b'", 0, "== and != only" },
	{ "'a' == 1", 0, "a text cannot be compared with a number" },
	{ "vm.web.1.state == 3", 0, "a text cannot be compared" },
	{ "'a == 1", 1, "no end" },
	{ "vm.web.1.shared > 1", 9, "a guest has no 'shared'" },
	{ "machine.free > 1", 8, "the machine has no 'free'" },
	{ "vm.web.1.swapped_loads > 1", 9, "is an object" },
	{ "vm.ham.1.ram_pages > 1", 3, "no group 'ham'" },
	{ "vm.web.0.ram_pages > 1", 6, "guests 1 to 3" },
	{ "vm.web.4.ram_pages > 1", 6, "guests 1 to 3" },
	{ "vm.web.01.ram_pages > 1", 6, "guests 1 to 3" },
	{ "vm.web.ram_pages > 1", 6, "guests 1 to 3" },
	{ "vm.db.1.ram_pages > 1", 6, "a guest has no '1" },
	{ "ram > 1", 0, "whose is it" },
	{ "ram_pages > vm.web.1.ram_pages + vm.web.2.ram_pages", 0, "whose is it" },
	{ "vm.web.*.ram_pages > vm.sum.*.ram_pages", 21, "goes over one group" },
	{ "sum(vm.web.1.ram_pages) > 1", 0, "name some" },
	{ "sum(vm.web.*) > 1", 0, "a number, and is guests" },
	{ "count(vm.web.*.ram_pages) > 1", 0, "true or false, and is a number" },
	{ "sum > 1", 4, "'('" },
	{ "nothing > 1", 0, "a guest has no 'nothing'" },
};

static void test_mistakes(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(mistakes); i++) {
		const struct mistake *m = &mistakes[i];
		struct expr_fault fault = { 0 };
		struct expr *expr = NULL;
		int code = expr_parse(m->text, &scope, &expr, &fault);

		ok(code == -EINVAL && fault.at == m->at && strstr(fault.text, m->says),
		   "'%s': at %u: %s", m->text, fault.at, fault.text);
	}
}

/* Fill `text` with n times `unit`. */
static void repeat(char *text, size_t size, const char *unit, unsigned int n)
{
	text[0] = '\0';
	for (unsigned int i = 0; i < n; i++)
		strncat(text, unit, size - strlen(text) - 1);
}

static void test_limits(void)
{
	static char text[10000];
	struct expr_fault fault;
	struct expr *expr;

	repeat(text, sizeof(text), "(", 1900);
	ok(expr_parse(text, &scope, &expr, &fault) == -EINVAL && strstr(fault.text, "too deep"),
	   "a thousand parentheses: %s", fault.text);
	repeat(text, sizeof(text), "not ", 400);
	ok(expr_parse(text, &scope, &expr, &fault) == -EINVAL && strstr(fault.text, "too deep"),
	   "hundreds of nots: %s", fault.text);
	repeat(text, sizeof(text), "1+", 900);
	ok(expr_parse(text, &scope, &expr, &fault) == -EINVAL && strstr(fault.text, "too long"),
	   "hundreds of sums: %s", fault.text);
	repeat(text, sizeof(text), "1==1 and ", 500);
	ok(expr_parse(text, &scope, &expr, &fault) == -EINVAL && strstr(fault.text, "too long"),
	   "thousands of letters: %s", fault.text);
}

/* ---- names ---- */

/* The first name in the table of a section of docs/stats.md that is not known. */
static void first_unknown(const char *section, const json_t *known, char out[64], unsigned int *nr)
{
	FILE *f = fopen("docs/stats.md", "r");
	bool inside = false;
	char line[1024];

	out[0] = '\0';
	*nr = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "## ", 3))
			inside = !strncmp(line + 3, section, strlen(section)) &&
				 line[3 + strlen(section)] == '\n';
		if (!inside || strncmp(line, "| `", 3) != 0)
			continue;
		*strchr(line + 1, '|') = '\0';
		for (char *p = strtok(line, "`"); (p = strtok(NULL, "`")); strtok(NULL, "`")) {
			++*nr;
			if (!*out && !json_object_get(known, p))
				snprintf(out, 64, "%s", p);
		}
	}
	if (f)
		fclose(f);
}

static void test_names(const json_t *example)
{
	static const char *const section[] = { "machine", "vms" };
	static const char *const part[] = { "machine", "vm" };
	char odd[64];

	for (unsigned int i = 0; i < 2; i++) {
		const json_t *known = json_object_get(example, part[i]);
		unsigned int nr;

		first_unknown(section[i], known, odd, &nr);
		ok(nr > 20 && nr >= json_object_size(known) && !*odd,
		   "%u names of docs/stats.md, %zu that expressions know: %s", nr,
		   json_object_size(known), odd);
	}
}

int main(void)
{
	json_t *example = names_example();

	scope.machine = json_object_get(example, "machine");
	scope.vm = json_object_get(example, "vm");
	test_meanings();
	test_mistakes();
	test_limits();
	test_names(example);
	json_decref(example);
	return tap_done();
}
