/* SPDX-License-Identifier: MIT */
/*
 * Rights, and accessed and dirty bits, at each level of the tables.
 *
 * Each right is taken away at one level from a page that is in use, and given back.  So whoever
 * remembers an entry must forget it for a change at any level, and must have set A where it was.
 * What depends on CR0.WP, EFER.NXE, CR4.SMEP and SMAP is tried with and without.
 */
#include "memory.h"
#include "selftest.h"

#define LEVELS	4u
#define IGNORED (0x7UL << 52 | 0x7UL << 9) /* bits of an entry that are software's */

#define CR4_SMEP (1UL << 20)
#define CR4_SMAP (1UL << 21)
#define EFER_NXE (1UL << 11)

static const struct right {
	const char *what;
	uint64_t flips;
	enum access_kind kind;
	uint64_t error;
} rights[] = {
	{ "absent", PTE_P, ACCESS_READ, 0x04 },
	{ "read-only", PTE_W, ACCESS_WRITE, 0x07 },
	{ "the supervisor's", PTE_U, ACCESS_READ, 0x05 },
	{ "no-execute", PTE_NX, ACCESS_FETCH, 0x15 },
};

static pte_t *entry_of(unsigned int level)
{
	return pte_find(pml4, SCRATCH_BASE, level, false);
}

static void flip(unsigned int level, uint64_t bits)
{
	*entry_of(level) ^= bits;
	tlb_flush_page((void *)SCRATCH_BASE);
}

static void rights_at_each_level(uint64_t frame, uint64_t number)
{
	unsigned int good = 0;

	scratch_map(SCRATCH_BASE, frame | RW);
	for (unsigned int level = 1; level <= LEVELS; level++)
		for (unsigned int i = 0; i < ARRAY_SIZE(rights); i++) {
			const struct right *r = &rights[i];

			for (unsigned int kind = 0; kind < NR_ACCESS_KINDS; kind++)
				good += reach_user(kind, SCRATCH_BASE) == number;
			flip(level, r->flips);
			tap_hex(reach_user(r->kind, SCRATCH_BASE), r->error,
				"a page in use becomes %s at level %u", r->what, level);
			flip(level, r->flips);
		}
	tap_hex(good, LEVELS * ARRAY_SIZE(rights) * NR_ACCESS_KINDS, "and back, each time");
}

/* A page is the supervisor's if one level says so. */
static void supervisor_at_each_level(uint64_t number)
{
	for (unsigned int level = 1; level <= LEVELS; level++) {
		unsigned int good = 0;

		flip(level, PTE_U);
		for (unsigned int kind = 0; kind < NR_ACCESS_KINDS; kind++)
			good += reach_nucleus(kind, SCRATCH_BASE) == number;
		tap_hex(good, NR_ACCESS_KINDS, "the supervisor's at level %u: CPL 0 uses it",
			level);
		flip(level, PTE_U | PTE_W);
		tap_hex(reach_nucleus(ACCESS_WRITE, SCRATCH_BASE), 0x03,
			"read-only at level %u: CPL 0 does not write", level);
		flip(level, PTE_W);
	}
}

static void reserved_at_each_level(void)
{
	for (unsigned int level = 1; level <= LEVELS; level++) {
		if (!bit51_is_reserved()) {
			tap_skip("MAXPHYADDR is 52", "reserved bit at level %u", level);
			continue;
		}
		flip(level, BIT51);
		tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE), 0x0d, "reserved bit at level %u",
			level);
		flip(level, BIT51);
	}
	flip(4, PTE_PS);
	tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), 0x0f, "PS is reserved at level 4");
	flip(4, PTE_PS);
}

/* ---- accessed and dirty ---- */

static bool entries_are(unsigned int leaf_level, const uint64_t *want)
{
	bool same = true;

	for (unsigned int level = leaf_level; level <= LEVELS; level++)
		if (*entry_of(level) != want[level]) {
			print("# level %u: 0x%lx, want 0x%lx\n", level, *entry_of(level),
			      want[level]);
			same = false;
		}
	return same;
}

/* Clear A and D at all levels.  After one access, each entry must be what it was, with A, and D. */
static bool access_sets(unsigned int leaf_level, uint64_t (*reach)(enum access_kind, uint64_t),
			enum access_kind kind, bool all)
{
	uint64_t want[LEVELS + 1];

