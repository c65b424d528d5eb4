/* SPDX-License-Identifier: MIT */
/* Shadow tables, one rule after the other.  shadow_storm_test is the same at random. */
#include "mmu/format/x86pt.h"
#include "shadow_lab.h"

#define RWU	(X86_P | X86_W | X86_U)
#define AD	(X86_A | X86_D)
#define CPU	0
#define DATA(n) (0x100000ULL + (n)*QUIRE_PAGE_SIZE) /* pages of block 0 that are no tables */

/* Tables by page of the pool: two roots, and below them one of each level, and some to spare. */
enum { ROOT, ROOT2, PDPT, PD, PT, PT2, PT3, SPARE };

static const struct walk_access READ = { 0 }, WRITE = { .write = true }, FETCH = { .fetch = true },
				USER = { .user = true },
				USER_WRITE = { .user = true, .write = true };

static uint64_t table(unsigned int page)
{
	return (uint64_t)page << 12 | RWU;
}

static void set(unsigned int page, unsigned int slot, uint64_t value)
{
	lab_store(page, slot, value, true);
}

/* By slots of level 2 and 1. */
static gva_t at(unsigned int pd, unsigned int pt)
{
	return lab_gva((unsigned int[]){ 0, 0, pd, pt });
}

static void begin(void)
{
	lab_init(1, 256);
	lab_set(0, 512, PG_PRIVATE);
	set(ROOT, 0, table(PDPT));
	set(ROOT2, 0, table(PDPT));
	set(PDPT, 0, table(PD));
	set(PD, 0, table(PT));
	set(PT, 0, DATA(0) | RWU);
	set(PT, 1, DATA(1) | RWU);
	lab_regs[CPU].cr3 = ROOT << 12;
	lab_load(CPU);
}

static void end(const char *what)
{
	is(lab_audit(), 0, "%s: the audit finds nothing", what);
	lab_finish();
}

static maddr_t maps(gva_t gva, struct walk_access a)
{
	struct lab_result r = lab_access(CPU, gva, a);

	return r.outcome == LAB_OK ? r.maddr : GPA_INVALID;
}

/* The error code of the guest's page fault, or -1. */
static int64_t faults(gva_t gva, struct walk_access a)
{
	struct lab_result r = lab_access(CPU, gva, a);

	return r.outcome == LAB_PF ? (int64_t)r.code : -1;
}

static uint64_t fills(void)
{
	struct shadow_stats st;

	shadow_stats(lab_shadow, &st);
	return st.fills;
}

static struct shadow_stats stats(void)
{
	struct shadow_stats st;

	shadow_stats(lab_shadow, &st);
	return st;
}

/* --- staleness --------------------------------------------------------------------------- */

static void test_stale(void)
{
	begin();
	is_hex(maps(at(0, 0), READ), DATA(0), "a page is mapped");
	set(PT, 0, DATA(2) | RWU);
	is_hex(maps(at(0, 0), READ), DATA(0), "a changed entry may be used as it was");
	lab_invlpg(CPU, at(0, 1));
	is_hex(maps(at(0, 0), READ), DATA(0), "INVLPG of another page is no reason to look");
	lab_invlpg(CPU, at(0, 0));
	is_hex(maps(at(0, 0), READ), DATA(2), "but not after INVLPG");
	set(PT, 0, DATA(3) | RWU);
	lab_load(CPU);
	is_hex(maps(at(0, 0), READ), DATA(3), "nor after a load of CR3");
	is(faults(at(0, 2), READ), 0, "an empty entry faults");
	set(PT, 2, DATA(4) | RWU);
	is_hex(maps(at(0, 2), READ), DATA(4), "an entry that becomes present needs no INVLPG");
	set(PT, 2, 0);
	lab_invlpg(CPU, at(0, 2));
	is(faults(at(0, 2), WRITE), PF_W, "one that goes faults after INVLPG");
	end("stale entries");
}

