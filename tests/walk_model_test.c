/* SPDX-License-Identifier: MIT */
/*
 * walk_2d() against the naive model of walk_model.h: every permission bit at every level
 * against every access and register, every single bit of every entry, stage-2 permissions
 * at every level, and random memory, hostile and self-referential tables included.  Each
 * comparison covers the whole result and what became of memory.
 */
#include <stdio.h>
#include "tap.h"
#include "walk_lab.h"
#include "walk_model.h"

/* The code's memory and the model's: same content before each walk, and after. */
struct pair {
	struct lab lab;			/* what walk_2d() works on */
	uint8_t *twin;			/* the model's guest memory */
	struct walk_cpu cpu;
	struct walk_access access;
	uint64_t gva;
	bool stage2;
	struct walk_stage2 s2;
	struct walk_memory mem;
	struct walk_result res;
	struct model model;
	uint64_t cases, mismatches;
	uint64_t outcomes[WALK_AGAIN + 1];
};

static void pair_init(struct pair *p, uint64_t guest_bytes, uint64_t ept_bytes)
{
	memset(p, 0, sizeof(*p));
	lab_init(&p->lab, guest_bytes, ept_bytes);
	p->twin = calloc(1, guest_bytes);
	if (!p->twin)
		abort();
	p->mem = lab_memory(&p->lab);
	p->s2 = lab_stage2(&p->lab, &ept4_format);
}

static void pair_finish(struct pair *p)
{
	free(p->twin);
	lab_finish(&p->lab);
}

static void put_both(struct pair *p, uint64_t addr, unsigned int bytes, uint64_t value)
{
	lab_put(p->lab.guest, addr, bytes, value);
	lab_put(p->twin, addr, bytes, value);
}

static void run_model(struct pair *p)
{
	struct model *m = &p->model;

	m->cpu = p->cpu;
	m->access = p->access;
	m->gva = p->gva;
	m->guest = p->twin;
	m->guest_bytes = p->lab.guest_bytes;
	m->ept_levels = p->stage2 ? p->s2.format->nr_levels : 0;
	m->ept_ad = p->s2.ad;
	m->ept_exec_only = p->s2.rules.exec_only;
	m->ept_1g = p->s2.rules.pages_1g;
	m->ept_maxphyaddr = p->s2.rules.maxphyaddr;
	m->ept_root = p->s2.root;
	m->ept = p->lab.ept;
	m->ept_bytes = p->lab.ept_bytes;
	model_walk(m);
}

static bool same_refs(const struct pair *p)
{
	for (int i = 0; i < p->model.nr_refs; i++) {
		const struct walk_ref *got = &p->res.ref[i];
		const struct model_ref *want = &p->model.ref[i];

		if (got->stage != want->stage || got->level != want->level ||
		    got->addr != want->addr || got->input != want->input ||
		    got->entry != want->entry)
			return false;
	}
	return true;
}

static bool same(const struct pair *p)
{
	const struct walk_result *r = &p->res;
	const struct model *m = &p->model;

	return r->outcome == m->outcome && r->gpa == m->gpa && r->maddr == m->maddr &&
	       r->error_code == m->error_code && r->qualification == m->qualification &&
	       r->level1 == m->level1 && r->level2 == m->level2 &&
	       (int)r->nr_refs == m->nr_refs && same_refs(p);
}

