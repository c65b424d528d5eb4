/* SPDX-License-Identifier: MIT */
/*
 * Loading images: what a good one turns into, byte for byte, and how files are read; of Linux, see
 * image_linux_test.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "image_lab.h"
#include "tests/tap.h"

static struct quire_error error;

static void test_pvh(enum sample_kind kind, enum image_kind want, const char *what)
{
	struct sample s = sample_make(kind);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	gpa_t info, map;

	config.cmdline = "fill seed=1";
	if (!planned(&config, &plan, what))
		return;
	ok(plan.kind == want, "%s is recognised", what);
	is_hex(plan.entry, SAMPLE_ENTRY, "the entry is the note's, not e_entry");
	is(plan.nr_segments, 3, "two segments and the boot data");
	is_segment(&plan, 0, 0x100000, s.byte + SAMPLE_TEXT, 0x200, 0x200);
	is_segment(&plan, 1, 0x101000, s.byte + SAMPLE_DATA, 0x100, 0x3000);
	info = plan.ebx;
	is_hex(info, 0x104000, "start info is on the first page above the image");
	is_hex(plan_word(&plan, info, 4), 0x336ec578, "start info: magic");
	is(plan_word(&plan, info + 4, 4), 1, "start info: version");
	is_hex(plan_word(&plan, info + 8, 4), 0, "start info: flags");
	is(plan_word(&plan, info + 12, 4), 0, "start info: no modules");
	is_hex(plan_word(&plan, info + 16, 8), 0, "start info: no module list");
	is_hex(plan_word(&plan, info + 32, 8), 0, "start info: no ACPI");
	ok(plan_string(&plan, plan_word(&plan, info + 24, 8), "fill seed=1"), "the command line");
	map = plan_word(&plan, info + 40, 8);
	is(plan_word(&plan, info + 48, 4), 5, "five memory map entries");
	is_memory(&plan, map, 0, 0x9fc00, 1);
	is_memory(&plan, map + 24, 0x9fc00, 0xa0000, 2);
	is_memory(&plan, map + 48, 0xe0000, 0x100000, 2);
	is_memory(&plan, map + 72, 0x100000, 0x8000000, 1);
	is_memory(&plan, map + 96, 0xc0000000, 0x100000000, 2);
	image_plan_finish(&plan);
}

static void test_pvh_modules(void)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	gpa_t list;

	config.ram = ram_4g;
	config.nr_ram = 2;
	config.module = two_modules;
	config.nr_modules = 2;
	if (!planned(&config, &plan, "PVH64 with two modules and 4 GiB"))
		return;
	is(plan.nr_segments, 5, "each module is a segment");
	is_segment(&plan, 3, 0x105000, initrd, 5000, 0x2000);
	is_segment(&plan, 4, 0x107000, dtb, 64, 0x1000);
	is(plan_word(&plan, plan.ebx + 12, 4), 2, "start info: two modules");
	list = plan_word(&plan, plan.ebx + 16, 8);
	is_hex(plan_word(&plan, list, 8), 0x105000, "module 0: address");
	is(plan_word(&plan, list + 8, 8), 5000, "module 0: size");
	ok(plan_string(&plan, plan_word(&plan, list + 16, 8), "initrd rw"), "module 0: arguments");
	ok(plan_string(&plan, plan_word(&plan, list + 48, 8), "quire.dtb"), "module 1: the tree");
	is(plan_word(&plan, plan.ebx + 48, 4), 6, "six memory map entries");
	is_memory(&plan, plan_word(&plan, plan.ebx + 40, 8) + 120, 4 * GiB, 5 * GiB, 1);
	image_plan_finish(&plan);
}

/* ACPI's tables have one place.  If something else is there, the guest has none. */
static void test_acpi(void)
{
	static const uint8_t tables[700] = "RSD PTR ";
	const struct gfn_range small[] = { { 0, 0xe0 }, { 0x100, 0x8000 } };
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.acpi = tables;
	config.acpi_bytes = sizeof(tables);
	if (!planned(&config, &plan, "PVH64 with ACPI"))
		return;
	is_segment(&plan, 2, 0xe0000, tables, sizeof(tables), sizeof(tables));
	is_hex(plan_word(&plan, plan.ebx + 32, 8), 0xe0000, "start info: the RSDP");
	image_plan_finish(&plan);

	config.ram = small;
	config.nr_ram = 2;
	if (!planned(&config, &plan, "PVH64 without RAM for ACPI"))
		return;
	is_hex(plan_word(&plan, plan.ebx + 32, 8), 0, "start info: no ACPI");
	is(plan.nr_segments, 3, "two segments and the boot data");
	image_plan_finish(&plan);
}

