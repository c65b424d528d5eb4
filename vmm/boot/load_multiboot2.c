/* SPDX-License-Identifier: MIT */
/*
 * Multiboot 2 (Multiboot2 Specification 2.0).
 *
 * The header may be anywhere in the first 32 KiB, 8-byte aligned.  It is a list of tags, each of
 * which is required unless it says that it is optional (section 3.1).  A file that requires what is
 * not here is refused.  The file is ELF, of 32 or 64 bits, or says itself where it goes.  The guest
 * starts in 32-bit protected mode, with paging off, eax = 0x36d76289, and ebx = the information, a
 * list of tags too (sections 3.3 and 3.6).
 *
 * An image that can be relocated is put where it says that it likes to be, and told where that is.
 * Without a liking it stays where it is linked, if there is RAM.
 *
 * The boot data is one segment: the information, which has everything inside.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "load.h"

#define MB2_SEARCH_BYTES 32768
#define MB2_ALIGN	 8
#define MB2_MAGIC	 0xe85250d6
#define MB2_EAX		 0x36d76289
#define MB2_I386	 0 /* architecture: 32-bit protected mode */
#define MB2_HEADER_BYTES 16
#define MB2_OPTIONAL	 1u	    /* flag of a tag */
#define MB2_FILE_START	 UINT32_MAX /* load address: of the file's first byte */

enum mb2_header_tag {
	TAG_END = 0,
	TAG_REQUEST = 1, /* what the information has to say */
	TAG_ADDRESS = 2,
	TAG_ENTRY = 3,
	TAG_CONSOLE = 4,
	TAG_FRAMEBUFFER = 5,
	TAG_MODULE_ALIGN = 6,
	TAG_EFI = 7,
	TAG_EFI_ENTRY32 = 8, /* means nothing without EFI */
	TAG_EFI_ENTRY64 = 9,
	TAG_RELOCATABLE = 10,
};

/* Flags of TAG_CONSOLE. */
#define CONSOLE_REQUIRED 1u
#define CONSOLE_EGA_TEXT 2u /* one that it knows */

enum mb2_info_tag {
	INFO_END = 0,
	INFO_CMDLINE = 1,
	INFO_LOADER = 2,
	INFO_MODULE = 3,
	INFO_MEMORY = 4,
	INFO_MMAP = 6,
	INFO_FRAMEBUFFER = 8,
	INFO_RSDP1 = 14,
	INFO_RSDP2 = 15,
	INFO_LOAD_BASE = 21,
	INFO_LAST = INFO_LOAD_BASE, /* of the specification */
};

struct mb2_tag {
	uint32_t at; /* in the file */
	uint32_t type, flags, bytes;
};

struct mb2_header {
	uint32_t offset, bytes;
	bool has_addresses, has_entry;
	struct load_addresses address;
	uint32_t entry;
	bool relocatable;
	struct load_range where;
};

/* ---- the header ---- */

static bool find_header(const struct loader *ld, struct mb2_header *h)
{
	for (uint32_t at = 0; at <= MB2_SEARCH_BYTES - MB2_HEADER_BYTES; at += MB2_ALIGN) {
		if (!load_in_file(ld, at, MB2_HEADER_BYTES))
			return false;
		if (load_u32(ld, at) == MB2_MAGIC &&
		    !(MB2_MAGIC + load_u32(ld, at + 4) + load_u32(ld, at + 8) +
		      load_u32(ld, at + 12))) {
			*h = (struct mb2_header){ .offset = at, .bytes = load_u32(ld, at + 8) };
			return true;
		}
	}
	return false;
}

static int check_header(struct loader *ld, const struct mb2_header *h)
{
	uint32_t machine = load_u32(ld, h->offset + 4);

	if (machine != MB2_I386)
		return load_fail(ld, -ENOEXEC,
				 "the multiboot 2 header is for architecture %u, not 0 (i386)",
				 machine);
	if (h->bytes < MB2_HEADER_BYTES || h->bytes > MB2_SEARCH_BYTES - h->offset ||
	    !load_in_file(ld, h->offset, h->bytes))
		return load_fail(ld, -ENOEXEC,
				 "the multiboot 2 header at offset %u has %u bytes, which do not "
				 "end within the first 32 KiB of the file: fix the header",
				 h->offset, h->bytes);
	return 0;
}

