/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_LOAD_H
#define QUIRE_VMM_BOOT_LOAD_H

/*
 * What the loaders of the image formats share; image.h is what the rest of quire sees.
 *
 * A loader reads the file through a struct loader, and adds to its plan.  It never trusts a number:
 * load_segment() and load_alloc() are the only ways to get bytes into the plan.  Together they keep
 * what image.h promises: all segments are in RAM and pairwise disjoint, and the data of each is
 * inside the file, a module or the boot data.
 */
#include "image.h"

struct loader {
	const struct image_config *config;
	struct image_plan *plan;
	struct quire_error *err;
	bool movable;  /* load_move() will follow, so load_segment() does not ask where RAM is */
	uint8_t *boot; /* == plan->boot_data */
	size_t boot_used, boot_bytes;
	gpa_t boot_gpa;
};

/* Fill ld->err with "FILE: message" on one line, and return code. */
__attribute__((format(printf, 3, 4))) int load_fail(struct loader *ld, int code, const char *fmt,
						    ...);

/* Is [offset, offset + bytes) inside the file?  For any values, also if the sum wraps around. */
bool load_in_file(const struct loader *ld, uint64_t offset, uint64_t bytes);

/* The 32-bit word at offset, which load_in_file() has allowed.  It need not be aligned. */
uint32_t load_u32(const struct loader *ld, uint64_t offset);

/*
 * Add a segment.  `what` is its name in messages ("program header 3").  data may be NULL if
 * file_bytes is 0.  If mem_bytes is 0, nothing is added.
 * 0; -ENOEXEC: it wraps around, is in the device hole or overlaps another, or there are too many;
 * -EFBIG: it is beyond RAM.
 */
int load_segment(struct loader *ld, const char *what, gpa_t gpa, const void *data,
		 uint64_t file_bytes, uint64_t mem_bytes);

/* Where an image that can be moved may be. */
struct load_range {
	gpa_t low, high; /* its first byte is not below low, and its last one below high */
	uint64_t align;	 /* of its first byte; a power of two */
	enum load_preference {
		LOAD_AS_LINKED, /* if that is possible, else as low as possible */
		LOAD_LOW,
		LOAD_HIGH,
	} preference;
};

/*
 * Move all segments of a movable image by the same distance, so that they are in one range of RAM,
 * as `where` says, from 1 MiB up and below the device hole.  *moved becomes the distance, modulo
 * 2^64.  0 or -EFBIG.
 */
int load_move(struct loader *ld, const struct load_range *where, uint64_t *moved);

/* Let the first vCPU start at `entry`: below 4 GiB, in a segment.  0, or -ENOEXEC. */
int load_entry(struct loader *ld, const char *what, uint64_t entry);

/*
 * Find room for [*gpa, *gpa + bytes), page-aligned, in free RAM from 1 MiB up and below `limit` and
 * the device hole, above the image if it fits there.  The room stays free until load_segment() adds
 * it.  bytes is not 0.  0 or -EFBIG.
 */
int load_alloc(struct loader *ld, const char *what, uint64_t bytes, gpa_t limit, gpa_t *gpa);

/* Add a module.  It gets whole pages of its own, at least one.  *gpa becomes their place. */
int load_module(struct loader *ld, const struct image_module *module, gpa_t *gpa);

/*
 * Add ACPI's tables if config has any, and neither the image nor the end of RAM is in their way.
 * Returns where they are; 0: there are none.
 */
gpa_t load_acpi(struct loader *ld);

/*
 * Add config's initrds as one, [*gpa, *gpa + *bytes), that has no byte beyond `last`.  If there are
 * none, both become 0.  0 or -errno.
 */
int load_initrd(struct loader *ld, gpa_t last, gpa_t *gpa, uint64_t *bytes);

/*
 * The module after `prev`; the first one if prev is NULL.  NULL: there are no more.  With fdt false
 * the device tree (QUIRE_FDT_MODULE) is left out: most guests do not know about it.
 */
const struct image_module *load_next_module(const struct loader *ld, bool fdt,
					    const struct image_module *prev);

/*
 * What a multiboot guest is told of a module: its name, and its arguments if it has some.  The
 * first returns how many bytes the string has, with its end; the second writes them.
 */
size_t load_module_string_bytes(const struct image_module *m);
void load_module_string(const struct image_module *m, char *out);

/*
 * The boot data is one buffer, which becomes one segment.  load_boot_begin() allocates it for all
 * that load_boot_put() will append; each item counts as load_boot_size() of its bytes.
 */
#define LOAD_BOOT_ALIGN 8u
static inline size_t load_boot_size(size_t bytes)
{
	return align_up(bytes, LOAD_BOOT_ALIGN);
}

/* Allocate the boot data, zeroed, and add its segment.  0 or -errno. */
int load_boot_begin(struct loader *ld, size_t bytes);