static void test_multiboot(void)
{
	struct sample s = sample_make(SAMPLE_MULTIBOOT);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	gpa_t info, mods;

	config.cmdline = "a b";
	config.module = two_modules;
	config.nr_modules = 2;
	if (!planned(&config, &plan, "multiboot"))
		return;
	ok(plan.kind == IMAGE_MULTIBOOT, "multiboot is recognised");
	is_hex(plan.entry, 0x100000 + 0x40, "e_entry, made physical");
	is_hex(plan.eax, 0x2badb002, "eax");
	is_segment(&plan, 0, 0x100000, s.byte + SAMPLE_TEXT, 0x200, 0x200);
	is_segment(&plan, 1, 0x101000, s.byte + SAMPLE_DATA, 0x100, 0x3000);
	info = plan.ebx;
	is_hex(info, 0x104000, "the information is above the image");
	is_hex(plan_word(&plan, info, 4), 0x24d, "memory, cmdline, mods, mmap, loader name");
	is(plan_word(&plan, info + 4, 4), 639, "mem_lower in KiB");
	is(plan_word(&plan, info + 8, 4), 127 * 1024, "mem_upper in KiB");
	ok(plan_string(&plan, plan_word(&plan, info + 16, 4), "sample a b"),
	   "the command line, with the image's name in front");
	is(plan_word(&plan, info + 20, 4), 1, "one module: the device tree is for PVH only");
	mods = plan_word(&plan, info + 24, 4);
	is_hex(plan_word(&plan, mods, 4), 0x105000, "module 0: start");
	is_hex(plan_word(&plan, mods + 4, 4), 0x105000 + 5000, "module 0: end");
	ok(plan_string(&plan, plan_word(&plan, mods + 8, 4), "modules/one initrd rw"),
	   "module 0: string, with the file's name in front");
	is(plan_word(&plan, info + 44, 4), 5 * 24, "five memory map entries");
	is_memory(&plan, plan_word(&plan, info + 48, 4) + 4, 0, 0x9fc00, 1);
	ok(plan_string(&plan, plan_word(&plan, info + 64, 4), "quire"), "the loader's name");
	image_plan_finish(&plan);
}

static void test_kludge(void)
{
	struct sample s = sample_make(SAMPLE_KLUDGE);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.ram = ram_4g;
	config.nr_ram = 2;
	if (!planned(&config, &plan, "multiboot with addresses"))
		return;
	ok(plan.kind == IMAGE_MULTIBOOT, "... needs no ELF");
	is_hex(plan.entry, 0x200100, "... its own entry");
	is_segment(&plan, 0, 0x200000, s.byte + 0x20, 0x300, 0x800);
	is_hex(plan_word(&plan, plan.ebx + 8, 4), 3 * 1024 * 1024 - 1024,
	       "mem_upper ends at 3 "
	       "GiB");
	image_plan_finish(&plan);

	sample_put(&s, SAMPLE_KLUDGE_HEADER + 20, 0, 4);
	sample_put(&s, SAMPLE_KLUDGE_HEADER + 24, 0, 4);
	if (!planned(&config, &plan, "... with neither load end nor bss"))
		return;
	is_segment(&plan, 0, 0x200000, s.byte + 0x20, SAMPLE_BYTES - 0x20, SAMPLE_BYTES - 0x20);
	image_plan_finish(&plan);
}