static void test_protect(void)
{
	uint64_t before;

	begin();
	maps(at(0, 0), WRITE);
	before = fills();
	shadow_protect(lab_shadow, DATA(0) >> 12, 1);
	shadow_flush(lab_shadow);
	shadow_unprotect(lab_shadow, DATA(0) >> 12, 1);
	is_hex(maps(at(0, 0), WRITE), DATA(0), "a page that was protected is written");
	is(fills() - before, 0, "... without a fault, once it may be");
	end("protection");
}

/* Pages around the one that faults, if the guest has accessed them before. */
static void test_ahead(void)
{
	begin();
	maps(at(0, 0), WRITE);
	maps(at(0, 1), READ);
	shadow_forget(lab_shadow, DATA(0) >> 12, 2);
	shadow_flush(lab_shadow);
	set(PT, 2, DATA(2) | RWU);
	maps(at(0, 0), READ);
	is(stats().ahead, 1, "a page that was accessed comes with its neighbour");
	is_hex(lab_entry(PT, 2) & AD, 0, "one that was not does not");
	end("pages around a fault");
}

/* A page table gets a new parent: nothing below may be older than that. */
static void test_new_parent(void)
{
	begin();
	is_hex(maps(at(0, 0), READ), DATA(0), "a page is mapped through a table");
	set(PT, 0, DATA(5) | RWU);
	set(PD, 1, table(PT));
	is_hex(maps(at(1, 1), READ), DATA(1), "the table is linked a second time");
	is_hex(maps(at(1, 0), READ), DATA(5), "... and what had changed in it is seen there");
	end("a new parent");
}

/* INVLPG of any address forgets what a processor knows of the upper levels. */
static void test_invlpg_forgets_links(void)
{
	begin();
	set(PT, 2, 0);
	set(PD, 1, table(PT));
	is_hex(maps(at(0, 0), READ), DATA(0), "one table is linked twice");
	is_hex(maps(at(1, 0), READ), DATA(0), "... and used by both addresses");
	set(PD, 0, table(PT2));
	set(PT2, 2, DATA(9) | RWU);
	lab_invlpg(CPU, at(1, 5));
	set(PT, 2, DATA(4) | RWU);
	is_hex(maps(at(1, 2), READ), DATA(4), "the old table gets another entry");
	is_hex(maps(at(0, 2), READ), DATA(9), "which is not seen through the link that changed");
	end("INVLPG and links");
}

static void test_roots(void)
{
	uint64_t before;

	begin();
	maps(at(0, 0), WRITE);
	lab_regs[CPU].cr3 = ROOT2 << 12;
	lab_load(CPU);
	maps(at(0, 0), WRITE);
	before = fills();
	for (unsigned int i = 0; i < 10; i++) {
		lab_regs[CPU].cr3 = (i % 2 ? ROOT2 : ROOT) << 12;
		lab_load(CPU);
		maps(at(0, 0), WRITE);
	}
	is(fills() - before, 0, "to load CR3 to and fro makes no entry anew");
	end("roots");
}

/* --- tables that are written -------------------------------------------------------------- */

static void test_own_mapping(void)
{
	struct shadow_stats st;

	begin();
	set(PT, 3, (uint64_t)PT << 12 | RWU);
	maps(at(0, 0), READ);
	lab_load(CPU);
	is_hex(maps(at(0, 3), READ), PT << 12, "a table is reached through its own mapping");
	is_hex(maps(at(0, 3), WRITE), PT << 12, "... and written");
	st = stats();
	is(st.unsyncs, 1, "the first write is noticed");
	lab_store(PT, 0, DATA(2) | RWU, false);
	is_hex(maps(at(0, 0), READ), DATA(0), "the entry may be used as it was");
	maps(at(0, 3), WRITE);
	is(stats().unsyncs, 1, "further writes cost nothing");
	lab_load(CPU);
	is_hex(maps(at(0, 0), READ), DATA(2), "a load of CR3 makes the change seen");
	maps(at(0, 3), WRITE);
	is(stats().unsyncs, 2, "the next write is noticed again");
	end("a table's own mapping");
}

