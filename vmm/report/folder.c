/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "folder.h"
#include "page.h"
#include "picture.h"
#include "vmm/play/result.h"

#define MAX_MAP_FILES 1000u
#define MAP_LETTERS   "abcdefghijklmnopqrstuvwxyz0123456789._"

static FILE *open_file(const char *dir, const char *name, struct quire_error *err)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f)
		quire_fail(err, -errno, "cannot write %.300s: %m", path);
	return f;
}

static int close_file(FILE *f, const char *dir, const char *name, struct quire_error *err)
{
	bool failed = ferror(f);

	if (!fclose(f) && !failed)
		return 0;
	return quire_fail(err, -EIO, "cannot write %.200s/%s: %m", dir, name);
}

static int write_file(const char *dir, const char *name, const json_t *result,
		      void (*put)(FILE *f, const json_t *result), struct quire_error *err)
{
	FILE *f = open_file(dir, name, err);

	if (!f)
		return -EIO;
	put(f, result);
	return close_file(f, dir, name, err);
}

static void put_json(FILE *f, const json_t *result)
{
	result_json(f, result);
}

/* The place of a map in the list, then whose it is: a name that no VM's name can spoil. */
static void map_name(char *name, size_t size, size_t i, const char *vm)
{
	int at = snprintf(name, size, "map-%zu-", i + 1);

	for (; *vm && at < (int)size - 5; vm++)
		name[at++] = strchr(MAP_LETTERS, *vm) ? *vm : '_';
	strcpy(name + at, ".svg");
}

/* Can map_name() have made it? */
static bool is_map_name(const char *name)
{
	size_t length = strlen(name), digits;

	if (strncmp(name, "map-", 4) != 0 || length < 4 || strcmp(name + length - 4, ".svg") != 0)
		return false;
	digits = strspn(name + 4, "0123456789");
	name += 4 + digits;
	return digits && *name == '-' && !name[1 + strspn(name + 1, MAP_LETTERS)];
}

static void put_map(FILE *f, const json_t *map)
{
	picture_map(f, map);
}

static int write_maps(const char *dir, const json_t *result, struct quire_error *err)
{
	const json_t *maps = json_object_get(result, "maps");
	char name[80];
	int code = 0;

	for (size_t i = 0; i < json_array_size(maps) && i < MAX_MAP_FILES && !code; i++) {
		const json_t *map = json_array_get(maps, i);

		map_name(name, sizeof(name), i, picture_text(map, "vm"));
		code = write_file(dir, name, map, put_map, err);
	}
	return code;
}

static int remove_file(const char *dir, const char *name, struct quire_error *err)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (unlink(path) && errno != ENOENT)
		return quire_fail(err, -errno, "cannot write %.300s: %m", path);
	return 0;
}

static int remove_maps(const char *dir, struct quire_error *err)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	int code = 0;

	if (!d)
		return quire_fail(err, -errno, "cannot read %.200s: %m", dir);
	while (!code && (entry = readdir(d)))
		if (is_map_name(entry->d_name))
			code = remove_file(dir, entry->d_name, err);
	closedir(d);
	return code;
}

int folder_prepare(const char *dir, struct quire_error *err)
{
	int code;

	if (mkdir(dir, 0777) && errno != EEXIST)
		return quire_fail(err, -errno, "cannot make %.200s: %m", dir);
	code = remove_file(dir, "result.json", err);
	if (!code)
		code = remove_maps(dir, err);
	if (code)
		return code;
	if (access(dir, W_OK | X_OK))
		return quire_fail(err, -errno, "cannot write into %.200s: %m", dir);
	return 0;
}

int folder_write(const char *dir, const json_t *result, struct quire_error *err)
{
	int code = write_file(dir, "result.json", result, put_json, err);
	char name[64];

	for (unsigned int i = 0; i < PICTURES && !code; i++) {
		snprintf(name, sizeof(name), "%s.svg", pictures[i].name);
		code = write_file(dir, name, result, pictures[i].draw, err);
	}
	if (!code)
		code = write_maps(dir, result, err);
	if (!code)
		code = write_file(dir, "index.html", result, page_of_result, err);
	return code;
}
