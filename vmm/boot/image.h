/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_BOOT_IMAGE_H
#define QUIRE_VMM_BOOT_IMAGE_H

/*
 * Loading a guest image, in two steps that keep hostile files away from guest memory:
 *
 *   1. image_plan() looks at the file's bytes and the RAM layout, and draws up a plan: which bytes
 *      go to which gpa, and how the first vCPU starts.  It is a pure function, it checks every
 *      number in the file, and it is what the fuzzer drives.
 *   2. image_place() writes the plan through guest_write().
 *
 * A file has the first of these formats that its content fits:
 *
 *   PVH        ELF64 or ELF32 with a Xen note PHYS32_ENTRY in a PT_NOTE segment
 *              (xen/include/public/arch-x86/hvm/start_info.h).  An image that has a multiboot
 *              header too is started by its note.
 *   Linux      a Linux setup header of protocol 2.06 or later at byte 0x1f1, as in a bzImage
 *              (Documentation/arch/x86/boot.rst).  It is started by its 64-bit entry if it has one,
 *              or else by its 32-bit entry
 *   multiboot  a multiboot 1 header in the first 8 KiB (GNU Multiboot Specification 0.6.96), in
 *              an ELF32 file, or in any file if the header has the address fields (flag bit 16)
 *   multiboot2 a multiboot 2 header in the first 32 KiB (Multiboot2 Specification 2.0), in an ELF
 *              file of either class, or in any file if the header has addresses
 *   flat       anything that is not ELF and not known to be something else, up to 640 KiB.  It is
 *              loaded at 0x7c00 and entered there in real mode
 *
 * ELF segments go to their p_paddr, wherever in RAM that is, also below 1 MiB and above 4 GiB.  The
 * loader adds boot data and modules, page-aligned.  They go above the image, or beneath it if there
 * is no room above, but never below 1 MiB or above 3 GiB.  Several initrds become one, as boot
 * loaders make it: each begins at a multiple of 4 bytes after the one before.
 */
#include <quire/abi.h>
#include <quire/error.h>
#include <quire/types.h>
#include "slot.h"

struct gmem;

enum image_kind {
	IMAGE_PVH64,   /* ELF64, 32-bit PVH entry */
	IMAGE_PVH32,   /* ELF32, 32-bit PVH entry */
	IMAGE_LINUX64, /* Linux setup header, 64-bit entry */
	IMAGE_LINUX32, /* Linux setup header, 32-bit entry */
	IMAGE_MULTIBOOT,
	IMAGE_MULTIBOOT2,
	IMAGE_FLAT, /* real mode at 0x7c00 */
};
#define IMAGE_NR_KINDS (IMAGE_FLAT + 1)

struct image_module {
	const void *data;
	uint64_t bytes;
	const char *name; /* of its file; the device tree has none */
	const char *args; /* its command line; "": none */
};

struct image_config {
	const void *file; /* the whole image, borrowed until image_plan_finish() */
	uint64_t file_bytes;
	const char *name;		   /* for messages */
	const char *cmdline;		   /* the ARGs joined by blanks */
	bool virtio_console;		   /* input is for a virtio console, not the serial port */
	const struct image_module *module; /* with args QUIRE_FDT_MODULE: not for all guests */
	unsigned int nr_modules;
	const struct image_module *initrd; /* for Linux only; without args */
	unsigned int nr_initrds;
	const void *acpi;    /* tables for QUIRE_ACPI_BASE (acpi.h), borrowed like modules */
	uint64_t acpi_bytes; /* 0: none */
	bool text_screen;    /* what is written at 0xb8000 is seen */
	const struct virtio_slot *virtio;
	unsigned int nr_virtio;
	const struct gfn_range *ram; /* sorted, disjoint, not in the device hole (abi.h) */
	unsigned int nr_ram;
};

struct image_segment {
	gpa_t gpa;
	const void *data; /* file_bytes of data; NULL if there are none */
	uint64_t file_bytes;
	uint64_t mem_bytes; /* not 0, at least file_bytes; the rest is zero, as RAM is at first */
};

#define IMAGE_MAX_SEGMENTS   256 /* including boot data, and one for each module and initrd */
#define IMAGE_MAX_RAM_RANGES 60
#define IMAGE_MAX_FILE_BYTES (4 * GiB)

/* What a Linux kernel says of itself.  All zero if the image is not Linux. */
struct image_kernel {
	uint32_t is_linux; /* by its setup header or, in an ELF file, by its notes */
	/* With a setup header only: */
	uint32_t header_bytes; /* of the header, from IMAGE_SETUP_HEADER on */
	uint32_t initrd_max;   /* the last address that an initrd may have */
	uint32_t cmdline_max;  /* bytes of a command line, without its end */
	char version[80];      /* "": it has none */
};
#define IMAGE_SETUP_HEADER 0x1f1 /* where it begins in the file */

