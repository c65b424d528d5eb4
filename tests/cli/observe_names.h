/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_CLI_OBSERVE_NAMES_H
#define QUIRE_TESTS_CLI_OBSERVE_NAMES_H

/* Names of members, in what a command printed and in docs/stats.md. */
#include "observe_lab.h"

#define MAX_NAMES 384

struct names {
	char name[MAX_NAMES][48];
	unsigned int nr;
};

/* Is the name in the set? */
bool has_name(const struct names *set, const char *name);

/* Adds the name of so many bytes, once. */
void add_name(struct names *set, const char *name, size_t bytes);

/* Members at this indentation in lab_out: the writer puts each on a line of its own. */
struct names members(unsigned int indent);

/* Names in backticks in the first column of the table of a section of docs/stats.md. */
struct names documented(const char *section);

/* One assertion: both sets have the same names. */
void same_names(const struct names *doc, const struct names *printed, const char *what);

#endif
