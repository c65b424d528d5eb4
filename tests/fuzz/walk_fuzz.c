/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: registers, guest memory and stage-2 tables from the input, one walk
 * checked against the naive model, and against itself.
 *
 * Memory starts as chains (entry 0 of each page leads to the next one, in both stages), and
 * registers may start from those of a sane guest, so that a few bytes of input reach the end
 * of a walk.  Input: struct header, then records of RECORD_BYTES that each store an entry:
 *
 *   0..1   where: bit 15 stage 2 or guest, bits 14:12 page, 11:0 offset (aligned down)
 *   2..9   the entry, little-endian; its address is taken modulo the size of memory, unless
 *          bit 11 of the entry says to take it as it is
 */
#include <stddef.h>
#include <stdio.h>
#include "tests/format/walk_lab.h"
#include "tests/format/walk_model.h"

#define NR_PAGES     8
#define IMAGE_BYTES  (NR_PAGES * QUIRE_PAGE_SIZE)
#define RECORD_BYTES 10

struct header {
	uint64_t gva, cr3;
	uint32_t cr0, cr4, efer;
	uint8_t maxphyaddr, ept_maxphyaddr;
	uint8_t access; /* 1:0 kind, 2 user, 3 set_ad, 6:4 mode, 7 low gva */
	uint8_t flags;	/* FLAG_* */
};

#define FLAG_AC	       0x01
#define FLAG_1G	       0x02
#define FLAG_AMD       0x04
#define FLAG_NO_STAGE2 0x08
#define FLAG_EPT5      0x10
#define FLAG_EPT_AD    0x20
#define FLAG_EPT_XO    0x40
#define FLAG_EPT_1G    0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lab lab;
static uint8_t *twin;

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "walk_fuzz: %s\n", what);
	abort();
}

static void store_record(const uint8_t *record)
{
	uint64_t where = lab_get(record, 0, 2), e = lab_get(record, 2, 8);
	uint64_t at = where % IMAGE_BYTES & ~7ULL;

	if (!(e & 1 << 11))
		e = (e & 0xfff0000000000fff) | (e >> 12) % NR_PAGES * QUIRE_PAGE_SIZE;
	lab_put(where & 0x8000 ? lab.ept : lab.guest, at, 8, e);
}

static void load(const uint8_t *data, size_t size)
{
	if (!twin) {
		lab_init(&lab, IMAGE_BYTES, IMAGE_BYTES);
		twin = malloc(IMAGE_BYTES);
		if (!twin)
			abort();
	}
	memset(lab.guest, 0, IMAGE_BYTES);
	memset(lab.ept, 0, IMAGE_BYTES);
	for (uint64_t i = 0; i < NR_PAGES; i++) {
		uint64_t next = (i + 1) % NR_PAGES * QUIRE_PAGE_SIZE;

		lab_put(lab.guest, i * QUIRE_PAGE_SIZE, 8, next | GP | (i ? GW | GU : 0));
		lab_put(lab.ept, i * QUIRE_PAGE_SIZE, 8, next | ERWX);
		/* In every page, so that it is a last-level table for either EPT format. */
		for (uint64_t j = 1; j < NR_PAGES; j++)
			lab_put(lab.ept, i * QUIRE_PAGE_SIZE + j * 8, 8,
				j * QUIRE_PAGE_SIZE | ERWX);
	}
	for (; size >= RECORD_BYTES; data += RECORD_BYTES, size -= RECORD_BYTES)
		store_record(data);
	memcpy(twin, lab.guest, IMAGE_BYTES);
}

static void check_against_model(struct model *m, const struct walk_result *r)
{
	model_walk(m);
	check(r->outcome == m->outcome, "the model has another outcome");
	check(r->gpa == m->gpa && r->maddr == m->maddr, "the model has another address");
	check(r->error_code == m->error_code, "the model has another error code");
	check(r->qualification == m->qualification, "the model has another qualification");
	check(r->level1 == m->level1 && r->level2 == m->level2, "the model has other levels");
	check((int)r->nr_refs == m->nr_refs, "the model has more or fewer references");
	for (unsigned int i = 0; i < r->nr_refs; i++)
		check(r->ref[i].stage == m->ref[i].stage && r->ref[i].level == m->ref[i].level &&
			      r->ref[i].addr == m->ref[i].addr &&
			      r->ref[i].input == m->ref[i].input &&
			      r->ref[i].entry == m->ref[i].entry,
		      "the model has another reference");
	check(memcmp(lab.guest, twin, IMAGE_BYTES) == 0, "the model has other A and D bits");
}

