/* SPDX-License-Identifier: MIT */
/*
 * The walk against published values: numbers of references, #PF error codes, EPT-violation
 * qualifications, misconfigurations.  walk_model_test has the sweeps; this file has what one
 * can look up in the manual.
 */
#include <stdio.h>
#include "tap.h"
#include "walk_lab.h"

#define GUEST_BYTES (4 * MiB)
#define EPT_BYTES   (1 * MiB)
#define GVA	    0x40000000ULL
#define DATA	    0x100000ULL		/* gpa of the 4 KiB page that GVA maps to */
#define READ	    ((struct walk_access){ 0 })
#define WRITE	    ((struct walk_access){ .write = true })
#define FETCH	    ((struct walk_access){ .fetch = true })

static struct walk_result res;

/* An identity stage 2 over the first bytes of memory with leaves of the given level. */
static void identity(struct lab *lab, const struct pt_format *fmt, unsigned int level)
{
	uint64_t next = QUIRE_PAGE_SIZE, step = 1ULL << (12 + 9 * (level - 1));

	for (uint64_t gpa = 0; gpa < GUEST_BYTES; gpa += step)
		lab_map(lab->ept, fmt, 0, &next, gpa, gpa, level, ERWX,
			ERWX | EWB | (level > 1 ? EPS : 0));
}

/* ------------------------------------------------------------------ reference counts */

struct count {
	const char *what;
	const struct pt_format *guest, *ept;	/* ept NULL: no stage 2 */
	unsigned int level1, level2, refs;
};

static const struct count counts[] = {
	{ "4-level guest, no stage 2", &x86_4level_format, NULL, 1, 0, 4 },
	{ "5-level guest, no stage 2", &x86_5level_format, NULL, 1, 0, 5 },
	{ "4-level guest, 4-level EPT", &x86_4level_format, &ept4_format, 1, 1, 24 },
	{ "5-level guest, 4-level EPT", &x86_5level_format, &ept4_format, 1, 1, 29 },
	{ "4-level guest, 5-level EPT", &x86_4level_format, &ept5_format, 1, 1, 29 },
	{ "5-level guest, 5-level EPT", &x86_5level_format, &ept5_format, 1, 1, 35 },
	{ "4-level guest, 2 MiB EPT leaves", &x86_4level_format, &ept4_format, 1, 2, 19 },
	{ "2 MiB guest page, 2 MiB EPT leaves", &x86_4level_format, &ept4_format, 2, 2, 15 },
	{ "2 MiB guest page, 1 GiB EPT leaves", &x86_4level_format, &ept4_format, 2, 3, 11 },
	{ "1 GiB guest page, 1 GiB EPT leaves", &x86_4level_format, &ept4_format, 3, 3, 8 },
	{ "PAE guest, 4-level EPT", &x86_pae_format, &ept4_format, 1, 1, 19 },
	{ "32-bit guest, 4-level EPT", &x86_32_format, &ept4_format, 1, 1, 14 },
	{ "32-bit guest with a 4 MiB page, 4-level EPT", &x86_32_format, &ept4_format, 2, 1, 9 },
	{ "paging off, 4-level EPT", NULL, &ept4_format, 0, 1, 4 },
	{ "paging off, no stage 2", NULL, NULL, 0, 0, 0 },
};

/* Each guest reference comes right after the stage-2 references for its own address. */
static bool in_order(const struct count *c)
{
	unsigned int per2 = c->ept ? c->ept->nr_levels - (c->level2 - 1) : 0, i = 0;
	unsigned int per1 = c->guest ? c->guest->nr_levels - (c->level1 - 1) : 0;

	for (unsigned int k = 0; k <= per1; k++) {
		for (unsigned int j = 0; j < per2; j++, i++) {
			unsigned int last = i + per2 - j;	/* the guest's, or the end */
			uint64_t gpa = k < per1 ? res.ref[last].addr : res.gpa;

			if (res.ref[i].stage != 2 || res.ref[i].level != c->ept->nr_levels - j ||
			    res.ref[i].input != gpa)
				return false;
		}
		if (k == per1)
			break;
		if (res.ref[i].stage != 1 || res.ref[i].level != c->guest->nr_levels - k ||
		    res.ref[i].input != (c->guest ? GVA : 0))
			return false;
		i++;
	}
	return i == res.nr_refs;
}

static void count_one(const struct count *c)
{
	bool large = c->level1 > 1;
	uint64_t gva = c->guest ? GVA : DATA, to = large ? 0 : DATA, next = 0x2000;
	struct walk_stage2 s2;
	struct walk_cpu cpu = lab_cpu(c->guest, 0x1000);
	struct walk_memory mem;
	struct lab lab;

	lab_init(&lab, GUEST_BYTES, EPT_BYTES);
	mem = lab_memory(&lab);
	if (c->guest)
		lab_map(lab.guest, c->guest, 0x1000, &next, GVA, to, c->level1, GP,
			GP | GW | (large ? GPS : 0));
	if (c->ept) {
		s2 = lab_stage2(&lab, c->ept);
		identity(&lab, c->ept, c->level2);
	}
	walk_2d(&cpu, c->ept ? &s2 : NULL, &mem, gva, READ, &res);
	if (!is_hex(res.nr_refs, c->refs, "%s: %u references", c->what, c->refs))
		tap_note("outcome: %s", walk_outcome_name(res.outcome));
	ok(in_order(c), "%s: stage-2 references precede the guest entry they serve", c->what);
	ok(res.outcome == WALK_OK && res.gpa == (c->guest ? to : DATA) && res.maddr == res.gpa &&
	   res.level1 == c->level1 && res.level2 == c->level2 && res.format1 == c->guest,
	   "%s: address, leaf levels and format", c->what);
	lab_finish(&lab);
}

