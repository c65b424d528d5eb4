/* SPDX-License-Identifier: MIT */
/*
 * walk_2d() against the model, exhaustively: every permission bit at every level against every
 * access and register, every single bit of every entry, stage-2 permissions at every level.
 */
#include "walk_pair.h"

/* ------------------------------------------------------------------ guest permissions */

/* An address with no index 0: canonical with 5 levels, and with 4 below 2^47. */
static uint64_t sweep_gva(const struct pt_format *fmt)
{
	return 0x005a5a5a5a5a5000ULL & ((1ULL << (fmt->address_bits - 1)) - 1);
}

/* Tables of the sweeps: page 1 is the root, then one page per level; the leaf maps page 7. */
static uint64_t path_addr(const struct pt_format *fmt, unsigned int i)
{
	return (i + 1) * QUIRE_PAGE_SIZE +
	       pt_index(&fmt->level[i], sweep_gva(fmt)) * (uint64_t)fmt->entry_bytes;
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
		p->access = (struct walk_access){ .write = a % 3 == 1,
						  .fetch = a % 3 == 2,
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
			flags &= GP; /* its other bits are swept one by one below */
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
			p.access = (struct walk_access){ .write = k % 3 == 1,
							 .fetch = k % 3 == 2,
							 .user = k / 3 & 1,
							 .set_ad = k < 12 };
			compare(&p);
			compare_memory(&p);
		}
	}
	snprintf(what, sizeof(what), "%s: A and D at every level", fmt->name);
	conclude(&p, what);
	pair_finish(&p);
}

/* ------------------------------------------------------------------ stage-2 permissions */

#define PROBE 0x8000000000ULL /* a gpa with a stage-2 path of its own */

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
								 .fetch = k % 3 == 2,
								 .user = true,
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

int main(void)
{
	static const struct pt_format *const formats[] = { &x86_32_format, &x86_pae_format,
							   &x86_4level_format, &x86_5level_format };

	tap_init();
	for (unsigned int f = 0; f < ARRAY_SIZE(formats); f++) {
		sweep_permissions(formats[f]);
		sweep_bits(formats[f]);
		sweep_accessed_dirty(formats[f]);
	}
	sweep_stage2_permissions();
	sweep_stage2_bits();
	return tap_done();
}
