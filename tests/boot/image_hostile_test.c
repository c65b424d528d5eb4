/* SPDX-License-Identifier: MIT */
/*
 * Bad images: each is refused with the right error and one line that says what is wrong.
 *
 * Then 50 000 spoilt good ones, seeded: whatever the file, a plan that is accepted keeps every
 * promise of image.h (check_plan), and a refusal leaves nothing behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "image_samples.h"
#include "tests/tap.h"

#define ROUNDS 50000

static struct quire_error error;

/*
 * Hostile images: a sample, up to three fields spoilt, perhaps cut off; and what must come
 * of it.  key is a number (or word) that the message has to mention.
 */
#define EH64(field) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field)
#define EH32(field) offsetof(Elf32_Ehdr, field), sizeof(((Elf32_Ehdr *)0)->field)
/* clang-format off */
#define PH64(i, field) SAMPLE_PHDRS + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field), \
		       sizeof(((Elf64_Phdr *)0)->field)
#define PH32(i, field) SAMPLE_PHDRS + (i) * sizeof(Elf32_Phdr) + offsetof(Elf32_Phdr, field), \
		       sizeof(((Elf32_Phdr *)0)->field)
#define MB(word) SAMPLE_KLUDGE_HEADER + 4 * (word), 4
#define MB2(word) SAMPLE_HEADER2 + 4 * (word), 4