/* ------------------------------------------------------------------ EPT violations */

/*
 * Tables for violations: everything is identity-mapped rwx, with 2 MiB leaves below 2 MiB;
 * the page under test is gpa PROBE with a stage-2 path of its own down to one PTE.
 */
#define PROBE 0x8000000000ULL	/* 512 GiB: its own PML4E */

struct bed {
	struct lab lab;
	struct walk_cpu cpu;
	struct walk_stage2 s2;
	struct walk_memory mem;
	uint64_t pte2;		/* where PROBE's stage-2 PTE is */
	uint64_t pte1;		/* where GVA's guest PTE is, machine address */
};

/* PROBE is backed by machine page probe_to. */
static void bed_init(struct bed *b, uint64_t probe_to)
{
	uint64_t next = QUIRE_PAGE_SIZE;

	lab_init(&b->lab, GUEST_BYTES, EPT_BYTES);
	b->mem = lab_memory(&b->lab);
	b->cpu = lab_cpu(&x86_4level_format, 0x1000);
	b->s2 = lab_stage2(&b->lab, &ept4_format);
	for (uint64_t gpa = 0; gpa < GUEST_BYTES; gpa += 2 * MiB)
		lab_map(b->lab.ept, &ept4_format, 0, &next, gpa, gpa, 2, ERWX, ERWX | EWB | EPS);
	b->pte2 = lab_map(b->lab.ept, &ept4_format, 0, &next, PROBE, probe_to, 1, ERWX,
			  ERWX | EWB);
}

/* GVA maps to PROBE: the probe is the final access. */
static void bed_final(struct bed *b)
{
	uint64_t next = 0x2000;

	bed_init(b, DATA);
	b->pte1 = lab_map(b->lab.guest, &x86_4level_format, 0x1000, &next, GVA, PROBE, 1,
			  GP | GW | GU | GA, GP | GW | GA | GD);
}

/* GVA's page table is at PROBE: the probe is an access to a guest entry. */
static void bed_table(struct bed *b, uint64_t leaf_bits)
{
	uint64_t next = 0x2000;

	bed_init(b, 0x8000);
	lab_map(b->lab.guest, &x86_4level_format, 0x1000, &next, GVA, PROBE, 2,
		GP | GW | GU | GA, GP | GW | GU | GA);
	b->pte1 = 0x8000 + pt_index(&x86_4level_format.level[3], GVA) * 8;
	lab_put(b->lab.guest, b->pte1, 8, DATA | leaf_bits);
}

static void probe(struct bed *b, uint64_t ept_bits, struct walk_access access)
{
	uint64_t e = lab_get(b->lab.ept, b->pte2, 8);

	lab_put(b->lab.ept, b->pte2, 8, (e & ~ERWX) | ept_bits);
	walk_2d(&b->cpu, &b->s2, &b->mem, GVA, access, &res);
}

struct violation {
	const char *entry;
	uint64_t bits;
	bool exec_only;
	int q[3];	/* read, write, fetch: without 0x180; 0 allowed, -1 misconfigured */
};

static const struct violation violations[] = {
	{ "---", 0, false, { 1, 2, 4 } },
	{ "r--", ER, false, { 0, 2 + 8, 4 + 8 } },
	{ "-w-", EW, false, { -1, -1, -1 } },
	{ "-wx", EW | EX, false, { -1, -1, -1 } },
	{ "-w-", EW, true, { -1, -1, -1 } },
	{ "-wx", EW | EX, true, { -1, -1, -1 } },
	{ "rw-", ER | EW, false, { 0, 0, 4 + 8 + 16 } },
	{ "--x", EX, false, { -1, -1, -1 } },
	{ "--x", EX, true, { 1 + 32, 2 + 32, 0 } },
	{ "r-x", ER | EX, false, { 0, 2 + 8 + 32, 0 } },
	{ "rwx", ERWX, false, { 0, 0, 0 } },
};

static void expect(int q, uint64_t where, uint64_t gpa, const char *fmt, const char *entry,
		   const char *access, const char *more)
{
	char what[160];

	snprintf(what, sizeof(what), fmt, entry, access, more);
	if (q < 0) {
		ok(res.outcome == WALK_MISCONFIG && res.gpa == gpa, "%s: misconfiguration", what);
	} else if (q == 0) {
		ok(res.outcome == WALK_OK, "%s: allowed", what);
	} else if (ok(res.outcome == WALK_VIOLATION && res.gpa == gpa, "%s: violation at its gpa",
		      what)) {
		is_hex(res.qualification, (uint64_t)q + where, "%s: qualification", what);
	} else {
		tap_note("outcome: %s, gpa %#" PRIx64, walk_outcome_name(res.outcome), res.gpa);
	}
}

