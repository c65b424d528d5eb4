/* SPDX-License-Identifier: MIT */
/*
 * A parser by recursive descent:
 *
 *   or         = and { "or" and }
 *   and        = not { "and" not }
 *   not        = "not" not | comparison
 *   comparison = sum [ ("<" | "<=" | ">" | ">=" | "==" | "!=") sum ]
 *   sum        = product { ("+" | "-") product }
 *   product    = unary { ("*" | "/") unary }
 *   unary      = "-" unary | amount | "'" text "'" | "(" or ")" | function "(" or ")" | path
 *
 * Each node has a type.  A *reach* gathers the guests that an operand names, until a comparison or
 * a function binds them.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <quire/types.h>
#include "amount.h"
#include "expr.h"

enum type { TYPE_NUMBER, TYPE_TEXT, TYPE_TRUTH, TYPE_GUESTS };

static const char *const type_names[] = { "a number", "a text", "true or false", "guests" };

struct reach {
	struct expr_set wild, exact;
	bool has_wild, has_exact, two_exact;
	unsigned int bare; /* where a name without a guest is, plus 1; 0: nowhere */
};

struct operand {
	unsigned int node;
	enum type type;
};

struct parser {
	const char *text, *p;
	const struct expr_scope *scope;
	struct expr *expr;
	struct expr_fault *fault;
	unsigned int depth;
	bool counting; /* inside count(), which binds the guests of comparisons too */
	bool failed;
};

/* Only the first mistake is noted: what follows may come of it. */
__attribute__((format(printf, 3, 4))) static void fail(struct parser *ps, const char *at,
						       const char *fmt, ...)
{
	va_list ap;

	if (ps->failed)
		return;
	ps->failed = true;
	ps->fault->at = (unsigned int)(at - ps->text);
	va_start(ap, fmt);
	vsnprintf(ps->fault->text, sizeof(ps->fault->text), fmt, ap);
	va_end(ap);
	for (char *p = ps->fault->text; *p; p++)
		*p = *p >= ' ' && *p < 127 ? *p : '?';
}

static struct expr_node *new_node(struct parser *ps, enum expr_kind kind, unsigned int left,
				  unsigned int right)
{
	struct expr_node *node;

	if (ps->expr->nr == EXPR_MAX_NODES) {
		fail(ps, ps->p, "the expression is too long");
		ps->expr->nr--; /* which is written over, and never used */
	}
	node = &ps->expr->node[ps->expr->nr++];
	*node = (struct expr_node){ .kind = kind, .left = left, .right = right };
	return node;
}

static struct operand operand(struct parser *ps, const struct expr_node *node, enum type type)
{
	return (struct operand){ (unsigned int)(node - ps->expr->node), type };
}

/* ---- tokens ---- */

