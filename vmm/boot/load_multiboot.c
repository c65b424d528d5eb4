/* SPDX-License-Identifier: MIT */
/*
 * Multiboot 1 (GNU Multiboot Specification 0.6.96).
 *
 * The header may be anywhere in the first 8 KiB, 4-byte aligned.  With flag 16 it says itself where
 * the file goes ("a.out kludge", section 3.1.3), and the file may be anything.  Without that flag
 * the file is an ELF32 one.  The guest starts in 32-bit protected mode, with paging off, eax =
 * 0x2badb002, and ebx = the information structure (sections 3.2 and 3.3).
 *
 * The boot data is one segment: information structure, memory map, module list, strings.
 * The command line begins with the image's name, as boot loaders make it (cmdline.c), and a string
 * of a module with the module's.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "load.h"

#define MB_SEARCH_BYTES 8192
#define MB_HEADER_MAGIC 0x1badb002
#define MB_EAX		0x2badb002
#define MB_LOADER_NAME	"quire"

/* Header flags.  A header with one of the low 16 that we do not understand must be refused. */
#define MB_PAGE_ALIGN	0x00000001u /* modules on page boundaries: they always are */
#define MB_MEMORY_INFO	0x00000002u /* always given */
#define MB_VIDEO_MODE	0x00000004u
#define MB_REQUIREMENTS 0x0000ffffu
#define MB_ADDRESSES	0x00010000u

struct mb_header {
	uint32_t magic, flags, checksum;
	/* With MB_ADDRESSES only: */
	struct load_addresses address;
	uint32_t entry_addr;
};

/* Information flags: which fields are valid. */
#define MBI_MEMORY  0x001u
#define MBI_CMDLINE 0x004u
#define MBI_MODS    0x008u
#define MBI_MMAP    0x040u
#define MBI_LOADER  0x200u

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB, up to the first hole */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint32_t vbe[4];
};
_Static_assert(sizeof(struct mb_info) == 88, "section 3.3, up to the framebuffer fields");

struct mb_mmap {
	uint32_t size;		     /* of the rest */
	uint32_t addr[2], length[2]; /* low, high: 64-bit members would be padded */
	uint32_t type;
};
_Static_assert(sizeof(struct mb_mmap) == 24, "section 3.3");

struct mb_module {
	uint32_t start, end, string, reserved;
};

/* Copy the header at offset.  False: there is none, or it does not end within 8 KiB. */
static bool read_header(const struct loader *ld, uint32_t offset, struct mb_header *h)
{
	const uint32_t short_bytes = offsetof(struct mb_header, address);
	uint32_t bytes = short_bytes;

	if (!load_in_file(ld, offset, bytes) || offset + bytes > MB_SEARCH_BYTES)
		return false;
	*h = (struct mb_header){ .magic = load_u32(ld, offset) };
	memcpy(h, (const uint8_t *)ld->config->file + offset, bytes);
	if (h->magic != MB_HEADER_MAGIC || h->magic + h->flags + h->checksum != 0)
		return false;
	if (!(h->flags & MB_ADDRESSES))
		return true;
	bytes = sizeof(*h);
	if (!load_in_file(ld, offset, bytes) || offset + bytes > MB_SEARCH_BYTES)
		return false;
	memcpy(h, (const uint8_t *)ld->config->file + offset, bytes);
	return true;
}

static bool find_header(const struct loader *ld, uint32_t *offset, struct mb_header *h)
{
	for (*offset = 0; *offset < MB_SEARCH_BYTES; *offset += 4)
		if (read_header(ld, *offset, h))
			return true;
	return false;
}

static int check_flags(struct loader *ld, const struct mb_header *h)
{
	uint32_t unmet = h->flags & MB_REQUIREMENTS & ~(MB_PAGE_ALIGN | MB_MEMORY_INFO);

	if (unmet & MB_VIDEO_MODE)
		return load_fail(ld, -ENOEXEC,
				 "the multiboot header (flags %#x) asks for a video "
				 "mode, and there is no display: clear flag bit 2 and use the "
				 "serial port",
				 h->flags);
	if (unmet)
		return load_fail(ld, -ENOEXEC,
				 "the multiboot header requires flags %#x, which are "
				 "not known: build it for multiboot 0.6.96",
				 unmet);
	return 0;
}

