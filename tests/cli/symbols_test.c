/* SPDX-License-Identifier: MIT */
/* Symbol files: what is read from good ones, and that bad ones are refused in a line. */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/tap.h"
#include "vmm/cli/symbols.h"

static char path[64]; /* of a file in memory */

static void put(const void *bytes, size_t nr)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("symbols", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (ftruncate(fd, 0) || pwrite(fd, bytes, nr, 0) != (ssize_t)nr)
		tap_bail("cannot write %s", path);
}

/* An ELF file of 64 bits: header, two symbols and what is no address, strings, three sections. */
static struct elf {
	Elf64_Ehdr head;
	Elf64_Sym sym[5];
	char strings[32];
	Elf64_Shdr section[3];
} good = {
	.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB },
		  .e_shoff = offsetof(struct elf, section),
		  .e_shentsize = sizeof(Elf64_Shdr),
		  .e_shnum = 3 },
	.sym = { { 0 },
		 { .st_name = 1, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x2000 },
		 { .st_name = 7, .st_info = STT_OBJECT, .st_shndx = 1, .st_value = 0x1000 },
		 { .st_name = 1, .st_info = STT_FILE, .st_shndx = 1, .st_value = 1 },
		 { .st_name = 13, .st_info = STT_NOTYPE, .st_shndx = SHN_ABS, .st_value = 2 } },
	.strings = "\0start\0\x1b"
		   "data\0const",
	.section = { { 0 },
		     { .sh_type = SHT_SYMTAB,
		       .sh_link = 2,
		       .sh_offset = offsetof(struct elf, sym),
		       .sh_size = 5 * sizeof(Elf64_Sym) },
		     { .sh_type = SHT_STRTAB,
		       .sh_offset = offsetof(struct elf, strings),
		       .sh_size = 32 } },
};

static void test_elf(void)
{
	struct quire_error err;
	struct symbols *s;
	uint64_t offset;
	gva_t at = 0;

	put(&good, sizeof(good));
	if (!ok(symbols_read(path, &s, &err) == 0, "an ELF file is read"))
		return;
	ok(!symbols_find(s, "start", &at) && at == 0x2000, "a name has its address");
	ok(symbols_find(s, "const", &at) == -ENOENT, "a constant is none");
	ok(!strcmp(symbols_name(s, 0x2345, &offset), "start") && offset == 0x345,
	   "an address has its name");
	ok(!strcmp(symbols_name(s, 0x1fff, &offset), "?data") && offset == 0xfff,
	   "what upsets a terminal is not shown");
	ok(!strcmp(symbols_name(s, 0x2000, &offset), "start") && offset == 0,
	   "... also the address itself");
	ok(!strcmp(symbols_name(s, 0x1000, &offset), "?data") && offset == 0, "... of each symbol");
	ok(!symbols_name(s, 0xfff, &offset), "below the first symbol there is none");
	symbols_free(s);
	symbols_free(NULL);
}

/* The same of 32 bits. */
static void test_elf32(void)
{
	static struct elf32 {
		Elf32_Ehdr head;
		char fill[16]; /* a file has at least the size of a header of 64 bits */
		Elf32_Sym sym[2];
		char strings[8];
		Elf32_Shdr section[2];
	} narrow = {
		.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB },
			  .e_shoff = offsetof(struct elf32, section),
			  .e_shentsize = sizeof(Elf32_Shdr),
			  .e_shnum = 2 },
		.sym = { { .st_name = 1, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x3000 },
			 { .st_name = 4, .st_info = STT_FUNC, .st_shndx = 1, .st_value = 0x2000 } },
		.strings = "\0in\0out",
		.section = { { .sh_type = SHT_SYMTAB,
			       .sh_link = 1,
			       .sh_offset = offsetof(struct elf32, sym),
			       .sh_size = 2 * sizeof(Elf32_Sym) },
			     { .sh_type = SHT_STRTAB,
			       .sh_offset = offsetof(struct elf32, strings),
			       .sh_size = 8 } },
	};
	struct quire_error err;
	struct symbols *s;
	gva_t in = 0, out = 0;

	put(&narrow, sizeof(narrow));
	if (!ok(symbols_read(path, &s, &err) == 0, "an ELF file of 32 bits is read"))
		return;
	ok(!symbols_find(s, "in", &in) && !symbols_find(s, "out", &out) && in == 0x3000 &&
		   out == 0x2000,
	   "... all of its symbols");
	symbols_free(s);
}

/* Is `bad` refused with this line? */
static void refused(const struct elf *bad, const char *say, const char *what)
{
	struct quire_error err = { "" };
	struct symbols *s;
	int code;

	put(bad, sizeof(*bad));
	code = symbols_read(path, &s, &err);
	if (!ok(code == -EINVAL && strstr(err.text, say), "%s: %s", what, say))
		tap_note("%d: %s", code, err.text);
}

