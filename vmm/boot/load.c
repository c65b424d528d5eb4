/* SPDX-License-Identifier: MIT */
/*
 * What all loaders do alike: add a checked segment, find room, describe memory.
 *
 * The checks of load_segment() are all that is between a hostile file and guest memory.  So they
 * assume nothing about their arguments: they compare sizes and addresses by subtraction, and never
 * by a sum that could wrap around.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "bios.h"
#include "load.h"

#define HIGH_START (1 * MiB)
#define MAX_RAM	   (1UL << 48) /* what stage 2 can map */

#define INITRD_ALIGN 4 /* of the parts of an initrd */

/*
 * The name comes from the command line and may be anything.  Keep control characters out of the
 * message, which is one line, and shorten a long path, so that there is room for the numbers.
 */
static void printable_name(const char *name, char out[100])
{
	size_t len = strlen(name), keep = 99, i;

	if (len > keep)
		name += len - keep;
	for (i = 0; name[i]; i++)
		out[i] = (unsigned char)name[i] < ' ' || name[i] == 0x7f ? '?' : name[i];
	out[i] = '\0';
	if (len > keep)
		memcpy(out, "...", 3);
}

int load_fail(struct loader *ld, int code, const char *fmt, ...)
{
	char name[100], text[240];
	va_list ap;

	printable_name(ld->config->name ? ld->config->name : "image", name);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return quire_fail(ld->err, code, "%s: %s", name, text);
}

bool load_in_file(const struct loader *ld, uint64_t offset, uint64_t bytes)
{
	return offset <= ld->config->file_bytes && bytes <= ld->config->file_bytes - offset;
}

uint32_t load_u32(const struct loader *ld, uint64_t offset)
{
	uint32_t v;

	memcpy(&v, (const uint8_t *)ld->config->file + offset, sizeof(v));
	return v;
}

static gpa_t ram_end(const struct image_config *config)
{
	return config->nr_ram ? gfn_to_gpa(config->ram[config->nr_ram - 1].end) : 0;
}

/* Is all of [gpa, gpa + bytes) RAM?  It does not wrap around.  RAM ranges may touch. */
static bool is_ram(const struct image_config *config, gpa_t gpa, uint64_t bytes)
{
	gpa_t end = gpa + bytes;
	unsigned int i;

	for (i = 0; i < config->nr_ram && gpa < end; i++)
		if (gpa >= gfn_to_gpa(config->ram[i].start) && gpa < gfn_to_gpa(config->ram[i].end))
			gpa = gfn_to_gpa(config->ram[i].end);
	return gpa >= end;
}

/* A segment that overlaps [gpa, gpa + bytes); NULL: there is none. */
static const struct image_segment *overlapping(const struct image_plan *plan, gpa_t gpa,
					       uint64_t bytes)
{
	unsigned int i;

	for (i = 0; i < plan->nr_segments; i++) {
		const struct image_segment *s = &plan->segment[i];

		if (gpa < s->gpa + s->mem_bytes && s->gpa < gpa + bytes)
			return s;
	}
	return NULL;
}

/* Say why [gpa, gpa + bytes), which does not wrap around, is no place for a segment. */
static int fail_not_ram(struct loader *ld, const char *what, gpa_t gpa, uint64_t bytes)
{
	gpa_t end = gpa + bytes;

	if (gpa < QUIRE_GAP_END && end > QUIRE_GAP_START)
		return load_fail(ld, -ENOEXEC,
				 "%s at [%#" PRIx64 ", %#" PRIx64 ") reaches into "
				 "the device hole [3 GiB, 4 GiB): link the image below 3 GiB",
				 what, gpa, end);
	if (end > MAX_RAM)
		return load_fail(ld, -EFBIG,
				 "%s at [%#" PRIx64 ", %#" PRIx64 ") is beyond any RAM "
				 "a VM can have: link the image below %#lx",
				 what, gpa, end, MAX_RAM);
	/* RAM goes on at 4 GiB after the hole, so the hole does not count in what -m has to be. */
	if (end >= QUIRE_GAP_END)
		end -= QUIRE_GAP_END - QUIRE_GAP_START;
	return load_fail(ld, -EFBIG,
			 "%s at [%#" PRIx64 ", %#" PRIx64 ") does not fit in RAM, "
			 "which ends at %#" PRIx64 ": run with -m %" PRIu64 "M or more",
			 what, gpa, gpa + bytes, ram_end(ld->config), align_up(end, MiB) / MiB);
}

