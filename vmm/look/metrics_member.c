/* SPDX-License-Identifier: MIT */
#include "metrics_member.h"
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES	160
#define MAX_LABELS	2
#define LABEL_MAX_BYTES 63

struct label {
	char name[16], value[LABEL_MAX_BYTES + 1];
};

/* ---- which row ---- */

/* A "{label}" of a pattern, which ends where `rest` is found in the text first. */
static bool capture(const char **pattern, const char **text, struct label *label)
{
	const char *close = strchr(*pattern, '}'), *end;
	char rest[PATH_MAX_BYTES];
	size_t bytes = (size_t)(close - *pattern) - 1, rest_bytes = strcspn(close + 1, "{");

	snprintf(label->name, sizeof(label->name), "%.*s", (int)bytes, *pattern + 1);
	snprintf(rest, sizeof(rest), "%.*s", (int)rest_bytes, close + 1);
	end = rest_bytes && close[1 + rest_bytes] ? strstr(*text + 1, rest) :
						    *text + strlen(*text) - rest_bytes;
	if (!end || end <= *text || memchr(*text, '.', (size_t)(end - *text)))
		return false;
	snprintf(label->value, sizeof(label->value), "%.*s", (int)(end - *text), *text);
	*pattern = close + 1;
	*text = end;
	return true;
}

/* Does the path fit, and what are its labels? */
static bool fits(const char *pattern, const char *path, struct label *label)
{
	memset(label, 0, MAX_LABELS * sizeof(*label));
	while (*pattern) {
		if (*pattern == '{') {
			if (!*path || !capture(&pattern, &path, label++))
				return false;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

/*
 * The row of this path; metrics_rows: there is none.  Mostly it is the one after the last, because
 * the table has the document's order; that may be taken if it has no labels.
 */
static unsigned int row_of(const char *path, unsigned int last, struct label *label)
{
	unsigned int i = 0;

	if (last + 1 < metrics_rows && !strcmp(metrics_table[last + 1].member, path)) {
		memset(label, 0, MAX_LABELS * sizeof(*label));
		return last + 1;
	}
	while (i < metrics_rows && !fits(metrics_table[i].member, path, label))
		i++;
	return i;
}

/* Rows of one name are one metric. */
static unsigned int metric_of(unsigned int row)
{
	while (row && !strcmp(metrics_table[row].name, metrics_table[row - 1].name))
		row--;
	return row;
}

/* ---- labels ---- */

char *metrics_label(char *to, char before, const char *name, const char *value)
{
	*to++ = before;
	to = stpcpy(stpcpy(to, name), "=\"");
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\' || c == '\n')
			*to++ = '\\';
		else if (c > 0x7f)
			*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(c == '\n' ? 'n' : c > 0x7f ? 0x80 | (c & 0x3f) : c);
	}
	return stpcpy(to, "\"");
}

static char *labels_of(const struct label *label)
{
	char text[MAX_LABELS * METRICS_LABEL_BYTES(sizeof(label->name), LABEL_MAX_BYTES)] = "";
	char *to = text;

	for (unsigned int i = 0; i < MAX_LABELS && label[i].name[0]; i++)
		to = metrics_label(to, ',', label[i].name, label[i].value);
	return strdup(text);
}

/* ---- members ---- */

static int compare(const void *a, const void *b)
{
	const struct metrics_member *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* What a new member's path means.  False: no memory. */
static bool describe(struct metrics_members *all, struct metrics_member *member)
{
	struct label label[MAX_LABELS];
	unsigned int row = row_of(member->path, all->last_row, label);

	if (row == metrics_rows)
		return true;
	all->last_row = row;
	member->row = &metrics_table[row];
	member->metric = metric_of(row);
	member->labels = labels_of(label);
	return member->labels;
}

static void forget(void *member)
{
	free(((struct metrics_member *)member)->labels);
	free(member);
}

/* The member of this path; a new one, if there is none; or NULL: no memory. */
static struct metrics_member *find(struct metrics_members *all, struct metrics_member *parent,
				   const char *key)
{
	struct metrics_member *member, **found;
	size_t before = parent ? strlen(parent->path) + strlen(".") : 0;
	size_t bytes = before + strlen(key) + 1;

	member = calloc(1, sizeof(*member) + bytes);
	if (!member)
		return NULL;
	snprintf(member->path, bytes, "%s%s%s", parent ? parent->path : "", parent ? "." : "", key);
	member->key = member->path + before;
	member->parent = parent;
	found = tsearch(member, &all->by_path, compare);
	if (found && *found != member) {
		forget(member);
		return *found;
	}
	if (found && describe(all, member))
		return member;
	if (found)
		tdelete(member, &all->by_path, compare);
	forget(member);
	return NULL;
}

struct metrics_member *metrics_member(struct metrics_members *all, struct metrics_member *parent,
				      const char *key)
{
	struct metrics_member *member = all->last ? all->last->after : NULL;

	if (!member || member->parent != parent || strcmp(member->key, key) != 0)
		member = find(all, parent, key);
	if (member && all->last)
		all->last->after = member;
	if (member)
		all->last = member;
	return member;
}

void metrics_members_finish(struct metrics_members *all)
{
	tdestroy(all->by_path, forget);
	*all = (struct metrics_members){ .by_path = NULL };
}
