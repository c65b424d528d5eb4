/* SPDX-License-Identifier: MIT */
/*
 * Shadow tables against a model, at random: a guest edits its tables in every way, with and without
 * INVLPG, four processors access memory through the shadow, and stage 2 changes under them.
 *
 * Each access must end as the guest's tables say now, or as a processor's TLB could have it still.
 * After each step everything is audited, and each translation that a processor holds is compared
 * with the tables.
 */
#include <string.h>
#include "mmu/format/x86pt.h"
#include "shadow_lab.h"

#define ROOTS 3u
#define STEPS 20000u
#define AD    (X86_A | X86_D)

static unsigned int nr_stale; /* accesses that ended as tables had said before */
static unsigned int nr_looks[SHADOW_MAPS + 1], nr_stale_looks;
static unsigned int nr_mapped, nr_faults;

/* --- the guest's tables ------------------------------------------------------------------ */

/* Pages of the pool are tables of level 4, 3, 2 and 1 from here on, most of the time. */
static const unsigned int first_of[] = { LAB_POOL, 21, 9, 3, 0 };

static unsigned int level_of(unsigned int page)
{
	unsigned int level = 1;

	while (page < first_of[level])
		level++;
	return level;
}

/* Where an entry of a table of this level leads. */
static uint64_t random_target(unsigned int level)
{
	if (lab_one_in(30))
		return lab_random() % LAB_POOL << 12;
	if (lab_one_in(40))
		return 0xfee00000;
	if (lab_one_in(80))
		return SHADOW_GUEST_END + (lab_random() % 64 << 12);
	if (level > 1) {
		unsigned int first = first_of[level - 1], end = first_of[level - 2];

		return (first + lab_random() % (end - first)) << 12;
	}
	return (lab_one_in(3) ? lab_random() % LAB_POOL : lab_random() % LAB_PAGES) << 12;
}

static uint64_t random_entry(unsigned int page)
{
	unsigned int level = level_of(page);
	uint64_t e = random_target(level) | (lab_one_in(15 * level) ? 0 : X86_P);

	e |= lab_one_in(5 * level) ? 0 : X86_W;
	e |= lab_one_in(8 * level) ? 0 : X86_U;
	e |= lab_random() & AD;
	e |= lab_one_in(8 * level) ? X86_NX : 0;
	e |= lab_one_in(200) ? 1ULL << 51 : 0;
	e |= lab_one_in(10) ? 1ULL << 9 : 0;
	if (level > 1 && lab_one_in(level == 2 ? 3 : 20))
		e = (e & ~X86_ADDR_MASK) | X86_PS | lab_random() % (LAB_BLOCKS + 1) << 21;
	if (level == 3 && (e & X86_PS))
		e &= ~X86_ADDR_MASK;
	return e;
}

/* What the guest does to its own entries most of the time. */
static uint64_t next_entry(unsigned int page, unsigned int slot)
{
	uint64_t e = lab_entry(page, slot);

	if (e && !(e & X86_P))
		return e | X86_P;
	switch (e ? lab_random() % 6 : 3) {
	case 0: return e & ~(lab_one_in(2) ? X86_A : X86_D);
	case 1: return e ^ X86_W;
	case 2: return e ^ (lab_one_in(4) ? X86_U : X86_P);
	default: return random_entry(page);
	}
}

static gva_t random_gva(void)
{
	unsigned int slot[4] = {
		lab_one_in(4) ? 5 : 0,
		lab_random() % 2,
		lab_random() % 2,
		lab_one_in(2) ? lab_random() % 2 : lab_random() % LAB_SLOTS,
	};

	return lab_gva(slot);
}

static void build_table(unsigned int page)
{
	/* Bring it in as zero, and then home. */
	lab_bring_in(page, true);
	lab_bring_in(page, true);
	for (unsigned int slot = 0; slot < LAB_SLOTS; slot++)
		lab_store(page, slot, random_entry(page), true);
}

/* --- steps ------------------------------------------------------------------------------- */

/* The A and D bits of all tables; what a step may set is on the path of its address. */
static uint64_t bits_before[LAB_POOL][LAB_SLOTS];

static void note_bits(void)
{
	for (unsigned int page = 0; page < LAB_POOL; page++)
		for (unsigned int slot = 0; slot < LAB_SLOTS; slot++)
			bits_before[page][slot] = lab_entry(page, slot);
}

