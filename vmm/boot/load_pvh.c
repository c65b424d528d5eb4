/* SPDX-License-Identifier: MIT */
/*
 * PVH: an ELF file that names its 32-bit entry in a Xen note.
 *
 * References: xen/include/public/elfnote.h (XEN_ELFNOTE_PHYS32_ENTRY), docs/misc/pvh.pandoc
 * (state at entry: 32-bit protected mode, paging off, ebx = start info) and
 * xen/include/public/arch-x86/hvm/start_info.h (the layout written here, version 1).
 *
 * The boot data is one segment: start info, memory map, module list, strings.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"

#define XEN_NOTE_NAME	      "Xen"
#define XEN_NOTE_GUEST_OS     6
#define XEN_NOTE_PHYS32_ENTRY 18

/* Linux's own notes (include/linux/elfnote-lto.h and build-salt.h): 5.12 and later, and 4.19. */
#define LINUX_NOTE_NAME "Linux"
#define LINUX_NOTE_SALT 0x100
#define LINUX_NOTE_LTO	0x101

#define PVH_MAGIC   0x336ec578 /* "xEn3" with the 0x80 bit of the E set */
#define PVH_VERSION 1	       /* with a memory map */

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags; /* 0: not dom0 */
	uint32_t nr_modules;
	uint64_t modlist; /* all addresses: 0 = none */
	uint64_t cmdline;
	uint64_t rsdp; /* 0: no ACPI */
	uint64_t memmap;
	uint32_t memmap_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h says so");

struct pvh_memmap {
	uint64_t addr, size;
	uint32_t type; /* as E820 */
	uint32_t reserved;
};
_Static_assert(sizeof(struct pvh_memmap) == 24, "start_info.h says so");

struct pvh_module {
	uint64_t addr, size, cmdline, reserved;
};

/* Find the entry point in the image's note.  Returns what load_pvh() returns. */
static int find_entry(struct loader *ld, const struct elf_image *elf, uint64_t *entry)
{
	uint64_t offset, bytes;
	int found = elf_find_note(ld, elf, XEN_NOTE_NAME, XEN_NOTE_PHYS32_ENTRY, &offset, &bytes);

	if (found <= 0)
		return found;
	/* In Linux the note has a word of the image's class, in others 4 bytes: take both. */
	if (bytes != 4 && bytes != 8)
		return load_fail(ld, -ENOEXEC,
				 "the PVH note at offset %" PRIu64 " has %" PRIu64 " "
				 "bytes, not 4 or 8: rebuild the image",
				 offset, bytes);
	*entry = load_u32(ld, offset);
	if (bytes == 8)
		*entry |= (uint64_t)load_u32(ld, offset + 4) << 32;
	return 1;
}

/* Do its notes say that this is a Linux kernel?  1, 0, or -ENOEXEC. */
static int find_linux(struct loader *ld, const struct elf_image *elf)
{
	static const struct {
		const char *name;
		uint32_t type;
		const char *desc; /* how it begins */
	} note[] = {
		{ LINUX_NOTE_NAME, LINUX_NOTE_LTO, "" },
		{ LINUX_NOTE_NAME, LINUX_NOTE_SALT, "" },
		{ XEN_NOTE_NAME, XEN_NOTE_GUEST_OS, "linux" },
	};
	uint64_t offset, bytes;
	int found = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(note) && !found; i++) {
		found = elf_find_note(ld, elf, note[i].name, note[i].type, &offset, &bytes);
		if (found > 0)
			found = bytes >= strlen(note[i].desc) &&
				!memcmp((const uint8_t *)ld->config->file + offset, note[i].desc,
					strlen(note[i].desc));
	}
	return found;
}

/* Linux takes its first module for an initrd, so it gets no device tree. */
static bool takes_fdt(const struct loader *ld)
{
	return !ld->plan->kernel.is_linux;
}