static const struct hostile {
	const char *what;
	enum sample_kind kind;
	struct { size_t offset, bytes; uint64_t value; } edit[3];
	size_t cut;		/* 0: whole */
	int err;
	const char *key;
} hostile[] = {
	/* ELF headers */
	{ "another machine", SAMPLE_PVH64, { { EH64(e_machine), EM_AARCH64 } },
	  0, -ENOEXEC, "183" },
	{ "the other class's machine", SAMPLE_PVH64, { { EH64(e_machine), EM_386 } },
	  0, -ENOEXEC, "machine is 3" },
	{ "big-endian", SAMPLE_PVH64, { { EI_DATA, 1, 2 } },
	  0, -ENOEXEC, "2" },
	{ "no such class", SAMPLE_PVH64, { { EI_CLASS, 1, 9 } },
	  0, -ENOEXEC, "9" },
	{ "an object file", SAMPLE_PVH64, { { EH64(e_type), ET_REL } },
	  0, -ENOEXEC, "type is 1" },
	{ "a core dump", SAMPLE_PVH32, { { EH32(e_type), ET_CORE } },
	  0, -ENOEXEC, "type is 4" },
	{ "no program headers", SAMPLE_PVH64, { { EH64(e_phnum), 0 } },
	  0, -ENOEXEC, "0 program" },
	{ "10000 program headers in a short file", SAMPLE_PVH64, { { EH64(e_phnum), 10000 } },
	  0, -ENOEXEC, "10000" },
	{ "65535 program headers", SAMPLE_PVH64, { { EH64(e_phnum), PN_XNUM } },
	  0, -ENOEXEC, "65535" },
	{ "program headers of 1 byte", SAMPLE_PVH64, { { EH64(e_phentsize), 1 } },
	  0, -ENOEXEC, "1 bytes" },
	{ "program headers beyond the end", SAMPLE_PVH64, { { EH64(e_phoff), 0x4f0 } },
	  0, -ENOEXEC, "1264" },
	{ "a program header offset that wraps", SAMPLE_PVH64, { { EH64(e_phoff), -56 } },
	  0, -ENOEXEC, "18446744073709551560" },
	/* Truncation */
	{ "4 bytes of ELF", SAMPLE_PVH64, { { 0 } },
	  4, -ENOEXEC, "4 bytes" },
	{ "half an ELF64 header", SAMPLE_PVH64, { { 0 } },
	  40, -ENOEXEC, "40 bytes" },
	{ "half an ELF32 header", SAMPLE_PVH32, { { 0 } },
	  40, -ENOEXEC, "40 bytes" },
	{ "cut in the program headers", SAMPLE_PVH64, { { 0 } },
	  0x80, -ENOEXEC, "128 bytes" },
	{ "cut in the notes", SAMPLE_PVH64, { { 0 } },
	  SAMPLE_XEN, -ENOEXEC, "of 280" },
	{ "cut in the data", SAMPLE_PVH64, { { 0 } },
	  0x480, -ENOEXEC, "of 1152" },
	{ "cut in a multiboot image", SAMPLE_MULTIBOOT, { { 0 } },
	  0x480, -ENOEXEC, "of 1152" },
	/* Notes */
	{ "ELF64 without a note", SAMPLE_PVH64, { { PH64(2, p_type), 0 } },
	  0, -ENOEXEC, "PVH note" },
	{ "ELF32 without a note or multiboot", SAMPLE_PVH32, { { PH32(2, p_type), 0 } },
	  0, -ENOEXEC, "multiboot header" },
	{ "another's note", SAMPLE_PVH64, { { SAMPLE_XEN + 12, 3, 0x4e4558 } },
	  0, -ENOEXEC, "PVH note" },
	{ "another type of note", SAMPLE_PVH64, { { SAMPLE_XEN + 8, 4, 17 } },
	  0, -ENOEXEC, "PVH note" },
	{ "a note's name too long", SAMPLE_PVH64, { { SAMPLE_XEN, 4, 0xffffffff } },
	  0, -ENOEXEC, "4294967295" },
	{ "a note's descriptor too long", SAMPLE_PVH64, { { SAMPLE_XEN + 4, 4, 0xfffffff0 } },
	  0, -ENOEXEC, "4294967280" },
	{ "a note's sizes that wrap", SAMPLE_PVH64,
	  { { SAMPLE_NOTES, 4, 0xfffffff4 }, { SAMPLE_NOTES + 4, 4, 0xffffffff } },
	  0, -ENOEXEC, "4294967284" },
	{ "a note of 6 bytes", SAMPLE_PVH64, { { SAMPLE_XEN + 4, 4, 6 } },
	  0, -ENOEXEC, "6 bytes" },
	{ "notes beyond the end", SAMPLE_PVH64, { { PH64(2, p_filesz), 0x500 } },
	  0, -ENOEXEC, "of 1280" },
	{ "notes at an offset that wraps", SAMPLE_PVH64, { { PH64(2, p_offset), UINT64_MAX } },
	  0, -ENOEXEC, "18446744073709551615" },
	{ "notes whose size wraps", SAMPLE_PVH64, { { PH64(2, p_filesz), -SAMPLE_NOTES } },
	  0, -ENOEXEC, "at offset 256" },
	{ "an empty note segment", SAMPLE_PVH64, { { PH64(2, p_filesz), 0 } },
	  0, -ENOEXEC, "PVH note" },
	/* Segments */
	{ "more file than memory", SAMPLE_PVH64, { { PH64(0, p_memsz), 0x1ff } },
	  0, -ENOEXEC, "511" },
	{ "segment bytes beyond the end", SAMPLE_PVH64, { { PH64(1, p_offset), 0x401 } },
	  0, -ENOEXEC, "1025" },
	{ "a segment offset that wraps", SAMPLE_PVH64, { { PH64(1, p_offset), UINT64_MAX } },
	  0, -ENOEXEC, "18446744073709551615" },
	{ "a segment that wraps", SAMPLE_PVH64, { { PH64(1, p_paddr), -0x1000 } },
	  0, -ENOEXEC, "0xfffffffffffff000" },
	{ "a segment whose size wraps", SAMPLE_PVH64, { { PH64(1, p_memsz), UINT64_MAX } },
	  0, -ENOEXEC, "0xffffffffffffffff" },
	{ "a segment of 2^63 bytes", SAMPLE_PVH64, { { PH64(1, p_memsz), 1ULL << 63 } },
	  0, -ENOEXEC, "0x8000000000101000" },
	{ "a segment at 2^52", SAMPLE_PVH64, { { PH64(1, p_paddr), 1ULL << 52 } },
	  0, -EFBIG, "0x10000000000000" },
	{ "a segment across the end of RAM", SAMPLE_PVH64, { { PH64(1, p_paddr), 0x7fff000 } },
	  0, -EFBIG, "-m 129M" },
	{ "a segment beyond RAM", SAMPLE_PVH64, { { PH64(1, p_paddr), 0x20000000 } },
	  0, -EFBIG, "-m 513M" },
	{ "a segment above 4 GiB and RAM", SAMPLE_PVH64, { { PH64(1, p_paddr), 0x100000000 } },
	  0, -EFBIG, "-m 3073M" },
	{ "a segment in the device hole", SAMPLE_PVH64, { { PH64(1, p_paddr), 0xd0000000 } },
	  0, -ENOEXEC, "0xd0000000" },
	{ "a segment into the device hole", SAMPLE_PVH32, { { PH32(1, p_paddr), 0xbffff000 } },
	  0, -ENOEXEC, "0xc0002000" },
	{ "overlapping segments", SAMPLE_PVH64, { { PH64(1, p_paddr), 0x1001ff } },
	  0, -ENOEXEC, "0x100200" },
	{ "one segment inside another", SAMPLE_PVH64, { { PH64(0, p_paddr), 0x102000 } },
	  0, -ENOEXEC, "0x104000" },
	{ "nothing to load", SAMPLE_PVH64, { { PH64(0, p_type), 0 }, { PH64(1, p_type), 0 } },
	  0, -ENOEXEC, "3 program headers" },
	/* Entries */
	{ "an entry outside RAM", SAMPLE_PVH64, { { SAMPLE_DESC, 8, 0x10000000 } },
	  0, -ENOEXEC, "0x10000000" },
	{ "an entry in no segment", SAMPLE_PVH32, { { SAMPLE_DESC, 4, 0x100200 } },
	  0, -ENOEXEC, "0x100200" },
	{ "an entry beyond 4 GiB", SAMPLE_PVH64, { { SAMPLE_DESC, 8, 0x100100040 } },
	  0, -ENOEXEC, "0x100100040" },
	{ "a multiboot entry in no segment", SAMPLE_MULTIBOOT, { { EH32(e_entry), 0x50 } },
	  0, -ENOEXEC, "0x50" },
	/* Multiboot headers */
	{ "a wrong checksum", SAMPLE_MULTIBOOT, { { SAMPLE_TEXT + 8, 4, 1 } },
	  0, -ENOEXEC, "PVH note" },
	{ "a video mode", SAMPLE_MULTIBOOT,
	  { { SAMPLE_TEXT + 4, 4, 7 }, { SAMPLE_TEXT + 8, 4, -(0x1badb002 + 7) } },
	  0, -ENOEXEC, "0x7" },
	{ "an unknown requirement", SAMPLE_MULTIBOOT,
	  { { SAMPLE_TEXT + 4, 4, 0x103 }, { SAMPLE_TEXT + 8, 4, -(0x1badb002 + 0x103) } },
	  0, -ENOEXEC, "0x100" },
	{ "no addresses and no ELF", SAMPLE_KLUDGE, { { MB(1), 3 }, { MB(2), -(0x1badb002 + 3) } },
	  0, -ENOEXEC, "not ELF" },
	{ "a header above its address", SAMPLE_KLUDGE, { { MB(3), 0x200041 } },
	  0, -ENOEXEC, "0x200041" },
	{ "a load address above the header", SAMPLE_KLUDGE, { { MB(4), 0x200021 } },
	  0, -ENOEXEC, "0x200021" },
	{ "a load end below the start", SAMPLE_KLUDGE, { { MB(5), 0x1fffff } },
	  0, -ENOEXEC, "0x1fffff" },
	{ "a load end beyond the file", SAMPLE_KLUDGE, { { MB(5), 0x200501 }, { MB(6), 0x200600 } },
	  0, -ENOEXEC, "1281" },
	{ "a bss end inside the data", SAMPLE_KLUDGE, { { MB(6), 0x2002ff } },
	  0, -ENOEXEC, "0x2002ff" },
	{ "a bss beyond RAM", SAMPLE_KLUDGE, { { MB(6), 0x8000001 } },
	  0, -EFBIG, "-m 129M" },
	{ "an entry outside", SAMPLE_KLUDGE, { { MB(7), 0x200800 } },
	  0, -ENOEXEC, "0x200800" },
	{ "an ELF64 with a multiboot header", SAMPLE_PVH64,
	  { { PH64(2, p_type), 0 }, { SAMPLE_TEXT, 8, 3UL << 32 | 0x1badb002 },
	    { SAMPLE_TEXT + 8, 4, -(0x1badb002 + 3) } },
	  0, -ENOEXEC, "objcopy -O elf32-i386" },
	/* Multiboot 2 headers */
	{ "a wrong checksum of version 2", SAMPLE_MULTIBOOT2, { { MB2(3), 1 } },
	  0, -ENOEXEC, "PVH note" },
	{ "MIPS", SAMPLE_MULTIBOOT2, { { MB2(1), 4 }, { MB2(3), -(0xe85250d6 + 4 + 16 + 80) } },
	  0, -ENOEXEC, "architecture 4" },
	{ "a header too short for itself", SAMPLE_MULTIBOOT2,
	  { { MB2(2), 8 }, { MB2(3), -(0xe85250d6 + 8) } },
	  0, -ENOEXEC, "has 8 bytes" },
	{ "a header longer than the file", SAMPLE_MULTIBOOT2,
	  { { MB2(2), 0x400 }, { MB2(3), -(0xe85250d6 + 0x400) } },
	  0, -ENOEXEC, "has 1024 bytes" },
	{ "a header of 4 GiB", SAMPLE_MULTIBOOT2,
	  { { MB2(2), 0xfffffff0 }, { MB2(3), -(0xe85250d6 + 0xfffffff0) } },
	  0, -ENOEXEC, "has 4294967280 bytes" },
	{ "a tag of no bytes", SAMPLE_MULTIBOOT2, { { MB2(5), 0 } },
	  0, -ENOEXEC, "tag 1 at offset 560 has 0" },
	{ "a tag of 4 GiB", SAMPLE_MULTIBOOT2, { { MB2(5), 0xffffffff } },
	  0, -ENOEXEC, "tag 1 at offset 560 has 4294967295" },
	{ "an entry tag without an entry", SAMPLE_MULTIBOOT2, { { MB2(9), 8 } },
	  0, -ENOEXEC, "tag 3 has 8 bytes, not 12" },
	{ "a request that nobody knows", SAMPLE_MULTIBOOT2, { { MB2(6), 22 } },
	  0, -ENOEXEC, "information tag 22" },
	{ "a tag that nobody knows", SAMPLE_MULTIBOOT2, { { MB2(12), 11 } },
	  0, -ENOEXEC, "tag 11" },
	{ "a console that must be", SAMPLE_MULTIBOOT2, { { MB2(18), 4 } },
	  0, -ENOEXEC, "console" },
	{ "a video mode of version 2", SAMPLE_MULTIBOOT2, { { MB2(12), 5 } },
	  0, -ENOEXEC, "video mode" },
	{ "a relocatable tag that is cut", SAMPLE_MULTIBOOT2, { { MB2(13), 20 } },
	  0, -ENOEXEC, "tag 10 has 20 bytes, not 24" },
	{ "multiples of 3", SAMPLE_MULTIBOOT2, { { MB2(16), 3 } },
	  0, -ENOEXEC, "no power of two" },
	{ "a place beyond RAM", SAMPLE_MULTIBOOT2, { { MB2(14), 128 * MiB } },
	  0, -EFBIG, "larger -m" },
	{ "a place below 1 MiB", SAMPLE_MULTIBOOT2, { { MB2(14), 0 }, { MB2(15), MiB } },
	  0, -EFBIG, "no room for the image" },
	{ "a place that is too small", SAMPLE_MULTIBOOT2, { { MB2(15), MiB + 0x3000 } },
	  0, -EFBIG, "no room for the image" },
	{ "a place that ends before it begins", SAMPLE_MULTIBOOT2, { { MB2(15), 0 } },
	  0, -EFBIG, "no room for the image" },
	{ "multiples of 2 GiB", SAMPLE_MULTIBOOT2, { { MB2(16), 0x80000000 } },
	  0, -EFBIG, "no room for the image" },
	{ "EFI", SAMPLE_MULTIBOOT2, { { MB2(12), 7 } },
	  0, -ENOEXEC, "EFI boot services" },
	{ "addresses and no entry", SAMPLE_KLUDGE2, { { MB(10), 6 } },
	  0, -ENOEXEC, "add tag 3" },
	{ "neither addresses nor ELF", SAMPLE_KLUDGE2, { { MB(4), 6 } },
	  0, -ENOEXEC, "add tag 2" },
	{ "an entry outside, of version 2", SAMPLE_KLUDGE2, { { MB(12), 0x200800 } },
	  0, -ENOEXEC, "0x200800" },
	/* Neither */
	/* Linux's setup header */
	{ "no boot flag", SAMPLE_LINUX64, { { 0x1fe, 2, 0 } },
	  0, -ENOEXEC, "boot flag 0" },
	{ "protocol 2.05", SAMPLE_LINUX64, { { 0x206, 2, 0x205 } },
	  0, -ENOEXEC, "2.05 (6.1.0 sample)" },
	{ "a zImage", SAMPLE_LINUX32, { { 0x211, 1, 0x80 } },
	  0, -ENOEXEC, "zImage" },
	{ "a setup header that ends early", SAMPLE_LINUX64, { { 0x201, 1, 0x39 } },
	  0, -ENOEXEC, "74 bytes" },
	{ "a setup header too long for boot_params", SAMPLE_LINUX64, { { 0x201, 1, 0x8f } },
	  0, -ENOEXEC, "160 bytes" },
	{ "no 32-bit entry, as iPXE", SAMPLE_LINUX64, { { 0x214, 4, 0 } },
	  0, -ENOEXEC, "code32_start 0," },
	{ "an EFI program with a multiboot header inside", SAMPLE_KLUDGE,
	  { { 0, 2, 0x5a4d }, { MB(1), 3 }, { MB(2), -(0x1badb002 + 3) } },
	  0, -ENOEXEC, "EFI" },
	{ "no kernel", SAMPLE_LINUX64, { { 0x1f1, 1, 2 }, { 0x1f4, 4, 0 } },
	  0, -ENOEXEC, "offset 1536" },
	{ "setup_sects 0 is 4", SAMPLE_LINUX64, { { 0x1f1, 1, 0 } },
	  0, -ENOEXEC, "offset 2560" },
	{ "half a kernel", SAMPLE_LINUX64, { { 0 } },
	  0x480, -ENOEXEC, "256 bytes of kernel at offset 1024 of 1152" },
	{ "half a setup header", SAMPLE_LINUX64, { { 0 } },
	  0x208, -ENOEXEC, "520 bytes" },
	{ "a kernel of 64 GiB", SAMPLE_LINUX64, { { 0x1f4, 4, 0xffffffff } },
	  0, -ENOEXEC, "68719476720" },
	{ "an alignment of 0", SAMPLE_LINUX64, { { 0x230, 4, 0 } },
	  0, -ENOEXEC, "kernel_alignment 0)" },
	{ "an alignment that is none", SAMPLE_LINUX64, { { 0x230, 4, 0x3000 } },
	  0, -ENOEXEC, "0x3000" },
	{ "an alignment of 2 GiB", SAMPLE_LINUX64, { { 0x230, 4, 0x80000000 } },
	  0, -ENOEXEC, "0x80000000" },
	{ "a preferred address beyond 3 GiB", SAMPLE_LINUX64, { { 0x258, 8, 0xc0000000 } },
	  0, -ENOEXEC, "0xc0000000" },
	{ "a preferred address that wraps", SAMPLE_LINUX32, { { 0x258, 8, UINT64_MAX } },
	  0, -ENOEXEC, "0xffffffffffffffff" },
	{ "an address in the device hole", SAMPLE_LINUX32,
	  { { 0x258, 8, 0xbfffffff }, { 0x230, 4, 0x40000000 } }, 0, -ENOEXEC, "0xc0000000" },
	{ "a preferred address beyond RAM", SAMPLE_LINUX64, { { 0x258, 8, 0x10000000 } },
	  0, -EFBIG, "-m 257M" },
	{ "init_size beyond RAM", SAMPLE_LINUX64, { { 0x260, 4, 0x7e00001 } },
	  0, -EFBIG, "-m 129M" },
	{ "init_size of 4 GiB", SAMPLE_LINUX64, { { 0x260, 4, 0xffffffff } },
	  0, -ENOEXEC, "0x1001fffff" },
	{ "gzip", SAMPLE_FLAT, { { 0, 2, 0x8b1f } },
	  0, -ENOEXEC, "gzip" },
	{ "zstd", SAMPLE_FLAT, { { 0, 4, 0xfd2fb528 } },
	  0, -ENOEXEC, "zstd" },
	{ "lz4", SAMPLE_FLAT, { { 0, 4, 0x184d2204 } },
	  0, -ENOEXEC, "lz4" },
	{ "xz", SAMPLE_FLAT, { { 0, 6, 0x5a587a37fd } },
	  0, -ENOEXEC, "xz" },
	{ "an initramfs", SAMPLE_FLAT, { { 0, 6, 0x313037303730 } },
	  0, -ENOEXEC, "--initrd=FILE" },
	{ "arm64", SAMPLE_FLAT, { { 0, 2, 0x5a4d }, { 0x38, 4, 0x644d5241 } },
	  0, -ENOEXEC, "arm64" },
	{ "EFI", SAMPLE_FLAT, { { 0, 2, 0x5a4d } },
	  0, -ENOEXEC, "EFI" },
	{ "a tar archive", SAMPLE_FLAT, { { 0x101, 5, 0x7261747375 } },
	  0, -ENOEXEC, "tar" },
	{ "a script", SAMPLE_FLAT, { { 0, 2, 0x2123 } },
	  0, -ENOEXEC, "script" },
};
/* clang-format on */