static int load_image(struct loader *ld, const struct elf_image *elf, uint32_t offset,
		      const struct mb_header *h)
{
	int err;

	if (h->flags & MB_ADDRESSES) {
		err = load_by_addresses(ld, offset, &h->address);
		return err ? err : load_entry(ld, "multiboot entry", h->entry_addr);
	}
	err = elf ? 0 : load_check_other(ld);
	if (err)
		return err;
	if (!elf || elf->is64)
		return load_fail(ld, -ENOEXEC,
				 "a multiboot header (flags %#x) without addresses "
				 "in a file that is %s, not ELF32: %s, or set flag bit 16",
				 h->flags, elf ? "ELF64" : "not ELF",
				 elf ? "convert it (objcopy -O elf32-i386)" :
				       "link it (ld -m elf_i386)");
	err = elf_load(ld, elf);
	return err ? err : load_entry(ld, "ELF entry", elf_physical_entry(ld, elf));
}

static size_t boot_bytes(const struct loader *ld, unsigned int nr_map, unsigned int *nr_modules)
{
	const struct image_module *m = NULL;
	size_t bytes = load_boot_size(sizeof(struct mb_info)) +
		       load_boot_size(nr_map * sizeof(struct mb_mmap)) +
		       load_boot_size(strlen(ld->plan->cmdline) + 1) +
		       load_boot_size(sizeof(MB_LOADER_NAME));

	*nr_modules = 0;
	while ((m = load_next_module(ld, false, m))) {
		++*nr_modules;
		bytes += load_boot_size(sizeof(struct mb_module)) +
			 load_boot_size(load_module_string_bytes(m));
	}
	return bytes;
}

static uint32_t put_memory_map(struct loader *ld, const struct load_memory *map, unsigned int nr)
{
	struct mb_mmap entry[LOAD_MAX_MEMORY];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		uint64_t bytes = map[i].end - map[i].start;

		entry[i] = (struct mb_mmap){
			.size = sizeof(entry[i]) - sizeof(entry[i].size),
			.addr = { map[i].start, map[i].start >> 32 },
			.length = { bytes, bytes >> 32 },
			.type = map[i].type,
		};
	}
	return load_boot_put(ld, entry, nr * sizeof(entry[0]));
}

/* Fill the list at `list`, which is in the boot data, and add the modules that it names. */
static int fill_modules(struct loader *ld, gpa_t list)
{
	const struct image_module *m = NULL;
	uint8_t *out = ld->boot + (list - ld->boot_gpa);
	gpa_t gpa;
	int err;

	while ((m = load_next_module(ld, false, m))) {
		struct mb_module entry = { 0 };

		err = load_module(ld, m, &gpa);
		if (err)
			return err;
		/* load_alloc() stays below 3 GiB, so 32 bits hold these. */
		entry.start = gpa;
		entry.end = gpa + m->bytes;
		entry.string = load_boot_put(ld, NULL, load_module_string_bytes(m));
		load_module_string(m, (char *)ld->boot + (entry.string - ld->boot_gpa));
		memcpy(out, &entry, sizeof(entry));
		out += sizeof(entry);
	}
	return 0;
}

int load_multiboot_boot_data(struct loader *ld)
{
	struct mb_info info = { .flags = MBI_MEMORY | MBI_CMDLINE | MBI_MMAP | MBI_LOADER };
	struct load_memory map[LOAD_MAX_MEMORY];
	unsigned int nr = load_memory_map(ld->config, map);
	const char *cmdline = ld->plan->cmdline;
	int err;

	err = load_boot_begin(ld, boot_bytes(ld, nr, &info.mods_count));
	if (err)
		return err;
	ld->plan->eax = MB_EAX;
	ld->plan->ebx = load_boot_put(ld, NULL, sizeof(info));
	info.mem_lower = load_contiguous_kib(map, nr, 0);
	info.mem_upper = load_contiguous_kib(map, nr, MiB);
	info.mmap_length = nr * sizeof(struct mb_mmap);
	info.mmap_addr = put_memory_map(ld, map, nr);
	info.cmdline = load_boot_put(ld, cmdline, strlen(cmdline) + 1);
	info.boot_loader_name = load_boot_put(ld, MB_LOADER_NAME, sizeof(MB_LOADER_NAME));
	if (info.mods_count) {
		info.flags |= MBI_MODS;
		info.mods_addr =
			load_boot_put(ld, NULL, info.mods_count * sizeof(struct mb_module));
		err = fill_modules(ld, info.mods_addr);
	}
	load_acpi(ld); /* a guest finds the tables by itself */
	memcpy(ld->boot, &info, sizeof(info));
	return err;
}

int load_multiboot(struct loader *ld, const struct elf_image *elf)
{
	struct mb_header h;
	uint32_t offset;
	int err;

	if (!find_header(ld, &offset, &h))
		return 0;
	ld->plan->kind = IMAGE_MULTIBOOT;
	err = check_flags(ld, &h);
	if (!err)
		err = load_image(ld, elf, offset, &h);
	return err ? err : 1;
}
