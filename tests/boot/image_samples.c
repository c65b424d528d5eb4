/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include "image_samples.h"

#define SAMPLE_VIRTUAL 0xc0000000 /* p_vaddr - p_paddr of ELF32 samples */

void sample_put(struct sample *s, size_t offset, uint64_t value, size_t bytes)
{
	memcpy(s->byte + offset, &value, bytes); /* little-endian, as the host */
}

static void sample_multiboot(struct sample *s, size_t at, uint32_t flags)
{
	sample_put(s, at, 0x1badb002, 4);
	sample_put(s, at + 4, flags, 4);
	sample_put(s, at + 8, -(0x1badb002 + flags), 4);
}

static void sample_notes(struct sample *s, size_t desc_bytes)
{
	static const uint32_t gnu[] = { 4, 5, 3 };
	const uint32_t xen[] = { 4, desc_bytes, 18 };

	memcpy(s->byte + SAMPLE_NOTES, gnu, sizeof(gnu));
	memcpy(s->byte + SAMPLE_NOTES + 12, "GNU", 4);
	memcpy(s->byte + SAMPLE_XEN, xen, sizeof(xen));
	memcpy(s->byte + SAMPLE_XEN + 12, "Xen", 4);
	sample_put(s, SAMPLE_DESC, SAMPLE_ENTRY, desc_bytes);
}

static void sample_elf64(struct sample *s)
{
	const Elf64_Ehdr eh = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = 0xffffffff80100000,
		.e_phoff = SAMPLE_PHDRS,
		.e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	const Elf64_Phdr ph[3] = {
		{ PT_LOAD, 5, SAMPLE_TEXT, 0xffffffff80100000, 0x100000, 0x200, 0x200, 0x1000 },
		{ PT_LOAD, 6, SAMPLE_DATA, 0xffffffff80101000, 0x101000, 0x100, 0x3000, 0x1000 },
		{ PT_NOTE, 4, SAMPLE_NOTES, 0, 0, SAMPLE_DESC + 8 - SAMPLE_NOTES, 0, 4 },
	};

	memcpy(s->byte, &eh, sizeof(eh));
	memcpy(s->byte + SAMPLE_PHDRS, ph, sizeof(ph));
}

static void sample_elf32(struct sample *s, unsigned int nr_phdrs)
{
	const Elf32_Ehdr eh = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_entry = SAMPLE_VIRTUAL + SAMPLE_ENTRY,
		.e_phoff = SAMPLE_PHDRS,
		.e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = nr_phdrs,
	};
	const Elf32_Phdr ph[3] = {
		{ PT_LOAD, SAMPLE_TEXT, SAMPLE_VIRTUAL + 0x100000, 0x100000, 0x200, 0x200, 5, 0 },
		{ PT_LOAD, SAMPLE_DATA, SAMPLE_VIRTUAL + 0x101000, 0x101000, 0x100, 0x3000, 6, 0 },
		{ PT_NOTE, SAMPLE_NOTES, 0, 0, SAMPLE_DESC + 4 - SAMPLE_NOTES, 0, 4, 4 },
	};

	memcpy(s->byte, &eh, sizeof(eh));
	memcpy(s->byte + SAMPLE_PHDRS, ph, sizeof(ph));
}

static void sample_kludge(struct sample *s)
{
	const uint32_t at = SAMPLE_KLUDGE_HEADER;

	sample_multiboot(s, at, 0x10003);
	sample_put(s, at + 12, 0x200020, 4); /* header: 0x20 bytes of the file are not loaded */
	sample_put(s, at + 16, 0x200000, 4); /* load */
	sample_put(s, at + 20, 0x200300, 4); /* load end */
	sample_put(s, at + 24, 0x200800, 4); /* bss end */
	sample_put(s, at + 28, 0x200100, 4); /* entry */
}

/* A multiboot 2 header of these tags. */
static void sample_multiboot2(struct sample *s, size_t at, const uint32_t *tag, size_t bytes)
{
	sample_put(s, at, 0xe85250d6, 4);
	sample_put(s, at + 4, 0, 4);
	sample_put(s, at + 8, 16 + bytes, 4);
	sample_put(s, at + 12, -(0xe85250d6 + 16 + bytes), 4);
	memcpy(s->byte + at + 16, tag, bytes);
}