static void describe(const struct pair *p)
{
	const struct walk_result *r = &p->res;
	const struct model *m = &p->model;

	tap_note("case %" PRIu64 ": %s%s%s%s gva %#" PRIx64, p->cases,
		 p->access.user ? "user " : "supervisor ",
		 p->access.write ? "write" : p->access.fetch ? "fetch" : "read",
		 p->access.set_ad ? ", set A/D," : ",", p->stage2 ? " stage 2," : "", p->gva);
	tap_note("  cr0 %#" PRIx64 " cr3 %#" PRIx64 " cr4 %#" PRIx64 " efer %#" PRIx64
		 " ac %d M %u 1G %d AMD %d; EPT %s, A/D %d, X only %d, 1G %d", p->cpu.cr0,
		 p->cpu.cr3, p->cpu.cr4, p->cpu.efer, p->cpu.ac, p->cpu.maxphyaddr,
		 p->cpu.pages_1g, p->cpu.amd, p->s2.format->name, p->s2.ad,
		 p->s2.rules.exec_only, p->s2.rules.pages_1g);
	tap_note("  got:  %s gpa %#" PRIx64 " maddr %#" PRIx64 " code %#x qual %#" PRIx64
		 " levels %u/%u refs %u", walk_outcome_name(r->outcome), r->gpa, r->maddr,
		 r->error_code, r->qualification, r->level1, r->level2, r->nr_refs);
	tap_note("  want: %s gpa %#" PRIx64 " maddr %#" PRIx64 " code %#x qual %#" PRIx64
		 " levels %d/%d refs %d", walk_outcome_name(m->outcome), m->gpa, m->maddr,
		 m->error_code, m->qualification, m->level1, m->level2, m->nr_refs);
	for (int i = 0; i < m->nr_refs || i < (int)r->nr_refs; i++) {
		const struct walk_ref *a = &r->ref[i];
		const struct model_ref *b = &m->ref[i];

		if (i < (int)r->nr_refs)
			tap_note("  got  %2d: stage %u level %u addr %#" PRIx64 " input %#" PRIx64
				 " entry %#" PRIx64, i, a->stage, a->level, a->addr, a->input,
				 a->entry);
		if (i < m->nr_refs)
			tap_note("  want %2d: stage %d level %d addr %#" PRIx64 " input %#" PRIx64
				 " entry %#" PRIx64, i, b->stage, b->level, b->addr, b->input,
				 b->entry);
	}
}

/* One case: both walk, both are compared.  Only the first mismatch is printed. */
static void compare(struct pair *p)
{
	walk_2d(&p->cpu, p->stage2 ? &p->s2 : NULL, &p->mem, p->gva, p->access, &p->res);
	run_model(p);
	p->cases++;
	p->outcomes[p->res.outcome]++;
	if (!same(p) && !p->mismatches++)
		describe(p);
}

/* Do both memories agree?  Cheap enough only now and then, or for a few words. */
static void compare_memory(struct pair *p)
{
	if (memcmp(p->lab.guest, p->twin, p->lab.guest_bytes) == 0)
		return;
	if (!p->mismatches++) {
		describe(p);
		for (uint64_t at = 0; at < p->lab.guest_bytes; at += 8)
			if (memcmp(p->lab.guest + at, p->twin + at, 8))
				tap_note("  memory %#" PRIx64 ": got %#" PRIx64 " want %#" PRIx64,
					 at, lab_get(p->lab.guest, at, 8),
					 lab_get(p->twin, at, 8));
	}
}

static void conclude(struct pair *p, const char *what)
{
	ok(p->mismatches == 0, "%s: %" PRIu64 " cases agree with the model", what, p->cases);
	for (int o = 0; o <= WALK_AGAIN; o++)
		if (p->outcomes[o])
			tap_note("  %s: %" PRIu64, walk_outcome_name((enum walk_outcome)o),
				 p->outcomes[o]);
}

/* ------------------------------------------------------------------ guest permissions */

/* An address with no index 0: canonical with 5 levels, and with 4 below 2^47. */
static uint64_t sweep_gva(const struct pt_format *fmt)
{
	return 0x005a5a5a5a5a5000ULL & ((1ULL << (fmt->address_bits - 1)) - 1);
}

/* Tables of the sweeps: page 1 is the root, then one page per level; the leaf maps page 7. */
static uint64_t path_addr(const struct pt_format *fmt, unsigned int i)
{
	return (i + 1) * QUIRE_PAGE_SIZE + pt_index(&fmt->level[i], sweep_gva(fmt)) *
	       (uint64_t)fmt->entry_bytes;
}