static int refuse(struct loader *ld, const char *what)
{
	return load_fail(ld, -ENOEXEC,
			 "the multiboot 2 header requires %s, which quire does not have: mark the "
			 "tag as optional",
			 what);
}

static int take_request(struct loader *ld, const struct mb2_tag *tag)
{
	for (uint32_t at = 8; at + 4 <= tag->bytes; at += 4) {
		uint32_t type = load_u32(ld, tag->at + at);

		if (type > INFO_LAST && !(tag->flags & MB2_OPTIONAL))
			return load_fail(ld, -ENOEXEC,
					 "the multiboot 2 header requests information tag %u, "
					 "which is not known: build it for version 2.0",
					 type);
	}
	return 0;
}

static int take_console(struct loader *ld, const struct mb2_tag *tag)
{
	uint32_t flags = load_u32(ld, tag->at + 8);
	bool there = ld->config->text_screen && flags & CONSOLE_EGA_TEXT;

	return flags & CONSOLE_REQUIRED && !there ? refuse(ld, "a console of its kind") : 0;
}

static int take_address(struct mb2_header *h, struct loader *ld, const struct mb2_tag *tag)
{
	h->has_addresses = true;
	h->address = (struct load_addresses){
		.header = load_u32(ld, tag->at + 8),
		.load = load_u32(ld, tag->at + 12),
		.load_end = load_u32(ld, tag->at + 16),
		.bss_end = load_u32(ld, tag->at + 20),
	};
	if (h->address.load == MB2_FILE_START)
		h->address.load = h->address.header - h->offset;
	return 0;
}

static int take_relocatable(struct mb2_header *h, struct loader *ld, const struct mb2_tag *tag)
{
	static const enum load_preference preference[] = { LOAD_AS_LINKED, LOAD_LOW, LOAD_HIGH };
	uint32_t align = load_u32(ld, tag->at + 16), wish = load_u32(ld, tag->at + 20);

	if (align & (align - 1))
		return load_fail(ld, -ENOEXEC,
				 "the multiboot 2 header wants the image at multiples of %#x, "
				 "which is no power of two: fix the header",
				 align);
	h->relocatable = true;
	h->where = (struct load_range){
		.low = load_u32(ld, tag->at + 8),
		.high = load_u32(ld, tag->at + 12),
		.align = align ? align : 1,
		.preference = wish < ARRAY_SIZE(preference) ? preference[wish] : LOAD_AS_LINKED,
	};
	return 0;
}

/* Take note of a tag.  0 or -ENOEXEC. */
static int take_tag(struct loader *ld, struct mb2_header *h, const struct mb2_tag *tag)
{
	static const uint32_t bytes[] = {
		[TAG_ADDRESS] = 24,
		[TAG_ENTRY] = 12,
		[TAG_CONSOLE] = 12,
		[TAG_RELOCATABLE] = 24,
	};
	char what[24];

	if (tag->type < ARRAY_SIZE(bytes) && tag->bytes < bytes[tag->type])
		return load_fail(ld, -ENOEXEC,
				 "multiboot 2 header tag %u has %u bytes, not %u: fix the header",
				 tag->type, tag->bytes, bytes[tag->type]);
	switch (tag->type) {
	case TAG_REQUEST: return take_request(ld, tag);
	case TAG_ADDRESS: return take_address(h, ld, tag);
	case TAG_ENTRY:
		h->has_entry = true;
		h->entry = load_u32(ld, tag->at + 8);
		return 0;
	case TAG_MODULE_ALIGN: /* modules have pages of their own */
	case TAG_EFI_ENTRY32:
	case TAG_EFI_ENTRY64: return 0;
	case TAG_RELOCATABLE: return take_relocatable(h, ld, tag);
	}
	if (tag->flags & MB2_OPTIONAL)
		return 0;
	switch (tag->type) {
	case TAG_CONSOLE: return take_console(ld, tag);
	case TAG_FRAMEBUFFER: return refuse(ld, "a video mode");
	case TAG_EFI: return refuse(ld, "EFI boot services");
	}
	snprintf(what, sizeof(what), "tag %u", tag->type);
	return refuse(ld, what);
}

