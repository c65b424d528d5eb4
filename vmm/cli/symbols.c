/* SPDX-License-Identifier: MIT */
/*
 * Symbol files.  Of an ELF file only the section headers, the symbol table and its strings are
 * read; a vmlinux with debugging information has hundreds of MiB more.  The tables are read, not
 * mapped: a file that somebody cuts short meanwhile would be a signal.
 */
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "symbols.h"

#define NAME_SHOWN 128u /* bytes of a name that are printed at most */

struct symbol {
	gva_t address;
	const char *name; /* in `strings`, and terminated there */
};

struct symbols {
	struct symbol *symbol; /* ascending by address */
	size_t nr, room;
	char *strings;
};

struct file {
	int fd;
	const char *path;
	uint64_t bytes;
	struct quire_error *err;
};

static int refuse(const struct file *f, const char *why)
{
	return quire_fail(f->err, -EINVAL, "%s: %s", f->path, why);
}

/* [offset, offset + bytes) of the file, and a NUL byte behind it.  The caller frees it. */
static int read_part(const struct file *f, uint64_t offset, uint64_t bytes, char **out)
{
	uint64_t done = 0;
	ssize_t n;

	if (offset > f->bytes || bytes > f->bytes - offset)
		return refuse(f, "cut short: a table is beyond the end of the file");
	if (bytes > SYMBOLS_MAX_BYTES)
		return quire_fail(f->err, -EFBIG, "%s: a table is larger than %lu MiB", f->path,
				  SYMBOLS_MAX_BYTES / MiB);
	*out = malloc(bytes + 1);
	if (!*out)
		return quire_fail(f->err, -ENOMEM, "%s: no memory for its symbols", f->path);
	while (done < bytes &&
	       (n = pread(f->fd, *out + done, bytes - done, (off_t)(offset + done))) != 0) {
		if (n > 0)
			done += (uint64_t)n;
		else if (errno != EINTR)
			break;
	}
	(*out)[done] = '\0';
	if (done == bytes)
		return 0;
	free(*out);
	return refuse(f, "cannot be read to its end");
}

static int add(const struct file *f, struct symbols *s, gva_t address, const char *name)
{
	if (s->nr == s->room) {
		size_t room = s->room ? 2 * s->room : 1024;
		struct symbol *grown = reallocarray(s->symbol, room, sizeof(*grown));

		if (!grown)
			return quire_fail(f->err, -ENOMEM, "%s: no memory for its symbols",
					  f->path);
		s->symbol = grown;
		s->room = room;
	}
	s->symbol[s->nr++] = (struct symbol){ address, name };
	return 0;
}

/* ---- ELF: 64 bits, and 32 bits made 64 ---- */

struct section {
	uint32_t type, link;
	uint64_t offset, bytes;
};

static struct section section_of(const char *table, bool wide, unsigned int i)
{
	Elf64_Shdr s64;
	Elf32_Shdr s32;

	if (wide) {
		memcpy(&s64, table + i * sizeof(s64), sizeof(s64));
		return (struct section){ s64.sh_type, s64.sh_link, s64.sh_offset, s64.sh_size };
	}
	memcpy(&s32, table + i * sizeof(s32), sizeof(s32));
	return (struct section){ s32.sh_type, s32.sh_link, s32.sh_offset, s32.sh_size };
}

static Elf64_Sym symbol_of(const char *table, bool wide, uint64_t i)
{
	Elf64_Sym s64;
	Elf32_Sym s32;

	if (wide) {
		memcpy(&s64, table + i * sizeof(s64), sizeof(s64));
		return s64;
	}
	memcpy(&s32, table + i * sizeof(s32), sizeof(s32));
	return (Elf64_Sym){ .st_name = s32.st_name,
			    .st_info = s32.st_info,
			    .st_shndx = s32.st_shndx,
			    .st_value = s32.st_value };
}

/* Something in memory: not an import, a constant, a section, or a source file's name. */
static bool is_address(const Elf64_Sym *sym)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info);

	return sym->st_shndx != SHN_UNDEF && sym->st_shndx < SHN_LORESERVE &&
	       (type == STT_NOTYPE || type == STT_OBJECT || type == STT_FUNC);
}

static int add_table(const struct file *f, struct symbols *s, bool wide, const char *table,
		     uint64_t nr, uint64_t string_bytes)
{
	for (uint64_t i = 0; i < nr; i++) {
		Elf64_Sym sym = symbol_of(table, wide, i);
		int code;

		if (!is_address(&sym) || sym.st_name >= string_bytes || !s->strings[sym.st_name])
			continue;
		code = add(f, s, sym.st_value, s->strings + sym.st_name);
		if (code)
			return code;
	}
	return 0;
}

static int read_symbol_table(const struct file *f, struct symbols *s, bool wide,
			     const struct section *symtab, const struct section *strtab)
{
	size_t each = wide ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
	char *table;
	int code = read_part(f, strtab->offset, strtab->bytes, &s->strings);

	if (code)
		s->strings = NULL;
	else
		code = read_part(f, symtab->offset, symtab->bytes, &table);
	if (code)
		return code;
	code = add_table(f, s, wide, table, symtab->bytes / each, strtab->bytes);
	free(table);
	return code;
}

