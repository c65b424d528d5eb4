/* SPDX-License-Identifier: MIT */
/*
 * Linux: a file with a setup header, as a bzImage is.
 *
 * References: Documentation/arch/x86/boot.rst of Linux (the header, "32-bit Boot Protocol", "64-bit
 * Boot Protocol") and zero-page.rst (boot_params).  The file is:
 *
 *   0                         a boot sector that nobody executes any more
 *   0x1f1                     the setup header
 *   (setup_sects + 1) * 512   the kernel: 32-bit entry at its start, 64-bit entry 0x200 bytes on
 *
 * The real-mode code before the kernel needs a BIOS, and is left out.  The header is copied into
 * boot_params, with the fields filled in that are the boot loader's.
 *
 * A relocatable kernel goes to the first aligned address from pref_address up: below that it would
 * move itself there.  Any other one goes to 1 MiB, and moves itself to pref_address.  In both cases
 * it needs init_size bytes from where it will run, before it knows where there is RAM.
 *
 * The boot data is one segment: page tables (for the 64-bit entry), boot_params, GDT, command line.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "load.h"

#define SETUP_MAGIC	 0x53726448 /* "HdrS" */
#define SETUP_BOOT_FLAG	 0xaa55
#define SETUP_JUMP_END	 0x202 /* the jump at 0x200 counts from here to the header's end */
#define SETUP_MAX_BYTES	 (0x290 - IMAGE_SETUP_HEADER) /* what boot_params has room for */
#define SECTOR		 512
#define LOADED_HIGH	 0x01 /* loadflags: a bzImage, and no zImage */
#define XLF_KERNEL_64	 0x01 /* xloadflags: there is a 64-bit entry */
#define ENTRY_64	 0x200
#define LOAD_HIGH	 0x100000 /* where a kernel goes that cannot be relocated */
#define MAX_ALIGNMENT	 (1u << 30)
#define UNDEFINED_LOADER 0xff

/* Protocol versions, and the fields that came with them. */
#define VERSION_CMDLINE_SIZE 0x206 /* Linux 2.6.22 */
#define VERSION_INIT_SIZE    0x20a /* pref_address, too */
#define VERSION_XLOADFLAGS   0x20c

struct setup_header {
	uint8_t setup_sects;
	uint16_t root_flags;
	uint32_t syssize; /* of the kernel, in units of 16 bytes */
	uint16_t ram_size, vid_mode, root_dev, boot_flag;
	uint8_t jump, jump_bytes;
	uint32_t magic;
	uint16_t version;
	uint32_t realmode_swtch;
	uint16_t start_sys_seg;
	uint16_t kernel_version; /* offset of a string, less 0x200 */
	uint8_t type_of_loader, loadflags;
	uint16_t setup_move_size;
	uint32_t code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
	uint16_t heap_end_ptr;
	uint8_t ext_loader_ver, ext_loader_type;
	uint32_t cmd_line_ptr, initrd_addr_max, kernel_alignment;
	uint8_t relocatable_kernel, min_alignment;
	uint16_t xloadflags;
	uint32_t cmdline_size, hardware_subarch;
	uint64_t hardware_subarch_data;
	uint32_t payload_offset, payload_length;
	uint64_t setup_data, pref_address;
	uint32_t init_size, handover_offset, kernel_info_offset;
} __attribute__((packed));
_Static_assert(offsetof(struct setup_header, cmdline_size) == 0x238 - IMAGE_SETUP_HEADER,
	       "boot.rst");
_Static_assert(sizeof(struct setup_header) == 0x26c - IMAGE_SETUP_HEADER, "boot.rst");

#define SETUP_MIN_BYTES (0x23c - IMAGE_SETUP_HEADER) /* up to cmdline_size */

/* boot_params: a page, of which a boot loader fills in a few fields. */
#define PARAMS_BYTES	    4096
#define PARAMS_RSDP	    0x070 /* u64 */
#define PARAMS_E820_ENTRIES 0x1e8 /* u8 */
#define PARAMS_E820	    0x2d0
#define PARAMS_E820_MAX	    128

struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));
_Static_assert(LOAD_MAX_MEMORY <= PARAMS_E820_MAX, "fits in boot_params");

/* ---- the file ---- */

static uint32_t kernel_offset(const struct setup_header *h)
{
	return ((h->setup_sects ? h->setup_sects : 4u) + 1) * SECTOR;
}