static void sample_tags(struct sample *s)
{
	static const uint32_t tag[] = {
		1,	     16,     1,
		6, /* 0x10: command line, map */
		3,	     12,     SAMPLE_ENTRY,
		0, /* 0x20: entry */
		10,	     24,     MiB,
		0xffffffff,  0x1000, 0, /* 0x30: relocatable */
		4 | 1 << 16, 12,     3,
		0, /* 0x48: a console, if there is one */
		0,	     8,
	};

	sample_multiboot2(s, SAMPLE_HEADER2, tag, sizeof(tag));
}

static void sample_kludge2(struct sample *s)
{
	static const uint32_t tag[] = {
		2, 24, 0x200020, 0x200000, 0x200300, 0x200800, /* as SAMPLE_KLUDGE */
		3, 12, 0x200100, 0,	   0,	     8,
	};

	sample_multiboot2(s, SAMPLE_KLUDGE_HEADER, tag, sizeof(tag));
}

static void sample_linux(struct sample *s, unsigned int xloadflags)
{
	static const char version[] = "6.1.0 sample";

	memset(s->byte + 0x1f0, 0, SAMPLE_VERSION - 0x1f0);
	memcpy(s->byte + SAMPLE_VERSION, version, sizeof(version));
	sample_put(s, 0x1f1, 1, 1);				      /* setup_sects */
	sample_put(s, 0x1f4, (SAMPLE_BYTES - SAMPLE_KERNEL) / 16, 4); /* syssize */
	sample_put(s, 0x1fe, 0xaa55, 2);
	sample_put(s, 0x200, 0x6aeb, 2); /* the header ends at 0x26c */
	sample_put(s, 0x202, 0x53726448, 4);
	sample_put(s, 0x206, 0x20f, 2);
	sample_put(s, 0x20e, SAMPLE_VERSION - 0x200, 2);
	sample_put(s, 0x211, 1, 1); /* loadflags */
	sample_put(s, 0x214, 0x100000, 4);
	sample_put(s, 0x22c, 0x7fffffff, 4); /* initrd_addr_max */
	sample_put(s, 0x230, 0x1000, 4);     /* kernel_alignment */
	sample_put(s, 0x234, 1, 1);	     /* relocatable */
	sample_put(s, 0x236, xloadflags, 2);
	sample_put(s, 0x238, 255, 4); /* cmdline_size */
	sample_put(s, 0x258, SAMPLE_PREFERRED, 8);
	sample_put(s, 0x260, SAMPLE_INIT_BYTES, 4);
}

struct sample sample_make(enum sample_kind kind)
{
	struct sample s = { .bytes = SAMPLE_BYTES };
	size_t i;

	for (i = SAMPLE_TEXT; i < SAMPLE_BYTES; i++)
		s.byte[i] = i * 7;
	switch (kind) {
	case SAMPLE_PVH64:
		sample_elf64(&s);
		sample_notes(&s, 8);
		break;
	case SAMPLE_BOTH:
		sample_multiboot(&s, SAMPLE_TEXT, 3);
		/* fall through */
	case SAMPLE_PVH32:
		sample_elf32(&s, 3);
		sample_notes(&s, 4);
		break;
	case SAMPLE_MULTIBOOT:
		sample_elf32(&s, 2);
		sample_multiboot(&s, SAMPLE_TEXT, 3);
		break;
	case SAMPLE_KLUDGE: sample_kludge(&s); break;
	case SAMPLE_MULTIBOOT2:
		sample_elf64(&s);
		sample_put(&s, SAMPLE_PHDRS + 2 * sizeof(Elf64_Phdr), PT_NULL, 4);
		sample_tags(&s);
		break;
	case SAMPLE_KLUDGE2: sample_kludge2(&s); break;
	case SAMPLE_LINUX64: sample_linux(&s, 1); break;
	case SAMPLE_LINUX32: sample_linux(&s, 0); break;
	default: sample_put(&s, 0, 0xfeeb, 2); /* jmp . */
	}
	return s;
}

