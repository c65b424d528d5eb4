/* SPDX-License-Identifier: MIT */
#include "walk_lab.h"

void lab_init(struct lab *lab, uint64_t guest_bytes, uint64_t ept_bytes)
{
	lab->guest_bytes = guest_bytes;
	lab->ept_bytes = ept_bytes;
	lab->guest = calloc(1, guest_bytes);
	lab->ept = calloc(1, ept_bytes);
	if (!lab->guest || !lab->ept)
		abort();
	lab->updates = 0;
}

void lab_finish(struct lab *lab)
{
	free(lab->guest);
	free(lab->ept);
}

static bool lab_has(const struct lab *lab, maddr_t addr, unsigned int bytes)
{
	return addr < lab->guest_bytes && lab->guest_bytes - addr >= bytes;
}

int lab_read(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value)
{
	struct lab *lab = ctx;

	if (!lab_has(lab, addr, bytes))
		return -EFAULT;
	*value = 0;
	memcpy(value, lab->guest + addr, bytes);
	return 0;
}

int lab_set_bits(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value, uint64_t bits)
{
	struct lab *lab = ctx;
	uint64_t now = 0;

	if (!lab_has(lab, addr, bytes))
		return -EFAULT;
	memcpy(&now, lab->guest + addr, bytes);
	if (now != value)
		return -EAGAIN;
	now |= bits;
	memcpy(lab->guest + addr, &now, bytes);
	lab->updates++;
	return 0;
}

int lab_read_ept(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	struct lab *lab = ctx;

	(void)lv;
	if (addr >= lab->ept_bytes || lab->ept_bytes - addr < 8)
		return -EFAULT;
	memcpy(entry, lab->ept + addr, 8);
	return 0;
}

/*
 * The read function of a 4-level stage 2 that maps every gpa to itself with 2 MiB leaves, and
 * occupies no memory: a table's page number is the index bits that led to it.
 */
static int lab_read_identity(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	uint64_t n = (addr >> 12) << 9 | (addr >> 3 & 511);

	(void)ctx;
	*entry = lv->level > 2 ? n << 12 | ERWX : n << 21 | EWB | EPS | ERWX;
	return 0;
}

struct walk_stage2 lab_identity(void)
{
	return (struct walk_stage2){
		.format = &ept4_format,
		.rules = { .maxphyaddr = 52 },
		.read = lab_read_identity,
	};
}

struct walk_memory lab_memory(struct lab *lab)
{
	return (struct walk_memory){ .read = lab_read, .set_bits = lab_set_bits, .ctx = lab };
}

struct walk_stage2 lab_stage2(struct lab *lab, const struct pt_format *format)
{
	return (struct walk_stage2){
		.format = format,
		.rules = { .maxphyaddr = 46, .pages_1g = true },
		.root = 0,
		.read = lab_read_ept,
		.ctx = lab,
	};
}

void lab_put(uint8_t *image, uint64_t addr, unsigned int bytes, uint64_t value)
{
	memcpy(image + addr, &value, bytes);
}

uint64_t lab_get(const uint8_t *image, uint64_t addr, unsigned int bytes)
{
	uint64_t value = 0;

	memcpy(&value, image + addr, bytes);
	return value;
}

struct walk_cpu lab_cpu(const struct pt_format *format, uint64_t cr3)
{
	struct walk_cpu cpu = {
		.cr0 = LAB_CR0_PE | LAB_CR0_WP,
		.cr3 = cr3,
		.cr4 = LAB_CR4_PSE,
		.efer = LAB_EFER_NXE,
		.maxphyaddr = 46,
		.pages_1g = true,
	};

	if (!format)
		return cpu;
	cpu.cr0 |= LAB_CR0_PG;
	if (format == &x86_32_format)
		return cpu;
	cpu.cr4 |= LAB_CR4_PAE;
	if (format == &x86_pae_format)
		return cpu;
	cpu.efer |= LAB_EFER_LME | LAB_EFER_LMA;
	if (format == &x86_5level_format)
		cpu.cr4 |= LAB_CR4_LA57;
	return cpu;
}

uint64_t lab_map(uint8_t *image, const struct pt_format *fmt, uint64_t root, uint64_t *next,
		 uint64_t addr, uint64_t to, unsigned int level, uint64_t table_bits,
		 uint64_t leaf_bits)
{
	uint64_t table = root;

	for (unsigned int i = 0;; i++) {
		const struct pt_level *lv = &fmt->level[i];
		uint64_t at = table + pt_index(lv, addr) * (uint64_t)fmt->entry_bytes;
		uint64_t e = lab_get(image, at, fmt->entry_bytes);

		if (lv->level == level) {
			lab_put(image, at, fmt->entry_bytes, to | leaf_bits);
			return at;
		}
		if (!e) {
			e = *next | table_bits;
			*next += QUIRE_PAGE_SIZE;
			lab_put(image, at, fmt->entry_bytes, e);
		}
		table = e & 0xffffffffff000ULL;
	}
}
