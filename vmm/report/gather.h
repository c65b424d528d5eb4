/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_REPORT_GATHER_H
#define QUIRE_VMM_REPORT_GATHER_H

/*
 * Many results of scenarios, read from files.
 *
 * The files come from other machines, and from runs that were cut off.  So nothing that is in one
 * of them, or not in it, keeps the others from being read.
 */
#include <jansson.h>
#include <quire/error.h>
#include <stdbool.h>
#include <stdio.h>

#define GATHER_MAX_BYTES (256u << 20) /* of a file */
#define GATHER_MAX_DEPTH 16u	      /* of folders */

struct gathered_result {
	char *path;
	json_t *result;		/* quire.play/1; NULL: there is none, for this reason: */
	struct quire_error why; /* one line, without the path */
};

struct gathered {
	struct gathered_result *result; /* sorted by path */
	unsigned int nr, room;
};

/*
 * Add what is at `path`: a file with a result, or a folder.  In a folder and those below it, the
 * files named result.json are results; symbolic links are not followed.  Where there is none, and
 * where something cannot be read, a row without a result says so.  0 or -ENOMEM.
 */
int gather_add(struct gathered *all, const char *path, struct quire_error *err);
void gather_sort(struct gathered *all);
void gather_finish(struct gathered *all);

/* Did all pass?  What is not a result did not. */
bool gather_passed(const struct gathered *all);

/* The table for people, with a line for each that did not pass; and quire.report/1.  0, -ENOMEM. */
int gather_show(FILE *f, const struct gathered *all);
int gather_json(FILE *f, const struct gathered *all);

/* Numbers of a result, over all of its samples; sizes in bytes. */
struct gathered_summary {
	size_t checks, failed, guests;
	double seconds, memory, most_used, most_saved;
};

struct gathered_summary gather_summary(const json_t *result);

#endif
