/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "installed.h"

/* Cut the last name off a path; false: there is none left. */
static bool cut_name(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	return slash != NULL;
}

char *installed_image(const char *name)
{
	char program[PATH_MAX], *path = NULL;
	ssize_t n;

	if (strchr(name, '/') || !access(name, F_OK) || errno != ENOENT)
		return NULL;
	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (n < 0)
		return NULL;
	program[n] = '\0';
	if (!cut_name(program) || !cut_name(program) ||
	    asprintf(&path, "%s/lib/quire/%s", program, name) < 0)
		return NULL;
	if (!access(path, F_OK))
		return path;
	free(path);
	return NULL;
}