/* Copy the header.  Fields that are beyond its end are 0.  False: there is none. */
static bool read_header(struct loader *ld, struct setup_header *h)
{
	const uint8_t *at = (const uint8_t *)ld->config->file + IMAGE_SETUP_HEADER;
	struct image_kernel *kernel = &ld->plan->kernel;

	if (!load_in_file(ld, 0, SETUP_JUMP_END + sizeof(h->magic)) ||
	    load_u32(ld, SETUP_JUMP_END) != SETUP_MAGIC)
		return false;
	kernel->header_bytes =
		SETUP_JUMP_END - IMAGE_SETUP_HEADER + at[offsetof(struct setup_header, jump_bytes)];
	memset(h, 0, sizeof(*h));
	memcpy(h, at,
	       min_u64(min_u64(kernel->header_bytes, sizeof(*h)),
		       ld->config->file_bytes - IMAGE_SETUP_HEADER));
	return true;
}

/* The text of its version, if the header says where that is. */
static void read_version(struct loader *ld, const struct setup_header *h)
{
	struct image_kernel *kernel = &ld->plan->kernel;
	uint64_t at = h->kernel_version + 0x200u, bytes = sizeof(kernel->version) - 1;

	if (!h->kernel_version || at >= kernel_offset(h) || at >= ld->config->file_bytes)
		return;
	bytes = min_u64(bytes, ld->config->file_bytes - at);
	strncpy(kernel->version, (const char *)ld->config->file + at, bytes);
}

/* Others have the header too, so that boot loaders of Linux start them.  Some then use a BIOS. */
static int refuse_old(struct loader *ld, const struct setup_header *h)
{
	const char *version = ld->plan->kernel.version;

	return load_fail(
		ld, -ENOEXEC,
		"a Linux setup header of protocol %u.%02u%s%.40s%s, which needs a BIOS, and "
		"there is none: name a kernel of 2.06 (Linux 2.6.22) or later",
		h->version >> 8, h->version & 0xff, *version ? " (" : "", version,
		*version ? ")" : "");
}

static int check_header(struct loader *ld, const struct setup_header *h)
{
	const struct image_kernel *kernel = &ld->plan->kernel;

	if (!load_in_file(ld, IMAGE_SETUP_HEADER, kernel->header_bytes))
		return load_fail(ld, -ENOEXEC,
				 "truncated: %" PRIu64 " bytes end within a Linux setup header: "
				 "copy the file again",
				 ld->config->file_bytes);
	if (h->boot_flag != SETUP_BOOT_FLAG)
		return load_fail(ld, -ENOEXEC,
				 "a Linux setup header with boot flag %#x, not 0xaa55: copy the "
				 "file again",
				 h->boot_flag);
	if (h->version < VERSION_CMDLINE_SIZE)
		return refuse_old(ld, h);
	if (!h->code32_start || !h->kernel_alignment)
		return load_fail(ld, -ENOEXEC,
				 "a Linux setup header without a 32-bit entry (code32_start %#x, "
				 "kernel_alignment %#x): only a BIOS can start it, and there is "
				 "none: name a Linux kernel",
				 h->code32_start, h->kernel_alignment);
	if (!(h->loadflags & LOADED_HIGH))
		return load_fail(ld, -ENOEXEC,
				 "a zImage (loadflags %#x), which only a BIOS can load: build a "
				 "bzImage",
				 h->loadflags);
	if (kernel->header_bytes < SETUP_MIN_BYTES || kernel->header_bytes > SETUP_MAX_BYTES)
		return load_fail(ld, -ENOEXEC,
				 "a Linux setup header of %u bytes, not %u to %u: rebuild the "
				 "kernel",
				 kernel->header_bytes, SETUP_MIN_BYTES, SETUP_MAX_BYTES);
	return 0;
}

/* The kernel's part of the file.  The file may go on after it, with a signature for example. */
static int kernel_part(struct loader *ld, const struct setup_header *h, uint64_t *bytes)
{
	uint64_t offset = kernel_offset(h), want = h->syssize * 16UL;

	*bytes = ld->config->file_bytes > offset ? ld->config->file_bytes - offset : 0;
	if (*bytes && want <= align_up(*bytes, 16))
		return 0;
	return load_fail(ld, -ENOEXEC,
			 "truncated: the setup header wants %" PRIu64 " bytes of kernel at offset "
			 "%" PRIu64 " of %" PRIu64 ": copy the file again",
			 want, offset, ld->config->file_bytes);
}