static void skip_blanks(struct parser *ps)
{
	while (isspace((unsigned char)*ps->p))
		ps->p++;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The sign or the word, if it is next. */
static bool accept(struct parser *ps, const char *token)
{
	size_t n = strlen(token);

	skip_blanks(ps);
	if (strncmp(ps->p, token, n) != 0 || (is_word(*token) && is_word(ps->p[n])))
		return false;
	ps->p += n;
	return true;
}

/* ---- names ---- */

static enum type type_of(struct parser *ps, const char *at, const json_t *example, const char *name,
			 const char *of)
{
	const json_t *value = expr_member(example, name);

	if (json_is_number(value))
		return TYPE_NUMBER;
	if (json_is_string(value))
		return TYPE_TEXT;
	if (json_is_object(value))
		fail(ps, at, "%s is an object: it needs a member of it, as %s.NAME", name, name);
	else
		fail(ps, at, "%s has no '%s'; docs/stats.md has the names", of, name);
	return TYPE_NUMBER;
}

/* A path as it is written: words, numbers and stars with dots between them. */
static size_t path_length(const char *p)
{
	const char *start = p;

	while (is_word(*p) || (*p == '.' && p > start && (is_word(p[1]) || p[1] == '*')) ||
	       (*p == '*' && p > start && p[-1] == '.'))
		p++;
	return (size_t)(p - start);
}

static void note_set(struct parser *ps, const char *at, struct reach *reach,
		     const struct expr_set *set)
{
	struct expr_set *known = set->wild ? &reach->wild : &reach->exact;
	bool *has = set->wild ? &reach->has_wild : &reach->has_exact;
	bool same = *has && !strcmp(known->name, set->name);

	if (*has && !same && set->wild)
		fail(ps, at, "a comparison goes over one group; use sum(), min(), max() or avg()");
	if (*has && !same && !set->wild)
		reach->two_exact = true;
	*known = *set;
	*has = true;
}

static void merge_reach(struct parser *ps, const char *at, struct reach *to,
			const struct reach *from)
{
	if (from->has_wild)
		note_set(ps, at, to, &from->wild);
	if (from->has_exact)
		note_set(ps, at, to, &from->exact);
	to->two_exact |= from->two_exact;
	to->bare = to->bare ? to->bare : from->bare;
}

/* The node is evaluated for each guest that its operands name, if that matters. */
static void bind(struct parser *ps, struct expr_node *node, const struct reach *reach)
{
	if (reach->has_wild) {
		node->binds = true;
		node->set = reach->wild;
	} else if (reach->bare && reach->has_exact && !reach->two_exact) {
		node->binds = true;
		node->set = reach->exact;
	} else if (reach->bare) {
		fail(ps, ps->text + reach->bare - 1,
		     "whose is it? use vm.GUEST.NAME, or name one "
		     "guest or group beside it");
	}
}

static const struct expr_group *find_group(struct parser *ps, const char *name, size_t length)
{
	for (unsigned int i = 0; i < ps->scope->nr_groups; i++) {
		const struct expr_group *group = &ps->scope->group[i];

		if (strlen(group->name) == length && !memcmp(group->name, name, length))
			return group;
	}
	return NULL;
}

/* The number behind a group's name, or a star.  The length of it with its dot; 0: it is wrong. */
static size_t read_number(struct parser *ps, const char *p, const struct expr_group *group,
			  struct expr_set *set)
{
	size_t n = *p == '.' ? strspn(p + 1, "0123456789") : 0;
	unsigned long number;

	if (!strncmp(p, ".*", 2)) {
		snprintf(set->name, sizeof(set->name), "%s.", group->name);
		set->wild = true;
		return 2;
	}
	number = n && n < 7 ? strtoul(p + 1, NULL, 10) : 0;
	if (!number || number > group->count || p[1] == '0') {
		fail(ps, p, "%s has guests 1 to %u: use %s.1 or %s.*", group->name, group->count,
		     group->name, group->name);
		return 0;
	}
	snprintf(set->name, sizeof(set->name), "%s.%lu", group->name, number);
	return n + 1;
}

/* Which guests, behind "vm."; what is left of the path, or NULL. */
static const char *read_set(struct parser *ps, const char *p, const char *end, struct expr_set *set)
{
	const struct expr_group *group;
	size_t n;

	*set = (struct expr_set){ .wild = false };
	if (*p == '*') {
		set->wild = true;
		return p + 1;
	}
	for (n = 0; p + n < end && p[n] != '.'; n++)
		;
	group = find_group(ps, p, n);
	if (!group) {
		fail(ps, p, "there is no group '%.*s'", (int)min_u64(n, 40), p);
		return NULL;
	}
	if (!group->count) {
		snprintf(set->name, sizeof(set->name), "%s", group->name);
		return p + n;
	}
	n += read_number(ps, p + n, group, set);
	return ps->failed ? NULL : p + n;
}

static struct operand guest_path(struct parser *ps, const char *start, const char *end,
				 struct reach *reach)
{
	struct expr_node *node = new_node(ps, EXPR_PATH, 0, 0);
	struct expr_set set;
	const char *rest = read_set(ps, start + 3, end, &set);
	enum type type = TYPE_GUESTS;

	if (!rest)
		return operand(ps, node, type);
	note_set(ps, start, reach, &set);
	node->set = set;
	node->place = EXPR_GUESTS;
	if (rest < end) {
		snprintf(node->text, sizeof(node->text), "%.*s", (int)(end - rest - 1), rest + 1);
		node->place = set.wild ? EXPR_OF_BOUND : EXPR_OF_GUEST;
		type = type_of(ps, rest + 1, ps->scope->vm, node->text, "a guest");
	}
	return operand(ps, node, type);
}

static struct operand path(struct parser *ps, struct reach *reach)
{
	const char *start = ps->p, *end = start + path_length(start);
	struct expr_node *node;
	enum type type;

	ps->p = end;
	if (end - start > 3 && !strncmp(start, "vm.", 3))
		return guest_path(ps, start, end, reach);
	node = new_node(ps, EXPR_PATH, 0, 0);
	if (end - start > 8 && !strncmp(start, "machine.", 8)) {
		node->place = EXPR_OF_MACHINE;
		snprintf(node->text, sizeof(node->text), "%.*s", (int)(end - start - 8), start + 8);
		type = type_of(ps, start + 8, ps->scope->machine, node->text, "the machine");
		return operand(ps, node, type);
	}
	node->place = EXPR_OF_BOUND;
	snprintf(node->text, sizeof(node->text), "%.*s", (int)(end - start), start);
	if (!strcmp(node->text, "ram"))
		strcpy(node->text, "ram_pages");
	reach->bare = reach->bare ? reach->bare : (unsigned int)(start - ps->text) + 1;
	type = type_of(ps, start, ps->scope->vm, node->text, "a guest");
	return operand(ps, node, type);
}

/* ---- values ---- */

static struct operand parse_or(struct parser *ps, struct reach *reach);

static void need(struct parser *ps, const char *at, struct operand have, enum type type)
{
	if (have.type != type)
		fail(ps, at, "this has to be %s, and is %s", type_names[type],
		     type_names[have.type]);
}

static struct operand text(struct parser *ps)
{
	struct expr_node *node = new_node(ps, EXPR_TEXT, 0, 0);
	char quote = *ps->p++;
	size_t n = 0;

	while (ps->p[n] && ps->p[n] != quote)
		n++;
	if (!ps->p[n] || n >= sizeof(node->text))
		fail(ps, ps->p, "the text has no end, or is too long");
	snprintf(node->text, sizeof(node->text), "%.*s", (int)n, ps->p);
	ps->p += n + (ps->p[n] == quote);
	return operand(ps, node, TYPE_TEXT);
}

/* A function's argument, and the parentheses around it. */
static struct operand argument(struct parser *ps, struct reach *reach)
{
	struct operand value;

	if (!accept(ps, "("))
		fail(ps, ps->p, "there has to be a '('");
	value = parse_or(ps, reach);
	if (!accept(ps, ")"))
		fail(ps, ps->p, "there has to be a ')'");
	return value;
}

static struct operand function(struct parser *ps, enum expr_kind kind, const char *at)
{
	bool outer = ps->counting;
	struct reach reach = { .bare = 0 };
	struct expr_node *node;
	struct operand value;

	ps->counting = kind == EXPR_COUNT;
	value = argument(ps, &reach);
	ps->counting = outer;
	if (kind != EXPR_COUNT)
		need(ps, at, value, TYPE_NUMBER);
	else if (value.type != TYPE_GUESTS)
		need(ps, at, value, TYPE_TRUTH);
	if (!reach.has_wild)
		fail(ps, at, "it goes over guests: name some, as vm.GROUP.* or vm.*");
	node = new_node(ps, kind, value.node, 0);
	bind(ps, node, &reach);
	return operand(ps, node, TYPE_NUMBER);
}

static struct operand number(struct parser *ps)
{
	struct expr_node *node = new_node(ps, EXPR_NUMBER, 0, 0);
	struct amount amount;
	const char *end = amount_read(ps->p, &amount);

	if (end)
		ps->p = end;
	else
		fail(ps, ps->p, "this is no amount; units are K M G T, %%, ns us ms s min");
	node->number = amount.value;
	return operand(ps, node, TYPE_NUMBER);
}

static struct operand nothing(struct parser *ps)
{
	if (*ps->p)
		fail(ps, ps->p, "'%.20s' is no value", ps->p);
	else
		fail(ps, ps->p, "a value is missing at the end");
	return operand(ps, new_node(ps, EXPR_NUMBER, 0, 0), TYPE_NUMBER);
}

static struct operand primary(struct parser *ps, struct reach *reach)
{
	static const struct {
		const char *name;
		enum expr_kind kind;
	} functions[] = {
		{ "sum", EXPR_SUM }, { "min", EXPR_MIN },     { "max", EXPR_MAX },
		{ "avg", EXPR_AVG }, { "count", EXPR_COUNT },
	};
	const char *at;

	skip_blanks(ps);
	at = ps->p;
	if (*at == '(')
		return argument(ps, reach);
	if (*at == '\'' || *at == '"')
		return text(ps);
	if (isdigit((unsigned char)*at))
		return number(ps);
	for (unsigned int i = 0; i < ARRAY_SIZE(functions); i++)
		if (accept(ps, functions[i].name))
			return function(ps, functions[i].kind, at);
	return is_word(*at) ? path(ps, reach) : nothing(ps);
}

/* So deep and no deeper, as each level has its place on our stack. */
static bool descend(struct parser *ps)
{
	if (ps->depth >= EXPR_MAX_DEPTH)
		fail(ps, ps->p, "the expression is too deep");
	ps->depth++;
	return !ps->failed;
}

static struct operand unary(struct parser *ps, struct reach *reach)
{
	struct operand value;
	const char *at;

	if (!descend(ps)) {
		value = operand(ps, new_node(ps, EXPR_NUMBER, 0, 0), TYPE_NUMBER);
	} else if (accept(ps, "-")) {
		at = ps->p;
		value = unary(ps, reach);
		need(ps, at, value, TYPE_NUMBER);
		value = operand(ps, new_node(ps, EXPR_MINUS, value.node, 0), TYPE_NUMBER);
	} else {
		value = primary(ps, reach);
	}
	ps->depth--;
	return value;
}

/* ---- operators ---- */

struct operator
{
	const char *sign;
	enum expr_kind kind;
};

static const struct operator products[] = { { "*", EXPR_MULTIPLY }, { "/", EXPR_DIVIDE } };
static const struct operator sums[] = { { "+", EXPR_ADD }, { "-", EXPR_SUBTRACT } };
static const struct operator comparisons[] = {
	{ "<=", EXPR_LESS_EQUAL }, { "<", EXPR_LESS },	 { ">=", EXPR_GREATER_EQUAL },
	{ ">", EXPR_GREATER },	   { "==", EXPR_EQUAL }, { "!=", EXPR_UNEQUAL },
};

static const struct operator*
	accept_operator(struct parser *ps, const struct operator* of, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!ps->failed && accept(ps, of[i].sign))
			return &of[i];
	return NULL;
}