/* A refusal: the right code, the key in one line, nothing left in the plan. */
static void is_refused(const struct image_config *config, int want, const char *key,
		       const char *what)
{
	struct image_plan plan;
	int err = plan_file(config, &plan, &error);
	const char *bad = err ? check_message(config, &error) : "it was accepted";

	if (!ok(err == want && !bad && strstr(error.text, key), "%s is refused", what))
		tap_note("%d, want %d and \"%s\": %s (%s)", err, want, key, error.text,
			 bad ? bad : "");
	if (!err)
		image_plan_finish(&plan);
	else if (plan.nr_segments || plan.boot_data)
		ok(false, "%s leaves nothing behind", what);
}

static void test_hostile(void)
{
	size_t i, e;

	for (i = 0; i < ARRAY_SIZE(hostile); i++) {
		const struct hostile *h = &hostile[i];
		struct sample s = sample_make(h->kind);
		struct image_config config = config_of(&s);

		for (e = 0; e < ARRAY_SIZE(h->edit); e++)
			sample_put(&s, h->edit[e].offset, h->edit[e].value, h->edit[e].bytes);
		if (h->cut)
			config.file_bytes = h->cut;
		is_refused(&config, h->err, h->key, h->what);
	}
}

/* What takes more than spoiling a field. */
static void test_refusals(void)
{
	struct sample s = sample_make(SAMPLE_PVH64), flat = sample_make(SAMPLE_FLAT);
	struct sample linux64 = sample_make(SAMPLE_LINUX64);
	struct image_module big = { initrd, 0x7f00000, "", "" };
	struct image_module huge = { initrd, UINT64_MAX, "", "" };
	char line[243] = "";
	struct image_config config = config_of(&s);

	config.file_bytes = 0;
	is_refused(&config, -ENOEXEC, "0 bytes", "an empty file");
	config = config_of(&s);
	config.nr_ram = 0;
	is_refused(&config, -EFBIG, "-m 2M", "a VM without RAM");
	config = config_of(&s);
	config.module = &big;
	config.nr_modules = 1;
	is_refused(&config, -EFBIG, "133169152", "a module bigger than the rest of RAM");
	config.module = &huge;
	is_refused(&config, -EFBIG, "18446744073709551615", "a module of 2^64 - 1 bytes");
	config = config_of(&s);
	config.ram = ram_4g;
	config.nr_ram = 2;
	sample_put(&s, SAMPLE_PHDRS + offsetof(Elf64_Phdr, p_paddr), 4 * GiB, 8);
	sample_put(&s, SAMPLE_DESC, 4 * GiB, 8);
	is_refused(&config, -ENOEXEC, "0x100000000", "an entry in a segment beyond 4 GiB");
	config = config_of(&linux64);
	config.module = two_modules;
	config.nr_modules = 1;
	is_refused(&config, -EINVAL, "--initrd=FILE", "a bzImage with a module");
	config.nr_modules = 0;
	config.cmdline = memset(line, 'x', 242);
	is_refused(&config, -EINVAL, "256 bytes", "a command line that is too long");
	config.cmdline = "";
	config.initrd = &big;
	config.nr_initrds = 1;
	is_refused(&config, -EFBIG, "-m 130M", "kernel and initrd that do not fit together");
	config.initrd = &huge;
	is_refused(&config, -EFBIG, "18446744073709551615", "an initrd of 2^64 - 1 bytes");
	config.initrd = two_initrds;
	sample_put(&linux64, 0x22c, 0x100fff, 4);
	is_refused(&config, -EFBIG, "0x101000", "an initrd that must be lower than it can be");
	s = sample_make(SAMPLE_PVH64);
	config = config_of(&s);
	config.initrd = two_initrds;
	config.nr_initrds = 1;
	is_refused(&config, -EINVAL, "--module=FILE", "an initrd for what is not Linux");
	config = config_of(&s);
	config.file = "# Quire\n\tis a machine monitor.\n";
	config.file_bytes = strlen(config.file);
	is_refused(&config, -ENOEXEC, "31 bytes of text", "a README");
	config = config_of(&flat);
	config.cmdline = "x";
	is_refused(&config, -EINVAL, "arguments", "a flat image with arguments");
	config.cmdline = "";
	config.module = two_modules;
	config.nr_modules = 1;
	is_refused(&config, -EINVAL, "modules", "a flat image with a module");
}

