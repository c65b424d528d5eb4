/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "mmu/format/ept.h"
#include "mmu/format/x86pt.h"
#include "shadow_history.h"

#define TLB	64u
#define MONITOR (SHADOW_MONITOR_BASE | X86_P)

const unsigned int lab_slot[LAB_SLOTS] = { 0, 1, 2, 255, 257, 511 };

struct shadow *lab_shadow;
struct stage2 *lab_stage2;
struct walk_cpu lab_regs[LAB_CPUS];

static uint64_t seed;
static uint8_t ram[LAB_PAGES][QUIRE_PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t store[LAB_PAGES][QUIRE_PAGE_SIZE];
static uint64_t (*arena)[512];
static uint32_t arena_pages;

/* A translation that a processor has cached. */
struct cached {
	bool valid;
	maddr_t root, path[4]; /* addresses of the entries */
	gva_t page;
	uint64_t leaf;
	unsigned int level;
};
static struct cached tlb[LAB_CPUS][TLB];

uint64_t lab_random(void)
{
	return tap_random(&seed);
}

bool lab_one_in(unsigned int n)
{
	return lab_random() % n == 0;
}

/* --- memory ------------------------------------------------------------------------------ */

static uint8_t *bytes_at(maddr_t addr)
{
	pfn_t pfn = addr >> QUIRE_PAGE_SHIFT;
	static uint8_t zeroes[QUIRE_PAGE_SIZE];

	if (pfn < LAB_PAGES)
		return ram[pfn] + addr % QUIRE_PAGE_SIZE;
	if (pfn == STAGE2_ZERO_PFN)
		return zeroes + addr % QUIRE_PAGE_SIZE;
	return store[pfn - STAGE2_STORE_PFN] + addr % QUIRE_PAGE_SIZE;
}

static int read_memory(void *ctx, maddr_t addr, unsigned int bytes, uint64_t *value)
{
	(void)ctx;
	*value = 0;
	memcpy(value, bytes_at(addr), bytes);
	return 0;
}

static int set_bits(void *ctx, maddr_t addr, unsigned int bytes, uint64_t value, uint64_t bits)
{
	uint64_t now;

	read_memory(ctx, addr, bytes, &now);
	if (now != value)
		return -EAGAIN;
	now |= bits;
	memcpy(bytes_at(addr), &now, bytes);
	return 0;
}

static maddr_t frame(void *ctx, pfn_t pfn)
{
	(void)ctx;
	if (pfn == STAGE2_ZERO_PFN)
		return SHADOW_ZERO_PAGE;
	return pfn < LAB_PAGES ? gfn_to_gpa(pfn) :
				 SHADOW_STORE_BASE + gfn_to_gpa(pfn - STAGE2_STORE_PFN);
}

static void flush(void *ctx, const struct shadow_stale *stale)
{
	(void)ctx;
	for (struct cached *c = tlb[0]; c < tlb[0] + LAB_CPUS * TLB; c++)
		for (unsigned int i = 0; c->valid && i < stale->nr; i++)
			for (unsigned int l = 0; l < 4; l++)
				if (stale->all || c->path[l] == stale->entry[i])
					c->valid = false;
}

static const struct gfn_range ranges[] = { { 0, LAB_PAGES } };

static struct walk_stage2 walk_stage2(void)
{
	return (struct walk_stage2){
		.format = &ept4_format,
		.rules = stage2_rules,
		.root = stage2_root(lab_stage2),
		.read = stage2_read_entry,
		.ctx = lab_stage2,
	};
}

static const struct walk_memory memory = { .read = read_memory, .set_bits = set_bits };

/* --- the guest's tables ------------------------------------------------------------------ */

uint64_t lab_entry(unsigned int page, unsigned int slot)
{
	struct stage2_page where;
	uint64_t value;

	stage2_lookup(lab_stage2, page, &where);
	if (!where.mapped)
		return 0;
	memcpy(&value, bytes_at(gfn_to_gpa(where.pfn) + lab_slot[slot] * 8), sizeof(value));
	return value;
}

void lab_store(unsigned int page, unsigned int slot, uint64_t value, bool outside)
{
	memcpy(ram[page] + lab_slot[slot] * 8, &value, sizeof(value));
	if (outside)
		shadow_written(lab_shadow, page, 1);
	history_note(page, slot, value);
}

void lab_write(unsigned int page, unsigned int offset, const void *bytes, unsigned int nr)
{
	memcpy(ram[page] + offset, bytes, nr);
	shadow_written(lab_shadow, page, 1);
}

gva_t lab_gva(const unsigned int slot[4])
{
	gva_t gva = 0;

	for (unsigned int i = 0; i < 4; i++)
		gva = gva << 9 | lab_slot[slot[i]];
	gva <<= 12;
	return gva >> 47 & 1 ? gva | 0xffff000000000000 : gva;
}

/* --- stage 2 ----------------------------------------------------------------------------- */

static pfn_t frame_of(gfn_t gfn, enum page_state state)
{
	switch (state) {
	case PG_PRIVATE: return gfn;
	case PG_SHARED: return STAGE2_STORE_PFN + gfn;
	case PG_ZERO: return STAGE2_ZERO_PFN;
	default: return STAGE2_UNMAPPED;
	}
}

bool lab_reaches(gpa_t gpa, maddr_t maddr)
{
	struct stage2_page page;

	gpa &= ~(QUIRE_PAGE_SIZE - 1);
	if (gpa >= gfn_to_gpa(LAB_PAGES))
		return maddr == (gpa < SHADOW_GUEST_END ? gpa : SHADOW_NOWHERE);
	stage2_lookup(lab_stage2, gpa_to_gfn(gpa), &page);
	return page.mapped && maddr == frame(NULL, page.pfn);
}

/* The bytes of tables become zeroes. */
static void note_zeroes(gfn_t gfn)
{
	for (unsigned int slot = 0; gfn < LAB_POOL && slot < LAB_SLOTS; slot++)
		history_note((unsigned int)gfn, slot, 0);
}

static void leave(gfn_t gfn, enum page_state to)
{
	shadow_forget(lab_shadow, gfn, 1);
	if (to == PG_SHARED) {
		memcpy(store[gfn], ram[gfn], QUIRE_PAGE_SIZE);
	} else if (to != PG_PRIVATE) {
		memset(ram[gfn], 0, QUIRE_PAGE_SIZE);
		shadow_written(lab_shadow, gfn, 1);
	}
}

/* A page whose state does not allow it stays as it is. */
void lab_set(gfn_t gfn, uint64_t nr, enum page_state to)
{
	struct stage2_page page;

	for (gfn_t end = gfn + nr; gfn < end; gfn++) {
		stage2_lookup(lab_stage2, gfn, &page);
		if (page.state == to || !(page_states[page.state].moves & 1u << to))
			continue;
		if (page.level == 2)
			shadow_split(lab_shadow, align_down(gfn, 512), 512);
		leave(gfn, to);
		shadow_flush(lab_shadow);
		if (to == PG_PRIVATE && page.state == PG_SHARED)
			memcpy(ram[gfn], store[gfn], QUIRE_PAGE_SIZE);
		stage2_set(lab_stage2, gfn, 1, to, frame_of(gfn, to));
		if (to != PG_PRIVATE && to != PG_SHARED)
			note_zeroes(gfn);
	}
}

/* The whole block if nothing is there, now and then. */
bool lab_bring_in(gfn_t gfn, bool write)
{
	struct stage2_page page;

	stage2_lookup(lab_stage2, gfn, &page);
	if (page.mapped && (!write || page.state == PG_PRIVATE))
		return false;
	if (lab_one_in(2) &&
	    !stage2_set_large(lab_stage2, align_down(gfn, 512), align_down(gfn, 512)))
		return true;
	if (page.state == PG_BALLOONED)
		lab_set(gfn, 1, PG_ABSENT);
	lab_set(gfn, 1, !write && lab_one_in(4) ? PG_ZERO : PG_PRIVATE);
	return true;
}

/* --- processors -------------------------------------------------------------------------- */

static struct cached *cached_for(unsigned int cpu, maddr_t root, gva_t gva)
{
	struct cached *c = &tlb[cpu][(history_of_gva(gva) + root / QUIRE_PAGE_SIZE) % TLB];

	return c;
}

void lab_scribble(void)
{
	for (unsigned int page = 0; page < arena_pages; page++)
		for (unsigned int i = 0; i < 512; i++)
			arena[page][i] = lab_random();
}

/* Walk the arena.  False: not present, or not for CPL 3. */
static bool walk_arena(maddr_t root, gva_t gva, struct cached *c)
{
	maddr_t table = root;

	*c = (struct cached){ .valid = true, .root = root, .page = gva };
	for (unsigned int level = 4;; level--) {
		unsigned int index = gva >> (3 + 9 * level) & 511;
		uint64_t page = (table - LAB_ARENA) / QUIRE_PAGE_SIZE, e;

		if (page >= arena_pages) {
			tap_note("a table lies outside the arena: %#lx", (unsigned long)table);
			return false;
		}
		e = arena[page][index];
		c->path[4 - level] = table + index * 8;
		c->leaf = e;
		c->level = level;
		if (!(e & X86_P) || !(e & X86_U))
			return false;
		if (level == 1 || (e & X86_PS))
			return true;
		table = e & X86_ADDR_MASK;
	}
}

static bool may(uint64_t leaf, struct walk_access a)
{
	return (!a.write || (leaf & X86_W)) && (!a.fetch || !(leaf & X86_NX));
}

static maddr_t address(const struct cached *c, gva_t gva)
{
	uint64_t size = 1ULL << (3 + 9 * c->level);

	return ((c->leaf & X86_ADDR_MASK & ~(size - 1)) + (gva & (size - 1))) &
	       ~(QUIRE_PAGE_SIZE - 1);
}

/* The last root of each processor, what it was for, and the one that its CR3 has. */
static struct {
	maddr_t root, loaded;
	struct walk_cpu regs;
	bool user;
} last[LAB_CPUS];

static maddr_t root_for(unsigned int cpu, bool user)
{
	maddr_t root;

	while (!(root = shadow_root(lab_shadow, cpu, last[cpu].loaded, &lab_regs[cpu], user)))
		shadow_flush(lab_shadow);
	last[cpu].root = root == GPA_INVALID ? 0 : root;
	last[cpu].regs = lab_regs[cpu];
	last[cpu].user = user;
	return root;
}

static maddr_t load_root(unsigned int cpu, bool user)
{
	maddr_t root = root_for(cpu, user);

	last[cpu].loaded = last[cpu].root;
	return root;
}

void lab_almost_load(unsigned int cpu, bool user)
{
	root_for(cpu, user);
}

/* The roots that a processor uses stay, whatever others do: that it has, it needs to enter. */
static unsigned int audit_root(unsigned int cpu)
{
	maddr_t has = last[cpu].loaded;

	if (last[cpu].root &&
	    shadow_root(lab_shadow, cpu, has, &last[cpu].regs, last[cpu].user) != last[cpu].root)
		tap_note("the root of processor %u has gone", cpu);
	else if (has && arena[(has - LAB_ARENA) / QUIRE_PAGE_SIZE][SHADOW_MONITOR_SLOT] != MONITOR)
		tap_note("processor %u cannot enter: the root in its CR3 has gone", cpu);
	else
		return 0;
	return 1;
}

/* One fault.  False: it is the guest's, and in *r. */
static bool hidden(unsigned int cpu, gva_t gva, struct walk_access a, struct lab_result *r)
{
	static struct walk_result res;
	enum shadow_answer answer = shadow_fault(lab_shadow, &lab_regs[cpu], gva, a, &res);

	if (answer == SHADOW_NEEDS_PAGE &&
	    !lab_bring_in(gpa_to_gfn(res.gpa), res.qualification & PT_PERM_W)) {
		tap_note("a page is asked for that is there");
		r->outcome = LAB_BROKEN;
		return false;
	}
	shadow_flush(lab_shadow);
	r->code = res.error_code;
	switch (answer) {
	case SHADOW_MAPPED:
	case SHADOW_AGAIN:
	case SHADOW_NEEDS_PAGE: return true;
	case SHADOW_PAGE_FAULT: r->outcome = LAB_PF; return false;
	case SHADOW_NOT_CANONICAL: r->outcome = LAB_GP; return false;
	default: r->outcome = LAB_BROKEN; return false;
	}
}

struct lab_result lab_access(unsigned int cpu, gva_t gva, struct walk_access a)
{
	struct lab_result r = { LAB_BROKEN, 0, 0 };

	for (unsigned int tries = 0; tries < 64; tries++) {
		maddr_t root = load_root(cpu, a.user);
		struct cached *c = cached_for(cpu, root, gva);

		if (root == GPA_INVALID)
			return r;
		if (!c->valid || c->root != root || c->page != gva || !may(c->leaf, a))
			c->valid = walk_arena(root, gva, c);
		if (c->valid && may(c->leaf, a)) {
			r.outcome = LAB_OK;
			r.maddr = address(c, gva);
			return r;
		}
		c->valid = false;
		if (!hidden(cpu, gva, a, &r))
			return r;
	}
	tap_note("an access never ends");
	return r;
}

struct lab_result lab_walk_now(unsigned int cpu, gva_t gva, struct walk_access access)
{
	static struct walk_result res;
	const struct walk_stage2 s2 = walk_stage2();
	struct lab_result r = { LAB_BROKEN, 0, 0 };

	access.set_ad = false;
	walk_2d(&lab_regs[cpu], &s2, &memory, gva, access, &res);
	switch (res.outcome) {
	case WALK_OK:
		r.outcome = LAB_OK;
		r.maddr = frame(NULL, res.maddr >> QUIRE_PAGE_SHIFT);
		break;
	case WALK_VIOLATION:
		if (res.qualification & WALK_FINAL) {
			r.outcome = LAB_OK;
			r.maddr = res.gpa < SHADOW_GUEST_END ?
					  align_down(res.gpa, QUIRE_PAGE_SIZE) :
					  SHADOW_NOWHERE;
			break;
		}
		r.outcome = LAB_PF;
		r.code = PF_P | PF_RSVD | (access.write ? PF_W : 0) | (access.user ? PF_U : 0);
		if (access.fetch && (lab_regs[cpu].efer >> 11 & 1 || lab_regs[cpu].cr4 >> 20 & 1))
			r.code |= PF_I;
		break;
	case WALK_PAGE_FAULT:
		r.outcome = LAB_PF;
		r.code = res.error_code;
		break;
	default: break;
	}
	return r;
}

/* --- looking ----------------------------------------------------------------------------- */

static unsigned int wrong(const char *what, uint64_t said, uint64_t truth)
{
	if (said == truth)
		return 0;
	tap_note("look: %s is %#lx, but %#lx", what, (unsigned long)said, (unsigned long)truth);
	return 1;
}

/* Beside what walk_arena() has found. */
static unsigned int look_arena(const struct shadow_look *look, const struct cached *c, bool maps)
{
	unsigned int n, faults = wrong("found", look->found == SHADOW_MAPS, maps);

	for (n = 0; n < look->nr_refs; n++)
		faults += wrong("an address", look->ref[n].address, c->path[n]);
	return faults + wrong("the number of entries", n, 5 - c->level) +
	       wrong("the last entry", look->ref[n - 1].entry, c->leaf);
}

/* Beside the guest's tables; and *path becomes whether all of it is as they are now. */
static unsigned int look_guest(const struct shadow_look *look, const struct walk_result *walk,
			       bool *path)
{
	unsigned int faults = 0, at = 0;

	*path = true;
	for (unsigned int n = 0; n < look->nr_refs; n++) {
		const struct shadow_ref *ref = &look->ref[n];
		uint64_t entry = 0;

		if (ref->kind != SP_GUEST)
			continue;
		while (at < walk->nr_refs && walk->ref[at].stage != 1)
			at++;
		*path &= at < walk->nr_refs && walk->ref[at++].addr == ref->guest;
		if (*path)
			entry = walk->ref[at - 1].entry;
		else if (ref->guest >> 12 < LAB_POOL)
			entry = ref->now; /* a table that the guest does not use there any more */
		faults += wrong("a guest's entry", ref->now, entry);
		if (ref->entry && ref->guest >> 12 < LAB_POOL &&
		    !history_had(ref->guest, ref->then))
			faults += wrong("what it was made of", ref->then, 0);
		/* D may have been set since, but not cleared. */
		*path &= !ref->entry || (ref->then | (entry & X86_D)) == entry;
		if (look->stale >> n & 1)
			faults += wrong("stale", ref->then != entry, true);
	}
	return faults;
}

unsigned int lab_look(unsigned int cpu, gva_t gva, struct walk_access access,
		      struct shadow_look *look)
{
	const struct walk_stage2 s2 = walk_stage2();
	struct lab_result should = lab_walk_now(cpu, gva, access);
	static struct walk_result res;
	unsigned int faults;
	struct cached c;
	bool path, maps;

	walk_2d(&lab_regs[cpu], &s2, &memory, gva, access, &res);
	shadow_look(lab_shadow, &lab_regs[cpu], access.user, gva, &res, look);
	if (look->found == SHADOW_NO_ROOT)
		return wrong("the root", look->root, 0);
	if (res.outcome == WALK_NOT_CANONICAL)
		return wrong("the number of entries", look->nr_refs, 0);
	maps = walk_arena(look->root, gva, &c);
	faults = look_arena(look, &c, maps) + look_guest(look, &res, &path);
	faults += wrong("the root", look->root, root_for(cpu, access.user));
	if (path && look->stale)
		faults += wrong("stale", look->stale, 0);
	if (!maps)
		return faults;
	if (!lab_reaches(look->gpa, address(&c, align_down(gva, 1ULL << (3 + 9 * c.level)))))
		faults += wrong("the first gpa", look->gpa, c.leaf);
	/* What is no older than the guest's tables grants no more than they do. */
	if (path && may(c.leaf, access))
		faults += wrong("the page", address(&c, gva),
				should.outcome == LAB_OK ? should.maddr : GPA_INVALID);
	return faults;
}

/* --- audits ------------------------------------------------------------------------------ */

static void report(void *ctx, const char *what)
{
	(void)ctx;
	tap_note("audit: %s", what);
}

/* What a processor has cached must be what it would find again, or less. */
static unsigned int audit_cached(const struct cached *c)
{
	struct cached again;

	if (walk_arena(c->root, c->page, &again) && again.level == c->level &&
	    !((c->leaf ^ again.leaf) & X86_ADDR_MASK) && !(c->leaf & ~again.leaf & X86_W) &&
	    !(again.leaf & ~c->leaf & X86_NX))
		return 0;
	tap_note("a processor was not flushed: gva %#lx, it has %#lx, the table has %#lx",
		 (unsigned long)c->page, (unsigned long)c->leaf, (unsigned long)again.leaf);
	return 1;
}

unsigned int lab_audit(void)
{
	unsigned int faults = shadow_audit(lab_shadow, report, NULL);

	for (const struct cached *c = tlb[0]; c < tlb[0] + LAB_CPUS * TLB; c++)
		if (c->valid)
			faults += audit_cached(c);
	for (unsigned int cpu = 0; cpu < LAB_CPUS; cpu++)
		faults += audit_root(cpu);
	return faults;
}

/* --- begin and end ----------------------------------------------------------------------- */

void lab_init(uint64_t first_seed, uint32_t pages)
{
	struct shadow_config config = {
		.arena_maddr = LAB_ARENA,
		.arena_pages = pages,
		.monitor_entry = MONITOR,
		.ram = ranges,
		.nr_ram = 1,
		.maxphyaddr = 46,
		.memory = memory,
		.frame = frame,
		.flush = flush,
	};

	seed = first_seed;
	arena_pages = pages;
	arena = aligned_alloc(4096, pages * QUIRE_PAGE_SIZE);
	memset(arena, 0xee, pages * QUIRE_PAGE_SIZE);
	memset(ram, 0, sizeof(ram));
	memset(tlb, 0, sizeof(tlb));
	memset(last, 0, sizeof(last));
	stage2_create(ranges, 1, &lab_stage2);
	for (unsigned int cpu = 0; cpu < LAB_CPUS; cpu++)
		lab_regs[cpu] = (struct walk_cpu){
			.cr0 = 1u << 31 | 1u << 16 | 1,
			.cr4 = 1u << 5,
			.efer = 1u << 8 | 1u << 10 | 1u << 11,
			.maxphyaddr = 46,
			.pages_1g = true,
		};
	config.arena = arena;
	config.stage2 = walk_stage2();
	if (shadow_create(&config, &lab_shadow))
		tap_bail("no shadow");
	stage2_set(lab_stage2, 0, LAB_POOL, PG_PRIVATE, 0);
	history_begin();
}

void lab_finish(void)
{
	shadow_destroy(lab_shadow);
	stage2_destroy(lab_stage2);
	free(arena);
}