/* A page that was a table once is not protected for ever. */
static void test_former_table(void)
{
	begin();
	set(PD, 1, table(PT2));
	set(PT2, 0, DATA(0) | RWU);
	set(PT, 3, (uint64_t)PT2 << 12 | RWU);
	maps(at(1, 0), READ);
	for (unsigned int i = 0; i < 8; i++) {
		lab_load(CPU);
		maps(at(0, 3), WRITE);
	}
	ok(stats().unsyncs < 6, "a table that is written and never used is given up (%lu writes)",
	   (unsigned long)stats().unsyncs);
	end("a former table");
}

/* --- A and D, permissions ----------------------------------------------------------------- */

static void test_accessed_dirty(void)
{
	begin();
	is_hex(lab_entry(PT, 0) & AD, 0, "A and D are clear");
	maps(at(0, 0), READ);
	is_hex(lab_entry(ROOT, 0) & lab_entry(PDPT, 0) & lab_entry(PD, 0) & AD, X86_A,
	       "a read sets A at each level");
	is_hex(lab_entry(PT, 0) & AD, X86_A, "... and not D");
	maps(at(0, 0), WRITE);
	is_hex(lab_entry(PT, 0) & AD, AD, "a write sets D");
	is_hex(lab_entry(PD, 0) & AD, X86_A, "... in the leaf alone");
	set(PT, 0, lab_entry(PT, 0) & ~AD);
	lab_invlpg(CPU, at(0, 0));
	maps(at(0, 0), READ);
	is_hex(lab_entry(PT, 0) & AD, X86_A, "cleared and flushed, A is set again");
	maps(at(0, 0), WRITE);
	is_hex(lab_entry(PT, 0) & AD, AD, "... and D");
	set(PT, 1, DATA(1) | X86_P | X86_W);
	is(faults(at(0, 1), USER_WRITE), PF_P | PF_W | PF_U, "the user may not write");
	is_hex(lab_entry(PT, 1) & AD, 0, "... and sets no bit by trying");
	end("A and D");
}

static void test_views(void)
{
	begin();
	set(PT, 1, DATA(1) | X86_P | X86_W);
	is_hex(maps(at(0, 1), WRITE), DATA(1), "the supervisor writes its page");
	is(faults(at(0, 1), USER), PF_P | PF_U, "which the user cannot read");
	set(PT, 2, DATA(2) | X86_P | X86_U);
	is(faults(at(0, 2), WRITE), PF_P | PF_W, "with WP the supervisor does not write");
	lab_regs[CPU].cr0 &= ~(1ULL << 16);
	lab_load(CPU);
	is_hex(maps(at(0, 2), WRITE), DATA(2), "without WP it does");
	is(faults(at(0, 2), USER_WRITE), PF_P | PF_W | PF_U, "... but not the user");
	lab_regs[CPU].cr0 |= 1ULL << 16;
	lab_load(CPU);
	is(faults(at(0, 2), WRITE), PF_P | PF_W, "with WP again it does not");
	set(PT, 2, DATA(2) | RWU | X86_NX);
	lab_invlpg(CPU, at(0, 2));
	is(faults(at(0, 2), FETCH), PF_P | PF_I, "NX forbids to fetch");
	is_hex(maps(at(0, 2), READ), DATA(2), "... but not to read");
	lab_regs[CPU].efer &= ~(1ULL << 11);
	lab_load(CPU);
	is(faults(at(0, 2), READ), PF_P | PF_RSVD,
	   "without NXE that bit is reserved, also of a page that was read");
	end("views");
}

/* --- large pages -------------------------------------------------------------------------- */

static void test_large(void)
{
	begin();
	set(PD, 2, 512ULL << 12 | RWU | X86_PS);
	stage2_set_large(lab_stage2, 512, 512);
	is_hex(maps(at(2, 5), WRITE), 1023ULL << 12, "a large page is mapped");
	is(stats().large, 1, "... by one entry, as stage 2 has it in one");
	lab_set(600, 1, PG_ABSENT);
	is(stats().large, 0, "when stage 2 splits it, the entry goes");
	is_hex(maps(at(2, 5), WRITE), 1023ULL << 12, "... and small ones come");
	set(PD, 2, table(PT2));
	set(PT2, 5, DATA(3) | RWU);
	is_hex(maps(at(2, 5), READ), 1023ULL << 12, "a PDE that becomes a table is not seen");
	lab_invlpg(CPU, at(2, 0));
	is_hex(maps(at(2, 5), READ), DATA(3), "... before INVLPG anywhere in the page");
	set(PD, 2, 512ULL << 12 | RWU | X86_PS);
	lab_invlpg(CPU, at(2, 5));
	is_hex(maps(at(2, 5), READ), 1023ULL << 12, "and back");
	end("large pages");
}