static void final_violations(void)
{
	static const struct walk_access access[] = { { 0 }, { .write = true }, { .fetch = true } };
	static const char *const name[] = { "read", "write", "fetch" };
	struct bed b;

	bed_final(&b);
	for (size_t i = 0; i < ARRAY_SIZE(violations); i++) {
		const struct violation *v = &violations[i];

		b.s2.rules.exec_only = v->exec_only;
		for (int ad = 0; ad < 2; ad++) {
			b.s2.ad = ad;
			for (int a = 0; a < 3; a++) {
				probe(&b, v->bits, access[a]);
				expect(v->q[a], 0x180, PROBE, "entry %s, %s%s", v->entry, name[a],
				       v->exec_only ? ", execute-only supported" : "");
			}
		}
	}
	lab_finish(&b.lab);
}

struct table_case {
	const char *what;
	uint64_t ept_bits, guest_leaf;
	bool ad, write;
	int q;			/* 0 ok */
};

static const struct table_case table_cases[] = {
	{ "--- page table, EPT A/D off", 0, GP | GW, false, false, 1 },
	{ "r-- page table, A clear", ER, GP | GW, false, false, 1 + 2 + 8 },
	{ "r-- page table, A set, read", ER, GP | GW | GA, false, false, 0 },
	{ "r-- page table, A set, D clear, write", ER, GP | GW | GA, false, true, 1 + 2 + 8 },
	{ "r-- page table, A and D set, write", ER, GP | GW | GA | GD, false, true, 0 },
	{ "r-x page table, A clear", ER | EX, GP | GW, false, false, 1 + 2 + 8 + 32 },
	{ "rw- page table, A clear", ER | EW, GP | GW, false, false, 0 },
	{ "--- page table, EPT A/D on", 0, GP | GW | GA | GD, true, false, 1 + 2 },
	{ "r-- page table, EPT A/D on, A and D set", ER, GP | GW | GA | GD, true, false,
	  1 + 2 + 8 },
	{ "r-x page table, EPT A/D on", ER | EX, GP | GW | GA | GD, true, false, 1 + 2 + 8 + 32 },
	{ "rw- page table, EPT A/D on", ER | EW, GP | GW | GA | GD, true, false, 0 },
};

static void table_violations(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(table_cases); i++) {
		const struct table_case *t = &table_cases[i];
		struct walk_access access = { .write = t->write, .set_ad = true };
		struct bed b;

		bed_table(&b, t->guest_leaf);
		b.s2.ad = t->ad;
		probe(&b, t->ept_bits, access);
		expect(t->q, 0x80, PROBE + (b.pte1 & 0xfff), "%s%s%s", t->what, "", "");
		lab_finish(&b.lab);
	}
}

/* ------------------------------------------------------------------ misconfigurations */

struct misconfig {
	const char *what;
	unsigned int level;
	uint64_t set, clear;	/* in an rwx entry: leaf at 1, table above unless EPS is set */
	enum walk_outcome outcome;
};

#define MT(n) ((uint64_t)(n) << 3)

static const struct misconfig misconfigs[] = {
	{ "address bit 46 of MAXPHYADDR 46 in a PTE", 1, 1ULL << 46, 0, WALK_MISCONFIG },
	{ "address bit 51 in a PDE", 2, 1ULL << 51, 0, WALK_MISCONFIG },
	{ "address bit 46 in a PDPTE", 3, 1ULL << 46, 0, WALK_MISCONFIG },
	{ "address bit 50 in a PML4E", 4, 1ULL << 50, 0, WALK_MISCONFIG },
	{ "bit 3 of a PDE that names a table", 2, 1 << 3, 0, WALK_MISCONFIG },
	{ "bit 6 of a PDE that names a table", 2, 1 << 6, 0, WALK_MISCONFIG },
	{ "bit 5 of a PDPTE that names a table", 3, 1 << 5, 0, WALK_MISCONFIG },
	{ "bit 3 of a PML4E", 4, 1 << 3, 0, WALK_MISCONFIG },
	{ "bit 7 of a PML4E", 4, 1 << 7, 0, WALK_MISCONFIG },
	{ "bit 12 of a 2 MiB leaf", 2, EPS | 1 << 12, 0xff000, WALK_MISCONFIG },
	{ "bit 20 of a 2 MiB leaf", 2, EPS | 1 << 20, 0xff000, WALK_MISCONFIG },
	{ "bit 29 of a 1 GiB leaf", 3, EPS | 1 << 29, 0xff000, WALK_MISCONFIG },
	{ "memory type 2", 1, MT(2), MT(7), WALK_MISCONFIG },
	{ "memory type 3", 1, MT(3), MT(7), WALK_MISCONFIG },
	{ "memory type 7", 1, MT(7), MT(7), WALK_MISCONFIG },
	{ "memory type 0", 1, MT(0), MT(7), WALK_OK },
	{ "memory type 1", 1, MT(1), MT(7), WALK_OK },
	{ "memory type 4", 1, MT(4), MT(7), WALK_OK },
	{ "memory type 5", 1, MT(5), MT(7), WALK_OK },
	{ "bit 6 of a leaf (ignore PAT)", 1, 1 << 6, 0, WALK_OK },
	{ "bit 7 of a PTE", 1, 1 << 7, 0, WALK_OK },
	{ "bits 8 and 9 of a PTE", 1, 3 << 8, 0, WALK_OK },
	{ "bits 8 and 9 of a PML4E", 4, 3 << 8, 0, WALK_OK },
	{ "bits 10 and 11 of a PTE", 1, 3 << 10, 0, WALK_OK },
	{ "bits 10 and 11 of a PDE", 2, 3 << 10, 0, WALK_OK },
	{ "bits 63:52 of a PTE", 1, 0xfffULL << 52, 0, WALK_OK },
	{ "bits 63:52 of a PML4E", 4, 0xfffULL << 52, 0, WALK_OK },
};

