/* SPDX-License-Identifier: MIT */
/* What people write behind --disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "disk_option.h"

static int set_path(char path[DISK_PATH_MAX + 1], const char *value, struct quire_error *err)
{
	if (!*value)
		return quire_fail(err, -EINVAL, "no file name");
	if (strlen(value) > DISK_PATH_MAX)
		return quire_fail(err, -EINVAL, "a path has at most %d bytes here", DISK_PATH_MAX);
	memcpy(path, value, strlen(value) + 1);
	return 0;
}

/* One word behind the file's name. */
static int set_disk_word(struct disk_spec *disk, char *word, struct quire_error *err)
{
	bool is_overlay = !strncmp(word, "overlay", strlen("overlay"));
	const char *dir = is_overlay ? word + strlen("overlay") : "";

	if (disk->mode != DISK_READ_WRITE)
		return quire_fail(err, -EINVAL, "'%.40s' comes too late: it is %s already", word,
				  disk->mode == DISK_OVERLAY ? "overlay" : "ro");
	if (!strcmp(word, "ro"))
		disk->mode = DISK_READ_ONLY;
	else if (is_overlay && (!*dir || (*dir == '=' && dir[1])))
		disk->mode = DISK_OVERLAY;
	else
		return quire_fail(err, -EINVAL,
				  "'%.40s' is not ro, overlay or overlay=DIR; a file name has no "
				  "comma here",
				  word);
	return *dir ? set_path(disk->overlay_dir, dir + 1, err) : 0;
}

/* Not below /tmp if nobody says so: there it would often be memory. */
static void set_overlay_dir(struct disk_spec *disk)
{
	const char *dir = getenv("TMPDIR");

	if (!disk->overlay_dir[0] && (!dir || !*dir || set_path(disk->overlay_dir, dir, NULL)))
		set_path(disk->overlay_dir, "/var/tmp", NULL);
}

int parse_disk(char *text, struct disk_spec *disk, struct quire_error *err)
{
	char *word, *rest = strchr(text, ',');
	int ret;

	if (rest)
		*rest++ = '\0';
	ret = set_path(disk->path, text, err);
	while (!ret && (word = strsep(&rest, ",")))
		ret = set_disk_word(disk, word, err);
	set_overlay_dir(disk);
	return ret;
}
