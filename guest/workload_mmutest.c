/* SPDX-License-Identifier: MIT */
/*
 * mmutest: random page tables, random accesses, and a model that says how each may come out.
 *
 *	mmutest [seed=N] [steps=N] [seconds=N] [balloon=1]
 *
 * A step is an access, an edit of an entry, or a load of CR3, INVLPG, or a change of CR0.WP or
 * CR4.PGE.  After an edit nothing is flushed, or one address, or all that it concerns, or all; the
 * model (mmu_model.h) knows what a TLB may still hold.  Entries become absent, lead to other
 * tables, lose and get rights, are global; level 2 changes between tables and 2 MiB leaves, which
 * is always flushed at once.
 *
 * What is printed depends on the seed alone, but for the last line: the digest is of the outcomes
 * that were determined.  With `seconds` there are runs with one seed after the other, and a digest
 * of all.  With `balloon` the balloon's driver has a turn after each step.
 */
#include "balloon.h"
#include "mmu_model.h"
#include "workload.h"

#define HOT	  6u   /* addresses that most of a time is about */
#define HOT_STEPS 128u /* steps until they are others */

struct test {
	struct model model;
	struct balloon *balloon; /* or NULL */
	unsigned int hot[HOT];
	uint64_t seed, state, step;
	uint64_t edits, accesses, determined, faults, stale, digest;
};

static uint64_t below(struct test *t, uint64_t n)
{
	return random_below(&t->state, n);
}

static bool percent(struct test *t, unsigned int n)
{
	return below(t, 100) < n;
}

static unsigned int random_slot(struct test *t)
{
	return percent(t, 85) ? t->hot[below(t, HOT)] : (unsigned int)below(t, MODEL_SLOTS);
}

/* ---- edits ---- */

static uint64_t random_rights(struct test *t)
{
	return PTE_P | (percent(t, 92) ? PTE_W : 0) | (percent(t, 95) ? PTE_U : 0) |
	       (percent(t, 5) ? PTE_NX : 0) | (percent(t, 30) ? PTE_A : 0);
}

static uint64_t random_leaf(struct test *t, uint64_t gpa)
{
	return gpa | random_rights(t) | (percent(t, 30) ? PTE_D : 0) | (percent(t, 15) ? PTE_G : 0);
}

static uint64_t random_entry(struct test *t, unsigned int level)
{
	const struct model *m = &t->model;
	unsigned int first, nr;

	if (level == 1)
		return random_leaf(t, m->frame[below(t, MODEL_FRAMES)]);
	if (level == 2 && percent(t, 30))
		return random_leaf(t, m->block[below(t, MODEL_BLOCKS)]) | PTE_PS;
	first = model_tables(level - 1, &nr);
	return m->table[first + below(t, nr)] | random_rights(t);
}

/*
 * Mostly an entry that an address of these times uses, and of low levels more often: a change above
 * concerns all that is below.
 */
static unsigned int random_place(struct test *t)
{
	static const unsigned int level_of[] = { 1, 1, 1, 1, 1, 2, 2, 2, 3, 4 };
	unsigned int level = level_of[below(t, ARRAY_SIZE(level_of))], nr, first;
	unsigned int i = model_entry_of(&t->model, random_slot(t), level);

	if (i < MODEL_ENTRIES)
		return i;
	first = model_tables(level, &nr);
	return first * MODEL_INDICES + (unsigned int)below(t, (uint64_t)nr * MODEL_INDICES);
}

static void flush_concerned(struct test *t, unsigned int i)
{
	for (unsigned int slot = 0; slot < MODEL_SLOTS; slot++)
		if (model_passes(&t->model, slot, i))
			model_invlpg(&t->model, slot);
}

static bool changes_size(const struct model_entry *e, uint64_t value)
{
	return e->level == 2 && e->value & value & PTE_P && (e->value ^ value) & PTE_PS;
}