static void test_flat_size(void)
{
	const size_t most = 0xa0000 - 0x7c00;
	uint8_t *file = calloc(1, most + 1);
	struct sample s = sample_make(SAMPLE_FLAT);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.file = file;
	config.file_bytes = most;
	ok(!plan_file(&config, &plan, &error), "a flat image up to 640 KiB is accepted");
	image_plan_finish(&plan);
	config.file_bytes = most + 1;
	is_refused(&config, -ENOEXEC, "623617", "a flat image beyond 640 KiB");
	free(file);
}

/*
 * PVH64 with its notes and nr more program headers: ph, each step bytes above the one before.
 * The caller frees config->file.
 */
static struct image_config many_headers(Elf64_Phdr ph, unsigned int nr, uint64_t step)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	const size_t bytes = sizeof(ph);
	uint8_t *file;
	unsigned int i;

	sample_put(&s, offsetof(Elf64_Ehdr, e_phoff), SAMPLE_BYTES, 8);
	sample_put(&s, offsetof(Elf64_Ehdr, e_phnum), nr + 1, 2);
	config.file_bytes = SAMPLE_BYTES + (nr + 1) * bytes;
	file = calloc(1, config.file_bytes);
	memcpy(file, s.byte, SAMPLE_BYTES);
	memcpy(file + SAMPLE_BYTES + nr * bytes, s.byte + SAMPLE_PHDRS + 2 * bytes, bytes);
	for (i = 0; i < nr; i++) {
		memcpy(file + SAMPLE_BYTES + i * bytes, &ph, bytes);
		ph.p_paddr += step;
	}
	config.file = file;
	return config;
}