static size_t boot_bytes(const struct loader *ld, unsigned int nr_map, unsigned int *nr_modules)
{
	const struct image_module *m = NULL;
	size_t bytes = load_boot_size(sizeof(struct pvh_start_info)) +
		       load_boot_size(nr_map * sizeof(struct pvh_memmap)) +
		       load_boot_size(strlen(ld->plan->cmdline) + 1);

	*nr_modules = 0;
	if (ld->config->nr_initrds) {
		++*nr_modules;
		bytes += load_boot_size(sizeof(struct pvh_module));
	}
	while ((m = load_next_module(ld, takes_fdt(ld), m))) {
		++*nr_modules;
		bytes += load_boot_size(sizeof(struct pvh_module)) +
			 load_boot_size(strlen(m->args) + 1);
	}
	return bytes;
}

static gpa_t put_memory_map(struct loader *ld, const struct load_memory *map, unsigned int nr)
{
	struct pvh_memmap entry[LOAD_MAX_MEMORY] = { 0 };
	unsigned int i;

	for (i = 0; i < nr; i++) {
		entry[i].addr = map[i].start;
		entry[i].size = map[i].end - map[i].start;
		entry[i].type = map[i].type;
	}
	return load_boot_put(ld, entry, nr * sizeof(entry[0]));
}

/*
 * Fill the list at `list`, which is in the boot data, and add the modules that it names.  The first
 * is the initrd, if there is one.
 */
static int fill_modules(struct loader *ld, gpa_t list)
{
	const struct image_module *m = NULL;
	uint8_t *out = ld->boot + (list - ld->boot_gpa);
	struct pvh_module entry = { 0 };
	int err = 0;

	if (ld->config->nr_initrds) {
		err = load_initrd(ld, QUIRE_GAP_START - 1, &entry.addr, &entry.size);
		memcpy(out, &entry, sizeof(entry));
		out += sizeof(entry);
	}
	while (!err && (m = load_next_module(ld, takes_fdt(ld), m))) {
		err = load_module(ld, m, &entry.addr);
		if (err)
			break;
		entry.size = m->bytes;
		entry.cmdline = load_boot_put(ld, m->args, strlen(m->args) + 1);
		memcpy(out, &entry, sizeof(entry));
		out += sizeof(entry);
	}
	return err;
}

int load_pvh_boot_data(struct loader *ld)
{
	struct pvh_start_info info = { .magic = PVH_MAGIC, .version = PVH_VERSION };
	struct load_memory map[LOAD_MAX_MEMORY];
	const char *cmdline = ld->plan->cmdline;
	int err;

	info.rsdp = load_acpi(ld);
	info.memmap_entries = load_memory_map(ld->config, map);
	err = load_boot_begin(ld, boot_bytes(ld, info.memmap_entries, &info.nr_modules));
	if (err)
		return err;
	ld->plan->ebx = load_boot_put(ld, NULL, sizeof(info));
	info.memmap = put_memory_map(ld, map, info.memmap_entries);
	info.cmdline = load_boot_put(ld, cmdline, strlen(cmdline) + 1);
	if (info.nr_modules) {
		info.modlist = load_boot_put(ld, NULL, info.nr_modules * sizeof(struct pvh_module));
		err = fill_modules(ld, info.modlist);
	}
	memcpy(ld->boot, &info, sizeof(info));
	return err;
}

int load_pvh(struct loader *ld, const struct elf_image *elf)
{
	uint64_t entry = 0;
	int ret = find_entry(ld, elf, &entry);

	if (ret <= 0)
		return ret;
	ld->plan->kind = elf->is64 ? IMAGE_PVH64 : IMAGE_PVH32;
	ret = find_linux(ld, elf);
	ld->plan->kernel.is_linux = ret > 0;
	if (ret >= 0)
		ret = elf_load(ld, elf);
	if (!ret)
		ret = load_entry(ld, "PVH entry", entry);
	return ret ? ret : 1;
}