const struct gfn_range ram_2m[] = { { 0, 0x200 } };
const struct gfn_range ram_128m[] = { { 0, 0x8000 } };
const struct gfn_range ram_4g[] = {
	{ 0, 0xc0000 },
	{ 0x100000, 0x140000 },
};
const uint8_t initrd[5000] = { 1, 2, 3 };
const uint8_t dtb[64] = { 0xd0, 0x0d };
const struct image_module two_modules[] = {
	{ initrd, sizeof(initrd), "modules/one", "initrd rw" },
	{ dtb, sizeof(dtb), "", QUIRE_FDT_MODULE },
};
static const uint8_t more[64] = "more";
const struct image_module two_initrds[] = {
	{ initrd, sizeof(initrd) - 3, "one", "" },
	{ more, sizeof(more), "two", "" },
};

struct image_config config_of(const struct sample *s)
{
	return (struct image_config){
		.file = s->byte,
		.file_bytes = s->bytes,
		.name = "sample",
		.cmdline = "",
		.ram = ram_128m,
		.nr_ram = 1,
	};
}

int plan_file(const struct image_config *config, struct image_plan *plan, struct quire_error *err)
{
	struct image_outline outline;

	image_read(config, &outline);
	return image_plan(config, &outline, plan, err);
}

/*
 * len bytes that the guest finds at gpa, as the plan has them; NULL if they are not all file
 * bytes of one segment.
 */
static const void *plan_bytes(const struct image_plan *plan, gpa_t gpa, uint64_t len)
{
	unsigned int i;

	for (i = 0; i < plan->nr_segments; i++) {
		const struct image_segment *s = &plan->segment[i];

		if (gpa >= s->gpa && gpa - s->gpa <= s->file_bytes &&
		    len <= s->file_bytes - (gpa - s->gpa))
			return (const uint8_t *)s->data + (gpa - s->gpa);
	}
	return NULL;
}

uint64_t plan_word(const struct image_plan *plan, gpa_t gpa, size_t bytes)
{
	const void *p = plan_bytes(plan, gpa, bytes);
	uint64_t v = 0;

	if (!p)
		return UINT64_MAX;
	memcpy(&v, p, bytes);
	return v;
}

bool plan_string(const struct image_plan *plan, gpa_t gpa, const char *want)
{
	const char *p = plan_bytes(plan, gpa, strlen(want) + 1);

	return p && !memcmp(p, want, strlen(want) + 1);
}

/* Each check_ function returns NULL, or what is wrong. */

bool inside(const void *p, uint64_t bytes, const void *area, uint64_t area_bytes)
{
	const uint8_t *a = area, *b = p;

	return area && b >= a && b <= a + area_bytes && bytes <= (uint64_t)(a + area_bytes - b);
}

static bool data_is_known(const struct image_config *config, const struct image_plan *plan,
			  const struct image_segment *s)
{
	unsigned int i;

	if (!s->file_bytes)
		return !s->data;
	if (inside(s->data, s->file_bytes, config->file, config->file_bytes))
		return true;
	for (i = 0; i < config->nr_modules; i++)
		if (inside(s->data, s->file_bytes, config->module[i].data, config->module[i].bytes))
			return true;
	if (inside(s->data, s->file_bytes, config->acpi, config->acpi_bytes))
		return true;
	for (i = 0; i < config->nr_initrds; i++)
		if (inside(s->data, s->file_bytes, config->initrd[i].data, config->initrd[i].bytes))
			return true;
	return plan->boot_data && s->data == plan->boot_data;
}

static bool is_initrd(const struct image_config *config, const struct image_segment *s)
{
	for (unsigned int i = 0; i < config->nr_initrds; i++)
		if (s->data == config->initrd[i].data)
			return true;
	return false;
}

