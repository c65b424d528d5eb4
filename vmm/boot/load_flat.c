/* SPDX-License-Identifier: MIT */
/*
 * Flat images: the file is loaded at 0x7c00 and entered there in real mode, as a BIOS does with a
 * boot sector.  A BIOS loads one sector; we load the whole file, since there are no BIOS calls to
 * load more with.
 *
 * What no other loader recognises comes here.  A file that is certainly something else is refused:
 * it would only crash, and the reason is known now.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "load.h"

#define FLAT_END 0xa0000 /* 640 KiB: where conventional memory ends */

static const struct {
	uint32_t offset, bytes;
	const char *magic;
	const char *advice;
} not_flat[] = {
	{ 0, 2, "\x1f\x8b", "gzip data: unpack it first (of Linux, use the bzImage)" },
	{ 0, 5, "\xfd\x37zXZ", "xz data: unpack it first" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "zstd data: unpack it first" },
	{ 0, 4, "\x04\x22\x4d\x18", "lz4 data: unpack it first" },
	{ 0, 4, "\x02\x21\x4c\x18", "lz4 data: unpack it first" },
	{ 0, 3, "\x5d\0\0", "lzma data: unpack it first" },
	{ 0, 3, "BZh", "bzip2 data: unpack it first" },
	{ 0, 4, "\x89LZO", "lzop data: unpack it first" },
	{ 0, 2, "#!", "a script: name a guest image instead" },
	{ 0, 6, "070701", "an initramfs: hand it to a Linux kernel by --initrd=FILE" },
	{ 0, 4, "PK\x03\x04", "a zip archive: name a guest image instead" },
	{ 0, 8, "!<arch>\n", "an archive or a Debian package: name a guest image instead" },
	{ 0x101, 5, "ustar", "a tar archive: name a guest image instead" },
	{ 0x38, 4, "ARM\x64", "a kernel for arm64: name one for x86" },
	{ 0x24, 4, "\x18\x28\x6f\x01", "a kernel for ARM: name one for x86" },
	{ 0x30, 5, "RISCV", "a kernel for RISC-V: name one for x86" },
	{ 0, 4, "\x27\x05\x19\x56", "a kernel for U-Boot: name its bzImage or its ELF file" },
	{ 0, 4, "\xcf\xfa\xed\xfe", "a program for macOS: name a guest image instead" },
	{ 0, 2, "MZ", "a program for EFI or Windows: name a bzImage or an ELF image" },
	{ 0x8001, 5, "CD001", "an ISO image: name the kernel in it; --disk takes the image" },
	{ 0, 4, "hsqs", "a squashfs: take the kernel out of it" },
	{ 0, 4, "QFI\xfb", "a qcow2 disk: name a kernel image; --disk takes raw images" },
	{ 0, 4, "KDMV", "a VMDK disk: name a kernel image; --disk takes raw images" },
	{ 0, 8, "vhdxfile", "a VHDX disk: name a kernel image; --disk takes raw images" },
	{ 0x40, 4, "\x7f\x10\xda\xbe", "a VDI disk: name a kernel image; --disk takes raw images" },
};

int load_check_other(struct loader *ld)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(not_flat); i++)
		if (load_in_file(ld, not_flat[i].offset, not_flat[i].bytes) &&
		    !memcmp((const uint8_t *)ld->config->file + not_flat[i].offset,
			    not_flat[i].magic, not_flat[i].bytes))
			return load_fail(ld, -ENOEXEC, "bytes at offset %u say that this is %s",
					 not_flat[i].offset, not_flat[i].advice);
	return 0;
}

/* Does it begin with nothing but printable characters?  No code looks like that. */
static bool is_text(const struct image_config *config)
{
	const uint8_t *byte = config->file;
	uint64_t i, n = min_u64(config->file_bytes, 512);

	for (i = 0; i < n; i++)
		if (byte[i] > '~' || (byte[i] < ' ' && !strchr("\t\n\r", byte[i])) || !byte[i])
			return false;
	return true;
}

int load_flat(struct loader *ld)
{
	const struct image_config *config = ld->config;
	const uint64_t most = FLAT_END - QUIRE_BOOT_SECTOR;
	int err = load_check_other(ld);

	if (err)
		return err;
	if (is_text(config))
		return load_fail(ld, -ENOEXEC, "%" PRIu64 " bytes of text: name a guest image",
				 config->file_bytes);
	if (config->file_bytes > most)
		return load_fail(ld, -ENOEXEC,
				 "neither ELF, Linux nor multiboot, and with %" PRIu64 " bytes too "
				 "big for a flat image (at most %" PRIu64
				 "): name a kernel image; a "
				 "disk goes with --disk=FILE",
				 config->file_bytes, most);
	if (*config->cmdline || load_next_module(ld, false, NULL))
		return load_fail(ld, -EINVAL,
				 "a flat image (%" PRIu64 " bytes, not ELF or "
				 "multiboot) takes no arguments and no modules: leave them out",
				 config->file_bytes);
	ld->plan->kind = IMAGE_FLAT;
	err = load_segment(ld, "the flat image", QUIRE_BOOT_SECTOR, config->file,
			   config->file_bytes, config->file_bytes);
	return err ? err : load_entry(ld, "flat entry", QUIRE_BOOT_SECTOR);
}

int load_flat_check(struct loader *ld)
{
	const struct image_plan *plan = ld->plan;

	if (plan->nr_segments == 1 && plan->segment[0].gpa == QUIRE_BOOT_SECTOR &&
	    plan->entry == QUIRE_BOOT_SECTOR)
		return 0;
	return load_fail(ld, -ENOEXEC, "%u parts and entry %#" PRIx64 ": no flat image",
			 plan->nr_segments, plan->entry);
}
