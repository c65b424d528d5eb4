/* SPDX-License-Identifier: MIT */
/*
 * ELF files, 32 and 64 bit, for the loaders that take them (System V gABI, chapters 4 and 5).
 *
 * Nothing in an ELF file need be aligned, or even inside the file.  So each header is first
 * compared with the file's size and then copied.  32-bit headers are widened meanwhile: the rest of
 * the code knows 64-bit headers only.
 *
 * The loadable parts go to their p_paddr.  Section headers are not used.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "load.h"

bool elf_recognise(const struct image_config *config)
{
	return config->file_bytes >= SELFMAG && !memcmp(config->file, ELFMAG, SELFMAG);
}

static const uint8_t *file_at(const struct loader *ld, uint64_t offset)
{
	return (const uint8_t *)ld->config->file + offset;
}

static int read_ehdr(struct loader *ld, bool is64, Elf64_Ehdr *eh)
{
	uint64_t bytes = is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
	Elf32_Ehdr eh32;

	if (!load_in_file(ld, 0, bytes))
		return load_fail(ld, -ENOEXEC,
				 "truncated: %" PRIu64 " bytes, but the ELF header "
				 "alone has %" PRIu64 ": copy the file again",
				 ld->config->file_bytes, bytes);
	if (is64) {
		memcpy(eh, ld->config->file, sizeof(*eh));
		return 0;
	}
	memcpy(&eh32, ld->config->file, sizeof(eh32));
	*eh = (Elf64_Ehdr){
		.e_type = eh32.e_type,
		.e_machine = eh32.e_machine,
		.e_entry = eh32.e_entry,
		.e_phoff = eh32.e_phoff,
		.e_phentsize = eh32.e_phentsize,
		.e_phnum = eh32.e_phnum,
	};
	return 0;
}

static uint64_t phdr_bytes(bool is64)
{
	return is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
}

static void read_phdr(const struct loader *ld, const struct elf_image *elf, unsigned int i,
		      Elf64_Phdr *ph)
{
	const uint8_t *at = file_at(ld, elf->phoff + i * phdr_bytes(elf->is64));
	Elf32_Phdr ph32;

	if (elf->is64) {
		memcpy(ph, at, sizeof(*ph));
		return;
	}
	memcpy(&ph32, at, sizeof(ph32));
	*ph = (Elf64_Phdr){
		.p_type = ph32.p_type,
		.p_flags = ph32.p_flags,
		.p_offset = ph32.p_offset,
		.p_vaddr = ph32.p_vaddr,
		.p_paddr = ph32.p_paddr,
		.p_filesz = ph32.p_filesz,
		.p_memsz = ph32.p_memsz,
		.p_align = ph32.p_align,
	};
}

/* Check class and byte order, without which nothing else can be read. */
static int check_ident(struct loader *ld, const uint8_t *ident)
{
	if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
		return load_fail(ld, -ENOEXEC,
				 "ELF class is %u, not 1 (32-bit) or 2 (64-bit): not "
				 "an x86 image",
				 ident[EI_CLASS]);
	if (ident[EI_DATA] != ELFDATA2LSB)
		return load_fail(ld, -ENOEXEC,
				 "ELF byte order is %u, not 1 (little-endian): not "
				 "an x86 image",
				 ident[EI_DATA]);
	return 0;
}

static int check_ehdr(struct loader *ld, bool is64, const Elf64_Ehdr *eh)
{
	/* Some linkers put 32-bit headers around a 64-bit kernel, whose entry is 32-bit code. */
	if (eh->e_machine != EM_X86_64 && (is64 || eh->e_machine != EM_386))
		return load_fail(ld, -ENOEXEC,
				 "ELF%u machine is %u, not %u (%s): build the image "
				 "for x86",
				 is64 ? 64 : 32, eh->e_machine, is64 ? EM_X86_64 : EM_386,
				 is64 ? "x86-64" : "i386");
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return load_fail(ld, -ENOEXEC, "ELF type is %u, not 2 (executable): link the image",
				 eh->e_type);
	if (!eh->e_phnum)
		return load_fail(ld, -ENOEXEC,
				 "0 program headers, so nothing to load: link the "
				 "image");
	if (eh->e_phnum == PN_XNUM)
		return load_fail(ld, -ENOEXEC,
				 "%u or more program headers: at most %u segments "
				 "can be loaded",
				 PN_XNUM, IMAGE_MAX_SEGMENTS);
	if (eh->e_phentsize != phdr_bytes(is64))
		return load_fail(ld, -ENOEXEC,
				 "program headers of %u bytes each, not %" PRIu64 ": "
				 "rebuild the image",
				 eh->e_phentsize, phdr_bytes(is64));
	if (!load_in_file(ld, eh->e_phoff, eh->e_phnum * phdr_bytes(is64)))
		return load_fail(ld, -ENOEXEC,
				 "truncated: %u program headers at offset %" PRIu64
				 " end beyond the file's %" PRIu64 " bytes: copy the file again",
				 eh->e_phnum, eh->e_phoff, ld->config->file_bytes);
	return 0;
}

int elf_open(struct loader *ld, struct elf_image *elf)
{
	Elf64_Ehdr eh = { 0 };
	bool is64;
	int err;

	if (!load_in_file(ld, 0, EI_NIDENT))
		return load_fail(ld, -ENOEXEC,
				 "truncated: %" PRIu64 " bytes of an ELF header: "
				 "copy the file again",
				 ld->config->file_bytes);
	err = check_ident(ld, ld->config->file);
	if (err)
		return err;
	is64 = *file_at(ld, EI_CLASS) == ELFCLASS64;
	err = read_ehdr(ld, is64, &eh);
	if (err)
		return err;
	*elf = (struct elf_image){ is64, eh.e_entry, eh.e_phoff, eh.e_phnum };
	return check_ehdr(ld, is64, &eh);
}

