/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_LOAD_H
#define QUIRE_VMM_BOOT_LOAD_H

/*
 * What the loaders of the image formats share; image.h is what the rest of quire sees.
 *
 * A loader reads the file through a struct loader and adds to its plan.  It never trusts a
 * number: load_segment() and load_alloc() are the only ways to get bytes into the plan, and
 * between them they keep its promise (image.h): all segments in RAM, pairwise disjoint, each
 * one's data inside the file, a module or the boot data.
 */
#include "image.h"

struct loader {
	const struct image_config *config;
	struct image_plan *plan;
	struct quire_error *err;
	uint8_t *boot; /* == plan->boot_data */
	size_t boot_used, boot_bytes;
	gpa_t boot_gpa;
};

/* Fill ld->err with "FILE: message" on one line and return code. */
__attribute__((format(printf, 3, 4))) int load_fail(struct loader *ld, int code, const char *fmt,
						    ...);

/* Is [offset, offset + bytes) inside the file?  Any values. */
bool load_in_file(const struct loader *ld, uint64_t offset, uint64_t bytes);

/* The 32-bit word at offset, which load_in_file() has allowed; alignment does not matter. */
uint32_t load_u32(const struct loader *ld, uint64_t offset);

/*
 * Add a segment.  data may be NULL if file_bytes is 0; mem_bytes == 0 adds nothing.  what names
 * it in messages ("program header 3").
 * 0; -ENOEXEC (overflow, device hole, overlap, too many), -EFBIG (beyond RAM).
 */
int load_segment(struct loader *ld, const char *what, gpa_t gpa, const void *data,
		 uint64_t file_bytes, uint64_t mem_bytes);

/* Take entry as the plan's if the first vCPU can start there: below 4 GiB, in a segment. */
int load_entry(struct loader *ld, const char *what, uint64_t entry);

/*
 * Find [*gpa, *gpa + bytes) in free RAM for the loader's own use: page-aligned, from 1 MiB up,
 * below the device hole, above the image if it fits there.  Nothing is reserved until
 * load_segment() adds it.  bytes > 0.  0 or -EFBIG.
 */
int load_alloc(struct loader *ld, const char *what, uint64_t bytes, gpa_t *gpa);

/* Place a module's bytes; it gets whole pages of its own, one at least. */
int load_module(struct loader *ld, const struct image_module *module, gpa_t *gpa);

/*
 * Modules the guest is to be given.  With fdt == false the device tree (QUIRE_FDT_MODULE),
 * which only PVH guests know about, is passed over: load_next_module(ld, fdt, NULL) is the
 * first, NULL comes after the last.
 */
const struct image_module *load_next_module(const struct loader *ld, bool fdt,
					    const struct image_module *prev);

/*
 * The boot data: one buffer that becomes one segment.  load_boot_begin() allocates it, zeroed,
 * for all that load_boot_put() will append (each item counted with load_boot_size()).
 */
#define LOAD_BOOT_ALIGN 8u
static inline size_t load_boot_size(size_t bytes)
{
	return align_up(bytes, LOAD_BOOT_ALIGN);
}

int load_boot_begin(struct loader *ld, size_t bytes);
/* Append bytes (NULL: zeroes) and return where the guest will find them. */
gpa_t load_boot_put(struct loader *ld, const void *data, size_t bytes);

/* Types as in ACPI's INT 15h E820 map; PVH and multiboot share them. */
enum load_memory_type {
	LOAD_MEMORY_RAM = 1,
	LOAD_MEMORY_RESERVED = 2,
};

struct load_memory {
	uint64_t start, end;
	enum load_memory_type type;
};

/*
 * The memory map a guest is told: sorted, disjoint.
 *
 *   [0, 640K)      RAM
 *   [640K, 1M)     reserved: RAM in fact, but PC software expects VGA and ROMs there
 *   [1M, ...)      RAM, as config says
 *   [3G, 4G)       reserved: interrupt controllers and devices
 *   [4G, ...)      RAM, as config says
 *
 * This is what QEMU's pc machine and SeaBIOS report, without the areas those take for tables.
 * Returns how many entries there are.
 */
#define LOAD_MAX_MEMORY (IMAGE_MAX_RAM_RANGES + 4) /* two holes, each may cut a range in two */
unsigned int load_memory_map(const struct image_config *config,
			     struct load_memory out[LOAD_MAX_MEMORY]);

/* An ELF file whose headers have been checked. */
struct elf_image {
	bool is64;
	uint64_t entry; /* e_entry */
	uint64_t phoff;
	unsigned int nr_phdrs;
};

bool elf_recognise(const struct image_config *config);
int elf_open(struct loader *ld, struct elf_image *elf);
/* Add a segment for each PT_LOAD. */
int elf_load(struct loader *ld, const struct elf_image *elf);
/*
 * Look through all PT_NOTEs for one by owner `name` of type `type`: 1 with its descriptor at
 * [*offset, *offset + *bytes) of the file, 0 if there is none, -ENOEXEC if a note is malformed.
 */
int elf_find_note(struct loader *ld, const struct elf_image *elf, const char *name, uint32_t type,
		  uint64_t *offset, uint64_t *bytes);
/* e_entry as a physical address: moved along if it is a virtual one inside a PT_LOAD. */
uint64_t elf_physical_entry(const struct loader *ld, const struct elf_image *elf);

/* 1 with the plan complete, 0 if the image has no PVH note, or -errno. */
int load_pvh(struct loader *ld, const struct elf_image *elf);
/* The same for a multiboot header; elf is NULL if the file is not ELF. */
int load_multiboot(struct loader *ld, const struct elf_image *elf);
/* 0 or -errno. */
int load_flat(struct loader *ld);

#endif