	for (unsigned int level = leaf_level; level <= LEVELS; level++) {
		*entry_of(level) &= ~(uint64_t)(PTE_A | PTE_D);
		want[level] = *entry_of(level) | PTE_A;
	}
	want[leaf_level] |= kind == ACCESS_WRITE ? PTE_D : 0;
	if (all)
		root_switch(direct((uint64_t)pml4));
	else
		tlb_flush_page((void *)SCRATCH_BASE);
	return reached(reach(kind, SCRATCH_BASE)) && entries_are(leaf_level, want);
}

static void accessed_at_each_level(unsigned int leaf_level, const char *size)
{
	static const char *const name[] = { "read", "write", "fetch" };

	for (unsigned int level = leaf_level; level <= LEVELS; level++)
		*entry_of(level) |= IGNORED;
	for (unsigned int kind = 0; kind < NR_ACCESS_KINDS; kind++)
		tap_ok(access_sets(leaf_level, reach_user, kind, false) &&
			       access_sets(leaf_level, reach_user, kind, true),
		       "%s: a %s at CPL 3 sets what it must, and nothing else", size, name[kind]);
	for (unsigned int kind = 0; kind < NR_ACCESS_KINDS; kind++)
		tap_ok(access_sets(leaf_level, reach_nucleus, kind, false) &&
			       access_sets(leaf_level, reach_nucleus, kind, true),
		       "%s: a %s at CPL 0 too", size, name[kind]);
	tap_ok(access_sets(leaf_level, reach_user, ACCESS_READ, false) &&
		       reached(reach_user(ACCESS_WRITE, SCRATCH_BASE)) &&
		       (*entry_of(leaf_level) & PTE_D),
	       "%s: a write after a read sets D", size);
	tap_ok(access_sets(leaf_level, reach_user, ACCESS_READ, false) &&
		       reached(reach_nucleus(ACCESS_WRITE, SCRATCH_BASE)) &&
		       (*entry_of(leaf_level) & PTE_D),
	       "%s: so does a write at CPL 0", size);
	for (unsigned int level = leaf_level; level <= LEVELS; level++)
		*entry_of(level) &= ~IGNORED;
}

/* Nobody may set D ahead: not even where both pages were read. */
static void dirty_alone(uint64_t frame, uint64_t other)
{
	pte_t *one = scratch_map(SCRATCH_BASE, frame | RW),
	      *two = scratch_map(SCRATCH_BASE + PAGE_SIZE, other | RW);

	reach_user(ACCESS_READ, SCRATCH_BASE);
	reach_user(ACCESS_READ, SCRATCH_BASE + PAGE_SIZE);
	reach_user(ACCESS_WRITE, SCRATCH_BASE);
	tap_hex((*one & PTE_D) | (*two & PTE_D) << 1, PTE_D, "a write dirties no neighbour");
	reach_user(ACCESS_WRITE, SCRATCH_BASE + PAGE_SIZE);
	tap_hex(*two & PTE_D, PTE_D, "which is dirtied by its own");
	*one = frame | RW | PTE_A;
	*two = other | RW | PTE_A;
	root_switch(direct((uint64_t)pml4));
	reach_user(ACCESS_READ, SCRATCH_BASE);
	reach_user(ACCESS_WRITE, SCRATCH_BASE + PAGE_SIZE);
	tap_hex(*two & PTE_D, PTE_D, "also if it has A, and only the other was used since");
	scratch_map(SCRATCH_BASE + PAGE_SIZE, 0);
}

static void accessed_and_dirty_2m(void)
{
	uint64_t block = alloc_pages(9);

	if (!block)
		panic("no free block of 2 MiB");
	frame_mark(block);
	pte_free_tables(pml4, SCRATCH_BASE);
	*pte_find(pml4, SCRATCH_BASE, 2, true) = block | RW | PTE_PS;
	root_switch(direct((uint64_t)pml4));
	accessed_at_each_level(2, "2 MiB");
	*entry_of(2) = 0;
	tlb_flush_page((void *)SCRATCH_BASE);
	free_pages(block, 9);
}

