/* SPDX-License-Identifier: MIT */
/*
 * Stage 2: the state of every guest page.
 *
 * The structure is a radix tree in EPT format, bit for bit what a processor would walk, but for
 * the addresses of tables.  They are not host-physical: a table's "address" is its index in an
 * arena, shifted by 12.  Leaves carry machine frame numbers (types.h).
 *
 *      root --> PML4 --9 bits--> PDPT --9 bits--> PD --9 bits--> PT --9 bits--> page
 *                                                 |
 *                                                 +-- or a 2 MiB leaf
 *
 * What an entry says:
 *   0                        every page below is absent (at any level)
 *   not present, state != 0  a page for which nothing is mapped, in the state of the software bits;
 *                            its payload is where a leaf has the frame
 *   present table            the next table; permissions are granted at the leaves only: RWX here
 *   present leaf             the state is in the software bits, permissions are its row's
 *
 * How it changes.  page_states[] is the one table of what each state is and where it may go.  It
 * has a file of its own, so that a test can put another table in its place.  entry_store() is the
 * one door: it alone writes entries, and it keeps the counters, so a counter is wrong only if the
 * door is.  A table with nothing in it is given back at once.  Nobody sees a
 * split or a collapse half done: the new table is filled before it is linked, and readers hold the
 * caller's lock anyway.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "mmu/base/reserve.h"
#include "stage2_internal.h"

#define MAX_GFN	  (1ULL << 36) /* what four levels reach */
#define TO(state) (1u << (state))

static_assert(PG_NR_STATES <= 8, "a state fits in the software bits");
static_assert(PG_ABSENT == 0, "an empty entry means absent");

const struct pt_rules stage2_rules = { .maxphyaddr = 52, .pages_1g = true };

/* --- entries ----------------------------------------------------------------------------- */

static uint64_t make_table(uint32_t index)
{
	return ((uint64_t)index << QUIRE_PAGE_SHIFT) | EPT_RWX;
}

static uint64_t make_page(enum page_state state, pfn_t pfn)
{
	const struct page_state_info *info = &page_states[state];
	bool maps = stage2_maps(state, pfn);
	uint64_t e = (uint64_t)state << EPT_SW_SHIFT;

	assert(maps || info->maps_late || info->frame == NUMBER_NONE);
	if ((maps ? info->frame : info->payload) != NUMBER_NONE)
		e |= pfn << QUIRE_PAGE_SHIFT & EPT_ADDR_MASK;
	if (maps)
		e |= EPT_MT_WB | EPT_IPAT | EPT_R | EPT_X | (info->writable ? EPT_W : 0);
	return e;
}

/* The pfn of an entry that is not a table, as make_page takes it. */
static pfn_t entry_pfn(uint64_t e)
{
	return ept_pfn(e) | (ept_present(e) ? 0 : STAGE2_UNMAPPED);
}

static uint64_t *entry_at(const struct stage2 *s2, uint64_t addr)
{
	return &s2->table[addr >> QUIRE_PAGE_SHIFT][(addr % QUIRE_PAGE_SIZE) / sizeof(uint64_t)];
}

static void account(struct stage2 *s2, uint64_t e, unsigned int level, int sign)
{
	if (e == 0 || entry_is_table(e, level))
		return;
	s2->pages[entry_state(e)] += sign * level_pages(level);
	if (level == 2)
		s2->large_leaves += sign;
}

/* The one door: every change of an entry goes through here. */
static void entry_store(struct stage2 *s2, uint64_t addr, unsigned int level, uint64_t new)
{
	uint64_t *entry = entry_at(s2, addr);
	struct table_info *info = &s2->info[addr >> QUIRE_PAGE_SHIFT];

	account(s2, *entry, level, -1);
	account(s2, new, level, +1);
	info->used += (new != 0) - (*entry != 0);
	*entry = new;
}

/* --- tables ------------------------------------------------------------------------------ */

/* A new table.  This cannot fail: the arena has room for every table that RAM can need. */
static uint32_t table_get(struct stage2 *s2)
{
	uint32_t index = s2->free;

	if (index)
		s2->free = s2->info[index].next_free;
	else
		index = s2->fresh++;
	assert(index < s2->max_tables);
	s2->tables++;
	return index;
}

