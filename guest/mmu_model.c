/* SPDX-License-Identifier: MIT */
/*
 * The model of mmu_model.h.
 *
 * A translation is one number: the page's gpa, and what all levels together grant.  The walk
 * over the model's entries calls a function for each way that may be taken.
 */
#include "memory.h"
#include "mmu_model.h"

#define RIGHTS (PTE_W | PTE_U)
#define NX_BIT 0x008UL /* in a translation */
#define GLOBAL 0x100UL

static const unsigned int index_of[MODEL_INDICES] = { 0, 5, 511 };
static const struct {
	unsigned int first, nr;
} pool[5] = { { 0, 0 }, { 7, 4 }, { 4, 3 }, { 2, 2 }, { 0, MODEL_ROOTS } };

unsigned int model_tables(unsigned int level, unsigned int *nr)
{
	*nr = pool[level].nr;
	return pool[level].first;
}

/* The entry of the table that the slot uses, by their numbers. */
static unsigned int entry_at(unsigned int table, const struct model_slot *slot, unsigned int level)
{
	return table * MODEL_INDICES + slot->k[level];
}

static unsigned int table_at(const struct model *m, uint64_t value)
{
	for (unsigned int t = 0; t < MODEL_TABLES; t++)
		if (m->table[t] == (value & PTE_ADDRESS))
			return t;
	panic("mmutest: no table at 0x%lx", value & PTE_ADDRESS);
}

/* ---- ways ---- */

/* A way from the root: the entries that it takes, and where it leads. */
struct way {
	struct model *m;
	const struct model_slot *slot;
	unsigned int entry[5]; /* by level */
	unsigned int leaf;     /* the last one's level */
	bool absent;
	uint64_t to; /* if not absent */
	bool now;    /* by no value but those that the tables have */
	void (*take)(struct way *way, void *ctx);
	void *ctx;
};

static uint64_t translation(const struct way *w, uint64_t leaf, uint64_t rights)
{
	uint64_t offset = w->leaf == 2 ? w->slot->gva % BLOCK_SIZE : 0;

	rights |= leaf & PTE_G && w->m->pge ? GLOBAL : 0;
	return ((leaf & PTE_ADDRESS) + offset) | rights;
}

static void walk_table(struct way *w, unsigned int table, unsigned int level, uint64_t rights);

static void walk_value(struct way *w, uint64_t value, unsigned int level, uint64_t rights)
{
	rights &= (value & RIGHTS) | NX_BIT;
	rights |= value & PTE_NX ? NX_BIT : 0;
	w->leaf = level;
	w->absent = !(value & PTE_P);
	if (w->absent || level == 1 || (level == 2 && value & PTE_PS)) {
		if (!w->absent)
			w->to = translation(w, value, rights);
		w->take(w, w->ctx);
		return;
	}
	walk_table(w, table_at(w->m, value), level - 1, rights);
}

static void walk_table(struct way *w, unsigned int table, unsigned int level, uint64_t rights)
{
	unsigned int i = entry_at(table, w->slot, level);
	const struct model_entry *e = &w->m->entry[i];
	bool now = w->now;

	w->entry[level] = i;
	walk_value(w, e->value, level, rights);
	w->now = false;
	for (unsigned int n = 0; n < e->nr_past; n++) {
		w->entry[level] = i;
		walk_value(w, e->past[n], level, rights);
	}
	w->now = now;
}

static void each_way(struct model *m, const struct model_slot *slot,
		     void (*take)(struct way *, void *), void *ctx)
{
	struct way w = { .m = m, .slot = slot, .now = true, .take = take, .ctx = ctx };

	walk_table(&w, m->root, 4, RIGHTS);
}

/* ---- what may be cached ---- */

static void cache(struct model *m, struct model_slot *slot, uint64_t to)
{
	for (unsigned int n = 0; n < slot->nr_cached; n++)
		if (slot->cached[n] == to)
			return;
	if (slot->nr_cached == MODEL_CACHED)
		m->full = true;
	else
		slot->cached[slot->nr_cached++] = to;
}