/* Operands of one type with operators between them, from left to right. */
static struct operand chain(struct parser *ps, struct reach *reach, const struct operator* of,
			    unsigned int nr, enum type type,
			    struct operand (*next)(struct parser *, struct reach *))
{
	const struct operator* op;
	struct operand left, right;
	const char *first, *at;

	skip_blanks(ps);
	first = ps->p;
	left = next(ps, reach);
	while ((op = accept_operator(ps, of, nr))) {
		need(ps, first, left, type);
		skip_blanks(ps);
		at = ps->p;
		right = next(ps, reach);
		need(ps, at, right, type);
		left = operand(ps, new_node(ps, op->kind, left.node, right.node), type);
	}
	return left;
}

static struct operand product(struct parser *ps, struct reach *reach)
{
	return chain(ps, reach, products, ARRAY_SIZE(products), TYPE_NUMBER, unary);
}

static struct operand sum(struct parser *ps, struct reach *reach)
{
	return chain(ps, reach, sums, ARRAY_SIZE(sums), TYPE_NUMBER, product);
}

static struct operand compare(struct parser *ps, const struct operator* op, struct operand left,
			      const char *at, struct reach *own)
{
	struct operand right = sum(ps, own);

	if (left.type != right.type || left.type > TYPE_TEXT)
		fail(ps, at, "%s cannot be compared with %s", type_names[left.type],
		     type_names[right.type]);
	if (left.type == TYPE_TEXT && op->kind != EXPR_EQUAL && op->kind != EXPR_UNEQUAL)
		fail(ps, at, "texts are compared by == and != only");
	return operand(ps, new_node(ps, op->kind, left.node, right.node), TYPE_TRUTH);
}

