/* SPDX-License-Identifier: MIT */
/*
 * The command line that a guest is given: what the user wrote, and what its kind of image needs.
 *
 *   multiboot  the image's name first, as every boot loader puts it there
 *   Linux      "console=ttyS0" first, and "console=hvc0" if it has that, unless the user names a
 *              console
 *   others     nothing more
 */
#include <stdlib.h>
#include <string.h>
#include "load.h"

/* Of two, Linux prints to both, and the last one is /dev/console. */
#define LINUX_CONSOLE	     "console=ttyS0"
#define LINUX_VIRTIO_CONSOLE LINUX_CONSOLE " console=hvc0"

/*
 * Does a parameter of Linux's command line begin with this?  Those behind "--" are init's, and
 * blanks within double quotes separate nothing.
 */
static bool has_parameter(const char *line, const char *start)
{
	bool quoted = false, begins = true;

	for (; *line; line++) {
		if (begins && !strncmp(line, start, strlen(start)))
			return true;
		if (begins && !strncmp(line, "--", 2) && (line[2] == ' ' || !line[2]))
			return false;
		quoted ^= *line == '"';
		begins = *line == ' ' && !quoted;
	}
	return false;
}

static const char *first_word(const struct image_config *config, const struct image_plan *plan)
{
	if (plan->kernel.is_linux && has_parameter(config->cmdline, "console="))
		return "";
	if (plan->kernel.is_linux)
		return config->virtio_console ? LINUX_VIRTIO_CONSOLE : LINUX_CONSOLE;
	return plan->kind == IMAGE_MULTIBOOT || plan->kind == IMAGE_MULTIBOOT2 ? config->name : "";
}

char *load_cmdline(const struct image_config *config, const struct image_plan *plan)
{
	const char *first = first_word(config, plan);
	const char *blank = *first && *config->cmdline ? " " : "";
	size_t bytes = strlen(first) + strlen(blank) + strlen(config->cmdline) + 1;
	char *line = malloc(bytes);

	if (line)
		snprintf(line, bytes, "%s%s%s", first, blank, config->cmdline);
	return line;
}
