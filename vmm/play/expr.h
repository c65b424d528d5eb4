/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_PLAY_EXPR_H
#define QUIRE_VMM_PLAY_EXPR_H

/*
 * Expressions of scenarios, such as `vm.web.*.state_shared_pages >= 0.6 * ram`, over the members of
 * a document of quire.stats/1.  docs/play.md has the language.
 *
 * expr_parse.c reads them and finds every mistake that can be found without a guest: names that do
 * not exist, and values that cannot be compared.  expr_eval.c says whether they hold.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define EXPR_MAX_NODES	256u
#define EXPR_MAX_LENGTH 2000u
#define EXPR_MAX_DEPTH	40u

enum expr_kind {
	EXPR_NUMBER,
	EXPR_TEXT,
	EXPR_PATH,
	EXPR_MINUS,
	EXPR_ADD,
	EXPR_SUBTRACT,
	EXPR_MULTIPLY,
	EXPR_DIVIDE,
	EXPR_LESS, /* this and the next five: comparisons */
	EXPR_LESS_EQUAL,
	EXPR_GREATER,
	EXPR_GREATER_EQUAL,
	EXPR_EQUAL,
	EXPR_UNEQUAL,
	EXPR_AND,
	EXPR_OR,
	EXPR_NOT,
	EXPR_SUM, /* this and the next four: of guests */
	EXPR_MIN,
	EXPR_MAX,
	EXPR_AVG,
	EXPR_COUNT,
	EXPR_NR_KINDS
};

/* A guest, or some of them: those whose names are `name`, or, if it is wild, begin with it. */
struct expr_set {
	char name[48];
	bool wild;
};

enum expr_place {
	EXPR_OF_MACHINE,
	EXPR_OF_GUEST, /* the one of that name */
	EXPR_OF_BOUND, /* the one for which the comparison, or the function, is just evaluated */
	EXPR_GUESTS,   /* the guests themselves, as count() takes them */
};

struct expr_node {
	enum expr_kind kind;
	unsigned int left, right; /* indices of nodes */
	double number;
	enum expr_place place; /* of a path */
	bool binds;	       /* a comparison or a function: evaluated for each guest of `set` */
	struct expr_set set;
	char text[64]; /* of a text; of a path the member, with dots between levels */
};

struct expr {
	struct expr_node node[EXPR_MAX_NODES];
	unsigned int nr, root;
	char source[EXPR_MAX_LENGTH + 1];
};

/* ---- reading ---- */

/* A group of guests: one that has the group's name, or, with a count, NAME.1 to NAME.count. */
struct expr_group {
	const char *name;
	unsigned int count; /* 0: one without number */
};

struct expr_scope {
	const json_t *machine, *vm; /* examples that have all members (names.h) */
	const struct expr_group *group;
	unsigned int nr_groups;
};

struct expr_fault {
	unsigned int at; /* byte of the text */
	char text[200];
};

/*
 * Read an expression that holds or does not.  *out is malloc'd.  0; -EINVAL: *fault says why not;
 * -ENOMEM.
 */
int expr_parse(const char *text, const struct expr_scope *scope, struct expr **out,
	       struct expr_fault *fault);

/* ---- evaluating ---- */

enum expr_truth {
	EXPR_FALSE,
	EXPR_TRUE,
	EXPR_UNKNOWN /* a guest or the machine does not run, or has not answered */
};

struct expr_world {
	const json_t *machine; /* NULL: there is none now */
	/*
	 * An object that has the guests that were started, by name: members as in quire.stats/1;
	 * null while a guest has not answered; `state` "ended" and `exit_status` when it has ended.
	 */
	const json_t *vms;
};

#define EXPR_WHY 200

/* Does it hold?  `why` becomes what decided that: "web.3: 12 >= 300". */
enum expr_truth expr_holds(const struct expr *expr, const struct expr_world *world,
			   char why[EXPR_WHY]);

/* Is this guest in the set? */
bool expr_in_set(const struct expr_set *set, const char *name);

/* The member of an object with dots between the levels of its name; NULL: there is none. */
const json_t *expr_member(const json_t *of, const char *name);

#endif
