/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "process.h"

bool process_file(pid_t pid, const char *name, char *text, size_t bytes)
{
	char path[64];
	size_t fill = 0;
	ssize_t n = 1;
	int fd;

	text[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (fill < bytes - 1 && (n = read(fd, text + fill, bytes - 1 - fill)) > 0)
		fill += (size_t)n;
	close(fd);
	for (size_t i = 0; i < fill; i++)
		text[i] = text[i] ? text[i] : '\n';
	text[fill] = '\0';
	return n >= 0;
}

static const char *line_of(const char *text, const char *label)
{
	while (text && strncmp(text, label, strlen(label))) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text;
}

bool process_field(const char *text, const char *label, char *value, size_t bytes)
{
	const char *line = line_of(text, label);
	int length;

	value[0] = '\0';
	if (!line)
		return false;
	line += strlen(label);
	line += strspn(line, " \t");
	length = (int)strcspn(line, "\n");
	while (length && strchr(" \t", line[length - 1]))
		length--;
	snprintf(value, bytes, "%.*s", length, line);
	return true;
}

uid_t process_uid(pid_t pid)
{
	char status[4096], value[64];

	process_file(pid, "status", status, sizeof(status));
	if (!process_field(status, "Uid:", value, sizeof(value)))
		return (uid_t)-1;
	return (uid_t)strtoul(value, NULL, 10);
}

pid_t process_parent(pid_t pid)
{
	char status[4096], value[16];

	process_file(pid, "status", status, sizeof(status));
	process_field(status, "PPid:", value, sizeof(value));
	return atoi(value) > 1 ? atoi(value) : 0;
}