static void test_many_headers(void)
{
	const Elf64_Phdr load = { .p_type = PT_LOAD,
				  .p_paddr = 0x100000,
				  .p_offset = SAMPLE_TEXT,
				  .p_filesz = 0x100,
				  .p_memsz = 0x1000 };
	const Elf64_Phdr empty = { .p_type = PT_LOAD, .p_paddr = UINT64_MAX };
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_filesz = SAMPLE_BYTES + 56 * 10001 };
	struct image_config config = many_headers(load, 255, 0x1000);
	struct image_plan plan;

	ok(!plan_file(&config, &plan, &error), "255 segments and boot data are accepted");
	is(plan.nr_segments, IMAGE_MAX_SEGMENTS, "... and are all there can be");
	image_plan_finish(&plan);
	free((void *)(uintptr_t)config.file);

	config = many_headers(load, 256, 0x1000);
	is_refused(&config, -ENOEXEC, "256", "boot data as segment 257");
	free((void *)(uintptr_t)config.file);

	config = many_headers(load, 10000, 0x1000);
	is_refused(&config, -ENOEXEC, "256", "10000 segments");
	free((void *)(uintptr_t)config.file);

	config = many_headers(empty, 10000, 0);
	is_refused(&config, -ENOEXEC, "10001", "10000 empty segments");
	free((void *)(uintptr_t)config.file);

	config = many_headers(note, 10000, 0);
	is_refused(&config, -ENOEXEC, "offset 0", "notes over the whole file");
	free((void *)(uintptr_t)config.file);

	/* Zeroes are well-formed notes: only their number would take for ever. */
	note.p_offset = SAMPLE_DATA;
	note.p_filesz = SAMPLE_BYTES - SAMPLE_DATA;
	config = many_headers(note, 60000, 0);
	memset((uint8_t *)(uintptr_t)config.file + note.p_offset, 0, note.p_filesz);
	is_refused(&config, -ENOEXEC, "bytes of notes", "60000 times the same notes");
	free((void *)(uintptr_t)config.file);
}