int load_segment(struct loader *ld, const char *what, gpa_t gpa, const void *data,
		 uint64_t file_bytes, uint64_t mem_bytes)
{
	struct image_plan *plan = ld->plan;
	const struct image_segment *other;

	if (file_bytes > mem_bytes)
		return load_fail(ld, -ENOEXEC,
				 "%s has %" PRIu64 " bytes in the file but only %" PRIu64
				 " in memory: rebuild the image",
				 what, file_bytes, mem_bytes);
	if (!mem_bytes)
		return 0;
	/*
	 * The top megabyte of the address space is refused too, so that rounding cannot wrap
	 * around.
	 */
	if (gpa > UINT64_MAX - MiB || mem_bytes > UINT64_MAX - MiB - gpa)
		return load_fail(ld, -ENOEXEC,
				 "%s at %#" PRIx64 " with %#" PRIx64 " bytes wraps "
				 "around the address space: rebuild the image",
				 what, gpa, mem_bytes);
	if (!ld->movable && !is_ram(ld->config, gpa, mem_bytes))
		return fail_not_ram(ld, what, gpa, mem_bytes);
	other = overlapping(plan, gpa, mem_bytes);
	if (other)
		return load_fail(ld, -ENOEXEC,
				 "%s at [%#" PRIx64 ", %#" PRIx64 ") overlaps the "
				 "segment at [%#" PRIx64 ", %#" PRIx64 "): relink the image",
				 what, gpa, gpa + mem_bytes, other->gpa,
				 other->gpa + other->mem_bytes);
	if (plan->nr_segments == IMAGE_MAX_SEGMENTS)
		return load_fail(ld, -ENOEXEC,
				 "%s is one too many: at most %u segments, boot data "
				 "and modules included",
				 what, IMAGE_MAX_SEGMENTS);
	plan->segment[plan->nr_segments++] = (struct image_segment){
		.gpa = gpa,
		.data = file_bytes ? data : NULL,
		.file_bytes = file_bytes,
		.mem_bytes = mem_bytes,
	};
	return 0;
}

int load_entry(struct loader *ld, const char *what, uint64_t entry)
{
	if (entry >= QUIRE_GAP_END)
		return load_fail(ld, -ENOEXEC,
				 "%s %#" PRIx64 " is beyond 4 GiB, but the guest "
				 "starts in 32-bit mode: give it a 32-bit entry",
				 what, entry);
	if (!overlapping(ld->plan, entry, 1))
		return load_fail(ld, -ENOEXEC,
				 "%s %#" PRIx64 " is not inside any of the %u loaded "
				 "segments: check the linker script",
				 what, entry, ld->plan->nr_segments);
	ld->plan->entry = entry;
	return 0;
}

/*
 * Find the first fit at or above `from`: step over each segment that is in the way, and over the
 * ends of RAM ranges, until nothing is in the way.  Every step moves up, so this ends.
 */
static bool find_free(const struct loader *ld, gpa_t from, gpa_t to, uint64_t bytes, gpa_t *gpa)
{
	const struct image_segment *s;
	const struct gfn_range *r = ld->config->ram, *end = r + ld->config->nr_ram;

	for (; r < end; r++) {
		gpa_t at = max_u64(from, gfn_to_gpa(r->start));
		gpa_t limit = min_u64(gfn_to_gpa(r->end), to);

		while (at < limit && bytes <= limit - at) {
			s = overlapping(ld->plan, at, bytes);
			if (!s) {
				*gpa = at;
				return true;
			}
			at = align_up(s->gpa + s->mem_bytes, QUIRE_PAGE_SIZE);
		}
	}
	return false;
}

/* The end of what is placed below the hole so far: boot data goes above that. */
static gpa_t image_top(const struct image_plan *plan)
{
	gpa_t top = HIGH_START;
	unsigned int i;

	for (i = 0; i < plan->nr_segments; i++)
		if (plan->segment[i].gpa < QUIRE_GAP_START)
			top = max_u64(top, plan->segment[i].gpa + plan->segment[i].mem_bytes);
	return align_up(top, QUIRE_PAGE_SIZE);
}

/* Say why there is no room.  More RAM helps as long as what is above the image is below `limit`. */
static int fail_no_room(struct loader *ld, const char *what, uint64_t bytes, gpa_t limit)
{
	gpa_t top = image_top(ld->plan);

	if (bytes > limit || top > limit - bytes)
		return load_fail(ld, -EFBIG,
				 "no room for the %" PRIu64 " bytes of %s: the image ends at "
				 "%#" PRIx64 ", and they have to be below %#" PRIx64,
				 bytes, what, top, limit);
	return load_fail(ld, -EFBIG,
			 "no room for the %" PRIu64 " bytes of %s: the image ends at %#" PRIx64
			 " and RAM at %#" PRIx64 ": run with -m %" PRIu64 "M or more",
			 bytes, what, top, ram_end(ld->config), align_up(top + bytes, MiB) / MiB);
}

