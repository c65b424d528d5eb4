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

/* A file at `path` from the folder `up` folders above the program's file.  malloc'd; NULL: none. */
static char *beside(unsigned int up, const char *path)
{
	char program[PATH_MAX], *file = NULL;
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (n < 0)
		return NULL;
	program[n] = '\0';
	for (unsigned int i = 0; i <= up; i++)
		if (!cut_name(program))
			return NULL;
	if (asprintf(&file, "%s/%s", program, path) < 0)
		return NULL;
	if (!access(file, F_OK))
		return file;
	free(file);
	return NULL;
}

char *installed_image(const char *name)
{
	char path[PATH_MAX];

	if (strchr(name, '/') || !access(name, F_OK) || errno != ENOENT)
		return NULL;
	snprintf(path, sizeof(path), "lib/quire/%s", name);
	return beside(1, path);
}

char *installed_quill(void)
{
	char *path = beside(0, "guest/quill.elf");

	return path ? path : beside(1, "lib/quire/quill.elf");
}
