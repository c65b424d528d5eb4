/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include "expr.h"

enum kind {
	KIND_NUMBER,
	KIND_TEXT,
	KIND_TRUTH,
	KIND_GONE,   /* the guest that it is about has ended, and has no such number any more */
	KIND_UNKNOWN /* ... does not run, or has not answered */
};

struct value {
	enum kind kind;
	double number;
	const char *text;
	bool truth;
};

struct evaluation {
	const struct expr *expr;
	const struct expr_world *world;
	const char *name; /* of the guest for which a comparison is evaluated; NULL: none */
	const json_t *vm;
	char *why;
	unsigned int nr; /* guests that counted in the last function */
};

static struct value eval(struct evaluation *e, unsigned int index);

static struct value of_number(double number)
{
	return (struct value){ .kind = KIND_NUMBER, .number = number };
}

static struct value of_truth(bool truth)
{
	return (struct value){ .kind = KIND_TRUTH, .truth = truth };
}

static struct value of_kind(enum kind kind)
{
	return (struct value){ .kind = kind };
}

bool expr_in_set(const struct expr_set *set, const char *name)
{
	return set->wild ? !strncmp(name, set->name, strlen(set->name)) : !strcmp(name, set->name);
}

/* ---- paths ---- */

const json_t *expr_member(const json_t *of, const char *name)
{
	char part[64];

	while (of && *name) {
		size_t n = strcspn(name, ".");

		snprintf(part, sizeof(part), "%.*s", (int)n, name);
		of = json_object_get(of, part);
		name += n + (name[n] == '.');
	}
	return of;
}

static struct value unknown(struct evaluation *e, const char *who, const char *what)
{
	snprintf(e->why, EXPR_WHY, "%s %s", who, what);
	return of_kind(KIND_UNKNOWN);
}

static bool has_ended(const json_t *vm)
{
	const char *state = json_string_value(json_object_get(vm, "state"));

	return state && !strcmp(state, "ended");
}

static struct value absent(struct evaluation *e, const char *name, const json_t *vm)
{
	if (!vm)
		return unknown(e, name, "was not started");
	if (json_is_null(vm))
		return unknown(e, name, "has not answered yet");
	if (!has_ended(vm))
		return unknown(e, name, "has no such number");
	snprintf(e->why, EXPR_WHY, "%s has ended", name);
	return of_kind(KIND_GONE);
}

static struct value of_json(const json_t *value)
{
	if (json_is_string(value))
		return (struct value){ .kind = KIND_TEXT, .text = json_string_value(value) };
	return of_number(json_number_value(value));
}

static struct value path(struct evaluation *e, const struct expr_node *node)
{
	const char *name = node->place == EXPR_OF_BOUND ? e->name : node->set.name;
	const json_t *of, *value;

	if (node->place == EXPR_GUESTS)
		return of_truth(true);
	if (node->place == EXPR_OF_MACHINE) {
		value = expr_member(e->world->machine, node->text);
		return value ? of_json(value) : unknown(e, "the machine", "is not there");
	}
	of = node->place == EXPR_OF_BOUND ? e->vm : json_object_get(e->world->vms, name);
	value = expr_member(of, node->text);
	return value ? of_json(value) : absent(e, name ? name : "a guest", of);
}

/* ---- operators ---- */

/* What two operands come to if one of them has no value. */
static bool lacks_value(struct value a, struct value b, struct value *out)
{
	if (a.kind < KIND_GONE && b.kind < KIND_GONE)
		return false;
	*out = of_kind(a.kind > b.kind ? a.kind : b.kind);
	return true;
}

static struct value calculate(struct evaluation *e, enum expr_kind kind, struct value a,
			      struct value b)
{
	struct value none;

	if (lacks_value(a, b, &none))
		return none;
	switch (kind) {
	case EXPR_ADD: return of_number(a.number + b.number);
	case EXPR_SUBTRACT: return of_number(a.number - b.number);
	case EXPR_MULTIPLY: return of_number(a.number * b.number);
	default: break;
	}
	return b.number != 0 ? of_number(a.number / b.number) :
			       unknown(e, "a number", "would be divided by 0");
}

static bool order_holds(enum expr_kind kind, double sign)
{
	switch (kind) {
	case EXPR_LESS: return sign < 0;
	case EXPR_LESS_EQUAL: return sign <= 0;
	case EXPR_GREATER: return sign > 0;
	case EXPR_GREATER_EQUAL: return sign >= 0;
	case EXPR_EQUAL: return sign == 0;
	default: return sign != 0;
	}
}

static void print_value(char *buf, size_t size, struct value v)
{
	if (v.kind == KIND_TEXT)
		snprintf(buf, size, "'%.60s'", v.text);
	else if (v.number < 1e15 && v.number > -1e15 && v.number == (double)(long long)v.number)
		snprintf(buf, size, "%.0f", v.number);
	else
		snprintf(buf, size, "%.3f", v.number);
}

static struct value compare(struct evaluation *e, const struct expr_node *node)
{
	static const char *const sign[] = { "<", "<=", ">", ">=", "==", "!=" };
	struct value a = eval(e, node->left), b = eval(e, node->right), none;
	char left[72], right[72];
	double difference;

	if (lacks_value(a, b, &none))
		return none;
	difference = a.kind == KIND_TEXT ? strcmp(a.text, b.text) : a.number - b.number;
	print_value(left, sizeof(left), a);
	print_value(right, sizeof(right), b);
	snprintf(e->why, EXPR_WHY, "%s%s%s %s %s", e->name ? e->name : "", e->name ? ": " : "",
		 left, sign[node->kind - EXPR_LESS], right);
	return of_truth(order_holds(node->kind, difference));
}