static void misconfigurations(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(misconfigs); i++) {
		const struct misconfig *m = &misconfigs[i];
		uint64_t at = 0, e;
		struct bed b;

		bed_final(&b);
		for (unsigned int level = 4;; level--) {
			at += pt_index(&ept4_format.level[4 - level], PROBE) * 8;
			e = lab_get(b.lab.ept, at, 8);
			if (level == m->level)
				break;
			at = e & 0xffffffffff000ULL;
		}
		lab_put(b.lab.ept, at, 8, (e & ~m->clear) | m->set);
		walk_2d(&b.cpu, &b.s2, &b.mem, GVA, READ, &res);
		if (!ok(res.outcome == m->outcome, "%s: %s", m->what,
			m->outcome == WALK_OK ? "ignored" : "misconfiguration"))
			tap_note("outcome: %s", walk_outcome_name(res.outcome));
		lab_finish(&b.lab);
	}
}

/* ------------------------------------------------------------------ guest page faults */

struct fault {
	const char *what;
	uint64_t set, clear;		/* in the leaf: present, writable, user, executable */
	uint64_t cr0_clear, cr4_set, efer_clear;
	struct walk_access access;
	bool ac;
	int code;			/* -1: no fault */
};

static const struct fault faults[] = {
	{ "read, not present", 0, GP, 0, 0, 0, { 0 }, false, 0 },
	{ "write, not present", 0, GP, 0, 0, 0, { .write = true }, false, PF_W },
	{ "user read, not present", 0, GP, 0, 0, 0, { .user = true }, false, PF_U },
	{ "fetch, not present, NXE", 0, GP, 0, 0, 0, { .fetch = true }, false, PF_I },
	{ "fetch, not present, neither NXE nor SMEP", 0, GP, 0, 0, LAB_EFER_NXE, { .fetch = true },
	  false, 0 },
	{ "fetch, not present, SMEP alone", 0, GP, 0, LAB_CR4_SMEP, LAB_EFER_NXE,
	  { .fetch = true }, false, PF_I },
	{ "user read of a supervisor page", 0, GU, 0, 0, 0, { .user = true }, false, PF_P | PF_U },
	{ "user write of a read-only page", 0, GW, 0, 0, 0, { .write = true, .user = true }, false,
	  PF_P | PF_W | PF_U },
	{ "user write of a read-only page, WP clear", 0, GW, LAB_CR0_WP, 0, 0,
	  { .write = true, .user = true }, false, PF_P | PF_W | PF_U },
	{ "supervisor write of a read-only page, WP set", 0, GW, 0, 0, 0, { .write = true }, false,
	  PF_P | PF_W },
	{ "supervisor write of a read-only page, WP clear", 0, GW, LAB_CR0_WP, 0, 0,
	  { .write = true }, false, -1 },
	{ "fetch from a no-execute page", GNX, 0, 0, 0, 0, { .fetch = true }, false, PF_P | PF_I },
	{ "read of a no-execute page", GNX, 0, 0, 0, 0, { 0 }, false, -1 },
	{ "read, bit 63 without NXE", GNX, 0, 0, 0, LAB_EFER_NXE, { 0 }, false, PF_P | PF_RSVD },
	{ "supervisor fetch from a user page, SMEP", 0, 0, 0, LAB_CR4_SMEP, 0, { .fetch = true },
	  false, PF_P | PF_I },
	{ "supervisor fetch from a supervisor page, SMEP", 0, GU, 0, LAB_CR4_SMEP, 0,
	  { .fetch = true }, false, -1 },
	{ "user fetch from a user page, SMEP", 0, 0, 0, LAB_CR4_SMEP, 0,
	  { .fetch = true, .user = true }, false, -1 },
	{ "supervisor read of a user page, SMAP", 0, 0, 0, LAB_CR4_SMAP, 0, { 0 }, false, PF_P },
	{ "supervisor write of a user page, SMAP", 0, 0, 0, LAB_CR4_SMAP, 0, { .write = true },
	  false, PF_P | PF_W },
	{ "supervisor read of a user page, SMAP, AC set", 0, 0, 0, LAB_CR4_SMAP, 0, { 0 }, true,
	  -1 },
	{ "supervisor fetch from a user page, SMAP alone", 0, 0, 0, LAB_CR4_SMAP, 0,
	  { .fetch = true }, false, -1 },
	{ "reserved bit before permissions: user write", 1ULL << 46, GW | GU, 0, 0, 0,
	  { .write = true, .user = true }, false, PF_P | PF_W | PF_U | PF_RSVD },
	{ "reserved bits of an entry that is not present", 1ULL << 46, GP, 0, 0, 0, { 0 }, false,
	  0 },
};