static void cache_way(struct way *w, void *slot)
{
	if (!w->absent)
		cache(w->m, slot, w->to);
}

static void derive(struct model *m, struct model_slot *slot)
{
	each_way(m, slot, cache_way, slot);
}

static void forget_upper(struct model *m)
{
	for (unsigned int i = 0; i < MODEL_ENTRIES; i++)
		m->entry[i].nr_past = 0;
}

/* ---- edits ---- */

struct passing {
	unsigned int i;
	bool passes;
};

static void note_passing(struct way *w, void *ctx)
{
	struct passing *p = ctx;

	for (unsigned int level = 4; level >= w->leaf; level--)
		p->passes |= w->entry[level] == p->i;
}

bool model_passes(const struct model *m, unsigned int slot, unsigned int i)
{
	struct passing p = { .i = i };

	each_way((struct model *)m, &m->slot[slot], note_passing, &p);
	return p.passes;
}

unsigned int model_entry_of(const struct model *m, unsigned int slot, unsigned int level)
{
	unsigned int i = entry_at(m->root, &m->slot[slot], 4);

	for (unsigned int at = 4; at > level; at--) {
		uint64_t value = m->entry[i].value;

		if (!(value & PTE_P) || (at == 2 && value & PTE_PS))
			return MODEL_ENTRIES;
		i = entry_at(table_at(m, value), &m->slot[slot], at - 1);
	}
	return i;
}

/* An upper entry that was present may be cached. */
static void remember(struct model *m, struct model_entry *e)
{
	if (e->level == 1 || !(e->value & PTE_P))
		return;
	for (unsigned int n = 0; n < e->nr_past; n++)
		if (e->past[n] == e->value)
			return;
	if (e->nr_past == MODEL_PAST)
		m->full = true;
	else
		e->past[e->nr_past++] = e->value;
}

static void store(pte_t *at, uint64_t value, unsigned int how)
{
	uint64_t old = *at;

	if (how % 3 == 0)
		*at = value;
	else if (how % 3 == 1)
		__asm__ volatile("xchg %0, %1" : "+r"(value), "+m"(*at)::"memory");
	else
		while (!__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST))
			;
}

void model_edit(struct model *m, unsigned int i, uint64_t value, unsigned int how)
{
	struct model_entry *e = &m->entry[i];

	for (unsigned int s = 0; s < MODEL_SLOTS; s++)
		m->slot[s].unflushed |= model_passes(m, s, i);
	remember(m, e);
	e->value = value;
	e->may_be_dirty = value & PTE_D;
	store(e->at, value, how);
	for (unsigned int s = 0; s < MODEL_SLOTS; s++)
		derive(m, &m->slot[s]);
}

/* ---- flushes ---- */

static void flush_slot(struct model *m, struct model_slot *slot, bool global_too)
{
	unsigned int kept = 0;

	for (unsigned int n = 0; n < slot->nr_cached && !global_too; n++)
		if (slot->cached[n] & GLOBAL)
			slot->cached[kept++] = slot->cached[n];
	slot->nr_cached = kept;
	slot->unflushed = kept;
	derive(m, slot);
}

void model_invlpg(struct model *m, unsigned int slot)
{
	tlb_flush_page((void *)m->slot[slot].gva);
	forget_upper(m);
	flush_slot(m, &m->slot[slot], true);
}

void model_load_root(struct model *m, unsigned int root)
{
	root_switch(direct(m->table[root]));
	forget_upper(m);
	m->root = root;
	for (unsigned int s = 0; s < MODEL_SLOTS; s++)
		flush_slot(m, &m->slot[s], false);
}

void model_toggle_wp(struct model *m)
{
	m->wp = !m->wp;
	nucleus_call(CALL_WP, m->wp, 0);
}