/* What holds for any walk, whatever the model thinks. */
static void check_result(const struct walk_result *r, bool stage2)
{
	check(r->nr_refs <= 35, "more references than 5x5 levels make");
	check((r->outcome == WALK_OK) == (r->maddr != GPA_INVALID), "maddr without WALK_OK");
	check(r->outcome == WALK_PAGE_FAULT || !r->error_code, "error code without #PF");
	check((r->outcome == WALK_VIOLATION) == (r->qualification != 0),
	      "qualification without violation");
	check(stage2 || r->outcome == WALK_NO_MEMORY || r->nr_refs <= 5, "too many references");
	for (unsigned int i = 0; i < r->nr_refs; i++)
		check(r->ref[i].stage == 1 || (stage2 && r->ref[i].stage == 2),
		      "a reference of no stage");
}

/* Once A and D are set, the same walk changes nothing and finds the same. */
static void check_again(const struct walk_cpu *cpu, const struct walk_stage2 *s2, gva_t gva,
			struct walk_access access, const struct walk_result *first)
{
	struct walk_memory mem = lab_memory(&lab);
	struct walk_result again;

	if (first->outcome != WALK_OK)
		return;
	walk_2d(cpu, s2, &mem, gva, access, &again);
	/* An A bit can make a PDPTE malformed that is also a PDE: not these tables. */
	if (again.format1 == &x86_pae_format && again.outcome == WALK_PAGE_FAULT)
		return;
	check(again.outcome == WALK_OK && again.gpa == first->gpa && again.maddr == first->maddr &&
		      again.nr_refs == first->nr_refs,
	      "the second walk differs");
	check(memcmp(lab.guest, twin, IMAGE_BYTES) == 0, "the second walk stores");
}

/* Those of the input, or of a sane guest in one of the modes with the input's permissions. */
static struct walk_cpu registers(const struct header *h)
{
	static const struct pt_format *const formats[] = { &x86_4level_format, &x86_5level_format,
							   &x86_pae_format, &x86_32_format, NULL };
	unsigned int mode = h->access >> 4 & 7;
	struct walk_cpu cpu = { .cr0 = h->cr0, .cr3 = h->cr3, .cr4 = h->cr4, .efer = h->efer };

	if (mode < ARRAY_SIZE(formats)) {
		cpu = lab_cpu(formats[mode], h->cr3 % IMAGE_BYTES);
		cpu.cr0 ^= h->cr0 & LAB_CR0_WP;
		cpu.cr4 ^= h->cr4 & (LAB_CR4_PSE | LAB_CR4_SMEP | LAB_CR4_SMAP);
		cpu.efer ^= h->efer & LAB_EFER_NXE;
	}
	cpu.ac = h->flags & FLAG_AC;
	cpu.pages_1g = h->flags & FLAG_1G;
	cpu.amd = h->flags & FLAG_AMD;
	cpu.maxphyaddr = h->maxphyaddr;
	return cpu;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header h;
	struct walk_access access;
	struct walk_result res;
	struct walk_stage2 s2;
	struct walk_memory mem;
	struct walk_cpu cpu;
	struct model m = { 0 };
	bool stage2;

	if (size < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	load(data + sizeof(h), size - sizeof(h));

	cpu = registers(&h);
	if (h.access & 0x80)
		h.gva &= 0xfff;
	access = (struct walk_access){ .write = (h.access & 3) == 1,
				       .fetch = (h.access & 3) == 2,
				       .user = h.access & 4,
				       .set_ad = h.access & 8 };
	stage2 = !(h.flags & FLAG_NO_STAGE2);
	mem = lab_memory(&lab);
	s2 = lab_stage2(&lab, h.flags & FLAG_EPT5 ? &ept5_format : &ept4_format);
	s2.ad = h.flags & FLAG_EPT_AD;
	s2.rules = (struct pt_rules){ .maxphyaddr = 32 + h.ept_maxphyaddr % 21,
				      .exec_only = h.flags & FLAG_EPT_XO,
				      .pages_1g = h.flags & FLAG_EPT_1G };
	m.cpu = cpu;
	m.access = access;
	m.gva = h.gva;
	m.guest = twin;
	m.guest_bytes = IMAGE_BYTES;
	m.ept_levels = stage2 ? s2.format->nr_levels : 0;
	m.ept_ad = s2.ad;
	m.ept_exec_only = s2.rules.exec_only;
	m.ept_1g = s2.rules.pages_1g;
	m.ept_maxphyaddr = s2.rules.maxphyaddr;
	m.ept = lab.ept;
	m.ept_bytes = IMAGE_BYTES;

	walk_2d(&cpu, stage2 ? &s2 : NULL, &mem, h.gva, access, &res);
	check_result(&res, stage2);
	check_against_model(&m, &res);
	check_again(&cpu, stage2 ? &s2 : NULL, h.gva, access, &res);
	return 0;
}