/* ---- modes ---- */

/* CR0.WP: CPL 0 may write, and what it wrote is no more writable at CPL 3 than before. */
static void write_protect(uint64_t frame, uint64_t number)
{
	pte_t *pte = scratch_map(SCRATCH_BASE, frame | PTE_P | PTE_U);

	for (unsigned int round = 1; round <= 2; round++) {
		nucleus_call(CALL_WP, 0, 0);
		tap_hex(reach_nucleus(ACCESS_WRITE, SCRATCH_BASE), number,
			"WP clear, round %u: CPL 0 writes", round);
		tap_hex(*pte & PTE_D, PTE_D, "and sets D");
		tap_hex(reach_user(ACCESS_WRITE, SCRATCH_BASE), 0x07, "CPL 3 does not write");
		tap_hex(reach_user(ACCESS_READ, SCRATCH_BASE), number, "but reads");
		nucleus_call(CALL_WP, 1, 0);
		tap_hex(reach_nucleus(ACCESS_WRITE, SCRATCH_BASE), 0x03,
			"WP set: CPL 0 does not write");
		*pte &= ~(uint64_t)PTE_D;
		tlb_flush_page((void *)SCRATCH_BASE);
	}
	scratch_map(SCRATCH_BASE, frame | RW);
}

/* Set the bit, if there is one by CPUID, and by what CR4 takes: some hosts do not agree on it. */
static bool set_if_offered(uint64_t cr4_bit)
{
	uint32_t reg[4];

	cpuid(7, reg);
	return reg[1] & (cr4_bit == CR4_SMEP ? 1U << 7 : 1U << 20) &&
	       nucleus_call(CALL_CR4, cr4_bit, 0) == PROBE_OK;
}

static void smep(uint64_t number)
{
	static const char *const what[] = { "SMEP: CPL 0 does not fetch from the user's page",
					    "but reads it", "and fetches from the supervisor's",
					    "also if only an upper level makes it so",
					    "without SMEP it fetches from both" };

	reach_nucleus(ACCESS_FETCH, SCRATCH_BASE);
	if (!set_if_offered(CR4_SMEP)) {
		for (unsigned int i = 0; i < ARRAY_SIZE(what); i++)
			tap_skip("no SMEP", "%s", what[i]);
		return;
	}
	tap_hex(reach_nucleus(ACCESS_FETCH, SCRATCH_BASE), 0x11, "%s", what[0]);
	tap_hex(reach_nucleus(ACCESS_READ, SCRATCH_BASE), number, "%s", what[1]);
	flip(1, PTE_U);
	tap_hex(reach_nucleus(ACCESS_FETCH, SCRATCH_BASE), number, "%s", what[2]);
	flip(1, PTE_U);
	flip(3, PTE_U);
	tap_hex(reach_nucleus(ACCESS_FETCH, SCRATCH_BASE), number, "%s", what[3]);
	flip(3, PTE_U);
	nucleus_call(CALL_CR4, CR4_SMEP, 0);
	tap_hex(reach_nucleus(ACCESS_FETCH, SCRATCH_BASE), number, "%s", what[4]);
}

/*
 * With SMAP the trap stack, which is the user's, does not do.  So the nucleus has another
 * meanwhile, and nothing may trap but nucleus calls.
 */
static void smap(uint64_t number)
{
	static const char *const what[] = { "SMAP: CPL 0 does not read the user's page",
					    "nor write it", "but uses the supervisor's",
					    "without SMAP it uses both" };
	extern char tss[], nucleus_stack_top[];
	volatile uint32_t *rsp0 = direct((uint64_t)tss + 4);
	uint32_t before = *rsp0;
	uint64_t read, write, own;

	reach_nucleus(ACCESS_WRITE, SCRATCH_BASE);
	*rsp0 = (uint32_t)(uint64_t)nucleus_stack_top;
	if (!set_if_offered(CR4_SMAP)) {
		*rsp0 = before;
		for (unsigned int i = 0; i < ARRAY_SIZE(what); i++)
			tap_skip("no SMAP", "%s", what[i]);
		return;
	}
	read = reach_nucleus(ACCESS_READ, SCRATCH_BASE);
	write = reach_nucleus(ACCESS_WRITE, SCRATCH_BASE);
	flip(2, PTE_U);
	own = reach_nucleus(ACCESS_WRITE, SCRATCH_BASE);
	flip(2, PTE_U);
	nucleus_call(CALL_CR4, CR4_SMAP, 0);
	*rsp0 = before;
	tap_hex(read, 0x01, "%s", what[0]);
	tap_hex(write, 0x03, "%s", what[1]);
	tap_hex(own, number, "%s", what[2]);
	tap_hex(reach_nucleus(ACCESS_WRITE, SCRATCH_BASE), number, "%s", what[3]);
}