/* Spoil 1 to 8 things, the headers more often than the rest. */
static void mutate(struct sample *s, uint64_t *rng)
{
	static const uint64_t nasty[] = {
		0,	     1,		 3,	     0x7fffffff,	 0x80000000, 0xffffffff,
		0xfffffff0,  1ULL << 63, UINT64_MAX, UINT64_MAX - 0xfff, 0x100000,   0x101000,
		0x1001ff,    0x8000000,	 0x7fff000,  0xc0000000,	 0xbffff000, 0x100000000,
		0x13ffff000, 0x7c00,	 0xa0000,    SAMPLE_BYTES,
	};
	unsigned int n = 1 + tap_random(rng) % 8;

	while (n--) {
		uint64_t r = tap_random(rng);
		size_t at = (r & 7 ? SAMPLE_TEXT + 0x70 : SAMPLE_BYTES) * (r >> 40) >> 24;
		size_t bytes = 1 << (r >> 8 & 3);

		if ((r >> 4 & 15) == 0)
			s->bytes = at;
		else if ((r >> 4 & 15) < 6)
			s->byte[at] ^= 1u << (r >> 16 & 7);
		else if (at / bytes * bytes + bytes <= SAMPLE_BYTES)
			sample_put(s, at / bytes * bytes,
				   nasty[(r >> 16 & 0xff) % ARRAY_SIZE(nasty)], bytes);
	}
}