void model_toggle_pge(struct model *m)
{
	m->pge = !m->pge;
	nucleus_call(CALL_CR4, 1UL << 7, 0);
	forget_upper(m);
	m->full = false;
	for (unsigned int s = 0; s < MODEL_SLOTS; s++)
		flush_slot(m, &m->slot[s], true);
}

/* ---- accesses ---- */

static uint64_t access_bits(enum access_kind kind, bool user)
{
	static const uint64_t bits[NR_ACCESS_KINDS] = { 0x00, 0x02, 0x10 };

	return bits[kind] | (user ? 0x04 : 0);
}

static uint64_t number_of(const struct model *m, uint64_t to)
{
	uint64_t gpa = to & PTE_ADDRESS;

	for (unsigned int i = 0; i < MODEL_FRAMES; i++)
		if (m->frame[i] == gpa)
			return MARK_FIRST + i;
	for (unsigned int i = 0; i < MODEL_BLOCKS * MODEL_INDICES; i++)
		if (m->block[i / MODEL_INDICES] + index_of[i % MODEL_INDICES] * PAGE_SIZE == gpa)
			return MARK_FIRST + MODEL_FRAMES + i;
	panic("mmutest: no frame at 0x%lx", gpa);
}

struct attempt {
	const struct model *m;
	enum access_kind kind;
	bool user;
	uint64_t got, only; /* how it came out; a way in which it may */
	bool any, several, possible;
	bool now_seen; /* got is what the tables say */
	struct way now;
};

static uint64_t outcome_of(const struct attempt *a, bool absent, uint64_t to)
{
	uint64_t bits = access_bits(a->kind, a->user);

	if (absent)
		return bits;
	if ((a->user && !(to & PTE_U)) ||
	    (a->kind == ACCESS_WRITE && !(to & PTE_W) && (a->user || a->m->wp)) ||
	    (a->kind == ACCESS_FETCH && to & NX_BIT))
		return bits | 1;
	return number_of(a->m, to);
}

static void may_be(struct attempt *a, uint64_t outcome)
{
	a->several |= a->any && a->only != outcome;
	a->any = true;
	a->only = outcome;
	a->possible |= a->got == outcome;
}

static void consider(struct way *w, void *ctx)
{
	struct attempt *a = ctx;
	uint64_t outcome = outcome_of(a, w->absent, w->to);

	may_be(a, outcome);
	if (a->kind == ACCESS_WRITE && reached(a->got) && !w->absent)
		w->m->entry[w->entry[w->leaf]].may_be_dirty = true;
	if (w->now) {
		a->now = *w;
		a->now_seen = a->got == outcome;
	}
}

/* Each entry is as it was stored, but for A, and D where there was a write. */
static bool tables_are_right(const struct model *m)
{
	for (unsigned int i = 0; i < MODEL_ENTRIES; i++) {
		const struct model_entry *e = &m->entry[i];
		uint64_t more = *e->at ^ e->value;

		if ((more & ~(uint64_t)(PTE_A | PTE_D)) || (more && !(e->value & PTE_P)) ||
		    (e->value & more & (PTE_A | PTE_D)) || (more & PTE_D && !e->may_be_dirty)) {
			print("mmutest: entry %u of level %u is 0x%lx, was 0x%lx\n", i, e->level,
			      *e->at, e->value);
			return false;
		}
	}
	return true;
}

/* A on all the way, and D in the leaf after a write. */
static bool way_is_marked(const struct model *m, const struct way *way, enum access_kind kind)
{
	for (unsigned int level = 4; level >= way->leaf; level--) {
		const struct model_entry *e = &m->entry[way->entry[level]];
		uint64_t want = level == way->leaf && kind == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A;

		if ((*e->at & want) != want) {
			print("mmutest: entry of level %u is 0x%lx, without 0x%lx\n", level, *e->at,
			      want & ~*e->at);
			return false;
		}
	}
	return true;
}