static int read_tags(struct loader *ld, struct mb2_header *h)
{
	uint64_t at = MB2_HEADER_BYTES;

	while (at + 8 <= h->bytes) {
		uint32_t word = load_u32(ld, h->offset + at);
		const struct mb2_tag tag = {
			.at = h->offset + at,
			.type = word & 0xffff,
			.flags = word >> 16,
			.bytes = load_u32(ld, h->offset + at + 4),
		};
		int err;

		if (tag.type == TAG_END)
			return 0;
		if (tag.bytes < 8 || tag.bytes > h->bytes - at)
			return load_fail(ld, -ENOEXEC,
					 "multiboot 2 header tag %u at offset %u has %u bytes, but "
					 "the header only %" PRIu64 " more: fix the header",
					 tag.type, tag.at, tag.bytes, h->bytes - at);
		err = take_tag(ld, h, &tag);
		if (err)
			return err;
		at += align_up(tag.bytes, MB2_ALIGN);
	}
	return 0;
}

static int load_image(struct loader *ld, const struct elf_image *elf, const struct mb2_header *h)
{
	uint64_t moved = 0;
	int err;

	if (h->has_addresses && !h->has_entry)
		return load_fail(ld, -ENOEXEC,
				 "a multiboot 2 header with addresses and no entry address: add "
				 "tag 3");
	err = h->has_addresses || elf ? 0 : load_check_other(ld);
	if (err)
		return err;
	if (!h->has_addresses && !elf)
		return load_fail(ld, -ENOEXEC,
				 "a multiboot 2 header without addresses in a file that is not "
				 "ELF: add tag 2, or link it as ELF");
	ld->movable = h->relocatable;
	err = h->has_addresses ? load_by_addresses(ld, h->offset, &h->address) : elf_load(ld, elf);
	ld->movable = false;
	if (!err && h->relocatable)
		err = load_move(ld, &h->where, &moved);
	if (err)
		return err;
	return load_entry(ld, "multiboot 2 entry",
			  moved + (h->has_entry ? h->entry : elf_physical_entry(ld, elf)));
}

int load_multiboot2(struct loader *ld, const struct elf_image *elf)
{
	struct mb2_header h;
	int err;

	if (!find_header(ld, &h))
		return 0;
	ld->plan->kind = IMAGE_MULTIBOOT2;
	err = check_header(ld, &h);
	if (!err)
		err = read_tags(ld, &h);
	if (!err)
		err = load_image(ld, elf, &h);
	return err ? err : 1;
}

/* ---- the information ---- */

#define LOADER_NAME  "quire"
#define RSDP1_BYTES  20u /* of ACPI 1.0, and since */
#define RSDP2_BYTES  36u
#define MMAP_VERSION 0

struct mb2_mmap {
	uint64_t addr, bytes;
	uint32_t type, reserved;
};

/* The text screen of a PC. */
static const struct mb2_framebuffer {
	uint64_t addr;
	uint32_t pitch, width, height; /* bytes, columns, rows */
	uint8_t bits, type;
	uint16_t reserved;
} text_screen = {
	.addr = 0xb8000,
	.pitch = 160,
	.width = 80,
	.height = 25,
	.bits = 16,
	.type = 2, /* EGA text */
};

static size_t tag_bytes(size_t payload)
{
	return align_up(8 + payload, MB2_ALIGN);
}

static size_t info_bytes(const struct loader *ld, unsigned int nr_map)
{
	const struct image_module *m = NULL;
	size_t bytes = 8 + tag_bytes(strlen(ld->plan->cmdline) + 1) +
		       tag_bytes(sizeof(LOADER_NAME)) + tag_bytes(8) +
		       tag_bytes(8 + nr_map * sizeof(struct mb2_mmap)) + tag_bytes(RSDP1_BYTES) +
		       tag_bytes(RSDP2_BYTES) + tag_bytes(4) + tag_bytes(sizeof(text_screen)) +
		       tag_bytes(0);

	while ((m = load_next_module(ld, false, m)))
		bytes += tag_bytes(8 + load_module_string_bytes(m));
	return bytes;
}