static void edit(struct test *t)
{
	struct model *m = &t->model;
	unsigned int i = random_place(t), slot = random_slot(t);
	uint64_t value = percent(t, 10) ? 0 : random_entry(t, m->entry[i].level);
	unsigned int how = (unsigned int)below(t, 3);
	uint64_t flush = changes_size(&m->entry[i], value) ? 65 + below(t, 35) : below(t, 100);

	t->edits++;
	model_edit(m, i, value, how);
	if (m->full)
		model_toggle_pge(m);
	else if (flush >= 85)
		model_toggle_pge(m);
	else if (flush >= 65)
		flush_concerned(t, i);
	else if (flush >= 45)
		model_invlpg(m, slot);
}

/* ---- accesses ---- */

static bool access(struct test *t)
{
	static const char *const name[] = { "read", "write", "fetch" };
	unsigned int slot = random_slot(t);
	enum access_kind kind = (enum access_kind)below(t, NR_ACCESS_KINDS);
	bool user = percent(t, 65);
	struct model_outcome out = model_access(&t->model, slot, kind, user);

	t->accesses++;
	t->stale += out.stale;
	if (!out.right) {
		print("mmutest: wrong: seed=%lu step=%lu: %s at CPL %u of gva=0x%lx got=0x%lx\n",
		      t->seed, t->step, name[kind], user ? 3 : 0, t->model.slot[slot].gva, out.got);
		return false;
	}
	if (out.determined) {
		t->determined++;
		t->faults += !reached(out.got);
		t->digest = mix(t->digest ^ (t->step << 20 | out.got));
	}
	return true;
}

static bool step(struct test *t)
{
	struct model *m = &t->model;
	uint64_t die = below(t, 100);

	for (unsigned int i = 0; t->step % HOT_STEPS == 0 && i < HOT; i++)
		t->hot[i] = (unsigned int)below(t, MODEL_SLOTS);
	if (die < 65)
		return access(t);
	if (die < 87)
		edit(t);
	else if (die < 92)
		model_load_root(m, (unsigned int)below(t, MODEL_ROOTS));
	else if (die < 95)
		model_toggle_wp(m);
	else if (die < 97)
		model_toggle_pge(m);
	else
		model_invlpg(m, random_slot(t));
	return true;
}

/* All entries lead somewhere at first, so that most addresses do. */
static void fill_tables(struct test *t)
{
	for (unsigned int i = 0; i < MODEL_ENTRIES; i++)
		*t->model.entry[i].at = t->model.entry[i].value =
			random_entry(t, t->model.entry[i].level);
	for (unsigned int i = 0; i < MODEL_ENTRIES; i++)
		t->model.entry[i].may_be_dirty = t->model.entry[i].value & PTE_D;
	model_toggle_pge(&t->model);
}

static int run_seed(struct test *t, uint64_t steps)
{
	bool good = true;

	if (!model_create(&t->model))
		return no_room(1500);
	t->state = t->seed;
	fill_tables(t);
	for (t->step = 0; good && t->step < steps; t->step++) {
		good = step(t);
		if (t->balloon)
			balloon_poll(t->balloon);
	}
	model_destroy(&t->model);
	return good ? STATUS_OK : STATUS_WRONG;
}

int mmutest_run(struct args *a)
{
	static struct balloon balloon;
	static struct test t;
	uint64_t steps = args_key(a, "steps", 2000), seconds = args_key(a, "seconds", 0);
	uint64_t deadline = clock_deadline(seconds), runs = 0;
	int status;

	t.seed = args_key(a, "seed", 1);
	if (args_key(a, "balloon", 0))
		t.balloon = &balloon;
	if (!args_done(a))
		return STATUS_USAGE;
	if (t.balloon && !balloon_start(&balloon, &(struct balloon_wish){ 0 }))
		return STATUS_NO_DEVICE;
	print("mmutest: seed=%lu steps=%lu\nmmutest: ready\n", t.seed, steps);
	console_flush();
	do {
		status = run_seed(&t, steps);
		t.seed++;
		runs++;
	} while (!status && rdtsc() < deadline);
	if (status)
		return status;
	print("mmutest: edits=%lu accesses=%lu determined=%lu faults=%lu digest=%lx\n", t.edits,
	      t.accesses, t.determined, t.faults, t.digest);
	print("mmutest: runs=%lu stale=%lu\n", runs, t.stale);
	return STATUS_OK;
}