int load_alloc(struct loader *ld, const char *what, uint64_t bytes, gpa_t limit, gpa_t *gpa)
{
	limit = min_u64(limit, QUIRE_GAP_START);
	/* If the image ends at the very top of RAM, there may be room beneath it. */
	if (find_free(ld, image_top(ld->plan), limit, bytes, gpa) ||
	    find_free(ld, HIGH_START, limit, bytes, gpa))
		return 0;
	return fail_no_room(ld, what, bytes, limit);
}

/* The least range that has all segments, of which there are some. */
static void extent(const struct image_plan *plan, gpa_t *start, gpa_t *end)
{
	*start = UINT64_MAX;
	*end = 0;
	for (unsigned int i = 0; i < plan->nr_segments; i++) {
		const struct image_segment *s = &plan->segment[i];

		*start = min_u64(*start, s->gpa);
		*end = max_u64(*end, s->gpa + s->mem_bytes);
	}
}

/* Does [gpa, gpa + bytes) do as it is?  bytes is not beyond where->high. */
static bool is_place(const struct loader *ld, const struct load_range *where, gpa_t gpa,
		     uint64_t bytes)
{
	return gpa >= where->low && gpa <= where->high - bytes && !(gpa % where->align) &&
	       is_ram(ld->config, gpa, bytes);
}

static bool find_place(const struct loader *ld, const struct load_range *where, uint64_t bytes,
		       gpa_t *gpa)
{
	bool found = false;

	for (unsigned int i = 0; i < ld->config->nr_ram; i++) {
		const struct gfn_range *r = &ld->config->ram[i];
		gpa_t low = align_up(max_u64(where->low, gfn_to_gpa(r->start)), where->align);
		gpa_t high = min_u64(where->high, gfn_to_gpa(r->end));

		if (bytes > high || low > high - bytes || (found && where->preference != LOAD_HIGH))
			continue;
		found = true;
		*gpa = where->preference == LOAD_HIGH ? align_down(high - bytes, where->align) :
							low;
	}
	return found;
}

int load_move(struct loader *ld, const struct load_range *where, uint64_t *moved)
{
	struct load_range in = *where;
	gpa_t start, end, to = 0;
	uint64_t bytes;

	in.low = max_u64(in.low, HIGH_START);
	in.high = min_u64(in.high, QUIRE_GAP_START);
	extent(ld->plan, &start, &end);
	bytes = end - start;
	if (in.preference == LOAD_AS_LINKED && bytes <= in.high && is_place(ld, &in, start, bytes))
		to = start;
	else if (!find_place(ld, &in, bytes, &to))
		return load_fail(ld, -EFBIG,
				 "no room for the image's %" PRIu64 " bytes, which may be in "
				 "[%#" PRIx64 ", %#" PRIx64 ") at multiples of %#" PRIx64 "; RAM "
				 "ends at %#" PRIx64 ": run with a larger -m",
				 bytes, in.low, in.high, in.align, ram_end(ld->config));
	*moved = to - start;
	for (unsigned int i = 0; i < ld->plan->nr_segments; i++)
		ld->plan->segment[i].gpa += *moved;
	return 0;
}

int load_module(struct loader *ld, const struct image_module *module, gpa_t *gpa)
{
	char what[32];
	uint64_t pages;
	int err;

	snprintf(what, sizeof(what), "module %u", (unsigned int)(module - ld->config->module));
	if (module->bytes > QUIRE_GAP_START)
		return load_fail(ld, -EFBIG,
				 "%s has %" PRIu64 " bytes, which cannot fit below 3 "
				 "GiB",
				 what, module->bytes);
	pages = align_up(max_u64(module->bytes, 1), QUIRE_PAGE_SIZE);
	err = load_alloc(ld, what, pages, QUIRE_GAP_START, gpa);
	if (err)
		return err;
	return load_segment(ld, what, *gpa, module->data, module->bytes, pages);
}

size_t load_module_string_bytes(const struct image_module *m)
{
	return strlen(m->name) + (*m->args ? 1 + strlen(m->args) : 0) + 1;
}

void load_module_string(const struct image_module *m, char *out)
{
	sprintf(out, "%s%s%s", m->name, *m->args ? " " : "", m->args);
}

gpa_t load_acpi(struct loader *ld)
{
	const struct image_config *config = ld->config;
	uint64_t bytes = config->acpi_bytes;

	if (!bytes || !is_ram(config, QUIRE_ACPI_BASE, bytes) ||
	    overlapping(ld->plan, QUIRE_ACPI_BASE, bytes) ||
	    load_segment(ld, "the ACPI tables", QUIRE_ACPI_BASE, config->acpi, bytes, bytes))
		return 0;
	return QUIRE_ACPI_BASE;
}