/* Give the guest what its kind takes, by the bits of r, and now and then what it does not take. */
static void add_extras(struct image_config *config, enum sample_kind kind, uint64_t r)
{
	bool is_linux = kind == SAMPLE_LINUX64 || kind == SAMPLE_LINUX32;
	static const char tables[40] = "RSD PTR ";
	bool strange = !(r >> 20 & 31);

	config->acpi = tables;
	config->acpi_bytes = r & 1UL << 25 ? sizeof(tables) : 0;
	config->text_screen = r & 1UL << 26;
	config->module = two_modules;
	config->initrd = two_initrds;
	if (is_linux || strange)
		config->nr_initrds = (r >> 14) % 3;
	if ((!is_linux && kind != SAMPLE_FLAT) || strange)
		config->nr_modules = (r >> 12) % 3;
	if (kind != SAMPLE_FLAT || strange)
		config->cmdline = r & 0x400 ? "some arguments" : "";
}

/* One spoilt image; NULL, or what is wrong with the answer. */
static const char *mutation_round(uint64_t *rng, unsigned int accepted[])
{
	uint64_t r = tap_random(rng);
	struct sample s = sample_make(r % NR_SAMPLES);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	const char *bad;

	mutate(&s, rng);
	config.file_bytes = s.bytes;
	config.ram = r & 0x100 ? ram_4g : r & 0x200 ? ram_128m : ram_2m;
	config.nr_ram = r & 0x100 ? 2 : 1;
	add_extras(&config, r % NR_SAMPLES, r);
	error.text[0] = '\0';
	if (plan_file(&config, &plan, &error))
		return check_message(&config, &error);
	accepted[plan.kind]++;
	bad = check_plan(&config, &plan);
	image_plan_finish(&plan);
	return bad;
}