/* ---- EFER.NXE ---- */

/* A copy of the tables below entry, of which no entry has NX; those of level 1 and of leaves. */
static uint64_t without_nx(uint64_t entry, unsigned int level)
{
	uint64_t gpa;
	pte_t *from, *to;

	if (!level || !(entry & PTE_P) || (level < 3 && entry & PTE_PS))
		return entry & ~PTE_NX;
	gpa = alloc_pages(0);
	from = direct(entry & PTE_ADDRESS);
	to = direct(gpa);
	for (unsigned int i = 0; i < 512; i++)
		to[i] = without_nx(from[i], level - 1);
	return gpa | (entry & ~PTE_ADDRESS & ~PTE_NX);
}

static void free_copy(uint64_t entry, unsigned int level)
{
	pte_t *table = direct(entry & PTE_ADDRESS);

	if (!level || !(entry & PTE_P) || (level < 3 && entry & PTE_PS))
		return;
	for (unsigned int i = 0; i < 512; i++)
		free_copy(table[i], level - 1);
	free_pages(entry & PTE_ADDRESS, 0);
}

/*
 * Without NXE bit 63 is reserved, and no error code says that it was a fetch.  All that we need
 * must do without NX: so this happens under a root of its own.
 */
static void no_execute_enable(uint64_t frame, uint64_t number)
{
	uint64_t root = without_nx((uint64_t)pml4 | PTE_P, 4), nx, absent, fetch;
	pte_t *pte = pte_find(direct(root & PTE_ADDRESS), SCRATCH_BASE, 1, true);

	root_switch(direct(root & PTE_ADDRESS));
	*pte = frame | RW | PTE_NX;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_FETCH, SCRATCH_BASE), 0x15, "NXE: no fetch from a page with NX");
	nucleus_call(CALL_EFER, EFER_NXE, 0);
	root_switch(direct(root & PTE_ADDRESS));
	nx = reach_user(ACCESS_READ, SCRATCH_BASE);
	*pte = 0;
	tlb_flush_page((void *)SCRATCH_BASE);
	absent = reach_user(ACCESS_FETCH, SCRATCH_BASE);
	*pte = frame | RW;
	fetch = reach_user(ACCESS_FETCH, SCRATCH_BASE);
	nucleus_call(CALL_EFER, EFER_NXE, 0);
	root_switch(direct(root & PTE_ADDRESS));
	tap_hex(nx, 0x0d, "without NXE that bit is reserved");
	tap_hex(absent, 0x04, "a fetch is not told from a read");
	tap_hex(fetch, number, "and is allowed");
	*pte |= PTE_NX;
	tlb_flush_page((void *)SCRATCH_BASE);
	tap_hex(reach_user(ACCESS_FETCH, SCRATCH_BASE), 0x15, "NXE again: no fetch");
	root_switch(direct((uint64_t)pml4));
	free_copy(root, 4);
}

void selftest_rights(void)
{
	uint64_t one = alloc_pages(0), two = alloc_pages(0), number = frame_mark(one);

	frame_mark(two);
	rights_at_each_level(one, number);
	supervisor_at_each_level(number);
	reserved_at_each_level();
	accessed_at_each_level(1, "4 KiB");
	dirty_alone(one, two);
	write_protect(one, number);
	smep(number);
	smap(number);
	no_execute_enable(one, number);
	accessed_and_dirty_2m();
	pte_free_tables(pml4, SCRATCH_BASE);
	root_switch(direct((uint64_t)pml4));
	frames_unmark();
	free_pages(one, 0);
	free_pages(two, 0);
}