static void test_multiboot2(void)
{
	static const char tables[40] = "RSD PTR ";
	struct sample s = sample_make(SAMPLE_MULTIBOOT2);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.cmdline = "a b";
	config.module = two_modules;
	config.nr_modules = 2;
	config.acpi = tables;
	config.acpi_bytes = sizeof(tables);
	if (!planned(&config, &plan, "multiboot 2 in an ELF64"))
		return;
	ok(plan.kind == IMAGE_MULTIBOOT2, "multiboot 2 is recognised");
	is_hex(plan.entry, SAMPLE_ENTRY, "the entry is the tag's, not e_entry");
	is_hex(plan.eax, 0x36d76289, "eax");
	is_hex(plan.ebx, 0x104000, "the information is above the image");
	is_segment(&plan, 0, 0x100000, s.byte + SAMPLE_TEXT, 0x200, 0x200);
	ok(plan_string(&plan, plan_tag(&plan, 1, 0) + 8, "sample a b"), "the command line");
	ok(plan_string(&plan, plan_tag(&plan, 2, 0) + 8, "quire"), "the loader's name");
	is(plan_word(&plan, plan_tag(&plan, 4, 0) + 8, 4), 639, "mem_lower in KiB");
	is(plan_word(&plan, plan_tag(&plan, 4, 0) + 12, 4), 127 * 1024, "mem_upper in KiB");
	is(plan_word(&plan, plan_tag(&plan, 6, 0) + 4, 4), 16 + 5 * 24, "five memory map entries");
	is_memory(&plan, plan_tag(&plan, 6, 0) + 16, 0, 0x9fc00, 1);
	is_hex(plan_word(&plan, plan_tag(&plan, 21, 0) + 8, 4), 0x100000, "where it is loaded");
	ok(plan_string(&plan, plan_tag(&plan, 3, 0) + 16, "modules/one initrd rw"), "a module");
	ok(!plan_tag(&plan, 3, 1), "... but no device tree");
	ok(plan_string(&plan, plan_tag(&plan, 14, 0) + 8, "RSD PTR "), "ACPI's table, old");
	is(plan_word(&plan, plan_tag(&plan, 15, 0) + 4, 4), 8 + 36, "... and new");
	ok(!plan_tag(&plan, 8, 0), "no screen");
	image_plan_finish(&plan);
	config.text_screen = true;
	sample_put(&s, SAMPLE_HEADER2 + 4 * 18, 4, 4); /* no longer optional */
	if (!planned(&config, &plan, "multiboot 2 that wants a text screen"))
		return;
	is_hex(plan_word(&plan, plan_tag(&plan, 8, 0) + 8, 8), 0xb8000, "a screen");
	is_hex(plan_word(&plan, plan_tag(&plan, 8, 0) + 28, 4), 0x210, "... of text");
	image_plan_finish(&plan);

	s = sample_make(SAMPLE_KLUDGE2);
	config = config_of(&s);
	if (!planned(&config, &plan, "multiboot 2 with addresses"))
		return;
	is_hex(plan.entry, 0x200100, "... its own entry");
	is_segment(&plan, 0, 0x200000, s.byte + 0x20, 0x300, 0x800);
	image_plan_finish(&plan);
	sample_put(&s, SAMPLE_KLUDGE_HEADER + 16 + 12, UINT32_MAX, 4);
	if (planned(&config, &plan, "... from the file's beginning"))
		is_segment(&plan, 0, 0x200020 - SAMPLE_KLUDGE_HEADER, s.byte, 0x320, 0x820);
	image_plan_finish(&plan);
}

/* The words of its tag are words 14 to 17 of the header. */
static void relocate(struct sample *s, uint32_t low, uint32_t high, uint32_t align,
		     uint32_t preference)
{
	const uint32_t word[] = { low, high, align, preference };

	for (unsigned int i = 0; i < ARRAY_SIZE(word); i++)
		sample_put(s, SAMPLE_HEADER2 + 4 * (14 + i), word[i], 4);
}

static void is_moved(uint32_t low, uint32_t high, uint32_t align, uint32_t preference, gpa_t base,
		     const char *what)
{
	struct sample s = sample_make(SAMPLE_MULTIBOOT2);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	relocate(&s, low, high, align, preference);
	if (!planned(&config, &plan, what))
		return;
	is_segment(&plan, 0, base, s.byte + SAMPLE_TEXT, 0x200, 0x200);
	is_hex(plan.segment[1].gpa - base, 0x1000, "... with its other segment behind it");
	is_hex(plan.entry, base + SAMPLE_ENTRY - 0x100000, "... its entry with it");
	is_hex(plan_word(&plan, plan_tag(&plan, 21, 0) + 8, 4), base, "... and told so");
	image_plan_finish(&plan);
}

/* The sample is linked to [1 MiB, 1 MiB + 16 KiB), and RAM is 128 MiB. */
static void test_relocatable(void)
{
	is_moved(0, UINT32_MAX, 0x1000, 0, 0x100000, "no liking: as it is linked");
	is_moved(0x200001, UINT32_MAX, 0x1000, 0, 0x201000, "not below a limit");
	is_moved(0, UINT32_MAX, 0x200000, 0, 0x200000, "at multiples of 2 MiB");
	is_moved(0x400000, UINT32_MAX, 0x200000, 1, 0x400000, "as low as possible");
	is_moved(0, UINT32_MAX, 0, 1, 0x100000, "... at any address, but from 1 MiB up");
	is_moved(0, UINT32_MAX, 0x200000, 2, 126 * MiB, "as high as possible");
	is_moved(0, 0x900000, 0x1000, 2, 0x8fc000, "... below a limit");
	is_moved(0, UINT32_MAX, 0x1000, 3, 0x100000, "a liking that nobody knows is none");
}