static void page_faults(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		const struct fault *f = &faults[i];
		uint64_t next = 0x2000, at;
		struct walk_cpu cpu = lab_cpu(&x86_4level_format, 0x1000);
		struct walk_memory mem;
		struct lab lab;

		lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
		mem = lab_memory(&lab);
		at = lab_map(lab.guest, &x86_4level_format, 0x1000, &next, GVA, DATA, 1,
			     GP | GW | GU, GP | GW | GU);
		lab_put(lab.guest, at, 8, (lab_get(lab.guest, at, 8) & ~f->clear) | f->set);
		cpu.cr0 &= ~f->cr0_clear;
		cpu.cr4 |= f->cr4_set;
		cpu.efer &= ~f->efer_clear;
		cpu.ac = f->ac;
		walk_2d(&cpu, NULL, &mem, GVA, f->access, &res);
		if (f->code < 0)
			ok(res.outcome == WALK_OK, "%s: allowed", f->what);
		else if (ok(res.outcome == WALK_PAGE_FAULT && res.gpa == GPA_INVALID, "%s: #PF",
			    f->what))
			is_hex(res.error_code, (uint64_t)f->code, "%s: error code", f->what);
		lab_finish(&lab);
	}
}

/* ------------------------------------------------------------------ large guest pages */

struct large {
	const char *what;
	const struct pt_format *format;
	unsigned int level, maxphyaddr;
	uint64_t entry;			/* flags come in addition */
	uint64_t gva, gpa;		/* gpa 0: RSVD */
	bool no_1g;
};

static const struct large larges[] = {
	{ "2 MiB page", &x86_4level_format, 2, 46, 0x40000000, GVA + 0x12345, 0x40012345, false },
	{ "2 MiB page with PAT (bit 12)", &x86_4level_format, 2, 46, 0x40001000, GVA + 0x12345,
	  0x40012345, false },
	{ "2 MiB page with bit 13", &x86_4level_format, 2, 46, 0x40002000, GVA, 0, false },
	{ "2 MiB page with bit 20", &x86_4level_format, 2, 46, 0x40100000, GVA, 0, false },
	{ "1 GiB page", &x86_4level_format, 3, 46, 0x80000000, GVA + 0x1234567, 0x81234567, false },
	{ "1 GiB page with PAT", &x86_4level_format, 3, 46, 0x80001000, GVA + 0x1234567,
	  0x81234567, false },
	{ "1 GiB page with bit 13", &x86_4level_format, 3, 46, 0x80002000, GVA, 0, false },
	{ "1 GiB page with bit 29", &x86_4level_format, 3, 46, 0xa0000000, GVA, 0, false },
	{ "1 GiB page on a processor without", &x86_4level_format, 3, 46, 0x80000000, GVA, 0,
	  true },
	{ "PS in a PML4E", &x86_4level_format, 4, 46, 0, GVA, 0, false },
	{ "PS in a PML5E", &x86_5level_format, 5, 46, 0, GVA, 0, false },
	{ "bits 62:52 of a 2 MiB page, 4-level", &x86_4level_format, 2, 46, 0x7ff0000040000000,
	  GVA, 0x40000000, false },
	{ "bit 52 of a 2 MiB page, PAE", &x86_pae_format, 2, 46, 0x0010000040000000, GVA, 0,
	  false },
	{ "2 MiB page, PAE", &x86_pae_format, 2, 46, 0x40000000, GVA + 0x12345, 0x40012345, false },
	{ "4 MiB page", &x86_32_format, 2, 46, 0x80000000, GVA + 0x312345, 0x80312345, false },
	{ "4 MiB page, PSE-36: bits 20:13", &x86_32_format, 2, 46, 0x801fe000, GVA + 0x312345,
	  0xff80312345, false },
	{ "4 MiB page, PSE-36, MAXPHYADDR 36: bits 16:13", &x86_32_format, 2, 36, 0x8001e000, GVA,
	  0xf80000000, false },
	{ "4 MiB page, PSE-36, MAXPHYADDR 36: bit 17", &x86_32_format, 2, 36, 0x80020000, GVA, 0,
	  false },
	{ "4 MiB page, MAXPHYADDR 32: bit 13", &x86_32_format, 2, 32, 0x80002000, GVA, 0, false },
	{ "4 MiB page with bit 21", &x86_32_format, 2, 46, 0x80200000, GVA, 0, false },
	{ "4 MiB page with PAT", &x86_32_format, 2, 46, 0x80001000, GVA, 0x80000000, false },
};

static void large_pages(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(larges); i++) {
		const struct large *l = &larges[i];
		uint64_t next = 0x2000;
		struct walk_cpu cpu = lab_cpu(l->format, 0x1000);
		struct walk_memory mem;
		struct lab lab;

		lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
		mem = lab_memory(&lab);
		cpu.maxphyaddr = l->maxphyaddr;
		cpu.pages_1g = !l->no_1g;
		lab_map(lab.guest, l->format, 0x1000, &next, l->gva, l->entry, l->level, GP,
			GP | GW | GU | GPS);
		walk_2d(&cpu, NULL, &mem, l->gva, READ, &res);
		if (!l->gpa)
			ok(res.outcome == WALK_PAGE_FAULT && res.error_code == (PF_P | PF_RSVD),
			   "%s: reserved", l->what);
		else if (ok(res.outcome == WALK_OK && res.level1 == l->level, "%s: maps", l->what))
			is_hex(res.gpa, l->gpa, "%s: address", l->what);
		lab_finish(&lab);
	}
}