/* The bytes of all initrds as one; UINT64_MAX: more than could ever fit. */
static uint64_t initrd_bytes(const struct image_config *config)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < config->nr_initrds; i++) {
		if (config->initrd[i].bytes > QUIRE_GAP_START)
			return UINT64_MAX;
		bytes = align_up(bytes, INITRD_ALIGN) + config->initrd[i].bytes;
	}
	return bytes;
}

int load_initrd(struct loader *ld, gpa_t last, gpa_t *gpa, uint64_t *bytes)
{
	const struct image_config *config = ld->config;
	gpa_t at;
	int err;

	*gpa = 0;
	*bytes = initrd_bytes(config);
	if (!*bytes)
		return 0;
	err = load_alloc(ld, "the initrd", *bytes, last + 1, gpa);
	at = *gpa;
	for (unsigned int i = 0; i < config->nr_initrds && !err; i++) {
		const struct image_module *part = &config->initrd[i];

		err = load_segment(ld, "the initrd", at, part->data, part->bytes, part->bytes);
		at = align_up(at + part->bytes, INITRD_ALIGN);
	}
	return err;
}

const struct image_module *load_next_module(const struct loader *ld, bool fdt,
					    const struct image_module *prev)
{
	const struct image_module *m = prev ? prev + 1 : ld->config->module;
	const struct image_module *end = ld->config->module + ld->config->nr_modules;

	while (m < end && !fdt && !strcmp(m->args, QUIRE_FDT_MODULE))
		m++;
	return m < end ? m : NULL;
}

int load_boot_begin(struct loader *ld, size_t bytes)
{
	int err = load_alloc(ld, "boot data", bytes, QUIRE_GAP_START, &ld->boot_gpa);

	if (err)
		return err;
	ld->boot = calloc(1, bytes);
	if (!ld->boot)
		return load_fail(ld, -ENOMEM, "the host has no memory for %zu bytes of boot data",
				 bytes);
	ld->plan->boot_data = ld->boot;
	ld->boot_bytes = bytes;
	return load_segment(ld, "boot data", ld->boot_gpa, ld->boot, bytes, bytes);
}

gpa_t load_boot_put(struct loader *ld, const void *data, size_t bytes)
{
	size_t at = ld->boot_used;

	/*
	 * The loader announced every item.  More than that is a bug in it, whatever the image is.
	 */
	if (bytes > ld->boot_bytes - at)
		abort();
	if (data)
		memcpy(ld->boot + at, data, bytes);
	ld->boot_used += load_boot_size(bytes);
	return ld->boot_gpa + at;
}

/* Append [start, end) if there is anything in it. */
static unsigned int put_range(struct load_memory *out, unsigned int n, uint64_t start, uint64_t end,
			      enum load_memory_type type)
{
	if (start < end)
		out[n++] = (struct load_memory){ start, end, type };
	return n;
}

unsigned int load_memory_map(const struct image_config *config,
			     struct load_memory out[LOAD_MAX_MEMORY])
{
	/*
	 * The address space in order, without what nothing is said about.  Where there may be RAM,
	 * config's ranges are clipped to it.
	 */
	static const struct load_memory part[] = {
		{ 0, BIOS_EBDA, LOAD_MEMORY_RAM },
		{ BIOS_EBDA, BIOS_LOW_END, LOAD_MEMORY_RESERVED },
		{ BIOS_TABLES, HIGH_START, LOAD_MEMORY_RESERVED },
		{ HIGH_START, QUIRE_GAP_START, LOAD_MEMORY_RAM },
		{ QUIRE_GAP_START, QUIRE_GAP_END, LOAD_MEMORY_RESERVED },
		{ QUIRE_GAP_END, UINT64_MAX, LOAD_MEMORY_RAM },
	};
	unsigned int n = 0, p, i;

	for (p = 0; p < ARRAY_SIZE(part); p++) {
		if (part[p].type == LOAD_MEMORY_RESERVED)
			n = put_range(out, n, part[p].start, part[p].end, LOAD_MEMORY_RESERVED);
		for (i = 0; i < config->nr_ram && part[p].type == LOAD_MEMORY_RAM; i++)
			n = put_range(out, n,
				      max_u64(gfn_to_gpa(config->ram[i].start), part[p].start),
				      min_u64(gfn_to_gpa(config->ram[i].end), part[p].end),
				      LOAD_MEMORY_RAM);
	}
	return n;
}

uint32_t load_contiguous_kib(const struct load_memory *map, unsigned int nr, uint64_t start)
{
	uint64_t end = start;
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (map[i].type == LOAD_MEMORY_RAM && map[i].start <= end && end < map[i].end)
			end = map[i].end;
	return (end - start) / KiB;
}