static void test_odd_elf(void)
{
	struct elf bad = good;

	bad.head.e_shnum = bad.head.e_shentsize = 0;
	refused(&bad, "it was stripped", "no sections");
	bad = good;
	bad.section[1].sh_type = SHT_DYNSYM;
	refused(&bad, "it was stripped", "no symbol table");
	bad = good;
	bad.head.e_ident[EI_DATA] = ELFDATA2MSB;
	refused(&bad, "not of an x86", "big endian");
	bad = good;
	bad.head.e_ident[EI_CLASS] = 3;
	refused(&bad, "not of an x86", "neither 32 nor 64 bits");
	bad = good;
	bad.head.e_shentsize++;
	refused(&bad, "another size", "longer section headers");
	bad = good;
	bad.section[1].sh_link = 3;
	refused(&bad, "no strings", "strings behind the last section");
	bad = good;
	bad.section[2].sh_offset = sizeof(bad) - 31;
	refused(&bad, "cut short", "strings beyond the end");
	bad = good;
	memset(bad.sym, 0, sizeof(bad.sym));
	refused(&bad, "has no symbols", "nothing in the table");
}

/* Each cut, and each byte of header and tables set to extremes: a refusal, or symbols; no crash. */
static void test_hostile_elf(void)
{
	static const uint8_t extreme[] = { 0, 1, 0x7f, 0x80, 0xff };
	unsigned int refused = 0, lines = 0;
	struct quire_error err;
	struct symbols *s;
	gva_t at;

	for (size_t bytes = 0; bytes < sizeof(good); bytes++) {
		put(&good, bytes);
		refused += symbols_read(path, &s, &err) != 0;
		lines += !strchr(err.text, '\n');
	}
	ok(refused == sizeof(good) && lines == refused, "each cut is refused in a line");
	for (size_t i = 0; i < sizeof(good) * ARRAY_SIZE(extreme); i++) {
		struct elf bad = good;

		((uint8_t *)&bad)[i / ARRAY_SIZE(extreme)] = extreme[i % ARRAY_SIZE(extreme)];
		put(&bad, sizeof(bad));
		if (symbols_read(path, &s, &err))
			continue;
		symbols_find(s, "no such name", &at);
		symbols_free(s);
	}
	ok(true, "no byte of it is believed");
}

static void test_text(void)
{
	static const struct {
		const char *text;
		int code;
		const char *what;
	} file[] = {
		{ "ffffffff81000000 T start\nffffffff82000180 D linux_banner\n", 0, "System.map" },
		{ "ffffffffc0000000 t start\t[virtio]\r\nffffffff82000180 D linux_banner", 0,
		  "kallsyms, and no newline at the end" },
		{ "", -EINVAL, "an empty file" },
		{ "0000000000000000 T start\n0000000000000000 T end\n", -EINVAL, "addresses of 0" },
		{ "hello\n", -EINVAL, "another text" },
		{ "1 T a\n\n2 T b\n", -EINVAL, "an empty line" },
		{ "11111111111111111 T a\n", -EINVAL, "17 digits" },
		{ "1 T \n", -EINVAL, "no name" },
		{ "1 T", -EINVAL, "half a line" },
	};
	struct quire_error err;
	struct symbols *s;
	gva_t at = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(file); i++) {
		int code;

		put(file[i].text, strlen(file[i].text));
		err.text[0] = '\0';
		code = symbols_read(path, &s, &err);
		is(code, file[i].code, "%s: %s", file[i].what, err.text);
		if (code)
			continue;
		ok(!symbols_find(s, "linux_banner", &at) && at == 0xffffffff82000180 &&
			   !symbols_find(s, "start", &at),
		   "... its names");
		symbols_free(s);
	}
	put("1 T a\n\0\n", 8);
	ok(symbols_read(path, &s, &err) == -EINVAL, "a byte of 0: %s", err.text);
	ok(symbols_read("/nonexistent", &s, &err) == -ENOENT, "no file: %s", err.text);
	ok(symbols_read("/", &s, &err) == -EISDIR, "a directory: %s", err.text);
}

/* More of them than there is room for at first, by descending address; and a long name. */
static void test_many(void)
{
	static char text[3000 * 24 + 300];
	struct quire_error err;
	struct symbols *s;
	uint64_t offset;
	size_t len = 0;
	bool right = true;

	for (unsigned int i = 3000; i > 0; i--)
		len += (size_t)sprintf(text + len, "%x T name%u\n", i * 16, i);
	len += (size_t)sprintf(text + len, "f0000 T %0200d\n", 0);
	put(text, len);
	if (!ok(symbols_read(path, &s, &err) == 0, "3001 symbols are read"))
		return;
	for (unsigned int i = 1; i <= 3000; i++) {
		char name[16];

		sprintf(name, "name%u", i);
		right = right && !strcmp(symbols_name(s, i * 16 + 15, &offset), name) &&
			offset == 15;
	}
	ok(right, "... and each address has its own");
	is(strlen(symbols_name(s, 0xf0000, &offset)), 128, "of a long name 128 bytes are shown");
	symbols_free(s);
}

int main(void)
{
	tap_init();
	test_elf();
	test_elf32();
	test_odd_elf();
	test_hostile_elf();
	test_text();
	test_many();
	return tap_done();
}