/* Give an empty table back.  Its page goes to the host, and is zeroed when it is used again. */
static void table_put(struct stage2 *s2, uint32_t index)
{
	assert(s2->info[index].used == 0);
	madvise(s2->table[index], QUIRE_PAGE_SIZE, MADV_DONTNEED);
	s2->info[index].next_free = s2->free;
	s2->free = index;
	s2->tables--;
}

/* A walk that remembers the entry it met at each level. */
struct path {
	const struct stage2 *s2;
	uint64_t addr[PT_MAX_LEVELS + 1]; /* by level */
};

int stage2_read_entry(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	const struct stage2 *s2 = ctx;

	(void)lv;
	*entry = *entry_at(s2, addr);
	return 0;
}

static int read_on_path(void *ctx, uint64_t addr, const struct pt_level *lv, uint64_t *entry)
{
	struct path *path = ctx;

	path->addr[lv->level] = addr;
	*entry = *entry_at(path->s2, addr);
	return 0;
}

static void walk_to(const struct stage2 *s2, gfn_t gfn, struct path *path, struct pt_result *res)
{
	path->s2 = s2;
	pt_walk(STAGE2_FORMAT, &stage2_rules, stage2_root(s2), gfn_to_gpa(gfn), read_on_path, path,
		res);
}

static void split_leaf(struct stage2 *s2, uint64_t addr)
{
	uint64_t e = *entry_at(s2, addr);
	uint32_t table = table_get(s2);

	for (unsigned int i = 0; i < STAGE2_ENTRIES; i++)
		entry_store(s2, (uint64_t)table << QUIRE_PAGE_SHIFT | i * sizeof(uint64_t), 1,
			    make_page(entry_state(e), ept_pfn(e) + i));
	entry_store(s2, addr, 2, make_table(table));
	s2->splits++;
}

/* The address of gfn's entry at `level`.  Makes the tables above it, and splits a leaf there. */
static uint64_t grow_to(struct stage2 *s2, gfn_t gfn, unsigned int level, struct path *path)
{
	struct pt_result res;

	for (;;) {
		walk_to(s2, gfn, path, &res);
		if (res.lv->level <= level)
			return path->addr[level];
		if (res.class == PT_LEAF)
			split_leaf(s2, res.entry_addr);
		else
			entry_store(s2, res.entry_addr, res.lv->level, make_table(table_get(s2)));
	}
}

/* Give back the tables on the path that have become empty, the lowest first. */
static void prune(struct stage2 *s2, const struct path *path, unsigned int level)
{
	for (; level < STAGE2_FORMAT->nr_levels; level++) {
		uint32_t table = path->addr[level] >> QUIRE_PAGE_SHIFT;

		if (s2->info[table].used)
			return;
		entry_store(s2, path->addr[level + 1], level + 1, 0);
		table_put(s2, table);
	}
}

/* --- create, destroy --------------------------------------------------------------------- */

static bool ranges_valid(const struct gfn_range *ram, unsigned int nr)
{
	gfn_t last = 0;

	if (nr == 0 || nr > STAGE2_MAX_RANGES)
		return false;
	for (unsigned int i = 0; i < nr; i++) {
		if (ram[i].start < last || ram[i].start >= ram[i].end || ram[i].end > MAX_GFN)
			return false;
		last = ram[i].end;
	}
	return true;
}

/* How many tables of `level` a range can need. */
static size_t tables_at(const struct gfn_range *r, unsigned int level)
{
	unsigned int shift = 9 * level;

	return ((r->end - 1) >> shift) - (r->start >> shift) + 1;
}

int stage2_create(const struct gfn_range *ram, unsigned int nr, struct stage2 **out)
{
	struct stage2 *s2;

	if (!ranges_valid(ram, nr))
		return -EINVAL;
	s2 = calloc(1, sizeof(*s2));
	if (!s2)
		return -ENOMEM;
	memcpy(s2->ram, ram, nr * sizeof(*ram));
	s2->nr_ram = nr;
	for (unsigned int i = 0; i < nr; i++) {
		s2->ram_pages += ram[i].end - ram[i].start;
		for (unsigned int level = 1; level <= STAGE2_FORMAT->nr_levels; level++)
			s2->max_tables += tables_at(&ram[i], level);
	}
	s2->table = reserve(s2->max_tables * QUIRE_PAGE_SIZE);
	s2->info = reserve(s2->max_tables * sizeof(*s2->info));
	if (!s2->table || !s2->info) {
		stage2_destroy(s2);
		return -ENOMEM;
	}
	s2->fresh = 1; /* table 0 is the root */
	s2->tables = 1;
	*out = s2;
	return 0;
}