/*
 * All segments are in RAM and pairwise disjoint, and `entry` is inside one of them.  Flat images
 * start in real mode at cs:ip = 0:0x7c00, and Linux64 in long mode, with page tables that map the
 * first 4 GiB to themselves.  All others start in 32-bit protected mode, with paging off.  Segments
 * are flat, and Linux's are described in a GDT.
 */
struct image_plan {
	enum image_kind kind;
	gpa_t entry;	   /* below 4 GiB */
	uint32_t eax, ebx; /* PVH: ebx is the start info; multiboot: magic and information */
	uint32_t esi;	   /* Linux: boot_params */
	gpa_t gdt;	   /* Linux: IMAGE_GDT_ENTRIES descriptors */
	gpa_t cr3;	   /* Linux64: page tables */
	struct image_kernel kernel;
	struct image_segment segment[IMAGE_MAX_SEGMENTS];
	unsigned int nr_segments;
	char *cmdline;	 /* owned: the guest's command line */
	void *boot_data; /* owned: start info, memory map, module list, command line */
};

/* Linux's GDT: two empty descriptors, code, data. */
#define IMAGE_GDT_ENTRIES 4
#define IMAGE_GDT_CODE	  0x10
#define IMAGE_GDT_DATA	  0x18

/* What people call an image of this kind. */
const char *image_kind_name(enum image_kind kind);

/* A piece of the file that is to be at an address.  The rest of its mem_bytes is zero. */
struct image_part {
	gpa_t gpa;
	uint64_t offset; /* in the file */
	uint64_t file_bytes, mem_bytes;
};

/*
 * What a file asks for, as numbers and without pointers.  So it can be found by a process that has
 * no rights at all (vmm/launch/image_reader.h), and be believed by nobody.
 */
struct image_outline {
	int32_t code;	/* 0; or the file is no usable image, -errno, and why: */
	char text[320]; /* as in struct quire_error */
	uint32_t kind;	/* enum image_kind */
	uint64_t entry;
	struct image_kernel kernel;
	uint32_t nr_parts;
	struct image_part part[IMAGE_MAX_SEGMENTS];
};

/*
 * Find out what config's file asks for.  This is all that looks at the bytes of a file: it reads
 * them and config, writes *outline, and allocates and calls nothing.  outline->code becomes 0 or:
 *   -ENOEXEC  this is not a usable image
 *   -EFBIG    it does not fit in RAM
 *   -EINVAL   a flat image was given arguments or modules; or there are too many RAM ranges
 */
void image_read(const struct image_config *config, struct image_outline *outline);

/*
 * Draw up a plan: check all that the outline says, whoever wrote it, and find room for boot data
 * and modules.  The plan points into config's file and modules until image_plan_finish().
 *
 * Returns 0, or with the reason and what to do in *err (may be NULL):
 *   as outline->code says, or as image_read() does, if the outline is unsound
 *   -EFBIG    boot data, a module or the initrd does not fit in RAM
 *   -EINVAL   the image takes no modules, no initrd, or no command line as long as this
 *   -ENOMEM   the host has no memory
 * After a failure image_plan_finish() is not needed, and harmless.
 */
int image_plan(const struct image_config *config, const struct image_outline *outline,
	       struct image_plan *plan, struct quire_error *err);

/* Free what the plan owns. */
void image_plan_finish(struct image_plan *plan);

/* Write the plan to guest memory.  0, or guest_write()'s error with *err. */
int image_place(const struct image_plan *plan, struct gmem *gm, struct quire_error *err);

/*
 * A whole file in memory.  It is a copy, so that nobody can change or truncate it while we use it.
 * Holes of a sparse file are not copied, and cost nothing until somebody looks at them.
 */
struct image_file {
	const void *data; /* NULL: not open */
	uint64_t bytes;
	int fd; /* has the same bytes (sealed.h) */
};

/*
 * Read an image or a module.  0; or -errno with *err:
 *   -EISDIR, -EINVAL  it is no regular file
 *   -ENOEXEC          it is empty
 *   -EFBIG            it has more than IMAGE_MAX_FILE_BYTES
 *   -ESTALE           its size changed while it was read
 *   others            from open() and sendfile()
 */
int image_open(const char *path, struct image_file *file, struct quire_error *err);

/* Free the memory.  A file that is not open is fine. */
void image_close(struct image_file *file);

#endif