static const char *check_segment(const struct image_config *config, const struct image_plan *plan,
				 const struct image_segment *s)
{
	bool in_ram = false;
	unsigned int i;

	if (!s->mem_bytes || s->file_bytes > s->mem_bytes)
		return "file_bytes > mem_bytes, or an empty segment";
	if (s->gpa + s->mem_bytes < s->gpa)
		return "a segment wraps";
	for (i = 0; i < config->nr_ram; i++)
		in_ram |= s->gpa >= config->ram[i].start << 12 &&
			  s->gpa + s->mem_bytes <= config->ram[i].end << 12;
	if (!in_ram)
		return "a segment is not in RAM";
	for (i = 0; &plan->segment[i] != s; i++)
		if (s->gpa < plan->segment[i].gpa + plan->segment[i].mem_bytes &&
		    plan->segment[i].gpa < s->gpa + s->mem_bytes)
			return "two segments overlap";
	if (!data_is_known(config, plan, s))
		return "a segment's data is nobody's";
	if (s->file_bytes && inside(s->data, s->file_bytes, config->acpi, config->acpi_bytes))
		return s->gpa == QUIRE_ACPI_BASE ? NULL : "ACPI is badly placed";
	if (!inside(s->data, s->file_bytes, config->file, config->file_bytes) && s->file_bytes &&
	    (s->gpa < MiB || s->gpa + s->mem_bytes > QUIRE_GAP_START ||
	     s->gpa % (is_initrd(config, s) ? 4 : 4096)))
		return "boot data or a module is badly placed";
	return NULL;
}

/* One entry of either kind of memory map; *last is where the one before ended. */
static const char *check_memory(const struct image_config *config, uint64_t addr, uint64_t bytes,
				uint32_t type, uint64_t *last)
{
	bool in_ram = false;
	unsigned int i;

	if (addr < *last || !bytes || addr + bytes < addr)
		return "the memory map is not sorted, or overlaps";
	*last = addr + bytes;
	for (i = 0; i < config->nr_ram; i++)
		in_ram |= addr >= config->ram[i].start << 12 && addr + bytes <= config->ram[i].end
											<< 12;
	if (type == 1 ? !in_ram : type != 2)
		return "the memory map says RAM of what is not";
	return NULL;
}

/* A module as the guest is told of it. */
static const char *check_module(const struct image_plan *plan, const struct image_module *m,
				gpa_t gpa, uint64_t bytes, gpa_t args, const char *want)
{
	if (bytes != m->bytes || gpa % 4096)
		return "a module has the wrong size or is not page-aligned";
	if (m->bytes && plan_bytes(plan, gpa, bytes) != m->data)
		return "a module is not where the guest is told";
	return plan_string(plan, args, want) ? NULL : "a module's arguments are wrong";
}

/* Where the guest is told that the initrd is. */
static const char *check_initrd(const struct image_config *config, const struct image_plan *plan,
				gpa_t gpa, uint64_t bytes)
{
	gpa_t at = gpa;

	if (gpa % 4096)
		return "the initrd is not page-aligned";
	for (unsigned int i = 0; i < config->nr_initrds; i++) {
		const struct image_module *part = &config->initrd[i];

		at = (at + 3) / 4 * 4;
		if (part->bytes && plan_bytes(plan, at, part->bytes) != part->data)
			return "a part of the initrd is not where it belongs";
		at += part->bytes;
	}
	return at - gpa == bytes ? NULL : "the initrd has the wrong size";
}

/* The command line that the guest is to see. */
static const char *command_line(const struct image_config *config, const struct image_plan *plan)
{
	static char line[1000];
	const char *first =
		plan->kernel.is_linux && !strstr(config->cmdline, "console=")	? "console=ttyS0" :
		plan->kind == IMAGE_MULTIBOOT || plan->kind == IMAGE_MULTIBOOT2 ? config->name :
										  "";

	snprintf(line, sizeof(line), "%s%s%s", first, *first && *config->cmdline ? " " : "",
		 config->cmdline);
	return line;
}

/* The processor's way, from CR3 on. */
static const char *check_identity(const struct image_plan *plan)
{
	const char *bad = "the page tables do not map 4 GiB to themselves";
	uint64_t pdpt = plan_word(plan, plan->cr3, 8) - 3;

	for (uint64_t i = 0; i < 2048; i++) {
		uint64_t pd = plan_word(plan, pdpt + 8 * (i / 512), 8) - 3;

		if (pdpt % 4096 || pd % 4096 ||
		    plan_word(plan, pd + 8 * (i % 512), 8) != (i * 2 * MiB | 0x83))
			return bad;
	}
	return NULL;
}

