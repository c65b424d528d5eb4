/* SPDX-License-Identifier: MIT */
/*
 * The command line that a guest is given: what the user wrote, and what its kind of image needs.
 *
 *   multiboot  the image's name first, as every boot loader puts it there
 *   Linux      "console=ttyS0" first, and "console=hvc0" if it has that, unless the user names a
 *              console; with "acpi=off" its virtio devices, which it finds by ACPI otherwise, and
 *              would find twice
 *   others     nothing more
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"

/* Of two, Linux prints to both, and the last one is /dev/console. */
#define LINUX_CONSOLE	     "console=ttyS0"
#define LINUX_VIRTIO_CONSOLE LINUX_CONSOLE " console=hvc0"
#define LINUX_DEVICE	     "virtio_mmio.device="

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

static void put_word(FILE *f, const char *word)
{
	if (*word)
		fprintf(f, "%s%s", ftell(f) > 0 ? " " : "", word);
}

static void put_devices(FILE *f, const struct image_config *config)
{
	char word[80];

	for (unsigned int i = 0; i < config->nr_virtio; i++) {
		const struct virtio_slot *slot = &config->virtio[i];

		snprintf(word, sizeof(word), LINUX_DEVICE "%" PRIu64 "@%#" PRIx64 ":%u",
			 slot->bytes, slot->base, slot->irq);
		put_word(f, word);
	}
}

static void put_for_linux(FILE *f, const struct image_config *config)
{
	if (!has_parameter(config->cmdline, "console="))
		put_word(f, config->virtio_console ? LINUX_VIRTIO_CONSOLE : LINUX_CONSOLE);
	if (has_parameter(config->cmdline, "acpi=off") &&
	    !has_parameter(config->cmdline, LINUX_DEVICE))
		put_devices(f, config);
}

char *load_cmdline(const struct image_config *config, const struct image_plan *plan)
{
	char *line = NULL;
	size_t bytes;
	FILE *f = open_memstream(&line, &bytes);

	if (!f)
		return NULL;
	if (plan->kernel.is_linux)
		put_for_linux(f, config);
	if (plan->kind == IMAGE_MULTIBOOT || plan->kind == IMAGE_MULTIBOOT2)
		put_word(f, config->name);
	put_word(f, config->cmdline);
	if (!fclose(f))
		return line;
	free(line);
	return NULL;
}