/* How much memory the kernel needs where it runs.  Before init_size, boot loaders guessed. */
static uint64_t run_bytes(const struct setup_header *h, uint64_t kernel_bytes)
{
	return max_u64(h->version >= VERSION_INIT_SIZE && h->init_size ? h->init_size :
									 3 * kernel_bytes,
		       kernel_bytes);
}

/* Where the kernel goes: [*gpa, *gpa + *bytes), with all that it needs where it runs. */
static int place(struct loader *ld, const struct setup_header *h, gpa_t *gpa, uint64_t *bytes)
{
	uint64_t preferred = h->version >= VERSION_INIT_SIZE ? h->pref_address : 0;
	uint64_t align = h->relocatable_kernel ? h->kernel_alignment : 1;

	if (align & (align - 1) || align > MAX_ALIGNMENT)
		return load_fail(ld, -ENOEXEC,
				 "kernel_alignment %#" PRIx64 " is no power of 2 up to 1 GiB: "
				 "rebuild the kernel",
				 align);
	if (preferred >= QUIRE_GAP_START)
		return load_fail(ld, -ENOEXEC,
				 "the kernel runs at %#" PRIx64 " (pref_address), which cannot be "
				 "RAM: build it to run below 3 GiB",
				 preferred);
	preferred = align_up(max_u64(preferred, LOAD_HIGH), align);
	*gpa = h->relocatable_kernel ? preferred : LOAD_HIGH;
	*bytes = preferred - *gpa + run_bytes(h, *bytes);
	return 0;
}

static int load_kernel(struct loader *ld, const struct setup_header *h)
{
	struct image_plan *plan = ld->plan;
	uint64_t file_bytes = 0, bytes;
	gpa_t gpa = 0;
	int err = kernel_part(ld, h, &file_bytes);

	bytes = file_bytes;
	if (!err)
		err = place(ld, h, &gpa, &bytes);
	if (!err)
		err = load_segment(ld, "the kernel, with what it needs to unpack itself,", gpa,
				   (const uint8_t *)ld->config->file + kernel_offset(h), file_bytes,
				   bytes);
	if (err)
		return err;
	plan->kind = h->version >= VERSION_XLOADFLAGS && h->xloadflags & XLF_KERNEL_64 ?
			     IMAGE_LINUX64 :
			     IMAGE_LINUX32;
	return load_entry(ld, "Linux entry", gpa + (plan->kind == IMAGE_LINUX64 ? ENTRY_64 : 0));
}

int load_linux(struct loader *ld)
{
	struct image_kernel *kernel = &ld->plan->kernel;
	struct setup_header h;
	int err;

	if (!read_header(ld, &h))
		return 0;
	read_version(ld, &h);
	err = check_header(ld, &h);
	kernel->is_linux = true;
	kernel->initrd_max = h.initrd_addr_max;
	kernel->cmdline_max = h.cmdline_size;
	if (!err)
		err = load_kernel(ld, &h);
	return err ? err : 1;
}

/* ---- the boot data ---- */

#define TABLE_ENTRIES 512
#define MAPPED_GIB    4
#define TABLES	      (2 + MAPPED_GIB) /* PML4, PDPT, and a PD for each GiB */
#define PTE_TABLE     0x03	       /* present, writable */
#define PTE_2M	      0x83	       /* ... a page of 2 MiB */

/* Map the first 4 GiB to themselves.  Intel SDM Vol. 3A, "4-Level Paging and 5-Level Paging". */
static gpa_t put_identity_tables(struct loader *ld)
{
	const gpa_t gpa = load_boot_put(ld, NULL, TABLES * QUIRE_PAGE_SIZE);
	uint64_t *pml4 = (uint64_t *)(void *)(ld->boot + (gpa - ld->boot_gpa));
	uint64_t *pdpt = pml4 + TABLE_ENTRIES, *pd = pdpt + TABLE_ENTRIES;

	pml4[0] = (gpa + QUIRE_PAGE_SIZE) | PTE_TABLE;
	for (unsigned int i = 0; i < MAPPED_GIB; i++)
		pdpt[i] = (gpa + (2 + i) * QUIRE_PAGE_SIZE) | PTE_TABLE;
	for (uint64_t i = 0; i < MAPPED_GIB * TABLE_ENTRIES; i++)
		pd[i] = i * (2 * MiB) | PTE_2M;
	return gpa;
}