/* --- what is no RAM ----------------------------------------------------------------------- */

static void test_no_ram(void)
{
	struct walk_cpu *r = &lab_regs[CPU];

	begin();
	set(PT, 1, 0xfee00000 | RWU);
	is_hex(maps(at(0, 1), WRITE), 0xfee00000, "a device is mapped where the guest sees it");
	set(PT, 2, (SHADOW_MONITOR_BASE + MiB) | RWU);
	is_hex(maps(at(0, 2), WRITE), SHADOW_NOWHERE, "the monitor's tables are nowhere");
	set(PD, 1, 0xfee00000 | RWU);
	is(faults(at(1, 0), READ), PF_P | PF_RSVD, "a table that is no RAM has reserved bits");
	r->cr3 = SHADOW_MONITOR_BASE;
	lab_load(CPU);
	is(faults(at(0, 0), READ), PF_P | PF_RSVD, "... also as root");
	r->cr3 = ROOT << 12;
	lab_load(CPU);
	r->cr4 |= 1u << 12;
	is(lab_access(CPU, at(0, 0), READ).outcome, LAB_BROKEN, "five levels are refused");
	r->cr4 &= ~(1ULL << 12);
	end("no RAM");
}

static void test_monitor_slot(void)
{
	static struct walk_result res;

	begin();
	is(shadow_fault(lab_shadow, &lab_regs[CPU], SHADOW_MONITOR_GVA, WRITE, &res),
	   SHADOW_PAGE_FAULT, "the monitor's addresses fault");
	is(res.error_code, PF_W, "... as if no page were there");
	end("the monitor's slot");
}

/* --- looking ----------------------------------------------------------------------------- */

static struct shadow_look look(gva_t gva, struct walk_access a, const char *what)
{
	struct shadow_look look;

	is(lab_look(CPU, gva, a, &look), 0, "%s: what is shown is there", what);
	return look;
}

static void test_look(void)
{
	struct shadow_look l;

	begin();
	l = look(at(0, 0), READ, "before any access");
	is(l.found, SHADOW_NO_ROOT, "... there is no root");
	maps(at(0, 1), READ);
	l = look(at(0, 0), READ, "a page beside one that was read");
	is(l.found, SHADOW_NO_ENTRY, "... has no entry");
	is(l.nr_refs, 4, "... but all tables");
	is_hex(l.ref[3].guest, PT << 12, "... the last of which is the guest's");
	is_hex(l.ref[3].now, lab_entry(PT, 0), "... as it is now");
	maps(at(0, 0), READ);
	l = look(at(0, 0), WRITE, "a page that was read");
	is(l.found, SHADOW_MAPS, "... has an entry");
	ok(!(l.ref[3].entry & X86_W) && !l.user,
	   "... which may not be written, for the supervisor");
	is_hex(l.gpa, DATA(0), "... and stands for its gpa");
	is(l.stage2_level, 1, "... which stage 2 has, too");
	is(look(at(0, 0), USER, "the user's view").found, SHADOW_NO_ROOT, "... has no root yet");
	set(PT, 0, DATA(2) | RWU);
	l = look(at(0, 0), READ, "an entry that the guest changed");
	is(l.stale, 8, "... is older than its tables");
	is_hex(l.ref[3].then, DATA(0) | RWU | X86_A, "... and made of what there was");
	lab_invlpg(CPU, at(0, 0));
	is(look(at(0, 0), READ, "after INVLPG").found, SHADOW_NO_ENTRY, "... there is none");
	is(look(0x8000000000000, READ, "what is not canonical").nr_refs, 0, "... has no entries");
	l = look(SHADOW_MONITOR_GVA, READ, "the monitor's address");
	is(l.ref[0].kind, SP_MONITOR, "... is the monitor's");
	end("looking");
}

