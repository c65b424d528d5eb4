/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_IMAGE_H
#define QUIRE_VMM_IMAGE_H

/*
 * Loading a guest image, in two steps that keep hostile files away from guest memory:
 *
 *   1. image_plan() looks at the file's bytes and the RAM layout and draws up a plan: which
 *      bytes go to which gpa, and how the first vCPU starts.  A pure function; every number
 *      in the file is checked here.  This is what the fuzzer drives.
 *   2. image_place() writes the plan through guest_write().
 *
 * Formats, recognised by content: ELF64 or ELF32 with a PVH note (Xen "PHYS32_ENTRY" note,
 * docs: xen/include/public/arch-x86/hvm/start_info.h), ELF32 with a multiboot 1 header in the
 * first 8 KiB (GNU Multiboot Specification 0.6.96), and anything else that starts like a boot
 * sector or a flat binary (loaded and entered at 0x7c00 in real mode).
 */
#include <quire/abi.h>
#include <quire/error.h>
#include <quire/gmem.h>

enum image_kind {
	IMAGE_PVH64,		/* ELF64, 32-bit PVH entry */
	IMAGE_PVH32,		/* ELF32, 32-bit PVH entry */
	IMAGE_MULTIBOOT,	/* multiboot 1, ELF32 */
	IMAGE_FLAT,		/* real mode at 0x7c00 */
};

struct image_module {
	const void *data;
	uint64_t bytes;
	const char *args;	/* its command line, "" if none */
};

struct image_config {
	const void *file;	/* whole image, borrowed until image_plan_finish */
	uint64_t file_bytes;
	const char *name;	/* for messages */
	const char *cmdline;	/* the ARGs joined by blanks */
	const struct image_module *module;
	unsigned int nr_modules;
	const struct gfn_range *ram;
	unsigned int nr_ram;
};

struct image_segment {
	gpa_t gpa;
	const void *data;	/* file_bytes of it */
	uint64_t file_bytes;
	uint64_t mem_bytes;	/* >= file_bytes; the rest is zero (RAM starts out zero) */
};

#define IMAGE_MAX_SEGMENTS 256

struct image_plan {
	enum image_kind kind;
	gpa_t entry;
	uint32_t eax, ebx;	/* at entry: PVH start info in ebx; multiboot magic and info */
	struct image_segment segment[IMAGE_MAX_SEGMENTS];
	unsigned int nr_segments;
	void *boot_data;	/* owned: start info, memory map, module list, command line */
};

/*
 * Draw up a plan.  Returns 0; -ENOEXEC (not a usable image), -EFBIG (does not fit in RAM),
 * -ENOMEM; with the reason and what to do in *err.  On failure *plan needs no finish.
 */
int image_plan(const struct image_config *config, struct image_plan *plan,
	       struct quire_error *err);
void image_plan_finish(struct image_plan *plan);

/* Write the plan to guest memory.  0, or guest_write's error with *err. */
int image_place(const struct image_plan *plan, struct gmem *gm, struct quire_error *err);

/*
 * Map a whole file read-only.  0; -errno with *err (directory, empty, unreadable, not a
 * regular file).  Unmap with image_close.
 */
struct image_file {
	const void *data;
	uint64_t bytes;
};
int image_open(const char *path, struct image_file *file, struct quire_error *err);
void image_close(struct image_file *file);

#endif
