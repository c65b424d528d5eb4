/* SPDX-License-Identifier: MIT */
/*
 * Finding a guest's page tables, on trees made by hand in every format, honest and hostile.
 */
#include <stdlib.h>
#include <string.h>
#include "mmu/merge/guest_tables.h"
#include "tests/tap.h"

#define RAM_PAGES 65536u
#define P	  7u /* present, writable, user */
#define PS	  0x80u

static struct gmem *gm;

static const struct gfn_range ram[] = { { 0, RAM_PAGES } };

/* ---- what was found ---- */

static gfn_t found[2 * GUEST_TABLES_MAX];
static unsigned int nr_found;

static void note(void *arg, gfn_t gfn)
{
	(void)arg;
	if (gfn >= RAM_PAGES)
		tap_bail("gfn %#lx is not RAM", (unsigned long)gfn);
	found[nr_found++] = gfn;
}

static int by_number(const void *a, const void *b)
{
	gfn_t x = *(const gfn_t *)a, y = *(const gfn_t *)b;

	return x < y ? -1 : x > y;
}

static unsigned int find(const struct walk_cpu *cpu, unsigned int nr)
{
	unsigned int said;

	nr_found = 0;
	said = guest_tables(gm, cpu, nr, note, NULL);
	ok(said == nr_found, "it says how many it named: %u", said);
	qsort(found, nr_found, sizeof(found[0]), by_number);
	return said;
}

/* Exactly these, in ascending order, 0 at the end. */
static bool tables_are(const gfn_t *want)
{
	unsigned int i = 0;

	for (; want[i]; i++)
		if (i >= nr_found || found[i] != want[i])
			return false;
	return i == nr_found;
}

/* ---- trees ---- */

static void put8(gfn_t table, unsigned int index, uint64_t entry)
{
	if (guest_write(gm, gfn_to_gpa(table) + 8 * index, &entry, 8))
		tap_bail("guest_write");
}

static void put4(gfn_t table, unsigned int index, uint32_t entry)
{
	if (guest_write(gm, gfn_to_gpa(table) + 4 * index, &entry, 4))
		tap_bail("guest_write");
}

static void clear(void)
{
	if (gmem_drop(gm, 0, RAM_PAGES, NULL))
		tap_bail("gmem_drop");
}

static uint64_t to(gfn_t gfn)
{
	return gfn_to_gpa(gfn) | P;
}

static struct walk_cpu long_mode(gfn_t root, bool la57)
{
	return (struct walk_cpu){ .cr0 = 0x80000001,
				  .cr3 = gfn_to_gpa(root),
				  .efer = 0xd00,
				  .cr4 = 0x20 | (la57 ? 1u << 12 : 0),
				  .maxphyaddr = 46,
				  .pages_1g = true };
}

static void test_4level(void)
{
	struct walk_cpu cpu = long_mode(16, false);

	clear();
	put8(16, 0, to(17));
	put8(16, 511, to(18) | 1ULL << 63);
	put8(17, 5, to(19));
	put8(17, 6, gfn_to_gpa(1 << 18) | P | PS); /* a page of 1 GiB */
	put8(18, 511, to(20));
	put8(19, 0, to(512) | PS); /* a page of 2 MiB */
	put8(19, 1, to(21));
	put8(19, 2, to(22) & ~1ULL); /* not present */
	put8(20, 300, to(23));
	put8(21, 0, to(1000)); /* pages */
	put8(23, 511, to(1001));
	cpu.cr3 |= 0xfff; /* PCID and the like */
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 16, 17, 18, 19, 20, 21, 23, 0 }),
	   "4-level: all tables, and neither pages nor what is not present");
}

static void test_5level(void)
{
	struct walk_cpu cpu = long_mode(30, true);

	clear();
	put8(30, 1, to(31));
	put8(31, 2, to(32));
	put8(32, 3, to(33));
	put8(33, 4, to(34));
	put8(34, 5, to(35));
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 30, 31, 32, 33, 34, 0 }), "5-level");
}

