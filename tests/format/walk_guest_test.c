/* SPDX-License-Identifier: MIT */
/*
 * What the guest's own tables and registers mean, against published values: #PF error codes,
 * large pages, A and D bits, addresses, paging modes.  walk_stage2_test has the second stage.
 */
#include "tests/tap.h"
#include "walk_lab.h"

#define GUEST_BYTES (4 * MiB)
#define GVA	    0x40000000ULL
#define DATA	    0x100000ULL /* gpa of the 4 KiB page that GVA maps to */
#define READ	    ((struct walk_access){ 0 })
#define WRITE	    ((struct walk_access){ .write = true })
#define FETCH	    ((struct walk_access){ .fetch = true })

static struct walk_result res;

/* ------------------------------------------------------------------ guest page faults */

struct fault {
	const char *what;
	uint64_t set, clear; /* in the leaf: present, writable, user, executable */
	uint64_t cr0_clear, cr4_set, efer_clear;
	struct walk_access access;
	bool ac;
	int code; /* -1: no fault */
};

/* clang-format off */
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
/* clang-format on */

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
	uint64_t entry;	   /* flags come in addition */
	uint64_t gva, gpa; /* gpa 0: RSVD */
	bool no_1g;
};

/* clang-format off */
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
/* clang-format on */

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
	is(res.ref[res.nr_refs - 1].entry, DATA | GP, "the reference shows the entry as read");
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
	unsigned int losses; /* set_bits fails so many times */
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
		   res.nr_refs == 1,
	   "an empty stage 2 refuses the root entry after one reference");
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
		   res.ref[0].entry == 0,
	   "tables where no memory is end the walk, with the reference");
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

/* clang-format off */
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
/* clang-format on */

static void paging_modes(void)
{
	struct walk_memory mem = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		const struct mode *m = &modes[i];
		struct walk_cpu cpu = {
			.cr0 = m->cr0, .cr4 = m->cr4, .efer = m->efer, .maxphyaddr = 46
		};
		bool bad;
		const struct pt_format *format = walk_guest_format(&cpu, &bad);

		ok(format == m->format && bad == m->bad, "%s: %s", m->what,
		   m->bad    ? "no mode of x86" :
		   m->format ? m->format->name :
			       "paging off");
		if (m->bad)
			ok(walk_2d(&cpu, NULL, &mem, GVA, READ, &res) == WALK_BAD_MODE &&
				   res.outcome == WALK_BAD_MODE && res.nr_refs == 0,
			   "%s: the walk says so", m->what);
	}
}

static void names(void)
{
	bool distinct = true;

	for (int a = 0; a <= WALK_AGAIN; a++)
		for (int b = 0; b <= WALK_AGAIN + 1; b++)
			distinct &= a == b || strcmp(walk_outcome_name((enum walk_outcome)a),
						     walk_outcome_name((enum walk_outcome)b));
	ok(distinct,
	   "every outcome has a name of its own, which a number that is none does not share");
}

int main(void)
{
	tap_init();
	names();
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