static void test_look_direct(void)
{
	struct shadow_look l;

	begin();
	set(PD, 1, 0x200000 | RWU | X86_PS);
	lab_set(512, 2, PG_PRIVATE);
	maps(at(1, 1), READ);
	l = look(at(1, 1), READ, "a page of a large one, of which stage 2 has pages singly");
	is(l.ref[2].kind, SP_GUEST, "... the guest's entry is above");
	is(l.ref[3].kind, SP_DIRECT, "... and below it a page is counted off");
	is_hex(l.ref[3].guest, 0x201000, "... from its first on");
	end("looking at what is direct");
}

/* --- other modes -------------------------------------------------------------------------- */

static void set_raw(unsigned int page, unsigned int index, unsigned int bytes, uint64_t value)
{
	lab_write(page, index * bytes, &value, bytes);
}

/* A look at a page that is mapped: the guest's entry behind each of ours, or the gpa if direct. */
static void looks(const char *what, gva_t gva, const struct shadow_ref want[4])
{
	static struct walk_result res = { .outcome = WALK_OK };
	struct shadow_look l;

	shadow_look(lab_shadow, &lab_regs[CPU], false, gva, &res, &l);
	is(l.found, SHADOW_MAPS, "%s: a look finds the page", what);
	for (unsigned int i = 0; i < 4; i++) {
		is(l.ref[i].kind, want[i].kind, "... level %u: what the table is", 4 - i);
		is_hex(l.ref[i].guest, want[i].guest, "... and where the guest's entry is");
	}
	is(l.stale, 0, "... all is as it is now");
}

static void test_paging_off(void)
{
	static const struct shadow_ref want[] = {
		{ .kind = SP_DIRECT },
		{ .kind = SP_DIRECT },
		{ .kind = SP_DIRECT },
		{ .kind = SP_DIRECT, .guest = 0x123000 },
	};

	begin();
	lab_regs[CPU].cr0 = 1;
	lab_regs[CPU].efer = 0;
	lab_load(CPU);
	is_hex(maps(0x123000, WRITE), 0x123000, "without paging addresses are physical");
	looks("paging off", 0x123000, want);
	is_hex(maps(0x123000, USER), 0x123000, "... for all");
	is_hex(maps(0xfee00000, READ), 0xfee00000, "... devices too");
	end("paging off");
}

static void test_pae(void)
{
	static const struct shadow_ref want[] = {
		{ .kind = SP_PAD },
		{ .kind = SP_GUEST, .guest = SPARE * 4096 + 0x20 + 3 * 8 },
		{ .kind = SP_GUEST, .guest = PD * 4096 + 2 * 8 },
		{ .kind = SP_GUEST, .guest = PT2 * 4096 + 8 },
	};

	begin();
	lab_regs[CPU].cr0 = 1u << 31 | 1u << 16 | 1;
	lab_regs[CPU].efer = 1u << 11;
	lab_regs[CPU].cr3 = (SPARE << 12) + 0x20;
	set_raw(SPARE, 4 + 3, 8, PD << 12 | X86_P);
	set_raw(PD, 2, 8, table(PT2));
	set_raw(PT2, 1, 8, DATA(1) | X86_P | X86_W);
	lab_load(CPU);
	is_hex(maps(0xc0401000, WRITE), DATA(1), "PAE: a page is mapped");
	looks("PAE", 0xc0401000, want);
	is(faults(0xc0401000, USER), PF_P | PF_U, "... for the supervisor");
	set_raw(PT2, 1, 8, DATA(2) | X86_P | X86_W);
	is_hex(maps(0xc0401000, READ), DATA(1), "... stale before INVLPG");
	lab_invlpg(CPU, 0xc0401000);
	is_hex(maps(0xc0401000, READ), DATA(2), "... and not after");
	end("PAE");
}