void stage2_destroy(struct stage2 *s2)
{
	if (!s2)
		return;
	unreserve(s2->table, s2->max_tables * QUIRE_PAGE_SIZE);
	unreserve(s2->info, s2->max_tables * sizeof(*s2->info));
	free(s2);
}

uint64_t stage2_root(const struct stage2 *s2)
{
	(void)s2;
	return 0;
}

/* --- queries ----------------------------------------------------------------------------- */

bool stage2_is_ram(const struct stage2 *s2, gfn_t gfn, uint64_t nr)
{
	for (unsigned int i = 0; i < s2->nr_ram; i++) {
		const struct gfn_range *r = &s2->ram[i];

		if (gfn >= r->start && gfn < r->end)
			return nr <= r->end - gfn;
	}
	return false;
}

static void lookup(const struct stage2 *s2, gfn_t gfn, struct path *path, struct stage2_page *page,
		   struct pt_result *res)
{
	walk_to(s2, gfn, path, res);
	*page = (struct stage2_page){
		.state = entry_state(res->entry),
		.level = 1,
		.pfn = entry_pfn(res->entry),
	};
	if (res->class == PT_LEAF) {
		page->level = res->lv->level;
		page->mapped = true;
		page->pfn = res->address >> QUIRE_PAGE_SHIFT;
	}
}

int stage2_lookup(const struct stage2 *s2, gfn_t gfn, struct stage2_page *page)
{
	struct pt_result res;
	struct path path;

	if (!stage2_is_ram(s2, gfn, 1))
		return -EFAULT;
	lookup(s2, gfn, &path, page, &res);
	return 0;
}

/* How many pages from gfn on share gfn's entry, or follow in its table in the same state. */
static uint64_t run_at(const struct stage2 *s2, gfn_t gfn, enum page_state *state)
{
	struct stage2_page page;
	struct pt_result res;
	struct path path;
	uint64_t span;

	lookup(s2, gfn, &path, &page, &res);
	*state = page.state;
	span = level_pages(res.lv->level);
	if (span == 1) {
		const uint64_t *e = entry_at(s2, res.entry_addr);
		uint64_t left = STAGE2_ENTRIES - gfn % STAGE2_ENTRIES;

		while (span < left && entry_state(e[span]) == page.state)
			span++;
		return span;
	}
	return span - gfn % span;
}

uint64_t stage2_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, enum page_state *state)
{
	gfn_t at = gfn + run_at(s2, gfn, state);

	while (at < end) {
		enum page_state next;
		uint64_t nr = run_at(s2, at, &next);

		if (next != *state)
			break;
		at += nr;
	}
	return min_u64(at, end) - gfn;
}

/* Does e follow `first`, n pages on, in state and frame or payload? */
static bool follows(uint64_t e, uint64_t first, uint64_t n)
{
	enum page_state state = entry_state(first);

	return entry_state(e) == state && entry_pfn(e) == stage2_frame(state, entry_pfn(first), n);
}

uint64_t stage2_linear_run(const struct stage2 *s2, gfn_t gfn, gfn_t end, struct stage2_page *page)
{
	struct pt_result res;
	struct path path;
	uint64_t span, nr = 1;

	lookup(s2, gfn, &path, page, &res);
	span = level_pages(res.lv->level);
	if (span == 1) {
		const uint64_t *e = entry_at(s2, res.entry_addr);
		uint64_t left = min_u64(end - gfn, STAGE2_ENTRIES - gfn % STAGE2_ENTRIES);

		while (nr < left && follows(e[nr], e[0], nr))
			nr++;
		return nr;
	}
	return min_u64(end - gfn, span - gfn % span);
}

uint64_t stage2_resident(const struct stage2 *s2)
{
	uint64_t nr = 0;

	for (unsigned int state = 0; state < PG_NR_STATES; state++)
		if (page_states[state].resident)
			nr += s2->pages[state];
	return nr;
}