/* CR4.PSE clear: PS in a PDE of 32-bit paging means nothing. */
static void pse_off(void)
{
	uint64_t next = 0x2000;
	struct walk_cpu cpu = lab_cpu(&x86_32_format, 0x1000);
	struct walk_memory mem;
	struct lab lab;

	lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
	mem = lab_memory(&lab);
	cpu.cr4 &= ~LAB_CR4_PSE;
	lab_map(lab.guest, &x86_32_format, 0x1000, &next, GVA, DATA, 1, GP | GPS, GP);
	walk_2d(&cpu, NULL, &mem, GVA + 5, READ, &res);
	ok(res.outcome == WALK_OK && res.level1 == 1 && res.gpa == DATA + 5,
	   "PS in a PDE is ignored while CR4.PSE is clear");
	lab_finish(&lab);
}

/* Bit 8 is G in a leaf; above PDPTEs AMD's processors reserve it and Intel's ignore it. */
static void vendors(void)
{
	for (int amd = 0; amd < 2; amd++) {
		for (unsigned int i = 0; i < 4; i++) {
			const char *name = x86_4level_format.level[i].name;
			bool reserved = amd && i == 0;
			uint64_t next = 0x2000;
			struct walk_cpu cpu = lab_cpu(&x86_4level_format, 0x1000);
			struct walk_memory mem;
			struct lab lab;

			lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
			mem = lab_memory(&lab);
			cpu.amd = amd;
			lab_map(lab.guest, &x86_4level_format, 0x1000, &next, 0, DATA, 1, GP, GP);
			lab_put(lab.guest, 0x1000 * (i + 1), 8,
				lab_get(lab.guest, 0x1000 * (i + 1), 8) | 1 << 8);
			walk_2d(&cpu, NULL, &mem, 0, READ, &res);
			ok(res.outcome == (reserved ? WALK_PAGE_FAULT : WALK_OK) &&
			   res.error_code == (reserved ? PF_P | PF_RSVD : 0),
			   "bit 8 of a %s is %s by %s", name, reserved ? "reserved" : "allowed",
			   amd ? "AMD" : "Intel");
			lab_finish(&lab);
		}
	}
}

/* ------------------------------------------------------------------ A and D */

static void accessed_dirty(void)
{
	uint64_t next = 0x2000, pte;
	struct walk_cpu cpu = lab_cpu(&x86_4level_format, 0x1000);
	struct walk_access access = { .set_ad = true };
	struct walk_memory mem;
	struct lab lab;

	lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
	mem = lab_memory(&lab);
	pte = lab_map(lab.guest, &x86_4level_format, 0x1000, &next, GVA, DATA, 1, GP | GW, GP);

	access.user = true;
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_PAGE_FAULT && lab.updates == 0, "a refused access sets no A bit");
	access.user = false;
	walk_2d(&cpu, NULL, &mem, GVA, READ, &res);
	ok(res.outcome == WALK_OK && lab.updates == 0, "without set_ad nothing is written");
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_OK && lab.updates == 4, "a read sets A at all four levels");
	is_hex(lab_get(lab.guest, pte, 8), DATA | GP | GA, "a read sets A and not D in the leaf");
	is_hex(lab_get(lab.guest, 0x1000, 8), 0x2000 | GP | GW | GA, "A is in the root's entry");
	is_hex(res.ref[res.nr_refs - 1].entry, DATA | GP, "the reference shows the entry as read");
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(lab.updates == 4, "A bits that are set are not written again");
	access.write = true;
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_PAGE_FAULT && lab.updates == 4, "a refused write sets no D");
	lab_put(lab.guest, pte, 8, DATA | GP | GW | GA);
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_OK && lab.updates == 5, "a write then sets D alone");
	is_hex(lab_get(lab.guest, pte, 8), DATA | GP | GW | GA | GD, "D is in the leaf");
	is_hex(lab_get(lab.guest, 0x3000, 8), 0x4000 | GP | GW | GA, "D is in no table entry");
	lab_finish(&lab);
}

/* A guest that races: the entry changes between the read and the update. */
struct racer {
	struct lab lab;
	unsigned int losses;		/* set_bits fails so many times */
	unsigned int reads, sets;
};

static int racer_read(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value)
{
	struct racer *r = ctx;

	r->reads++;
	return lab_read(&r->lab, addr, bytes, value);
}

static int racer_set_bits(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value,
			  uint64_t bits)
{
	struct racer *r = ctx;

	r->sets++;
	if (r->losses) {
		r->losses--;
		return -EAGAIN;
	}
	return lab_set_bits(&r->lab, addr, bytes, value, bits);
}

static void races(void)
{
	uint64_t next = 0x2000;
	struct walk_cpu cpu = lab_cpu(&x86_4level_format, 0x1000);
	struct walk_access access = { .set_ad = true };
	struct racer r = { .losses = 3 };
	struct walk_memory mem = { .read = racer_read, .set_bits = racer_set_bits, .ctx = &r };

	lab_init(&r.lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
	lab_map(r.lab.guest, &x86_4level_format, 0x1000, &next, GVA, DATA, 1, GP, GP);
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_OK && res.nr_refs == 4 && r.reads == 16 && r.sets == 7,
	   "three lost races start the walk over three times");
	r.losses = UINT32_MAX;
	r.reads = 0;
	memset(r.lab.guest, 0, GUEST_BYTES);
	next = 0x2000;
	lab_map(r.lab.guest, &x86_4level_format, 0x1000, &next, GVA, DATA, 1, GP, GP);
	walk_2d(&cpu, NULL, &mem, GVA, access, &res);
	ok(res.outcome == WALK_AGAIN && r.reads < 1000, "a guest that always wins ends the walk");
	lab_finish(&r.lab);
}