static void test_flat(void)
{
	struct sample s = sample_make(SAMPLE_FLAT);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	config.module = two_modules + 1;
	config.nr_modules = 1;
	if (!planned(&config, &plan, "flat, with a device tree to ignore"))
		return;
	ok(plan.kind == IMAGE_FLAT, "flat is recognised");
	is_hex(plan.entry, 0x7c00, "entered where it is loaded");
	is(plan.nr_segments, 1, "one segment");
	is_segment(&plan, 0, 0x7c00, s.byte, SAMPLE_BYTES, SAMPLE_BYTES);
	image_plan_finish(&plan);
}

/* An image at the very top of RAM leaves room only beneath itself. */
static void test_placement(void)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	const size_t ph = SAMPLE_PHDRS + sizeof(Elf64_Phdr);

	sample_put(&s, ph + offsetof(Elf64_Phdr, p_paddr), 0x8000000 - 0x3000, 8);
	if (planned(&config, &plan, "an image that ends with RAM")) {
		is_hex(plan.ebx, 0x101000, "the boot data is beneath, beside the text");
		image_plan_finish(&plan);
	}
	sample_put(&s, ph + offsetof(Elf64_Phdr, p_paddr), 4 * GiB, 8);
	config.ram = ram_4g;
	config.nr_ram = 2;
	if (planned(&config, &plan, "a segment at 4 GiB")) {
		is_segment(&plan, 1, 4 * GiB, s.byte + SAMPLE_DATA, 0x100, 0x3000);
		is_hex(plan.ebx, 0x101000, "the boot data stays low");
		image_plan_finish(&plan);
	}
	sample_put(&s, SAMPLE_PHDRS + offsetof(Elf64_Phdr, p_paddr), 0x300000, 8);
	sample_put(&s, SAMPLE_DESC, 0x300000, 8);
	if (planned(&config, &plan, "... and text at 3 MiB")) {
		is_hex(plan.ebx, 0x301000, "the boot data is above the text");
		image_plan_finish(&plan);
	}
	sample_put(&s, SAMPLE_PHDRS + offsetof(Elf64_Phdr, p_paddr), 0x100000, 8);
	sample_put(&s, SAMPLE_DESC, SAMPLE_ENTRY, 8);
	sample_put(&s, ph + offsetof(Elf64_Phdr, p_paddr), 0x80000, 8);
	if (planned(&config, &plan, "a segment below 1 MiB")) {
		is_hex(plan.ebx, 0x101000, "the boot data does not follow it there");
		image_plan_finish(&plan);
	}
}

/* What linkers and other kernels do differently. */
static void test_variants(void)
{
	struct sample s = sample_make(SAMPLE_BOTH);
	struct image_config config = config_of(&s);
	struct image_plan plan;

	if (planned(&config, &plan, "an ELF32 with a note and a multiboot header")) {
		ok(plan.kind == IMAGE_PVH32, "... is PVH");
		image_plan_finish(&plan);
	}
	s = sample_make(SAMPLE_PVH32);
	sample_put(&s, offsetof(Elf32_Ehdr, e_machine), EM_X86_64, 2);
	if (planned(&config, &plan, "an ELF32 that says x86-64")) {
		ok(plan.kind == IMAGE_PVH32, "... is one of 32 bits");
		image_plan_finish(&plan);
	}
	s = sample_make(SAMPLE_MULTIBOOT);
	sample_put(&s, 0x300, 0xe85250d6, 4);
	sample_put(&s, 0x304, 0, 4);
	sample_put(&s, 0x308, 16, 4);
	sample_put(&s, 0x30c, -(0xe85250d6 + 16), 4);
	if (planned(&config, &plan, "multiboot 1 and 2 in an ELF32")) {
		ok(plan.kind == IMAGE_MULTIBOOT, "... is version 1");
		image_plan_finish(&plan);
	}
	s = sample_make(SAMPLE_PVH64);
	memmove(s.byte + SAMPLE_NOTES + 32, s.byte + SAMPLE_XEN, 24);
	sample_put(&s, SAMPLE_NOTES + 4, 9, 4); /* 16 + 9 bytes: to 28, or to 32 */
	sample_put(&s, SAMPLE_PHDRS + 2 * 56 + offsetof(Elf64_Phdr, p_filesz), 32 + 24, 8);
	sample_put(&s, SAMPLE_PHDRS + 2 * 56 + offsetof(Elf64_Phdr, p_align), 8, 8);
	if (planned(&config, &plan, "notes padded to 8 bytes")) {
		is_hex(plan.entry, SAMPLE_ENTRY, "... are read so");
		image_plan_finish(&plan);
	}
	s = sample_make(SAMPLE_PVH64);
	sample_put(&s, SAMPLE_XEN + 4, 4, 4);
	sample_put(&s, SAMPLE_DESC + 4, 0xffffffff, 4);
	if (planned(&config, &plan, "a 4-byte note in an ELF64")) {
		is_hex(plan.entry, SAMPLE_ENTRY, "... is a 32-bit entry");
		image_plan_finish(&plan);
	}
}