static int read_sections(const struct file *f, struct symbols *s, bool wide, const char *table,
			 unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct section symtab = section_of(table, wide, i), strtab;

		if (symtab.type != SHT_SYMTAB)
			continue;
		if (symtab.link >= nr)
			return refuse(f, "its symbol table has no strings");
		strtab = section_of(table, wide, symtab.link);
		return read_symbol_table(f, s, wide, &symtab, &strtab);
	}
	return refuse(f, "has no symbol table: it was stripped");
}

/* `head` has at least the size of an Elf64_Ehdr. */
static int read_elf(const struct file *f, struct symbols *s, const char *head)
{
	bool wide = head[EI_CLASS] == ELFCLASS64;
	uint64_t offset;
	unsigned int each, nr;
	Elf64_Ehdr e64;
	Elf32_Ehdr e32;
	char *table;
	int code;

	memcpy(&e64, head, sizeof(e64));
	memcpy(&e32, head, sizeof(e32));
	if (head[EI_DATA] != ELFDATA2LSB || (!wide && head[EI_CLASS] != ELFCLASS32))
		return refuse(f, "an ELF file, but not of an x86 processor");
	offset = wide ? e64.e_shoff : e32.e_shoff;
	each = wide ? e64.e_shentsize : e32.e_shentsize;
	nr = wide ? e64.e_shnum : e32.e_shnum;
	if (!nr)
		return refuse(f, "has no symbol table: it was stripped");
	if (each != (wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)))
		return refuse(f, "its section headers have another size");
	code = read_part(f, offset, (uint64_t)nr * each, &table);
	if (code)
		return code;
	code = read_sections(f, s, wide, table, nr);
	free(table);
	return code;
}

/* ---- text: "ADDRESS TYPE NAME", and "\t[MODULE]" in kallsyms ---- */

/* Take a line apart in place.  False: it is not one. */
static bool take_line(char *line, gva_t *address, char **name)
{
	size_t digits = strspn(line, "0123456789abcdefABCDEF");

	if (!digits || digits > 16 || line[digits] != ' ' || !isgraph(line[digits + 1]) ||
	    line[digits + 2] != ' ')
		return false;
	*address = strtoull(line, NULL, 16);
	*name = line + digits + 3;
	(*name)[strcspn(*name, " \t\r")] = '\0';
	return **name != '\0';
}

static int read_text(const struct file *f, struct symbols *s)
{
	bool nonzero = false;
	char *line, *next;
	int code = read_part(f, 0, f->bytes, &s->strings);

	if (code) {
		s->strings = NULL;
		return code;
	}
	if (strlen(s->strings) != f->bytes)
		return refuse(f, "neither an ELF file nor lines of ADDRESS TYPE NAME");
	for (line = s->strings; *line; line = next) {
		size_t bytes = strcspn(line, "\n");
		gva_t address;
		char *name;

		next = line + bytes + (line[bytes] == '\n');
		line[bytes] = '\0';
		if (!take_line(line, &address, &name))
			return refuse(f, "neither an ELF file nor lines of ADDRESS TYPE NAME");
		nonzero = nonzero || address;
		code = add(f, s, address, name);
		if (code)
			return code;
	}
	return s->nr && !nonzero ? refuse(f, "all addresses are 0: kallsyms shows them to root") :
				   0;
}

/* ---- the whole ---- */

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int read_file(struct file *f, struct symbols *s)
{
	char head[sizeof(Elf64_Ehdr)] = "";
	struct stat st;
	ssize_t n;
	int code;

	if (fstat(f->fd, &st))
		return quire_fail(f->err, -errno, "cannot read %s: %m", f->path);
	f->bytes = (uint64_t)st.st_size;
	n = pread(f->fd, head, sizeof(head), 0);
	if (n < 0)
		return quire_fail(f->err, -errno, "cannot read %s: %m", f->path);
	code = n == sizeof(head) && !memcmp(head, ELFMAG, SELFMAG) ? read_elf(f, s, head) :
								     read_text(f, s);
	if (code)
		return code;
	if (!s->nr)
		return refuse(f, "has no symbols");
	qsort(s->symbol, s->nr, sizeof(*s->symbol), by_address);
	return 0;
}

int symbols_read(const char *path, struct symbols **out, struct quire_error *err)
{
	struct file f = { .fd = open(path, O_RDONLY | O_CLOEXEC), .path = path, .err = err };
	struct symbols *s;
	int code;

	if (f.fd < 0)
		return quire_fail(err, -errno, "cannot open %s: %m", path);
	s = calloc(1, sizeof(*s));
	code = s ? read_file(&f, s) : quire_fail(err, -ENOMEM, "no memory for symbols");
	close(f.fd);
	if (code)
		symbols_free(s);
	else
		*out = s;
	return code;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	free(s->symbol);
	free(s->strings);
	free(s);
}

int symbols_find(const struct symbols *s, const char *name, gva_t *address)
{
	for (size_t i = 0; i < s->nr; i++) {
		if (strcmp(s->symbol[i].name, name))
			continue;
		*address = s->symbol[i].address;
		return 0;
	}
	return -ENOENT;
}

const char *symbols_name(const struct symbols *s, gva_t address, uint64_t *offset)
{
	static char shown[NAME_SHOWN + 1];
	size_t low = 0, high = s->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->symbol[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	*offset = address - s->symbol[low - 1].address;
	snprintf(shown, sizeof(shown), "%s", s->symbol[low - 1].name);
	for (char *p = shown; *p; p++)
		if (!isgraph((unsigned char)*p))
			*p = '?';
	return shown;
}
