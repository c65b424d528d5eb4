/* SPDX-License-Identifier: MIT */
/*
 * walk_2d() against the model, at random: hostile and self-referential tables, and whatever
 * registers can hold.
 */
#include "walk_pair.h"

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
	if (fmt != &x86_pae_format) /* whose good PDPTEs are in page 0 */
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

	return (struct walk_access){
		.write = r % 3 == 1, .fetch = r % 3 == 2, .user = r / 3 & 1, .set_ad = r / 6 & 1
	};
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
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	random_tables(seed);
	recursive_tables(seed + 1);
	random_modes(seed + 2);
	return tap_done();
}