static int load_phdr(struct loader *ld, unsigned int i, const Elf64_Phdr *ph)
{
	char what[32];

	snprintf(what, sizeof(what), "program header %u", i);
	if (!load_in_file(ld, ph->p_offset, ph->p_filesz))
		return load_fail(ld, -ENOEXEC,
				 "truncated: %s wants %" PRIu64 " bytes at offset %" PRIu64
				 " of %" PRIu64 ": copy the file again",
				 what, ph->p_filesz, ph->p_offset, ld->config->file_bytes);
	return load_segment(ld, what, ph->p_paddr, file_at(ld, ph->p_offset), ph->p_filesz,
			    ph->p_memsz);
}

int elf_load(struct loader *ld, const struct elf_image *elf)
{
	Elf64_Phdr ph;
	unsigned int i;
	int err;

	for (i = 0; i < elf->nr_phdrs; i++) {
		read_phdr(ld, elf, i, &ph);
		err = ph.p_type == PT_LOAD ? load_phdr(ld, i, &ph) : 0;
		if (err)
			return err;
	}
	if (!ld->plan->nr_segments)
		return load_fail(ld, -ENOEXEC,
				 "none of %u program headers loads anything: check "
				 "the linker script",
				 elf->nr_phdrs);
	return 0;
}

/*
 * One note of a PT_NOTE.  The part that has not been read is [*pos, *pos + *left); reading a note
 * moves both past it.
 *
 *   | namesz | descsz | type | name, padded | descriptor, padded |
 *
 * Padding is to 4 bytes, or to 8 in segments that are aligned to 8 (gABI, "Note Section").  The
 * last note may lack it.
 */
struct note {
	uint32_t name_bytes, desc_bytes, type;
	uint64_t name, desc; /* file offsets */
};

static int next_note(struct loader *ld, uint64_t align, uint64_t *pos, uint64_t *left,
		     struct note *note)
{
	uint64_t desc, end;

	note->name_bytes = load_u32(ld, *pos);
	note->desc_bytes = load_u32(ld, *pos + 4);
	note->type = load_u32(ld, *pos + 8);
	/* Sums of 32-bit sizes do not overflow 64 bits. */
	desc = align_up(sizeof(Elf64_Nhdr) + (uint64_t)note->name_bytes, align);
	end = desc + note->desc_bytes;
	if (desc > *left || end > *left)
		return load_fail(ld, -ENOEXEC,
				 "the note at offset %" PRIu64 " has %u + %u bytes, "
				 "but its segment only %" PRIu64 " more: rebuild the image",
				 *pos, note->name_bytes, note->desc_bytes, *left);
	note->name = *pos + sizeof(Elf64_Nhdr);
	note->desc = *pos + desc;
	end = min_u64(align_up(end, align), *left);
	*pos += end;
	*left -= end;
	return 0;
}

/* elf_find_note() for one segment. */
static int find_in_segment(struct loader *ld, const Elf64_Phdr *ph, const char *name, uint32_t type,
			   struct note *note)
{
	uint64_t pos = ph->p_offset, left = ph->p_filesz, bytes = strlen(name) + 1;
	int err;

	while (left >= sizeof(Elf64_Nhdr)) {
		err = next_note(ld, ph->p_align == 8 ? 8 : 4, &pos, &left, note);
		if (err)
			return err;
		if (note->type == type && note->name_bytes == bytes &&
		    !memcmp(file_at(ld, note->name), name, bytes))
			return 1;
	}
	return 0;
}

int elf_find_note(struct loader *ld, const struct elf_image *elf, const char *name, uint32_t type,
		  uint64_t *offset, uint64_t *bytes)
{
	uint64_t total = 0;
	struct note note = { 0 };
	Elf64_Phdr ph;
	unsigned int i;
	int found;

	for (i = 0; i < elf->nr_phdrs; i++) {
		read_phdr(ld, elf, i, &ph);
		if (ph.p_type != PT_NOTE)
			continue;
		if (!load_in_file(ld, ph.p_offset, ph.p_filesz))
			return load_fail(ld, -ENOEXEC,
					 "truncated: the notes of program header %u, "
					 "%" PRIu64 " bytes at offset %" PRIu64 " of %" PRIu64 ": "
					 "copy the file again",
					 i, ph.p_filesz, ph.p_offset, ld->config->file_bytes);
		/*
		 * To read the bytes of thousands of headers that all name the same would take for
		 * ever.
		 */
		total += ph.p_filesz;
		if (total > ld->config->file_bytes)
			return load_fail(ld, -ENOEXEC,
					 "%" PRIu64 " bytes of notes in a file of %" PRIu64
					 ": rebuild the image",
					 total, ld->config->file_bytes);
		found = find_in_segment(ld, &ph, name, type, &note);
		if (found) {
			*offset = note.desc;
			*bytes = note.desc_bytes;
			return found;
		}
	}
	return 0;
}

uint64_t elf_physical_entry(const struct loader *ld, const struct elf_image *elf)
{
	Elf64_Phdr ph;
	unsigned int i;

	for (i = 0; i < elf->nr_phdrs; i++) {
		read_phdr(ld, elf, i, &ph);
		if (ph.p_type == PT_LOAD && elf->entry >= ph.p_vaddr &&
		    elf->entry - ph.p_vaddr < ph.p_memsz)
			return elf->entry - ph.p_vaddr + ph.p_paddr;
	}
	return elf->entry;
}