/* ------------------------------------------------------------------ addresses and modes */

static void addresses(void)
{
	uint64_t next = 0x2000;
	struct walk_cpu cpu4 = lab_cpu(&x86_4level_format, 0x1000);
	struct walk_cpu cpu5 = lab_cpu(&x86_5level_format, 0x1000);
	struct walk_cpu off = lab_cpu(NULL, 0), pae = lab_cpu(&x86_pae_format, 0x1020);
	struct walk_stage2 s2;
	struct walk_memory mem;
	struct lab lab;

	lab_init(&lab, GUEST_BYTES, QUIRE_PAGE_SIZE);
	mem = lab_memory(&lab);

	walk_2d(&cpu4, NULL, &mem, 0x00007fffffffffff, READ, &res);
	ok(res.outcome == WALK_PAGE_FAULT, "2^47 - 1 is canonical with 4 levels");
	walk_2d(&cpu4, NULL, &mem, 0x0000800000000000, READ, &res);
	ok(res.outcome == WALK_NOT_CANONICAL && res.nr_refs == 0 && res.gpa == GPA_INVALID,
	   "2^47 is not, and nothing is read");
	walk_2d(&cpu4, NULL, &mem, 0xffff7fffffffffff, READ, &res);
	ok(res.outcome == WALK_NOT_CANONICAL, "nor is -2^47 - 1");
	walk_2d(&cpu4, NULL, &mem, 0xffff800000000000, READ, &res);
	ok(res.outcome == WALK_PAGE_FAULT, "-2^47 is");
	walk_2d(&cpu5, NULL, &mem, 0x0000800000000000, READ, &res);
	ok(res.outcome == WALK_PAGE_FAULT, "2^47 is canonical with 5 levels");
	walk_2d(&cpu5, NULL, &mem, 0x0100000000000000, READ, &res);
	ok(res.outcome == WALK_NOT_CANONICAL, "2^56 is not");
	walk_2d(&cpu5, NULL, &mem, 0xff00000000000000, READ, &res);
	ok(res.outcome == WALK_PAGE_FAULT, "-2^56 is");

	walk_2d(&off, NULL, &mem, 0x5500001234, READ, &res);
	ok(res.outcome == WALK_OK && res.gpa == 0x1234 && res.maddr == 0x1234 && !res.format1,
	   "with paging off the address is the gpa, cut to 32 bits");

	lab_put(lab.guest, 0x1020 + 8, 8, 0x2000 | GP);
	lab_put(lab.guest, 0x2000, 8, DATA << 21 | GP | GPS);
	walk_2d(&pae, NULL, &mem, 0xdead000040000000, WRITE, &res);
	ok(res.outcome == WALK_PAGE_FAULT && res.ref[0].addr == 0x1028,
	   "PAE: CR3 is 32-byte aligned and the address is cut to 32 bits");
	lab_put(lab.guest, 0x1028, 8, 0x2000 | GP | GW);
	walk_2d(&pae, NULL, &mem, 0x40000000, READ, &res);
	ok(res.outcome == WALK_PAGE_FAULT && res.error_code == (PF_P | PF_RSVD),
	   "PAE: W in a PDPTE is reserved");

	memset(lab.guest, 0, GUEST_BYTES);
	lab_map(lab.guest, &x86_4level_format, 0x1000, &next, GVA, 1ULL << 48, 1, GP, GP);
	cpu4.maxphyaddr = 52;
	s2 = lab_stage2(&lab, &ept4_format);
	lab_put(lab.ept, 0, 8, 0);
	walk_2d(&cpu4, &s2, &mem, GVA, FETCH, &res);
	ok(res.outcome == WALK_VIOLATION && res.qualification == 0x81 && res.gpa == 0x1000 &&
	   res.nr_refs == 1, "an empty stage 2 refuses the root entry after one reference");
	walk_2d(&cpu4, NULL, &mem, GVA, FETCH, &res);
	ok(res.outcome == WALK_OK && res.gpa == 1ULL << 48, "gpa 2^48 without stage 2");
	for (int i = 0; i < 512; i++)
		lab_put(lab.ept, (uint64_t)i * 8, 8, ERWX);
	walk_2d(&cpu4, &s2, &mem, GVA, FETCH, &res);
	ok(res.outcome == WALK_PAGE_FAULT && res.error_code == PF_I && res.nr_refs == 5,
	   "a stage 2 whose tables are all one still maps, to machine page 0");
	cpu4.cr3 = 1ULL << 50;
	walk_2d(&cpu4, &s2, &mem, GVA, FETCH, &res);
	ok(res.outcome == WALK_VIOLATION && res.nr_refs == 0 && res.qualification == 0x81 &&
	   res.gpa == 1ULL << 50,
	   "a gpa beyond 4-level EPT is a violation without a reference");
	cpu5.cr3 = GUEST_BYTES;
	walk_2d(&cpu5, NULL, &mem, 0, READ, &res);
	ok(res.outcome == WALK_NO_MEMORY && res.gpa == GUEST_BYTES && res.nr_refs == 1 &&
	   res.ref[0].entry == 0, "tables where no memory is end the walk, with the reference");
	lab_finish(&lab);
}