/* Append a tag.  Returns where its payload of so many bytes goes, which is zero as yet. */
static uint8_t *put_tag(struct loader *ld, enum mb2_info_tag type, size_t payload)
{
	const uint32_t head[2] = { type, 8 + (uint32_t)payload };
	gpa_t gpa = load_boot_put(ld, NULL, tag_bytes(payload));
	uint8_t *at = ld->boot + (gpa - ld->boot_gpa);

	memcpy(at, head, sizeof(head));
	return at + sizeof(head);
}

static void put_u32s(struct loader *ld, enum mb2_info_tag type, const uint32_t *word, size_t nr)
{
	memcpy(put_tag(ld, type, nr * 4), word, nr * 4);
}

static void put_string(struct loader *ld, enum mb2_info_tag type, const char *text)
{
	memcpy(put_tag(ld, type, strlen(text) + 1), text, strlen(text) + 1);
}

static void put_memory(struct loader *ld, const struct load_memory *map, unsigned int nr)
{
	const uint32_t kib[2] = { load_contiguous_kib(map, nr, 0),
				  load_contiguous_kib(map, nr, MiB) };
	const uint32_t head[2] = { sizeof(struct mb2_mmap), MMAP_VERSION };
	uint8_t *at;

	put_u32s(ld, INFO_MEMORY, kib, 2);
	at = put_tag(ld, INFO_MMAP, sizeof(head) + nr * sizeof(struct mb2_mmap));
	memcpy(at, head, sizeof(head));
	for (unsigned int i = 0; i < nr; i++) {
		const struct mb2_mmap entry = {
			.addr = map[i].start,
			.bytes = map[i].end - map[i].start,
			.type = map[i].type,
		};

		memcpy(at + sizeof(head) + i * sizeof(entry), &entry, sizeof(entry));
	}
}

/* Add the modules, and a tag for each. */
static int put_modules(struct loader *ld)
{
	const struct image_module *m = NULL;
	gpa_t gpa;

	while ((m = load_next_module(ld, false, m))) {
		const size_t bytes = load_module_string_bytes(m);
		int err = load_module(ld, m, &gpa);
		/* load_alloc() stays below 3 GiB, so 32 bits hold these. */
		const uint32_t range[2] = { gpa, gpa + m->bytes };
		uint8_t *at;

		if (err)
			return err;
		at = put_tag(ld, INFO_MODULE, sizeof(range) + bytes);
		memcpy(at, range, sizeof(range));
		load_module_string(m, (char *)at + sizeof(range));
	}
	return 0;
}

/* The information has copies of ACPI's first table. */
static void put_acpi(struct loader *ld)
{
	const struct image_config *config = ld->config;

	if (!load_acpi(ld) || config->acpi_bytes < RSDP2_BYTES)
		return;
	memcpy(put_tag(ld, INFO_RSDP1, RSDP1_BYTES), config->acpi, RSDP1_BYTES);
	memcpy(put_tag(ld, INFO_RSDP2, RSDP2_BYTES), config->acpi, RSDP2_BYTES);
}

/* Where the image begins in memory. */
static uint32_t load_base(const struct image_plan *plan)
{
	gpa_t base = UINT32_MAX;

	for (unsigned int i = 0; i < plan->nr_segments; i++)
		base = min_u64(base, plan->segment[i].gpa);
	return base;
}

int load_multiboot2_boot_data(struct loader *ld)
{
	struct load_memory map[LOAD_MAX_MEMORY];
	const unsigned int nr = load_memory_map(ld->config, map);
	const uint32_t base = load_base(ld->plan);
	uint32_t total;
	int err = load_boot_begin(ld, info_bytes(ld, nr));

	if (err)
		return err;
	ld->plan->eax = MB2_EAX;
	ld->plan->ebx = load_boot_put(ld, NULL, 8); /* total size, reserved */
	put_string(ld, INFO_CMDLINE, ld->plan->cmdline);
	put_string(ld, INFO_LOADER, LOADER_NAME);
	put_memory(ld, map, nr);
	put_u32s(ld, INFO_LOAD_BASE, &base, 1);
	if (ld->config->text_screen)
		memcpy(put_tag(ld, INFO_FRAMEBUFFER, sizeof(text_screen)), &text_screen,
		       sizeof(text_screen));
	err = put_modules(ld);
	put_acpi(ld);
	put_tag(ld, INFO_END, 0);
	total = ld->boot_used;
	memcpy(ld->boot, &total, sizeof(total));
	return err;
}