static bool on_path(unsigned int cpu, gva_t gva, unsigned int page, unsigned int slot)
{
	gpa_t table = lab_regs[cpu].cr3;

	for (unsigned int level = 4; level >= 1; level--) {
		unsigned int index = gva >> (3 + 9 * level) & 511, s = 0;
		uint64_t e;

		while (lab_slot[s] != index)
			s++;
		if (table >> 12 >= LAB_POOL)
			return false;
		if (table >> 12 == page && s == slot)
			return true;
		e = lab_entry((unsigned int)(table >> 12), s);
		if (!(e & X86_P) || (e & X86_PS))
			return false;
		table = e & X86_ADDR_MASK;
	}
	return false;
}

/* Only A and D changed, only to 1, D only by a write, and only on the path. */
static bool bits_are_right(unsigned int cpu, gva_t gva, bool write)
{
	for (unsigned int page = 0; page < LAB_POOL; page++)
		for (unsigned int slot = 0; slot < LAB_SLOTS; slot++) {
			uint64_t old = bits_before[page][slot], new = lab_entry(page, slot);
			uint64_t set = old ^ new;

			if (!set)
				continue;
			if (set & old || set & ~AD || (set & X86_D && !write) ||
			    !on_path(cpu, gva, page, slot))
				return false;
		}
	return true;
}

/* The processor stores somewhere in the page. */
static void store_at(maddr_t maddr)
{
	unsigned int page = (unsigned int)(maddr >> 12), slot = lab_random() % LAB_SLOTS;

	if (page < LAB_POOL)
		lab_store(page, slot, next_entry(page, slot), false);
}

static bool same(const struct lab_result *a, const struct lab_result *b)
{
	return a->outcome == b->outcome &&
	       (a->outcome == LAB_OK ? a->maddr == b->maddr : a->code == b->code);
}

static bool is_right(unsigned int cpu, gva_t gva, struct walk_access a, struct lab_result *r)
{
	struct lab_result should = lab_walk_now(cpu, gva, a);

	if (same(r, &should))
		return true;
	nr_stale++;
	if (r->outcome == LAB_OK && lab_permits(cpu, gva, a, r->maddr))
		return true;
	tap_note("cpu %u cr3 %#lx gva %#lx %s%s%s: %u at %#lx code %#x, but %u at %#lx code %#x",
		 cpu, (unsigned long)lab_regs[cpu].cr3, (unsigned long)gva, a.user ? "user " : "",
		 a.write ? "write" : "", a.fetch ? "fetch" : "", r->outcome,
		 (unsigned long)r->maddr, r->code, should.outcome, (unsigned long)should.maddr,
		 should.code);
	return false;
}

static bool step_access(unsigned int cpu)
{
	gva_t gva = random_gva();
	struct walk_access a = { .user = lab_one_in(2) };
	struct lab_result r;

	a.write = lab_one_in(2);
	a.fetch = !a.write && lab_one_in(3);
	note_bits();
	r = lab_access(cpu, gva, a);
	nr_mapped += r.outcome == LAB_OK;
	nr_faults += r.outcome == LAB_PF;
	if (!is_right(cpu, gva, a, &r))
		return false;
	if (!bits_are_right(cpu, gva, a.write)) {
		tap_note("wrong A or D bits after gva %#lx", (unsigned long)gva);
		return false;
	}
	if (!lab_bits_set(cpu, gva, a.write) && r.outcome == LAB_OK) {
		tap_note("A or D is missing after gva %#lx", (unsigned long)gva);
		return false;
	}
	if (r.outcome == LAB_OK && a.write && lab_one_in(2))
		store_at(r.maddr);
	return true;
}

/* What quire walk shows of it. */
static bool step_look(unsigned int cpu)
{
	struct walk_access a = { .user = lab_one_in(2) };
	struct shadow_look look;
	bool right;

	a.write = lab_one_in(2);
	right = !lab_look(cpu, random_gva(), a, &look);
	nr_looks[look.found]++;
	nr_stale_looks += look.stale != 0;
	return right;
}

/* Bits of the registers that flush when they change, but AC. */
static void step_mode(unsigned int cpu)
{
	struct walk_cpu *r = &lab_regs[cpu];

	if (lab_one_in(2)) {
		r->ac = !r->ac;
		return;
	}
	switch (lab_random() % 3) {
	case 0: r->cr0 ^= 1u << 16; break;
	case 1: r->efer ^= 1u << 11; break;
	/* With SMAP there is SMEP (shadow.h, limits). */
	case 2: r->cr4 = 1u << 5 | (uint32_t[]){ 0, 1u << 20, 3u << 20 }[lab_random() % 3];
	}
	lab_load(cpu);
}

