/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_BOOT_IMAGE_SAMPLES_H
#define QUIRE_TESTS_BOOT_IMAGE_SAMPLES_H

/*
 * Small guest images built by hand, and what must be true of every plan: shared by the tests of
 * this room and fuzz/image_fuzz.c, which has no TAP.
 *
 * All ELF samples have one layout, so that a test can name a field to spoil by its offset:
 *
 *   0x000  ELF header
 *   0x040  program headers: 0 text, 1 data, 2 notes
 *   0x100  notes: a GNU one whose 5 bytes need padding, then Xen's
 *   0x200  text (to 0x100000); multiboot header first, if any (SAMPLE_MULTIBOOT2: at 0x220)
 *   0x400  data (to 0x101000, with bss up to 0x104000)
 *   0x500  end
 *
 * The Linux samples have the setup header at 0x1f1, the version's text at 0x280 and the kernel at
 * 0x400.
 */
#include <elf.h>
#include <string.h>
#include "vmm/boot/image.h"

enum sample_kind {
	SAMPLE_PVH64,
	SAMPLE_PVH32,
	SAMPLE_MULTIBOOT, /* ELF32 */
	SAMPLE_KLUDGE,	  /* multiboot with addresses, not ELF */
	SAMPLE_FLAT,
	SAMPLE_MULTIBOOT2, /* ELF64 */
	SAMPLE_KLUDGE2,	   /* multiboot 2 with addresses, not ELF */
	SAMPLE_LINUX64,
	SAMPLE_LINUX32,
	SAMPLE_BOTH, /* PVH32 with a multiboot header too */
	NR_SAMPLES
};

#define SAMPLE_PHDRS	     0x40
#define SAMPLE_NOTES	     0x100
#define SAMPLE_XEN	     (SAMPLE_NOTES + 12 + 4 + 8) /* after the GNU note */
#define SAMPLE_DESC	     (SAMPLE_XEN + 12 + 4)
#define SAMPLE_TEXT	     0x200
#define SAMPLE_DATA	     0x400
#define SAMPLE_BYTES	     0x500
#define SAMPLE_ENTRY	     0x100040
#define SAMPLE_HEADER2	     0x220
#define SAMPLE_KERNEL	     0x400
#define SAMPLE_VERSION	     0x280
#define SAMPLE_PREFERRED     0x200000 /* where a kernel runs */
#define SAMPLE_INIT_BYTES    0x3000   /* ... and how much it needs there */
#define SAMPLE_KLUDGE_HEADER 0x40     /* file offset of SAMPLE_KLUDGE's header */

struct sample {
	uint8_t byte[SAMPLE_BYTES];
	size_t bytes;
};

/* Stores a number of so many bytes, little-endian. */
void sample_put(struct sample *s, size_t offset, uint64_t value, size_t bytes);

/* A small valid image of this kind. */
struct sample sample_make(enum sample_kind kind);

/* RAM as `-m` lays it out: 2 MiB, 128 MiB, and 4 GiB in two parts. */
extern const struct gfn_range ram_2m[1];
extern const struct gfn_range ram_128m[1];
extern const struct gfn_range ram_4g[2];

/* Modules: what they hold, and two of them. */
extern const uint8_t initrd[5000], dtb[64];
extern const struct image_module two_modules[2];

/* Initrds: 5000 bytes, and 64, which begin where guests find 5000 and no padding. */
extern const struct image_module two_initrds[2];

/* What to plan: this image, in 128 MiB. */
struct image_config config_of(const struct sample *s);

/* Read the file and draw up the plan, as image_plan(). */
int plan_file(const struct image_config *config, struct image_plan *plan, struct quire_error *err);

/* The number of so many bytes that the guest finds at gpa; 0 where it finds nothing. */
uint64_t plan_word(const struct image_plan *plan, gpa_t gpa, size_t bytes);

/* Does the guest find exactly this string at gpa? */
bool plan_string(const struct image_plan *plan, gpa_t gpa, const char *want);

/* The nth tag of a type in multiboot 2 information; 0: there is none. */
gpa_t plan_tag(const struct image_plan *plan, uint32_t type, unsigned int nth);

/* Is [p, p + bytes) in [area, area + area_bytes)? */
bool inside(const void *p, uint64_t bytes, const void *area, uint64_t area_bytes);

/* NULL if the plan is sound, else what is wrong with it. */
const char *check_plan(const struct image_config *config, const struct image_plan *plan);

/* A failure's message: one line, naming the image. */
const char *check_message(const struct image_config *config, const struct quire_error *err);

#endif