static uint64_t path_target(const struct pt_format *fmt, unsigned int i)
{
	return i + 1 < fmt->nr_levels ? (i + 2) * QUIRE_PAGE_SIZE : 7 * QUIRE_PAGE_SIZE;
}

/* Bits P W U NX of a level from four bits of n. */
static uint64_t flags_of(unsigned int n)
{
	return (n & 8 ? 0 : GP) | (n & 1 ? GW : 0) | (n & 2 ? GU : 0) | (n & 4 ? GNX : 0);
}

/* All accesses with these tables and the registers of cpu, W P S A N varied by bits of regs. */
static void all_accesses(struct pair *p, unsigned int regs)
{
	p->cpu.cr0 &= ~LAB_CR0_WP;
	p->cpu.cr4 &= ~(LAB_CR4_SMEP | LAB_CR4_SMAP);
	p->cpu.efer &= ~LAB_EFER_NXE;
	p->cpu.cr0 |= regs & 1 ? LAB_CR0_WP : 0;
	p->cpu.cr4 |= regs & 2 ? LAB_CR4_SMEP : 0;
	p->cpu.cr4 |= regs & 4 ? LAB_CR4_SMAP : 0;
	p->cpu.ac = regs & 8;
	p->cpu.efer |= regs & 16 ? LAB_EFER_NXE : 0;
	for (int a = 0; a < 6; a++) {
		p->access = (struct walk_access){ .write = a % 3 == 1, .fetch = a % 3 == 2,
						  .user = a >= 3 };
		compare(p);
	}
}

static void permissions_of(struct pair *p, const struct pt_format *fmt, unsigned int combination,
			   unsigned int bits_per_level)
{
	for (unsigned int i = 0; i < fmt->nr_levels; i++) {
		unsigned int n = combination >> (i * bits_per_level) & ((1u << bits_per_level) - 1);
		uint64_t flags = flags_of(n);

		if (fmt == &x86_pae_format && i == 0)
			flags &= GP;	/* its other bits are swept one by one below */
		put_both(p, path_addr(fmt, i), fmt->entry_bytes, path_target(fmt, i) | flags);
	}
}

/*
 * W, U and NX at every level with every access and register; then P as well, with the
 * registers taking turns.
 */