/* The name is whatever the user typed. */
static void test_names(void)
{
	struct sample s = sample_make(SAMPLE_PVH64);
	struct image_config config = config_of(&s);
	struct image_plan plan;
	char name[4000];

	config.file_bytes = 40;
	config.name = "a\nb\x1b[31m";
	plan_file(&config, &plan, &error);
	ok(!strncmp(error.text, "a?b?[31m: truncated: 40", 23), "control characters are masked");
	memset(name, 'x', sizeof(name));
	memcpy(name + sizeof(name) - 9, "end.elf", 8);
	config.name = name;
	plan_file(&config, &plan, &error);
	ok(!strncmp(error.text, "...x", 4) && strstr(error.text, "xend.elf: truncated: 40 bytes"),
	   "a long name is cut in front, and the numbers stay");
	ok(plan_file(&config, &plan, NULL) == -ENOEXEC, "the message is optional");
}

static void is_not_opened(const char *path, int want, const char *key)
{
	struct image_file file;
	int err = image_open(path, &file, &error);

	if (!ok(err == want && strstr(error.text, key) && !file.data, "%s is refused", path))
		tap_note("%d, want %d and \"%s\": %s", err, want, key, error.text);
	image_close(&file);
}

/* A file with data at its ends and a hole between, too big to be read in full. */
static void test_sparse_file(void)
{
	struct image_file file;
	const uint64_t bytes = 3 * GiB;

	if (truncate("image", bytes))
		tap_bail("cannot grow a file");
	if (ok(!image_open("image", &file, &error), "a sparse file of 3 GiB is read")) {
		const char *data = file.data;

		is_hex(file.bytes, bytes, "... to its end");
		ok(!memcmp(data, "hello", 5), "... its data");
		ok(!data[bytes - 1] && !data[bytes / 2], "... and its holes as zeroes");
	} else {
		tap_note("%s", error.text);
	}
	image_close(&file);
	if (truncate("image", IMAGE_MAX_FILE_BYTES + 1))
		tap_bail("cannot grow a file");
	is_not_opened("image", -EFBIG, "4294967297");
}

static void test_files(void)
{
	char dir[] = "/tmp/quire-image.XXXXXX";
	struct image_file file;
	int fd;

	if (!mkdtemp(dir) || chdir(dir) || mkdir("dir", 0700) || mkfifo("pipe", 0600))
		tap_bail("cannot make a directory in /tmp");
	fd = open("image", O_CREAT | O_WRONLY, 0600);
	if (fd < 0)
		tap_bail("cannot make a file");
	is_not_opened("missing", -ENOENT, "No such file");
	is_not_opened("dir", -EISDIR, "directory");
	is_not_opened("pipe", -EINVAL, "not a regular file");
	is_not_opened("image", -ENOEXEC, "0 bytes");
	if (write(fd, "hello", 5) != 5)
		tap_bail("cannot write a file");
	ok(!image_open("image", &file, &error) && file.bytes == 5 && !memcmp(file.data, "hello", 5),
	   "a file is read");
	image_close(&file);
	ok(!file.data && !file.bytes, "closing clears");
	image_close(&file);
	test_sparse_file();
	chmod("image", 0);
	if (geteuid())
		is_not_opened("image", -EACCES, "Permission denied");
	else
		tap_skip("root may read everything");
	close(fd);
	unlink("image");
	unlink("pipe");
	rmdir("dir");
	if (chdir("/") || rmdir(dir))
		tap_note("%s is left behind", dir);
}

int main(void)
{
	tap_init();
	test_pvh(SAMPLE_PVH64, IMAGE_PVH64, "PVH64");
	test_pvh(SAMPLE_PVH32, IMAGE_PVH32, "PVH32");
	test_pvh_modules();
	test_acpi();
	test_multiboot();
	test_kludge();
	test_multiboot2();
	test_relocatable();
	test_flat();
	test_placement();
	test_variants();
	test_names();
	test_files();
	return tap_done();
}
