/* SPDX-License-Identifier: MIT */
/*
 * The walk through both stages against published values: numbers of references, EPT-violation
 * qualifications, misconfigurations.  What the guest's own tables mean is in walk_guest_test,
 * the sweeps are in walk_sweep_test; here is what one can look up in the manual.
 */
#include <stdio.h>
#include "tests/tap.h"
#include "walk_lab.h"

#define GUEST_BYTES (4 * MiB)
#define EPT_BYTES   (1 * MiB)
#define GVA	    0x40000000ULL
#define DATA	    0x100000ULL /* gpa of the 4 KiB page that GVA maps to */
#define READ	    ((struct walk_access){ 0 })

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
	const struct pt_format *guest, *ept; /* ept NULL: no stage 2 */
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
			unsigned int last = i + per2 - j; /* the guest's, or the end */
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
	if (!is(res.nr_refs, c->refs, "%s: %u references", c->what, c->refs))
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
#define PROBE 0x8000000000ULL /* 512 GiB: its own PML4E */

struct bed {
	struct lab lab;
	struct walk_cpu cpu;
	struct walk_stage2 s2;
	struct walk_memory mem;
	uint64_t pte2; /* where PROBE's stage-2 PTE is */
	uint64_t pte1; /* where GVA's guest PTE is, machine address */
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
	b->pte2 = lab_map(b->lab.ept, &ept4_format, 0, &next, PROBE, probe_to, 1, ERWX, ERWX | EWB);
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
	lab_map(b->lab.guest, &x86_4level_format, 0x1000, &next, GVA, PROBE, 2, GP | GW | GU | GA,
		GP | GW | GU | GA);
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
	int q[3]; /* read, write, fetch: without 0x180; 0 allowed, -1 misconfigured */
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
	int q; /* 0 ok */
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
	uint64_t set, clear; /* in an rwx entry: leaf at 1, table above unless EPS is set */
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
			   -EFAULT &&
		   r.entry_addr == EPT_BYTES + 64 && r.lv->level == 4,
	   "pt_walk returns what read returns, and names the reference");
	lab_finish(&lab);
}

int main(void)
{
	tap_init();
	one_dimension();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		count_one(&counts[i]);
	final_violations();
	table_violations();
	misconfigurations();
	return tap_done();
}
