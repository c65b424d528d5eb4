/* SPDX-License-Identifier: MIT */
/*
 * Abstract sockets have no directory that could be listed.  The kernel has a line for each in
 * /proc/net/unix.  The name comes last, with '@' for its NUL byte.  Anybody may bind any name, so
 * names are checked before they get near a terminal.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "abstract.h"

#define ACCEPTCON 0x10000ul /* __SO_ACCEPTCON, the flag of a listening socket there */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int is_plain(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return 0;
	return *name != '\0';
}

/* The name behind the prefix on a line, which is cut there; NULL: it is not such a line. */
static char *listener_name(char *line, const char *prefix)
{
	unsigned long flags;
	int path = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%*s %*s %*s %lx %*s %*s %*s %n", &flags, &path) != 1 || !path ||
	    !(flags & ACCEPTCON) || line[path] != '@' ||
	    strncmp(line + path + 1, prefix, strlen(prefix)) != 0)
		return NULL;
	line += path + 1 + strlen(prefix);
	return is_plain(line) ? line : NULL;
}

unsigned int abstract_list(const char *prefix, char ***out)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char *line = NULL, *name, **names = NULL, **more;
	unsigned int nr = 0;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		name = listener_name(line, prefix);
		if (!name)
			continue;
		more = realloc(names, (nr + 1) * sizeof(*names));
		if (!more)
			break;
		names = more;
		names[nr] = strdup(name);
		if (!names[nr])
			break;
		nr++;
	}
	free(line);
	if (f)
		fclose(f);
	if (nr > 0)
		qsort(names, nr, sizeof(*names), compare_names);
	*out = names;
	return nr;
}

void abstract_free(char **names, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		free(names[i]);
	free(names);
}