/* With one operand unknown: false decides `and`, true decides `or`. */
static struct value logic(struct evaluation *e, const struct expr_node *node)
{
	bool decisive = node->kind == EXPR_OR;
	struct value a = eval(e, node->left), b;

	if (a.kind == KIND_TRUTH && a.truth == decisive)
		return a;
	b = eval(e, node->right);
	if (b.kind == KIND_TRUTH && b.truth == decisive)
		return b;
	return a.kind != KIND_TRUTH ? a : b;
}

static struct value negation(struct evaluation *e, const struct expr_node *node)
{
	struct value v = eval(e, node->left);

	if (v.kind == KIND_NUMBER)
		v.number = -v.number;
	else
		v.truth = !v.truth;
	return v;
}

/* ---- guest by guest ---- */

/* Evaluate for each guest of a set that is not gone, until `take` has had enough. */
static void each(struct evaluation *e, const struct expr_set *set,
		 struct value (*of)(struct evaluation *e, const struct expr_node *node),
		 const struct expr_node *node, bool (*take)(void *ctx, struct value v), void *ctx)
{
	struct evaluation inner = *e;

	e->nr = 0;
	for (void *i = json_object_iter((json_t *)e->world->vms); i;
	     i = json_object_iter_next((json_t *)e->world->vms, i)) {
		struct value v;

		inner.name = json_object_iter_key(i);
		inner.vm = json_object_iter_value(i);
		if (!expr_in_set(set, inner.name))
			continue;
		v = of(&inner, node);
		if (v.kind == KIND_GONE)
			continue;
		e->nr++;
		if (!take(ctx, v))
			return;
	}
}

struct verdict {
	struct value value;
	const char *why; /* of the last guest */
	char unknown[EXPR_WHY];
};

/* take of a comparison: all of them have to hold. */
static bool take_all(void *ctx, struct value v)
{
	struct verdict *all = ctx;

	if (v.kind == KIND_UNKNOWN && all->value.kind != KIND_UNKNOWN)
		snprintf(all->unknown, sizeof(all->unknown), "%s", all->why);
	if (v.kind == KIND_UNKNOWN || !v.truth)
		all->value = v;
	return v.kind == KIND_UNKNOWN || v.truth;
}

static struct value compare_each(struct evaluation *e, const struct expr_node *node)
{
	struct verdict all = { .value = of_truth(true), .why = e->why };

	each(e, &node->set, compare, node, take_all, &all);
	if (!e->nr)
		return unknown(e, "no guest", "runs of which it says something");
	if (all.value.kind == KIND_UNKNOWN)
		snprintf(e->why, EXPR_WHY, "%s", all.unknown);
	return all.value;
}

struct total {
	enum expr_kind kind;
	struct value value;
	double sum, least, most, nr, held;
};

static bool take_total(void *ctx, struct value v)
{
	struct total *t = ctx;

	if (v.kind == KIND_UNKNOWN) {
		t->value = v;
		return false;
	}
	t->held += v.kind == KIND_TRUTH && v.truth;
	t->sum += v.number;
	t->least = t->nr == 0 || v.number < t->least ? v.number : t->least;
	t->most = t->nr == 0 || v.number > t->most ? v.number : t->most;
	t->nr++;
	return true;
}

/* each's */
static struct value eval_argument(struct evaluation *e, const struct expr_node *node)
{
	const struct expr_node *arg = &e->expr->node[node->left];

	/* count(vm.web.*): those that run */
	if (arg->kind == EXPR_PATH && arg->place == EXPR_GUESTS)
		return has_ended(e->vm) ? of_kind(KIND_GONE) : of_truth(true);
	return eval(e, node->left);
}

static struct value function(struct evaluation *e, const struct expr_node *node)
{
	struct total t = { .kind = node->kind };

	each(e, &node->set, eval_argument, node, take_total, &t);
	if (t.value.kind == KIND_UNKNOWN)
		return t.value;
	switch (node->kind) {
	case EXPR_SUM: return of_number(t.sum);
	case EXPR_COUNT: return of_number(t.held);
	default: break;
	}
	if (t.nr == 0)
		return unknown(e, "no guest", "runs of which it says something");
	return of_number(node->kind == EXPR_MIN ? t.least :
			 node->kind == EXPR_MAX ? t.most :
						  t.sum / t.nr);
}

static struct value eval(struct evaluation *e, unsigned int index)
{
	const struct expr_node *node = &e->expr->node[index];

	if (node->kind == EXPR_NUMBER)
		return of_number(node->number);
	if (node->kind == EXPR_TEXT)
		return (struct value){ .kind = KIND_TEXT, .text = node->text };
	if (node->kind == EXPR_PATH)
		return path(e, node);
	if (node->kind >= EXPR_SUM)
		return function(e, node);
	if (node->kind == EXPR_AND || node->kind == EXPR_OR)
		return logic(e, node);
	if (node->kind == EXPR_MINUS || node->kind == EXPR_NOT)
		return negation(e, node);
	if (node->kind >= EXPR_LESS && node->kind <= EXPR_UNEQUAL)
		return node->binds ? compare_each(e, node) : compare(e, node);
	return calculate(e, node->kind, eval(e, node->left), eval(e, node->right));
}

enum expr_truth expr_holds(const struct expr *expr, const struct expr_world *world,
			   char why[EXPR_WHY])
{
	struct evaluation e = { .expr = expr, .world = world, .why = why };
	struct value v;

	why[0] = '\0';
	v = eval(&e, expr->root);
	return v.kind != KIND_TRUTH ? EXPR_UNKNOWN : v.truth ? EXPR_TRUE : EXPR_FALSE;
}