static void test_pae(void)
{
	struct walk_cpu cpu = {
		.cr0 = 0x80000001, .cr3 = gfn_to_gpa(40) + 0x60, .cr4 = 0x20, .maxphyaddr = 36
	};

	clear();
	put8(40, 12, gfn_to_gpa(41) | 1); /* the tables of PAE have 32 bytes at CR3 */
	put8(40, 15, gfn_to_gpa(42) | 1);
	put8(40, 16, gfn_to_gpa(43) | 1); /* ... so this is not in it */
	put8(40, 11, gfn_to_gpa(44) | 1);
	put8(41, 0, to(45));
	put8(42, 511, to(46));
	put8(42, 3, to(512) | PS);
	put8(45, 0, to(47));
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 40, 41, 42, 45, 46, 0 }), "PAE");
}

static void test_32bit(void)
{
	struct walk_cpu cpu = {
		.cr0 = 0x80000001, .cr3 = gfn_to_gpa(50) | 0x18, .cr4 = 0x10, .maxphyaddr = 36
	};

	clear();
	put4(50, 0, (uint32_t)to(51));
	put4(50, 1023, (uint32_t)to(52));
	put4(50, 1, 0x400000 | P | PS); /* a page of 4 MiB */
	put4(51, 1023, (uint32_t)to(53));
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 50, 51, 52, 0 }), "32-bit, with pages of 4 MiB");
	cpu.cr4 = 0;
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 50, 51, 52, 1024, 0 }),
	   "... and without: the bit means nothing");
}

static void test_cpus(void)
{
	struct walk_cpu cpu[] = { long_mode(60, false), long_mode(61, false), { .cr3 = 0x50000 } };

	clear();
	put8(60, 256, to(62)); /* both have the kernel's half */
	put8(61, 256, to(62));
	put8(62, 0, to(63));
	put8(61, 0, to(64));
	find(cpu, ARRAY_SIZE(cpu));
	ok(tables_are((const gfn_t[]){ 60, 61, 62, 63, 64, 0 }),
	   "what processors have in common is named once, and paging off has no tables");
	find(&cpu[2], 1);
	ok(nr_found == 0, "no paging, no tables");
	find(cpu, 0);
	ok(nr_found == 0, "no processors, no tables");
}

static void test_hostile(uint64_t *seed)
{
	struct walk_cpu cpu = long_mode(70, false);
	unsigned int most = 0;

	clear();
	for (unsigned int i = 0; i < 512; i++)
		put8(70, i, to(70));
	find(&cpu, 1);
	ok(tables_are((const gfn_t[]){ 70, 70, 70, 70, 0 }),
	   "a table that is its own ends at each level");
	put8(70, 0, to(RAM_PAGES));
	put8(70, 1, gfn_to_gpa(1ULL << 33) | P);
	put8(70, 2, ~0ULL);
	find(&cpu, 1);
	ok(nr_found == 4, "entries that lead out of RAM lead nowhere");
	cpu = long_mode(RAM_PAGES, false);
	find(&cpu, 1);
	ok(nr_found == 0, "nor does such a CR3");
	cpu = long_mode(0, false);
	for (unsigned int t = 0; t < 80; t++)
		for (unsigned int i = 0; i < 512; i++)
			put8(t, i, to(tap_random(seed) % RAM_PAGES));
	for (unsigned int i = 0; i < 512; i++)
		put8(0, i, to(i % 80));
	most = find(&cpu, 1);
	is(most, GUEST_TABLES_MAX, "trees of nothing but tables are given up at the bound");
	for (unsigned int i = 0; i < 512; i++)
		put8(i % 80, (unsigned int)tap_random(seed) % 512, tap_random(seed));
	cpu = long_mode(0, true);
	find(&cpu, 1);
	ok(nr_found <= GUEST_TABLES_MAX, "garbage ends");
}

int main(int argc, char **argv)
{
	struct gmem_config config = { .ram = ram, .nr_ram = 1, .hugepages = GMEM_HUGE_NEVER };
	struct quire_error err;
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	if (gmem_create(&config, &gm, &err))
		tap_skip_all("%s", err.text);
	test_4level();
	test_5level();
	test_pae();
	test_32bit();
	test_cpus();
	test_hostile(&seed);
	gmem_destroy(gm);
	return tap_done();
}