/* Append bytes (data NULL: zeroes).  Returns where the guest will find them. */
gpa_t load_boot_put(struct loader *ld, const void *data, size_t bytes);

/* The types of ACPI's INT 15h E820 map, which PVH and multiboot use too. */
enum load_memory_type {
	LOAD_MEMORY_RAM = 1,
	LOAD_MEMORY_RESERVED = 2,
};

struct load_memory {
	uint64_t start, end;
	enum load_memory_type type;
};

/*
 * Make the memory map that a guest is told: sorted, disjoint.
 *
 *   [0, 639K)      RAM
 *   [639K, 640K)   reserved: the extended BIOS data area (bios.h)
 *   [640K, 896K)   not mentioned: RAM in fact, but PC software expects VGA and ROMs there
 *   [896K, 1M)     reserved: a BIOS and its tables, where a guest looks for ACPI
 *   [1M, ...)      RAM, as config says
 *   [3G, 4G)       reserved: interrupt controllers and devices
 *   [4G, ...)      RAM, as config says
 *
 * QEMU's pc machine and SeaBIOS report the same, but reserve the last 64 KiB below 1 MiB only.
 * Nobody reports the display's memory: a kernel that maps it, and all that is reported with it,
 * would find two ranges there that disagree.
 * Returns the number of entries.
 */
#define LOAD_MAX_MEMORY (IMAGE_MAX_RAM_RANGES + 5) /* two holes cut a range; three are reserved */
unsigned int load_memory_map(const struct image_config *config,
			     struct load_memory out[LOAD_MAX_MEMORY]);

/* How many KiB of RAM follow `start` without a hole. */
uint32_t load_contiguous_kib(const struct load_memory *map, unsigned int nr, uint64_t start);

/* An ELF file whose headers have been checked. */
struct elf_image {
	bool is64;
	uint64_t entry; /* e_entry */
	uint64_t phoff;
	unsigned int nr_phdrs;
};

/* Does the file begin as an ELF file does? */
bool elf_recognise(const struct image_config *config);

/* Check the file's headers.  0 or -ENOEXEC. */
int elf_open(struct loader *ld, struct elf_image *elf);

/* Add a segment for each PT_LOAD.  0, or load_segment()'s error. */
int elf_load(struct loader *ld, const struct elf_image *elf);

/*
 * Look through all PT_NOTEs for a note of this owner (`name`) and type.  1: its descriptor is
 * [*offset, *offset + *bytes) of the file; 0: there is none; -ENOEXEC: a note is malformed.
 */
int elf_find_note(struct loader *ld, const struct elf_image *elf, const char *name, uint32_t type,
		  uint64_t *offset, uint64_t *bytes);

/* e_entry as a physical address.  If it is a virtual address inside a PT_LOAD, it is translated. */
uint64_t elf_physical_entry(const struct loader *ld, const struct elf_image *elf);

/*
 * Add the parts of a PVH image.  1: they are in the plan, with kind and entry; 0: the image has no
 * PVH note; or -errno.
 */
int load_pvh(struct loader *ld, const struct elf_image *elf);

/* The same for a file with a Linux setup header.  It is not ELF. */
int load_linux(struct loader *ld);

/* The same for an image with a multiboot header.  elf is NULL if the file is not ELF. */
int load_multiboot(struct loader *ld, const struct elf_image *elf);
int load_multiboot2(struct loader *ld, const struct elf_image *elf);

/* Where a multiboot header says that the file goes.  0: to the file's end; no bss. */
struct load_addresses {
	uint32_t header, load, load_end, bss_end;
};

/*
 * Add the segment of a file whose multiboot header, at `offset`, has these addresses.  0, -ENOEXEC:
 * they contradict each other; or load_segment()'s error.
 */
int load_by_addresses(struct loader *ld, uint32_t offset, const struct load_addresses *a);

/*
 * Complete the plan of such an image: boot data, modules, registers.  These look at config, and not
 * at the file.  0 or -errno.
 */
int load_pvh_boot_data(struct loader *ld);
int load_linux_boot_data(struct loader *ld);
int load_multiboot_boot_data(struct loader *ld);
int load_multiboot2_boot_data(struct loader *ld);

/*
 * Is the file, by how it begins, surely something that no guest is?  0, or -ENOEXEC with what it
 * is.
 */
int load_check_other(struct loader *ld);

/* Load a flat image.  0 or -errno. */
int load_flat(struct loader *ld);

/* Is the plan that of a flat image: one part, entered where that begins?  0 or -ENOEXEC. */
int load_flat_check(struct loader *ld);

/* The command line for a guest of this kind (cmdline.c).  malloc'd; NULL: no memory. */
char *load_cmdline(const struct image_config *config, const struct image_plan *plan);

#endif