static struct operand comparison(struct parser *ps, struct reach *reach)
{
	struct reach own = { .bare = 0 };
	const struct operator* op;
	struct operand left;
	const char *at;

	skip_blanks(ps);
	at = ps->p;
	left = sum(ps, &own);
	op = accept_operator(ps, comparisons, ARRAY_SIZE(comparisons));
	if (op)
		left = compare(ps, op, left, at, &own);
	if (op && !ps->counting)
		bind(ps, &ps->expr->node[left.node], &own);
	else
		merge_reach(ps, at, reach, &own);
	/* cppcheck-suppress returnDanglingLifetime ; an operand has no pointers */
	return left;
}

static struct operand parse_not(struct parser *ps, struct reach *reach)
{
	struct operand value;
	const char *at;

	if (!accept(ps, "not"))
		return comparison(ps, reach);
	at = ps->p;
	if (!descend(ps))
		return operand(ps, new_node(ps, EXPR_NUMBER, 0, 0), TYPE_TRUTH);
	value = parse_not(ps, reach);
	ps->depth--;
	need(ps, at, value, TYPE_TRUTH);
	return operand(ps, new_node(ps, EXPR_NOT, value.node, 0), TYPE_TRUTH);
}

static struct operand parse_and(struct parser *ps, struct reach *reach)
{
	static const struct operator and = { "and", EXPR_AND };