struct mode {
	const char *what;
	uint64_t cr0, cr4, efer;
	const struct pt_format *format;
	bool bad;
};

#define PEPG (LAB_CR0_PE | LAB_CR0_PG)
#define LONG (LAB_EFER_LME | LAB_EFER_LMA)

static const struct mode modes[] = {
	{ "real mode", 0, 0, 0, NULL, false },
	{ "protected mode, no paging", LAB_CR0_PE, 0, 0, NULL, false },
	{ "no paging, LME set in advance", LAB_CR0_PE, LAB_CR4_PAE, LAB_EFER_LME, NULL, false },
	{ "no paging, LMA", LAB_CR0_PE, LAB_CR4_PAE, LONG, NULL, true },
	{ "32-bit", PEPG, 0, 0, &x86_32_format, false },
	{ "32-bit with LA57 set", PEPG, LAB_CR4_LA57, 0, &x86_32_format, false },
	{ "PAE", PEPG, LAB_CR4_PAE, 0, &x86_pae_format, false },
	{ "4-level", PEPG, LAB_CR4_PAE, LONG, &x86_4level_format, false },
	{ "5-level", PEPG, LAB_CR4_PAE | LAB_CR4_LA57, LONG, &x86_5level_format, false },
	{ "4-level with PCIDs", PEPG, LAB_CR4_PAE | LAB_CR4_PCIDE, LONG, &x86_4level_format,
	  false },
	{ "PAE with PCIDs", PEPG, LAB_CR4_PAE | LAB_CR4_PCIDE, 0, NULL, true },
	{ "paging in real mode", LAB_CR0_PG, 0, 0, NULL, true },
	{ "long mode without PAE", PEPG, 0, LONG, NULL, true },
	{ "paging with LME but not LMA", PEPG, LAB_CR4_PAE, LAB_EFER_LME, NULL, true },
	{ "LMA without LME", PEPG, LAB_CR4_PAE, LAB_EFER_LMA, NULL, true },
};

static void paging_modes(void)
{
	struct walk_memory mem = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		const struct mode *m = &modes[i];
		struct walk_cpu cpu = { .cr0 = m->cr0, .cr4 = m->cr4, .efer = m->efer,
					.maxphyaddr = 46 };
		bool bad;
		const struct pt_format *format = walk_guest_format(&cpu, &bad);

		ok(format == m->format && bad == m->bad, "%s: %s", m->what,
		   m->bad ? "no mode of x86" : m->format ? m->format->name : "paging off");
		if (m->bad)
			ok(walk_2d(&cpu, NULL, &mem, GVA, READ, &res) == WALK_BAD_MODE &&
			   res.outcome == WALK_BAD_MODE && res.nr_refs == 0,
			   "%s: the walk says so", m->what);
	}
}

/* ------------------------------------------------------------------ pt_walk by itself */

static void one_dimension(void)
{
	struct pt_rules rules = { .maxphyaddr = 46 };
	struct pt_result r;
	uint64_t next = QUIRE_PAGE_SIZE, pte;
	struct lab lab;

	lab_init(&lab, QUIRE_PAGE_SIZE, EPT_BYTES);
	pte = lab_map(lab.ept, &ept4_format, 0, &next, PROBE, 0x123000, 1, ERWX, ER | EX | EWB);
	ok(pt_walk(&ept4_format, &rules, 0, PROBE + 0x456, lab_read_ept, &lab, &r) == 0 &&
	   r.class == PT_LEAF && r.lv->level == 1 && r.entry_addr == pte,
	   "pt_walk ends at the leaf");
	is_hex(r.address, 0x123456, "pt_walk finds the address, offset included");
	is_hex(r.perm, PT_PERM_R | PT_PERM_X | PT_PERM_U, "pt_walk ANDs permissions");
	ok(pt_walk(&ept4_format, &rules, 0, PROBE + GiB, lab_read_ept, &lab, &r) == 0 &&
	   r.class == PT_EMPTY && r.lv->level == 3 && r.perm == PT_PERM_ALL,
	   "pt_walk stops where nothing is present");
	ok(pt_walk(&ept4_format, &rules, EPT_BYTES, 8ULL << 39, lab_read_ept, &lab, &r) ==
	   -EFAULT && r.entry_addr == EPT_BYTES + 64 && r.lv->level == 4,
	   "pt_walk returns what read returns, and names the reference");
	lab_finish(&lab);
}

static void names(void)
{
	bool distinct = true;

	for (int a = 0; a <= WALK_AGAIN; a++)
		for (int b = 0; b <= WALK_AGAIN + 1; b++)
			distinct &= a == b || strcmp(walk_outcome_name((enum walk_outcome)a),
						     walk_outcome_name((enum walk_outcome)b));
	ok(distinct, "every outcome has a name of its own, which a number that is none does not share");
}

int main(void)
{
	tap_init();
	one_dimension();
	names();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		count_one(&counts[i]);
	final_violations();
	table_violations();
	misconfigurations();
	page_faults();
	large_pages();
	pse_off();
	vendors();
	accessed_dirty();
	races();
	addresses();
	paging_modes();
	return tap_done();
}