static const char *check_linux(const struct image_config *config, const struct image_plan *plan)
{
	uint64_t params = plan->esi, entries = plan_word(plan, params + 0x1e8, 1), last = 0, i;
	gpa_t line = plan_word(plan, params + 0x228, 4);
	const char *bad = NULL;

	if (plan_word(plan, params + 0x1fe, 2) != 0xaa55 ||
	    plan_word(plan, params + 0x202, 4) != 0x53726448)
		return "boot_params has no setup header";
	if (plan_word(plan, params + 0x210, 1) != 0xff)
		return "the boot loader has a type";
	if (plan_word(plan, params + 0x214, 4) != plan->segment[0].gpa)
		return "code32_start is not where the kernel is";
	if (plan_word(plan, params + 0x250, 8))
		return "there is setup data";
	if (strlen(command_line(config, plan)) > plan_word(plan, params + 0x238, 4) ||
	    !plan_string(plan, line, command_line(config, plan)))
		return "the command line is wrong";
	for (i = 0; i < entries && !bad; i++)
		bad = check_memory(config, plan_word(plan, params + 0x2d0 + 20 * i, 8),
				   plan_word(plan, params + 0x2d0 + 20 * i + 8, 8),
				   plan_word(plan, params + 0x2d0 + 20 * i + 16, 4), &last);
	if (plan_word(plan, plan->gdt + 24, 8) != 0x00cf93000000ffff)
		return "the GDT has no data segment";
	if (plan->kind == IMAGE_LINUX64 && !bad)
		bad = check_identity(plan);
	return bad ? bad :
		     check_initrd(config, plan, plan_word(plan, params + 0x218, 4),
				  plan_word(plan, params + 0x21c, 4));
}

static const char *check_pvh(const struct image_config *config, const struct image_plan *plan)
{
	uint64_t info = plan->ebx, map = plan_word(plan, info + 40, 8), last = 0;
	uint64_t list = plan_word(plan, info + 16, 8), n = 0, i;
	const char *bad = NULL;

	if (plan_word(plan, info, 8) != (1ULL << 32 | 0x336ec578))
		return "the start info has no magic, or not version 1";
	if (!plan_string(plan, plan_word(plan, info + 24, 8), command_line(config, plan)))
		return "the command line is wrong";
	for (i = 0; i < plan_word(plan, info + 48, 4) && !bad; i++)
		bad = check_memory(config, plan_word(plan, map + 24 * i, 8),
				   plan_word(plan, map + 24 * i + 8, 8),
				   plan_word(plan, map + 24 * i + 16, 4), &last);
	if (config->nr_initrds && !bad) {
		bad = check_initrd(config, plan, plan_word(plan, list, 8),
				   plan_word(plan, list + 8, 8));
		n++;
	}
	for (i = 0; i < config->nr_modules && !bad; i++) {
		if (plan->kernel.is_linux && !strcmp(config->module[i].args, QUIRE_FDT_MODULE))
			continue;
		bad = check_module(plan, &config->module[i], plan_word(plan, list + 32 * n, 8),
				   plan_word(plan, list + 32 * n + 8, 8),
				   plan_word(plan, list + 32 * n + 16, 8), config->module[i].args);
		n++;
	}
	return !bad && plan_word(plan, info + 12, 4) != n ? "the number of modules is wrong" : bad;
}

static const char *check_multiboot(const struct image_config *config, const struct image_plan *plan)
{
	uint64_t info = plan->ebx, map = plan_word(plan, info + 48, 4), last = 0;
	uint64_t list = plan_word(plan, info + 24, 4), n = 0, i, start;
	const char *bad = NULL;
	char string[100];

	if (plan->eax != 0x2badb002)
		return "eax is not multiboot's magic";
	if (!plan_string(plan, plan_word(plan, info + 16, 4), command_line(config, plan)))
		return "the command line is wrong";
	for (i = 0; i < plan_word(plan, info + 44, 4) && !bad; i += 24)
		bad = plan_word(plan, map + i, 4) != 20 ?
			      "a memory map entry's size is not 20" :
			      check_memory(config, plan_word(plan, map + i + 4, 8),
					   plan_word(plan, map + i + 12, 8),
					   plan_word(plan, map + i + 20, 4), &last);
	for (i = 0; i < config->nr_modules && !bad; i++) {
		if (!strcmp(config->module[i].args, QUIRE_FDT_MODULE))
			continue;
		snprintf(string, sizeof(string), "%s%s%s", config->module[i].name,
			 *config->module[i].args ? " " : "", config->module[i].args);
		start = plan_word(plan, list + 16 * n, 4);
		bad = check_module(plan, &config->module[i], start,
				   plan_word(plan, list + 16 * n + 4, 4) - start,
				   plan_word(plan, list + 16 * n + 8, 4), string);
		n++;
	}
	if (plan_word(plan, info + 20, 4) != n)
		return "the number of modules is wrong";
	return bad;
}