static void test_mutations(uint64_t seed)
{
	unsigned int accepted[IMAGE_NR_KINDS] = { 0 }, i, k, total = 0, faults = 0;
	uint64_t rng = seed;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t state = rng;
		const char *bad = mutation_round(&rng, accepted);

		if (bad && faults++ < 5)
			tap_note("round %u, state %#" PRIx64 ": %s (%s)", i, state, bad,
				 error.text);
	}
	ok(!faults, "%u spoilt images are answered as promised", ROUNDS);
	for (k = 0; k < IMAGE_NR_KINDS; k++) {
		ok(accepted[k], "%u of them were still good as kind %u", accepted[k], k);
		total += accepted[k];
	}
	ok(ROUNDS - total > ROUNDS / 10, "%u of them were refused", ROUNDS - total);
}

/*
 * What a reader may send that was taken over: the outline of a good file with bytes of it, or whole
 * numbers, replaced.
 */
static void spoil_outline(struct image_outline *outline, uint64_t *rng)
{
	static const uint64_t extremes[] = { 0, 1, 0x1000, UINT32_MAX, 1UL << 47, UINT64_MAX - 7 };
	uint8_t *bytes = (uint8_t *)outline;
	uint64_t n = 1 + tap_random(rng) % 4;

	while (n--) {
		uint64_t r = tap_random(rng), at = tap_random(rng) % (sizeof(*outline) - 8) & ~3UL;

		if (r & 1) /* most of the outline is empty, so stay near its beginning */
			at = offsetof(struct image_outline, kind) + at % 120;
		if (r & 2)
			memcpy(bytes + at, &extremes[(r >> 8) % ARRAY_SIZE(extremes)], 8);
		else
			bytes[at] = r >> 8;
	}
}

static const char *outline_round(uint64_t *rng, unsigned int *accepted)
{
	uint64_t r = tap_random(rng);
	struct sample s = sample_make(r % NR_SAMPLES);
	struct image_config config = config_of(&s);
	struct image_outline outline;
	struct image_plan plan;
	const char *bad;

	config.ram = r & 0x100 ? ram_4g : ram_2m;
	config.nr_ram = r & 0x100 ? 2 : 1;
	add_extras(&config, r % NR_SAMPLES, r);
	image_read(&config, &outline);
	spoil_outline(&outline, rng);
	if (image_plan(&config, &outline, &plan, &error))
		return strpbrk(error.text, "\n\x1b") ? "the message is not one line" : NULL;
	++*accepted;
	bad = check_plan(&config, &plan);
	image_plan_finish(&plan);
	return bad;
}

static void test_outlines(uint64_t seed)
{
	unsigned int accepted = 0, faults = 0;
	uint64_t rng = seed;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t state = rng;
		const char *bad = outline_round(&rng, &accepted);

		if (bad && faults++ < 5)
			tap_note("round %u, state %#" PRIx64 ": %s", i, state, bad);
	}
	ok(!faults, "no reader gets an unsound plan with %u spoilt outlines", ROUNDS);
	ok(accepted && accepted < ROUNDS * 9 / 10, "%u of them were still good", accepted);
}

/* It goes to a terminal. */
static void test_reason(void)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_outline outline;
	struct image_plan plan;

	memset(&outline, 'x', sizeof(outline));
	memcpy(outline.text, "\x1b]0;title\a\n", 11);
	outline.code = -ENOMEM;
	ok(image_plan(&config, &outline, &plan, &error) == -ENOEXEC,
	   "a reader cannot say that the host is at fault");
	ok(!strncmp(error.text, "?]0;title??xxx", 14), "its reason is printable, and ends");
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	test_hostile();
	test_refusals();
	test_flat_size();
	test_many_headers();
	test_reason();
	seed = tap_seed(argc, argv);
	test_mutations(seed);
	test_outlines(seed);
	return tap_done();
}
