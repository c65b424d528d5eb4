/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_IMAGE_H
#define QUIRE_VMM_BOOT_IMAGE_H

/*
 * Loading a guest image, in two steps that keep hostile files away from guest memory:
 *
 *   1. image_plan() looks at the file's bytes and the RAM layout and draws up a plan: which
 *      bytes go to which gpa, and how the first vCPU starts.  A pure function; every number
 *      in the file is checked here.  This is what the fuzzer drives.
 *   2. image_place() writes the plan through guest_write().
 *
 * Formats, recognised by content, the first that fits:
 *
 *   PVH        ELF64 or ELF32 with a Xen note PHYS32_ENTRY in a PT_NOTE segment
 *              (xen/include/public/arch-x86/hvm/start_info.h).  An image that has a multiboot
 *              header too is started by its note.
 *   multiboot  a multiboot 1 header in the first 8 KiB (GNU Multiboot Specification 0.6.96), in
 *              an ELF32 file, or in any file if the header has the address fields (flag bit 16)
 *   flat       anything that is not ELF and not known to be something else: loaded and entered
 *              at 0x7c00 in real mode, up to 640 KiB
 *
 * ELF segments go to their p_paddr, wherever in RAM that is, also below 1 MiB and above 4 GiB.
 * What the loader adds itself (boot data and modules, page-aligned) goes above the image, or,
 * if there is no room, beneath it; never below 1 MiB nor above 3 GiB.
 */
#include <quire/abi.h>
#include <quire/error.h>
#include <quire/types.h>

struct gmem;

enum image_kind {
	IMAGE_PVH64,	 /* ELF64, 32-bit PVH entry */
	IMAGE_PVH32,	 /* ELF32, 32-bit PVH entry */
	IMAGE_MULTIBOOT, /* multiboot 1, ELF32 */
	IMAGE_FLAT,	 /* real mode at 0x7c00 */
};

struct image_module {
	const void *data;
	uint64_t bytes;
	const char *args; /* its command line, "" if none */
};

struct image_config {
	const void *file; /* whole image, borrowed until image_plan_finish */
	uint64_t file_bytes;
	const char *name;		   /* for messages */
	const char *cmdline;		   /* the ARGs joined by blanks */
	const struct image_module *module; /* args QUIRE_FDT_MODULE: for PVH guests only */
	unsigned int nr_modules;
	const struct gfn_range *ram; /* sorted, disjoint, not in the device hole (abi.h) */
	unsigned int nr_ram;
};

struct image_segment {
	gpa_t gpa;
	const void *data; /* file_bytes of it; NULL if 0 */
	uint64_t file_bytes;
	uint64_t mem_bytes; /* >= file_bytes, > 0; the rest is zero, as RAM starts out */
};

#define IMAGE_MAX_SEGMENTS   256 /* boot data and one for each module included */
#define IMAGE_MAX_RAM_RANGES 60
#define IMAGE_MAX_FILE_BYTES (4 * GiB)

/*
 * All segments are in RAM and pairwise disjoint, and entry is inside one of them.  PVH and
 * multiboot: 32-bit protected mode, paging off, flat segments; eax and ebx below.  Flat: real
 * mode, cs:ip = 0:0x7c00.
 */
struct image_plan {
	enum image_kind kind;
	gpa_t entry;	   /* below 4 GiB */
	uint32_t eax, ebx; /* at entry: PVH start info in ebx; multiboot magic and info */
	struct image_segment segment[IMAGE_MAX_SEGMENTS];
	unsigned int nr_segments;
	void *boot_data; /* owned: start info, memory map, module list, command line */
};

/*
 * Draw up a plan.  It points into config's file and modules until image_plan_finish.
 *
 * Returns 0, or with the reason and what to do in *err (may be NULL):
 *   -ENOEXEC  not a usable image
 *   -EFBIG    does not fit in RAM
 *   -EINVAL   a flat image was given arguments or modules; too many RAM ranges
 *   -ENOMEM   no host memory
 * On failure *plan needs no finish (which is harmless).
 */
int image_plan(const struct image_config *config, struct image_plan *plan, struct quire_error *err);
void image_plan_finish(struct image_plan *plan);

/* Write the plan to guest memory.  0, or guest_write's error with *err. */
int image_place(const struct image_plan *plan, struct gmem *gm, struct quire_error *err);

/*
 * A whole file, read into memory: not mapped, so that nobody can change or truncate it under
 * us.  Holes of a sparse file are not read and cost nothing.
 */
struct image_file {
	const void *data;
	uint64_t bytes;
};

/*
 * 0; or -errno with *err: open's and read's own, -EISDIR, -EINVAL (not a regular file), -ENOEXEC
 * (empty), -EFBIG (more than IMAGE_MAX_FILE_BYTES), -ESTALE (changed size while being read).
 * Modules may be read with it too.  Free with image_close; NULL data is fine.
 */
int image_open(const char *path, struct image_file *file, struct quire_error *err);
void image_close(struct image_file *file);

#endif