static void sweep_permissions(const struct pt_format *fmt)
{
	unsigned int wun = 1u << (3 * fmt->nr_levels), pwun = 1u << (4 * fmt->nr_levels);
	char what[80];
	struct pair p;

	pair_init(&p, 8 * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	p.cpu = lab_cpu(fmt, QUIRE_PAGE_SIZE);
	p.gva = sweep_gva(fmt);
	for (unsigned int c = 0; c < wun; c++) {
		permissions_of(&p, fmt, c, 3);
		for (unsigned int regs = 0; regs < 32; regs++)
			all_accesses(&p, regs);
	}
	snprintf(what, sizeof(what), "%s: W, U, NX at every level", fmt->name);
	conclude(&p, what);

	p.cases = 0;
	memset(p.outcomes, 0, sizeof(p.outcomes));
	for (unsigned int c = 0; c < pwun; c++) {
		permissions_of(&p, fmt, c, 4);
		all_accesses(&p, c % 31);
	}
	snprintf(what, sizeof(what), "%s: P, W, U, NX at every level", fmt->name);
	conclude(&p, what);
	pair_finish(&p);
}

/* One flipped bit (or none: flip 0) in entry `at` of a path with its leaf at index leaf. */
static void flipped_bit(struct pair *p, const struct pt_format *fmt, unsigned int leaf,
			unsigned int at, uint64_t flip)
{
	static const uint8_t widths[] = { 32, 33, 36, 39, 40, 41, 46, 48, 52, 0, 60 };
	bool large = leaf + 1 < fmt->nr_levels;
	uint64_t e;

	permissions_of(p, fmt, 0x33333, 4);
	put_both(p, path_addr(fmt, leaf), fmt->entry_bytes,
		 GP | GW | GU | (large ? GPS : path_target(fmt, leaf)));
	e = lab_get(p->lab.guest, path_addr(fmt, at), fmt->entry_bytes);
	put_both(p, path_addr(fmt, at), fmt->entry_bytes, e ^ flip);

	p->access = (struct walk_access){ .user = true };
	for (unsigned int k = 0; k < ARRAY_SIZE(widths) * 16; k++) {
		p->cpu = lab_cpu(fmt, QUIRE_PAGE_SIZE);
		p->cpu.maxphyaddr = widths[k / 16];
		p->cpu.pages_1g = k & 1;
		p->cpu.amd = k & 8;
		if (k & 2)
			p->cpu.efer &= ~LAB_EFER_NXE;
		if (k & 4)
			p->cpu.cr4 &= ~LAB_CR4_PSE;
		compare(p);
	}
}

/* Every single bit of every entry, on tables and on leaves of every level. */
static void sweep_bits(const struct pt_format *fmt)
{
	char what[80];
	struct pair p;

	pair_init(&p, 8 * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	p.gva = sweep_gva(fmt);
	for (unsigned int leaf = 0; leaf < fmt->nr_levels; leaf++) {
		for (unsigned int at = 0; at <= leaf; at++) {
			flipped_bit(&p, fmt, leaf, at, 0);
			for (unsigned int bit = 0; bit < fmt->entry_bytes * 8u; bit++)
				flipped_bit(&p, fmt, leaf, at, 1ULL << bit);
		}
	}
	snprintf(what, sizeof(what), "%s: every bit of every entry, MAXPHYADDR 32 to 52",
		 fmt->name);
	conclude(&p, what);
	pair_finish(&p);
}

/* A and D of every entry clear or set, every access: what memory looks like afterwards. */
static void sweep_accessed_dirty(const struct pt_format *fmt)
{
	char what[80];
	struct pair p;

	pair_init(&p, 8 * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	p.cpu = lab_cpu(fmt, QUIRE_PAGE_SIZE);
	p.gva = sweep_gva(fmt);
	for (unsigned int ad = 0; ad < 1u << (2 * fmt->nr_levels); ad++) {
		for (unsigned int k = 0; k < 24; k++) {
			for (unsigned int i = 0; i < fmt->nr_levels; i++) {
				uint64_t flags = GP | GW | GU | (ad >> 2 * i & 3) * GA;

				if (fmt == &x86_pae_format && i == 0)
					flags = GP;
				if (i + 1 == fmt->nr_levels && k / 6 & 1)
					flags &= ~GW;
				put_both(&p, path_addr(fmt, i), fmt->entry_bytes,
					 path_target(fmt, i) | flags);
			}
			p.access = (struct walk_access){ .write = k % 3 == 1, .fetch = k % 3 == 2,
							 .user = k / 3 & 1, .set_ad = k < 12 };
			compare(&p);
			compare_memory(&p);
		}
	}
	snprintf(what, sizeof(what), "%s: A and D at every level", fmt->name);
	conclude(&p, what);
	pair_finish(&p);
}

/* ------------------------------------------------------------------ stage-2 permissions */

#define PROBE 0x8000000000ULL	/* a gpa with a stage-2 path of its own */

/*
 * A 4-level guest whose entry at guest level `where` (or, with 0, the data page) lies in the
 * page at PROBE; everything else is identity-mapped by one 2 MiB stage-2 leaf.  Returns the
 * stage-2 entries of PROBE's path, root first, in path[].
 */
static void place_probe(struct pair *p, unsigned int where, uint64_t leaf_flags, uint64_t path[4])
{
	const struct pt_format *fmt = &x86_4level_format;
	uint64_t next = QUIRE_PAGE_SIZE, table = 0, probe_to = 0;

	memset(p->lab.ept, 0, p->lab.ept_bytes);
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int level = fmt->level[i].level;
		uint64_t to = level == where + 1 ? PROBE : path_target(fmt, i);

		if (level == where)
			probe_to = (i + 1) * QUIRE_PAGE_SIZE;
		put_both(p, path_addr(fmt, i), 8, leaf_flags | to);
	}
	if (!where)
		probe_to = 7 * QUIRE_PAGE_SIZE;
	p->cpu.cr3 = where == 4 ? PROBE : QUIRE_PAGE_SIZE;
	lab_map(p->lab.ept, &ept4_format, 0, &next, 0, 0, 2, ERWX, ERWX | EWB | EPS);
	path[3] = lab_map(p->lab.ept, &ept4_format, 0, &next, PROBE, probe_to, 1, ERWX, ERWX | EWB);
	for (unsigned int i = 0; i < 3; i++) {
		path[i] = table + pt_index(&ept4_format.level[i], PROBE) * 8;
		table = lab_get(p->lab.ept, path[i], 8) & 0xffffffffff000ULL;
	}
}

static void sweep_stage2_permissions(void)
{
	static const uint64_t leaf_flags[] = { GP | GW | GU, GP | GW | GU | GA,
					       GP | GW | GU | GA | GD, GP | GU };
	struct pair p;
	uint64_t path[4];

	pair_init(&p, 8 * QUIRE_PAGE_SIZE, 16 * QUIRE_PAGE_SIZE);
	p.stage2 = true;
	p.gva = sweep_gva(&x86_4level_format);
	p.cpu = lab_cpu(&x86_4level_format, QUIRE_PAGE_SIZE);
	for (unsigned int where = 0; where <= 4; where++) {
		for (unsigned int rwx = 0; rwx < 4096; rwx++) {
			/* The other dimensions: 24 combinations of switches, two flag sets. */
			for (unsigned int k = 0; k < 24; k++) {
				place_probe(&p, where, leaf_flags[(k / 12 + rwx) & 3], path);
				for (unsigned int i = 0; i < 4; i++) {
					uint64_t e = lab_get(p.lab.ept, path[i], 8);

					lab_put(p.lab.ept, path[i], 8,
						(e & ~ERWX) | (rwx >> 3 * i & 7));
				}
				p.s2.ad = k / 3 & 1;
				p.s2.rules.exec_only = k / 6 & 1;
				p.access = (struct walk_access){ .write = k % 3 == 1,
								 .fetch = k % 3 == 2, .user = true,
								 .set_ad = true };
				compare(&p);
			}
		}
	}
	compare_memory(&p);
	conclude(&p, "stage 2: R, W, X at every level, final and guest-table accesses");
	pair_finish(&p);
}

/* Entry `at` of the probe's stage-2 path as a table, a leaf, read-only ..., some bits flipped. */
static void flipped_stage2(struct pair *p, unsigned int where, unsigned int at, uint64_t flip)
{
	static const uint8_t widths[] = { 36, 39, 46, 48, 52 };
	static const uint64_t bases[] = { ERWX, ERWX | EPS, ERWX | EWB | EPS, ER, EX };
	uint64_t path[4];

	for (unsigned int b = 0; b < ARRAY_SIZE(bases); b++) {
		uint64_t e;

		place_probe(p, where, GP | GW | GU | GA, path);
		/* A large leaf maps the bottom of memory; anything else keeps its address. */
		e = bases[b] & EPS && at < 3 ? 0 : lab_get(p->lab.ept, path[at], 8) & ~0xfffULL;
		lab_put(p->lab.ept, path[at], 8, (e | bases[b]) ^ flip);
		for (unsigned int k = 0; k < ARRAY_SIZE(widths) * 8; k++) {
			p->s2.rules.maxphyaddr = widths[k / 8];
			p->s2.rules.pages_1g = k & 1;
			p->s2.rules.exec_only = k & 2;
			p->access = (struct walk_access){ .fetch = k & 4 };
			compare(p);
		}
	}
}

/* Every single bit of stage-2 entries and every memory type, on tables and on leaves. */
static void sweep_stage2_bits(void)
{
	struct pair p;

	pair_init(&p, 8 * QUIRE_PAGE_SIZE, 16 * QUIRE_PAGE_SIZE);
	p.stage2 = true;
	p.gva = sweep_gva(&x86_4level_format);
	p.cpu = lab_cpu(&x86_4level_format, QUIRE_PAGE_SIZE);
	for (unsigned int where = 0; where <= 1; where++) {
		for (unsigned int at = 0; at < 4; at++) {
			for (unsigned int bit = 0; bit < 64; bit++)
				flipped_stage2(&p, where, at, 1ULL << bit);
			/* The memory types, without bit 6 and with it. */
			for (unsigned int type = 0; type < 16; type++)
				flipped_stage2(&p, where, at, (uint64_t)type << 3);
		}
	}
	conclude(&p, "stage 2: every bit of every entry, every memory type");
	pair_finish(&p);
}

/* ------------------------------------------------------------------ random memory */

#define RANDOM_PAGES 24

static bool one_in(uint64_t *seed, unsigned int n)
{
	return tap_random(seed) % n == 0;
}

static uint64_t random_page(uint64_t *seed)
{
	return tap_random(seed) % RANDOM_PAGES * QUIRE_PAGE_SIZE;
}

/* A guest entry that leads somewhere more often than not. */
static uint64_t random_gpte(uint64_t *seed)
{
	uint64_t r = tap_random(seed);
	uint64_t e = random_page(seed) | GP | (r & 0xf00);

	if (one_in(seed, 24))
		return tap_random(seed);
	e |= one_in(seed, 6) ? 0 : GW;
	e |= one_in(seed, 6) ? 0 : GU;
	e |= r & (GA | GD);
	if (one_in(seed, 12))
		e |= GPS;
	if (one_in(seed, 8))
		e |= GNX;
	if (one_in(seed, 16))
		e &= ~GP;
	if (one_in(seed, 32))
		e ^= 1ULL << (tap_random(seed) % 64);
	return e;
}

static uint64_t random_spte(uint64_t *seed, bool leaf)
{
	uint64_t e = random_page(seed) | ERWX | (leaf ? EWB : 0);

	if (one_in(seed, 64))
		return tap_random(seed);
	if (one_in(seed, 40))
		e &= ~ERWX | (tap_random(seed) & 7);
	if (one_in(seed, 40))
		e &= ~EW;
	if (one_in(seed, 40))
		e = (e & 7) | EWB | EPS;
	if (one_in(seed, 64))
		e ^= 1ULL << (tap_random(seed) % 64);
	return e;
}

/*
 * Stage-2 tables: page 0 is the root, page n + 1 the only table below page n; the last
 * page's entries are leaves.  Most gpas in use are low, so most walks take entry 0 down.
 */
static void random_stage2(struct pair *p, uint64_t *seed)
{
	unsigned int levels = p->s2.format->nr_levels;

	for (unsigned int i = 0; i < levels; i++) {
		for (unsigned int j = 0; j < 512; j++) {
			uint64_t e = random_spte(seed, i == levels - 1);

			if (i < levels - 1 && (j == 0 || one_in(seed, 2)) && !one_in(seed, 8))
				e = (i + 1) * QUIRE_PAGE_SIZE | ERWX;
			lab_put(p->lab.ept, i * QUIRE_PAGE_SIZE + j * 8, 8, e);
		}
	}
	p->s2.root = one_in(seed, 32) ? random_page(seed) : 0;
}

static void random_guest(struct pair *p, uint64_t *seed, const struct pt_format *fmt)
{
	unsigned int bytes = fmt ? fmt->entry_bytes : 8;
	bool noise = one_in(seed, 10);

	for (uint64_t at = 0; at < p->lab.guest_bytes; at += bytes)
		put_both(p, at, bytes, noise ? tap_random(seed) : random_gpte(seed));
	/* PDPTEs that are not all reserved bits. */
	for (uint64_t at = 0; fmt == &x86_pae_format && at < QUIRE_PAGE_SIZE; at += 8)
		if (!one_in(seed, 8))
			put_both(p, at, 8, random_page(seed) | GP);
}

static void random_registers(struct pair *p, uint64_t *seed, const struct pt_format *fmt)
{
	static const uint8_t widths[] = { 36, 39, 46, 48, 52 };
	uint64_t r = tap_random(seed);

	p->cpu = lab_cpu(fmt, r & 0xfff);
	if (fmt != &x86_pae_format)	/* whose good PDPTEs are in page 0 */
		p->cpu.cr3 |= random_page(seed);
	p->cpu.maxphyaddr = widths[tap_random(seed) % ARRAY_SIZE(widths)];
	p->cpu.pages_1g = r & 1 << 20;
	p->cpu.ac = r & 1 << 21;
	p->cpu.amd = r & 1 << 22;
	p->cpu.cr0 ^= r & LAB_CR0_WP;
	p->cpu.cr4 ^= r & (LAB_CR4_SMEP | LAB_CR4_SMAP);
	p->cpu.cr4 ^= r >> 23 & LAB_CR4_PSE;
	p->cpu.efer ^= one_in(seed, 4) ? LAB_EFER_NXE : 0;
	if (one_in(seed, 50))
		p->cpu.cr4 = tap_random(seed);
	if (one_in(seed, 50))
		p->cpu.efer = tap_random(seed);
	if (one_in(seed, 50))
		p->cpu.cr0 = tap_random(seed);
	if (one_in(seed, 50))
		p->cpu.cr3 = tap_random(seed);
	if (one_in(seed, 50))
		p->cpu.maxphyaddr = (uint8_t)tap_random(seed);
	p->stage2 = !one_in(seed, 4);
	p->s2.format = one_in(seed, 2) ? &ept4_format : &ept5_format;
	p->s2.ad = one_in(seed, 2);
	p->s2.rules = (struct pt_rules){
		.maxphyaddr = widths[tap_random(seed) % ARRAY_SIZE(widths)],
		.exec_only = one_in(seed, 2),
		.pages_1g = one_in(seed, 2),
	};
}

static uint64_t random_gva(uint64_t *seed, const struct pt_format *fmt)
{
	uint64_t gva = tap_random(seed);

	if (!fmt)
		return one_in(seed, 2) ? gva : gva % (RANDOM_PAGES * QUIRE_PAGE_SIZE);
	if (fmt->address_bits < 64 && !one_in(seed, 16))
		gva = (uint64_t)((int64_t)(gva << (64 - fmt->address_bits)) >>
				 (64 - fmt->address_bits));
	return gva;
}

static struct walk_access random_access(uint64_t *seed)
{
	uint64_t r = tap_random(seed) % 12;

	return (struct walk_access){ .write = r % 3 == 1, .fetch = r % 3 == 2,
				     .user = r / 3 & 1, .set_ad = r / 6 & 1 };
}

static void random_tables(uint64_t seed)
{
	static const struct pt_format *const formats[] = { &x86_4level_format, &x86_5level_format,
							   &x86_pae_format, &x86_32_format, NULL };
	struct pair p;
	char what[80];

	for (unsigned int f = 0; f < ARRAY_SIZE(formats); f++) {
		pair_init(&p, RANDOM_PAGES * QUIRE_PAGE_SIZE, RANDOM_PAGES * QUIRE_PAGE_SIZE);
		for (unsigned int image = 0; image < 240; image++) {
			random_registers(&p, &seed, formats[f]);
			random_guest(&p, &seed, formats[f]);
			random_stage2(&p, &seed);
			for (unsigned int i = 0; i < 400; i++) {
				if (i % 20 == 0)
					random_registers(&p, &seed, formats[f]);
				p.gva = random_gva(&seed, formats[f]);
				p.access = random_access(&seed);
				compare(&p);
			}
			compare_memory(&p);
		}
		snprintf(what, sizeof(what), "random memory, %s",
			 formats[f] ? formats[f]->name : "paging off");
		conclude(&p, what);
		pair_finish(&p);
	}
}

/* Bits of a gva that make all 9-bit indexes multiples of 64. */
#define RECURSIVE_GVA (7ULL << 18 | 7ULL << 27 | 7ULL << 36 | 7ULL << 45 | 7ULL << 54)

/* Guest tables that contain themselves, so that an A bit set changes an entry still to come. */
static void recursive_tables(uint64_t seed)
{
	static const struct pt_format *const formats[] = { &x86_4level_format, &x86_5level_format,
							   &x86_pae_format, &x86_32_format };
	struct pair p;

	pair_init(&p, 2 * QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	for (unsigned int n = 0; n < 40000; n++) {
		const struct pt_format *fmt = formats[n % ARRAY_SIZE(formats)];

		p.cpu = lab_cpu(fmt, 0);
		for (unsigned int at = 0; at < QUIRE_PAGE_SIZE; at += 512) {
			uint64_t e = GP | (one_in(&seed, 3) ? QUIRE_PAGE_SIZE : 0);

			if (fmt != &x86_pae_format || at >= 32)
				e |= tap_random(&seed) & (GW | GU | GA | GD);
			put_both(&p, at, fmt->entry_bytes, e);
			put_both(&p, QUIRE_PAGE_SIZE + at, fmt->entry_bytes, e);
		}
		/* Indexes that are multiples of 64 (128): the entries above. */
		p.gva = tap_random(&seed);
		p.gva &= fmt->entry_bytes == 4 ? 0xe0380000ULL : RECURSIVE_GVA;
		p.gva &= (1ULL << (fmt->address_bits - 1)) - 1;
		p.access = (struct walk_access){ .write = n & 8, .set_ad = true };
		compare(&p);
		compare_memory(&p);
	}
	conclude(&p, "guest tables that contain themselves");
	pair_finish(&p);
}

/* Registers at random: the paging mode, and no crash whatever they hold. */
static void random_modes(uint64_t seed)
{
	struct pair p;

	pair_init(&p, QUIRE_PAGE_SIZE, QUIRE_PAGE_SIZE);
	for (unsigned int n = 0; n < 200000; n++) {
		uint64_t r = tap_random(&seed);

		p.cpu = (struct walk_cpu){
			.cr0 = r & (LAB_CR0_PE | LAB_CR0_PG | LAB_CR0_WP),
			.cr3 = tap_random(&seed) & 0xfff,
			.cr4 = tap_random(&seed) & (LAB_CR4_PAE | LAB_CR4_LA57 | LAB_CR4_PCIDE),
			.efer = tap_random(&seed) & (LAB_EFER_LME | LAB_EFER_LMA | LAB_EFER_NXE),
			.maxphyaddr = 46,
		};
		p.gva = tap_random(&seed);
		compare(&p);
	}
	conclude(&p, "paging modes");
	pair_finish(&p);
}

int main(int argc, char **argv)
{
	static const struct pt_format *const formats[] = { &x86_32_format, &x86_pae_format,
							   &x86_4level_format, &x86_5level_format };
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	for (unsigned int f = 0; f < ARRAY_SIZE(formats); f++) {
		sweep_permissions(formats[f]);
		sweep_bits(formats[f]);
		sweep_accessed_dirty(formats[f]);
	}
	sweep_stage2_permissions();
	sweep_stage2_bits();
	random_tables(seed);
	recursive_tables(seed + 1);
	random_modes(seed + 2);
	return tap_done();
}
