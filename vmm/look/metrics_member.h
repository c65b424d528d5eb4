/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_METRICS_MEMBER_H
#define QUIRE_VMM_LOOK_METRICS_MEMBER_H

/*
 * Which row of metrics_table[] a member of quire.stats/1 belongs to.
 *
 * Looking a path up in the table takes a while, and all VMs have nearly the same members in nearly
 * the same order.  So each path is looked up once, and each member remembers which one came after
 * it last.
 */
#include <stdbool.h>
#include <stddef.h>
#include "metrics_table.h"

struct metrics_member {
	const struct metric *row;      /* NULL: it is no metric */
	unsigned int metric;	       /* the first row of the same name */
	char *labels;		       /* that its path gives: `,kind="some"` or ""; NULL: no row */
	struct metrics_member *parent; /* the object that it is in; NULL: none */
	struct metrics_member *after;  /* which came after it last; NULL: none yet */
	unsigned int sample;	       /* the caller's */
	const char *key;	       /* the end of path */
	char path[];		       /* "vm.shadow.fills" */
};

/* All zeroes: no member is known. */
struct metrics_members {
	void *by_path; /* of tsearch() */
	struct metrics_member *last;
	unsigned int last_row; /* in which a member was found */
};

/*
 * The member of this key in the object `parent`; NULL: the outermost ones, "machine" and "vm".
 * NULL: no memory.
 */
struct metrics_member *metrics_member(struct metrics_members *all, struct metrics_member *parent,
				      const char *key);

void metrics_members_finish(struct metrics_members *all);

/* How many bytes metrics_label() needs for such texts, at most. */
#define METRICS_LABEL_BYTES(name, value) ((name) + 2 * (value) + sizeof(",=\"\""))

/*
 * Write BEFORE NAME="VALUE" as both forms have it, and return its end.  The value may have any
 * bytes: those beyond ASCII are Latin-1, as the JSON has them.
 */
char *metrics_label(char *to, char before, const char *name, const char *value);

#endif