void stage2_counters(const struct stage2 *s2, struct stage2_counters *out)
{
	uint64_t rest = s2->ram_pages;

	*out = (struct stage2_counters){
		.ram_pages = s2->ram_pages,
		.large_leaves = s2->large_leaves,
		.splits = s2->splits,
		.collapses = s2->collapses,
		.tables = s2->tables,
		.metadata_bytes = sizeof(*s2) + s2->tables * QUIRE_PAGE_SIZE +
				  align_up(s2->fresh * sizeof(*s2->info), QUIRE_PAGE_SIZE),
	};
	for (unsigned int state = 0; state < PG_NR_STATES; state++) {
		if (state == PG_ABSENT)
			continue;
		out->pages[state] = s2->pages[state];
		rest -= s2->pages[state];
	}
	out->pages[PG_ABSENT] = rest;
}

/* --- changes ----------------------------------------------------------------------------- */

static bool moves_allowed(const struct stage2 *s2, gfn_t gfn, gfn_t end, enum page_state to)
{
	while (gfn < end) {
		enum page_state from;
		uint64_t nr = stage2_run(s2, gfn, end, &from);

		if (!(page_states[from].moves & TO(to)))
			return false;
		gfn += nr;
	}
	return true;
}

/* [gfn, gfn + nr) lies in one block, and the moves are allowed. */
static void set_in_block(struct stage2 *s2, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn)
{
	struct path path;
	struct pt_result res;
	uint64_t addr;

	walk_to(s2, gfn, &path, &res);
	if (nr == QUIRE_BLOCK_PAGES && res.class == PT_LEAF && res.lv->level == 2 &&
	    make_page(to, pfn) == 0) {
		entry_store(s2, res.entry_addr, 2, 0);
		prune(s2, &path, 2);
		return;
	}
	addr = grow_to(s2, gfn, 1, &path);
	for (uint64_t i = 0; i < nr; i++)
		entry_store(s2, addr + i * sizeof(uint64_t), 1,
			    make_page(to, stage2_frame(to, pfn, i)));
	prune(s2, &path, 1);
}

int stage2_set(struct stage2 *s2, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn)
{
	if (nr == 0 || !stage2_is_ram(s2, gfn, nr))
		return -EFAULT;
	if (!moves_allowed(s2, gfn, gfn + nr, to))
		return -EPERM;
	while (nr) {
		uint64_t part = min_u64(nr, QUIRE_BLOCK_PAGES - gfn % QUIRE_BLOCK_PAGES);

		set_in_block(s2, gfn, part, to, pfn);
		gfn += part;
		pfn = stage2_frame(to, pfn, part);
		nr -= part;
	}
	return 0;
}

/* Are all entries of a level-1 table private, with the frames from pfn on? */
static bool linear(const struct stage2 *s2, uint32_t table, pfn_t pfn)
{
	for (unsigned int i = 0; i < STAGE2_ENTRIES; i++) {
		uint64_t e = s2->table[table][i];

		if (!page_states[entry_state(e)].large || e != make_page(PG_PRIVATE, pfn + i))
			return false;
	}
	return true;
}

int stage2_set_large(struct stage2 *s2, gfn_t gfn, pfn_t pfn)
{
	struct path path;
	uint64_t addr, old, leaf;
	uint32_t table;

	if (gfn % QUIRE_BLOCK_PAGES || pfn % QUIRE_BLOCK_PAGES)
		return -EINVAL;
	if (!stage2_is_ram(s2, gfn, QUIRE_BLOCK_PAGES))
		return -EFAULT;
	leaf = make_page(PG_PRIVATE, pfn) | EPT_LARGE;
	addr = grow_to(s2, gfn, 2, &path);
	old = *entry_at(s2, addr);
	if (old == 0) {
		entry_store(s2, addr, 2, leaf);
		return 0;
	}
	if (!entry_is_table(old, 2))
		return -EEXIST;
	table = ept_pfn(old);
	if (!linear(s2, table, pfn))
		return -EBUSY;
	for (unsigned int i = 0; i < STAGE2_ENTRIES; i++)
		entry_store(s2, (uint64_t)table << QUIRE_PAGE_SHIFT | i * sizeof(uint64_t), 1, 0);
	entry_store(s2, addr, 2, leaf);
	table_put(s2, table);
	s2->collapses++;
	return 0;
}

int stage2_split(struct stage2 *s2, gfn_t gfn)
{
	struct pt_result res;
	struct path path;

	walk_to(s2, gfn, &path, &res);
	if (res.class != PT_LEAF || res.lv->level != 2)
		return -ENOENT;
	split_leaf(s2, res.entry_addr);
	return 0;
}