	return chain(ps, reach, &and, 1, TYPE_TRUTH, parse_not);
}

static struct operand parse_or(struct parser *ps, struct reach *reach)
{
	static const struct operator or = { "or", EXPR_OR };

	return chain(ps, reach, & or, 1, TYPE_TRUTH, parse_and);
}

/* ---- all of it ---- */

static void parse(struct parser *ps)
{
	struct reach reach = { .bare = 0 };
	struct operand value = parse_or(ps, &reach);

	skip_blanks(ps);
	if (*ps->p)
		fail(ps, ps->p, "'%.20s' is not expected here", ps->p);
	if (value.type != TYPE_TRUTH)
		fail(ps, ps->text, "it is %s, and has to be a comparison", type_names[value.type]);
	ps->expr->root = value.node;
}

int expr_parse(const char *text, const struct expr_scope *scope, struct expr **out,
	       struct expr_fault *fault)
{
	struct parser ps = { .text = text, .p = text, .scope = scope, .fault = fault };

	ps.expr = calloc(1, sizeof(*ps.expr));
	if (!ps.expr)
		return -ENOMEM;
	if (strlen(text) > EXPR_MAX_LENGTH)
		fail(&ps, text, "the expression is too long");
	else
		parse(&ps);
	if (ps.failed) {
		free(ps.expr);
		return -EINVAL;
	}
	strcpy(ps.expr->source, text);
	*out = ps.expr;
	return 0;
}