/* The tag of this type, the nth of them; 0: there is none. */
gpa_t plan_tag(const struct image_plan *plan, uint32_t type, unsigned int nth)
{
	gpa_t at = plan->ebx + 8, end = plan->ebx + plan_word(plan, plan->ebx, 4);

	while (at < end && at % 8 == 0) {
		uint32_t bytes = plan_word(plan, at + 4, 4);

		if (plan_word(plan, at, 4) == type && !nth--)
			return at;
		at += (bytes + 7UL) & ~7UL;
	}
	return 0;
}

static const char *check_multiboot2(const struct image_config *config,
				    const struct image_plan *plan)
{
	uint64_t end = plan_tag(plan, 0, 0), map = plan_tag(plan, 6, 0), last = 0, start;
	unsigned int n = 0;
	const char *bad = NULL;
	char string[100];

	if (plan->eax != 0x36d76289)
		return "eax is not multiboot 2's magic";
	if (!end || end + 8 != plan->ebx + plan_word(plan, plan->ebx, 4))
		return "the tags do not end where the information does";
	if (!plan_string(plan, plan_tag(plan, 1, 0) + 8, command_line(config, plan)))
		return "the command line is wrong";
	for (uint64_t i = 16; i < plan_word(plan, map + 4, 4) && !bad; i += 24)
		bad = check_memory(config, plan_word(plan, map + i, 8),
				   plan_word(plan, map + i + 8, 8),
				   plan_word(plan, map + i + 16, 4), &last);
	for (unsigned int i = 0; i < config->nr_modules && !bad; i++) {
		const struct image_module *m = &config->module[i];
		gpa_t tag = plan_tag(plan, 3, n);

		if (!strcmp(m->args, QUIRE_FDT_MODULE))
			continue;
		if (!tag)
			return "a module has no tag";
		snprintf(string, sizeof(string), "%s%s%s", m->name, *m->args ? " " : "", m->args);
		start = plan_word(plan, tag + 8, 4);
		bad = check_module(plan, m, start, plan_word(plan, tag + 12, 4) - start, tag + 16,
				   string);
		n++;
	}
	return !bad && plan_tag(plan, 3, n) ? "there is a module too many" : bad;
}

const char *check_plan(const struct image_config *config, const struct image_plan *plan)
{
	bool entry_inside = false;
	const char *bad = NULL;
	unsigned int i;

	if (plan->nr_segments > IMAGE_MAX_SEGMENTS)
		return "too many segments";
	for (i = 0; i < plan->nr_segments && !bad; i++) {
		bad = check_segment(config, plan, &plan->segment[i]);
		entry_inside |= plan->entry >= plan->segment[i].gpa &&
				plan->entry - plan->segment[i].gpa < plan->segment[i].mem_bytes;
	}
	if (bad)
		return bad;
	if (!entry_inside || plan->entry > UINT32_MAX)
		return "the entry is in no segment";
	switch (plan->kind) {
	case IMAGE_PVH64:
	case IMAGE_PVH32: return check_pvh(config, plan);
	case IMAGE_LINUX64:
	case IMAGE_LINUX32: return check_linux(config, plan);
	case IMAGE_MULTIBOOT: return check_multiboot(config, plan);
	case IMAGE_MULTIBOOT2: return check_multiboot2(config, plan);
	case IMAGE_FLAT:
		return plan->entry == 0x7c00 && plan->nr_segments == 1 && !plan->boot_data ?
			       NULL :
			       "a flat image is more than itself";
	}
	return "an unknown kind";
}

const char *check_message(const struct image_config *config, const struct quire_error *err)
{
	if (strncmp(err->text, config->name, strlen(config->name)))
		return "the message does not name the image";
	if (strchr(err->text, '\n') || strlen(err->text) < strlen(config->name) + 10)
		return "the message is not one line";
	return NULL;
}