static void step_stage2(void)
{
	gfn_t gfn = lab_one_in(2) ? lab_random() % LAB_POOL : lab_random() % LAB_PAGES;
	uint64_t nr = min_u64(lab_one_in(8) ? 64 : 1, LAB_PAGES - gfn);

	switch (lab_random() % 6) {
	case 0: lab_set(gfn, nr, PG_ABSENT); break;
	case 1: lab_set(gfn, nr, PG_ZERO); break;
	case 2: lab_set(gfn, nr, PG_BALLOONED); break;
	case 3:
		shadow_protect(lab_shadow, gfn, nr);
		shadow_flush(lab_shadow);
		if (lab_one_in(2))
			shadow_unprotect(lab_shadow, gfn, nr);
		break;
	default: lab_set(gfn, nr, PG_SHARED);
	}
	for (; gfn < LAB_POOL && nr; gfn++, nr--)
		if (!lab_entry((unsigned int)gfn, 0) && !lab_one_in(8))
			build_table((unsigned int)gfn);
}

static void step_block(void)
{
	gfn_t block = 512 * (lab_random() % LAB_BLOCKS);

	if (lab_one_in(2)) {
		shadow_split(lab_shadow, block, 512);
		shadow_flush(lab_shadow);
		stage2_split(lab_stage2, block);
	} else {
		for (gfn_t g = block; g < block + 512; g++)
			lab_set(g, 1, PG_PRIVATE);
		stage2_set_large(lab_stage2, block, block);
	}
}

static void step_edit(void)
{
	unsigned int page = lab_random() % LAB_POOL, slot = lab_random() % LAB_SLOTS;

	if (lab_one_in(8)) {
		build_table(page);
		return;
	}
	lab_bring_in(page, true);
	lab_bring_in(page, true);
	lab_store(page, slot, next_entry(page, slot), true);
}

static bool step(void)
{
	unsigned int cpu = lab_random() % LAB_CPUS, n = lab_random() % 100;

	if (n < 68)
		return step_access(cpu);
	if (n < 78)
		return step_look(cpu);
	if (n < 80)
		lab_almost_load(cpu, lab_one_in(2));
	else if (n < 86)
		lab_invlpg(cpu, random_gva());
	else if (n < 88) {
		lab_regs[cpu].cr3 =
			(lab_one_in(30) ? lab_random() % LAB_POOL : lab_random() % ROOTS) << 12;
		lab_load(cpu);
	} else if (n < 90)
		step_mode(cpu);
	else if (n < 92)
		step_stage2();
	else if (n < 93)
		step_block();
	else
		step_edit();
	return true;
}

static void storm(uint64_t seed, uint32_t arena_pages)
{
	unsigned int n = 0, steps = STEPS * tap_storm();
	struct shadow_stats st;

	lab_init(seed, arena_pages);
	for (unsigned int page = 0; page < LAB_POOL; page++)
		build_table(page);
	nr_stale = nr_mapped = nr_faults = nr_stale_looks = 0;
	memset(nr_looks, 0, sizeof(nr_looks));
	while (n < steps && step() && !lab_audit())
		n++;
	shadow_stats(lab_shadow, &st);
	is(n, steps, "%u pages: all steps end as a processor's would", arena_pages);
	ok(nr_mapped > steps / 20 && nr_faults > steps / 20 && nr_stale > steps / 4000,
	   "many accesses are mapped (%u), fault (%u), or are served by stale entries (%u)",
	   nr_mapped, nr_faults, nr_stale);
	ok(nr_looks[SHADOW_MAPS] > steps / 200 && nr_looks[SHADOW_NO_ENTRY] > steps / 100 &&
		   nr_stale_looks > 0,
	   "looks find pages (%u) and no entry (%u), and what is stale (%u)", nr_looks[SHADOW_MAPS],
	   nr_looks[SHADOW_NO_ENTRY], nr_stale_looks);
	ok(st.unsyncs && st.large + st.flushes && st.zaps,
	   "tables were written (%lu), entries went (%lu)", (unsigned long)st.unsyncs,
	   (unsigned long)st.zaps);
	ok(st.most_pages >= st.pages && st.most_pages <= arena_pages && st.most_pages > 30,
	   "at most %lu tables were in use", (unsigned long)st.most_pages);
	tap_note("%lu fills, %lu resyncs, %lu evictions, %lu flushes, %lu of them of all",
		 (unsigned long)st.fills, (unsigned long)st.resyncs, (unsigned long)st.evictions,
		 (unsigned long)st.flushes, (unsigned long)st.full);
	lab_finish();
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	storm(seed, 1024);
	storm(seed + 1, SHADOW_MIN_PAGES);
	return tap_done();
}