struct model_outcome model_access(struct model *m, unsigned int s, enum access_kind kind, bool user)
{
	struct model_slot *slot = &m->slot[s];
	struct attempt a = { .m = m, .kind = kind, .user = user };
	struct model_outcome out;

	a.got = user ? reach_user(kind, slot->gva) : reach_nucleus(kind, slot->gva);
	each_way(m, slot, consider, &a);
	for (unsigned int n = 0; n < slot->nr_cached; n++)
		may_be(&a, outcome_of(&a, false, slot->cached[n]));
	out = (struct model_outcome){ a.got, a.possible, !a.several, !a.now_seen };
	out.right &= tables_are_right(m);
	if (out.determined && !slot->unflushed && slot->nr_cached == 1 && reached(a.got))
		out.right &= way_is_marked(m, &a.now, kind);
	return out;
}

/* ---- beginning and end ---- */

static void slots_create(struct model *m)
{
	for (unsigned int s = 0; s < MODEL_SLOTS; s++) {
		struct model_slot *slot = &m->slot[s];
		unsigned int rest = s;

		slot->gva = SCRATCH_BASE;
		for (unsigned int level = 1; level <= 4; level++) {
			slot->k[level] = rest % MODEL_INDICES;
			rest /= MODEL_INDICES;
		}
		slot->gva += (uint64_t)slot->k[4] << 39;
		for (unsigned int level = 1; level <= 3; level++)
			slot->gva |= (uint64_t)index_of[slot->k[level]] << (3 + 9 * level);
	}
}

static bool tables_create(struct model *m)
{
	for (unsigned int t = 0; t < MODEL_TABLES; t++) {
		pte_t *table;

		m->table[t] = alloc_pages(0);
		if (!m->table[t])
			return false;
		table = memset(direct(m->table[t]), 0, PAGE_SIZE);
		for (unsigned int i = 0; i < 512 && t < MODEL_ROOTS; i++)
			table[i] = pml4[i];
		for (unsigned int k = 0; k < MODEL_INDICES; k++) {
			unsigned int root_index = (SCRATCH_BASE >> 39) + k;

			m->entry[t * MODEL_INDICES + k].at =
				&table[t < MODEL_ROOTS ? root_index : index_of[k]];
		}
	}
	for (unsigned int level = 1; level <= 4; level++)
		for (unsigned int i = 0; i < pool[level].nr * MODEL_INDICES; i++)
			m->entry[pool[level].first * MODEL_INDICES + i].level = level;
	return true;
}

static bool frames_create(struct model *m)
{
	for (unsigned int i = 0; i < MODEL_FRAMES; i++) {
		m->frame[i] = alloc_pages(0);
		if (!m->frame[i])
			return false;
		memset(direct(m->frame[i]), 0, PAGE_SIZE);
		frame_mark(m->frame[i]);
	}
	for (unsigned int i = 0; i < MODEL_BLOCKS; i++) {
		m->block[i] = alloc_pages(9);
		if (!m->block[i])
			return false;
		memset(direct(m->block[i]), 0, BLOCK_SIZE);
		for (unsigned int k = 0; k < MODEL_INDICES; k++)
			frame_mark(m->block[i] + index_of[k] * PAGE_SIZE);
	}
	return true;
}

bool model_create(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->wp = true;
	frames_unmark();
	if (!tables_create(m) || !frames_create(m))
		return false;
	slots_create(m);
	model_load_root(m, 0);
	return true;
}

void model_destroy(struct model *m)
{
	if (m->pge)
		model_toggle_pge(m);
	if (!m->wp)
		model_toggle_wp(m);
	root_switch(direct((uint64_t)pml4));
	frames_unmark();
	for (unsigned int t = 0; t < MODEL_TABLES; t++)
		free_pages(m->table[t], 0);
	for (unsigned int i = 0; i < MODEL_FRAMES; i++)
		free_pages(m->frame[i], 0);
	for (unsigned int i = 0; i < MODEL_BLOCKS; i++)
		free_pages(m->block[i], 9);
}
