/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <linux/landlock.h>
#include <quire/types.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sandbox_places.h"

/* How many kinds of access to files each version of the interface knows, from version 1. */
static const unsigned int kinds[] = { 13, 14, 15, 15, 16 };

#define ACCESS_TRUNCATE (1UL << 14) /* LANDLOCK_ACCESS_FS_TRUNCATE, of newer headers */

static const uint64_t access_of[] = {
	[PLACE_READ] = LANDLOCK_ACCESS_FS_READ_FILE,
	[PLACE_TIDY] = LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE,
	[PLACE_KEEP] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
		       LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		       ACCESS_TRUNCATE,
};

static int create_rules(uint64_t *handled)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = { 0 };

	if (version < 1)
		return -1;
	attr.handled_access_fs =
		(1UL << kinds[min_u64((uint64_t)version, ARRAY_SIZE(kinds)) - 1]) - 1;
	*handled = attr.handled_access_fs;
	return (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
}

/* A place that does not exist needs no rule. */
static bool allow(int rules, uint64_t handled, const struct place *place)
{
	int fd = place->path[0] ? open(place->path, O_PATH | O_DIRECTORY | O_CLOEXEC) : place->fd;
	struct landlock_path_beneath_attr attr = {
		.allowed_access = access_of[place->use] & handled,
		.parent_fd = fd,
	};
	bool done;

	if (fd < 0)
		return true;
	done = !syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &attr, 0);
	if (place->path[0])
		close(fd);
	return done;
}

bool sandbox_places(const struct place *place, unsigned int nr)
{
	uint64_t handled = 0;
	int rules = create_rules(&handled);
	bool done = rules >= 0;

	for (unsigned int i = 0; i < nr && done; i++)
		done = allow(rules, handled, &place[i]);
	if (done)
		done = !syscall(SYS_landlock_restrict_self, rules, 0);
	if (rules >= 0)
		close(rules);
	return done;
}