static void test_32_bit(void)
{
	static const struct shadow_ref want[] = {
		{ .kind = SP_PAD },
		{ .kind = SP_PAD },
		{ .kind = SP_GUEST, .guest = SPARE * 4096 + 0x201 * 4 },
		{ .kind = SP_GUEST, .guest = PT2 * 4096 + 0x3ff * 4 },
	};

	begin();
	lab_regs[CPU].cr0 = 1u << 31 | 1u << 16 | 1;
	lab_regs[CPU].cr4 = 1u << 4;
	lab_regs[CPU].efer = 0;
	lab_regs[CPU].cr3 = SPARE << 12;
	set_raw(SPARE, 0x201, 4, PT2 << 12 | RWU);
	set_raw(PT2, 0x3ff, 4, DATA(1) | RWU);
	set_raw(PT2, 1, 4, DATA(2) | RWU);
	set_raw(SPARE, 0x202, 4, RWU | X86_PS);
	lab_load(CPU);
	is_hex(maps(0x807ff000, WRITE), DATA(1), "32-bit: the upper half of a table");
	looks("32-bit", 0x807ff000, want);
	is_hex(maps(0x80401000, WRITE), DATA(2), "... and the lower half");
	is_hex(maps(0x80bff000, READ), 0x3ff000, "a page of 4 MiB, its upper half");
	is_hex(maps(0x80802000, READ), 0x002000, "... and its lower half");
	set_raw(SPARE, 0x202, 4, 0);
	lab_invlpg(CPU, 0x80801000);
	is(faults(0x80bff000, READ), 0, "INVLPG reaches both halves");
	end("32-bit");
}

/* An entry that is replaced while another processor still writes by it. */
static void test_weaker_in_place(void)
{
	const unsigned int other = 1;

	begin();
	lab_regs[other] = lab_regs[CPU];
	lab_load(other);
	set(PT, 0, DATA(0) | RWU | X86_NX);
	is(lab_access(other, at(0, 0), WRITE).outcome, LAB_OK, "a processor writes a page");
	set(PT, 0, DATA(0) | X86_P | X86_U | AD);
	is_hex(maps(at(0, 0), FETCH), DATA(0), "another fetches from it, after W and XD have gone");
	lab_invlpg(other, at(0, 0));
	is(lab_access(other, at(0, 0), WRITE).outcome, LAB_PF, "after INVLPG nobody writes it");
	end("an entry that becomes weaker in place");
}

/* A guest has found a way to write its shadow tables. */
static void test_scribbled_arena(void)
{
	struct walk_result res;

	lab_init(2, 64);
	lab_set(0, 512, PG_PRIVATE);
	set(PDPT, 0, table(PD));
	set(PD, 0, table(PT));
	for (unsigned int root = SPARE; root < LAB_POOL; root++)
		set(root, 0, table(PDPT));
	for (unsigned int i = 0; i < 200; i++) {
		lab_regs[CPU].cr3 = (gpa_t)(SPARE + i % (LAB_POOL - SPARE)) << 12;
		set(PT, 0, DATA(i) | RWU | AD);
		shadow_invlpg(lab_shadow, &lab_regs[CPU], at(0, 0));
		lab_scribble();
		while (shadow_fault(lab_shadow, &lab_regs[CPU], at(0, 0), i % 2 ? USER : READ,
				    &res) == SHADOW_AGAIN)
			shadow_flush(lab_shadow);
		if (i % 3 == 0)
			shadow_forget(lab_shadow, DATA(i) >> 12, 1);
		if (i % 5 == 0)
			shadow_protect(lab_shadow, DATA(i) >> 12, 1);
		if (i % 7 == 0)
			shadow_resync(lab_shadow);
		shadow_flush(lab_shadow);
	}
	ok(stats().evictions && stats().fills == 200,
	   "who writes the arena gets nothing but an arena of his own");
	lab_finish();
}

int main(void)
{
	tap_init();
	test_stale();
	test_protect();
	test_ahead();
	test_new_parent();
	test_invlpg_forgets_links();
	test_roots();
	test_own_mapping();
	test_former_table();
	test_accessed_dirty();
	test_views();
	test_large();
	test_no_ram();
	test_monitor_slot();
	test_look();
	test_look_direct();
	test_paging_off();
	test_pae();
	test_32_bit();
	test_weaker_in_place();
	test_scribbled_arena();
	return tap_done();
}