/* Flat segments of 4 GiB.  Their access bits are set, so that nobody writes to the table. */
static gpa_t put_gdt(struct loader *ld)
{
	uint64_t gdt[IMAGE_GDT_ENTRIES] = {
		[IMAGE_GDT_CODE / 8] = ld->plan->kind == IMAGE_LINUX64 ? 0x00af9b000000ffff :
									 0x00cf9b000000ffff,
		[IMAGE_GDT_DATA / 8] = 0x00cf93000000ffff,
	};

	return load_boot_put(ld, gdt, sizeof(gdt));
}

static void fill_e820(const struct loader *ld, uint8_t *params)
{
	struct load_memory map[LOAD_MAX_MEMORY];
	unsigned int nr = load_memory_map(ld->config, map);

	params[PARAMS_E820_ENTRIES] = (uint8_t)nr;
	for (unsigned int i = 0; i < nr; i++) {
		const struct e820_entry entry = {
			.addr = map[i].start,
			.size = map[i].end - map[i].start,
			.type = map[i].type,
		};

		memcpy(params + PARAMS_E820 + i * sizeof(entry), &entry, sizeof(entry));
	}
}

/* Copy the header that is in the file, and fill in what is the boot loader's. */
static void fill_header(const struct loader *ld, uint8_t *params, gpa_t cmdline, gpa_t initrd,
			uint64_t initrd_bytes)
{
	struct setup_header h;

	memcpy(params + IMAGE_SETUP_HEADER, (const uint8_t *)ld->config->file + IMAGE_SETUP_HEADER,
	       ld->plan->kernel.header_bytes);
	memcpy(&h, params + IMAGE_SETUP_HEADER, sizeof(h));
	h.vid_mode = 0xffff; /* "normal" */
	h.type_of_loader = UNDEFINED_LOADER;
	h.code32_start = ld->plan->segment[0].gpa;
	h.ramdisk_image = initrd;
	h.ramdisk_size = initrd_bytes;
	h.cmd_line_ptr = cmdline;
	h.setup_data = 0;
	memcpy(params + IMAGE_SETUP_HEADER, &h, sizeof(h));
}

/* The numbers come from the reader of the image, who may say anything. */
static int check_outline(struct loader *ld)
{
	const struct image_kernel *kernel = &ld->plan->kernel;

	if (ld->plan->nr_segments != 1 || kernel->header_bytes < SETUP_MIN_BYTES ||
	    kernel->header_bytes > SETUP_MAX_BYTES ||
	    !load_in_file(ld, IMAGE_SETUP_HEADER, kernel->header_bytes))
		return load_fail(ld, -ENOEXEC, "%u parts and a setup header of %u bytes: no Linux",
				 ld->plan->nr_segments, kernel->header_bytes);
	if (load_next_module(ld, false, NULL))
		return load_fail(ld, -EINVAL, "a Linux kernel takes no modules: use --initrd=FILE");
	if (strlen(ld->plan->cmdline) > kernel->cmdline_max)
		return load_fail(ld, -EINVAL,
				 "a command line of %zu bytes (\"%.40s...\"), of at most %u: make "
				 "it shorter",
				 strlen(ld->plan->cmdline), ld->plan->cmdline, kernel->cmdline_max);
	return 0;
}

int load_linux_boot_data(struct loader *ld)
{
	struct image_plan *plan = ld->plan;
	const bool is64 = plan->kind == IMAGE_LINUX64;
	const size_t line_bytes = strlen(plan->cmdline) + 1;
	uint64_t initrd_bytes = 0;
	gpa_t cmdline, initrd = 0, rsdp;
	uint8_t *params;
	int err = check_outline(ld);

	if (!err)
		err = load_boot_begin(ld, (is64 ? TABLES * QUIRE_PAGE_SIZE : 0) + PARAMS_BYTES +
						  IMAGE_GDT_ENTRIES * sizeof(uint64_t) +
						  load_boot_size(line_bytes));
	if (!err)
		err = load_initrd(ld, plan->kernel.initrd_max, &initrd, &initrd_bytes);
	if (err)
		return err;
	if (is64)
		plan->cr3 = put_identity_tables(ld);
	plan->esi = load_boot_put(ld, NULL, PARAMS_BYTES);
	plan->gdt = put_gdt(ld);
	cmdline = load_boot_put(ld, plan->cmdline, line_bytes);
	params = ld->boot + (plan->esi - ld->boot_gpa);
	fill_header(ld, params, cmdline, initrd, initrd_bytes);
	fill_e820(ld, params);
	rsdp = load_acpi(ld);
	memcpy(params + PARAMS_RSDP, &rsdp, sizeof(rsdp));
	return 0;
}
