/* SPDX-License-Identifier: MIT */
/*
 * Finding a guest's page tables: one recursion for all formats.
 *
 * A tree is visited from the root down.  Tables of the last level are named and not read, so that
 * 512 of them cost one read.  A set holds what has been visited, an address at a level, and that is
 * not visited again: kernels map the same upper tables into every address space, and some map a
 * table into itself.
 */
#include "guest_tables.h"
#include <stdlib.h>

#define SET_SIZE (2 * GUEST_TABLES_MAX) /* a power of two, never more than half full */

struct visit {
	struct gmem *gm;
	const struct pt_format *format;
	struct pt_rules rules;
	void (*each)(void *arg, gfn_t gfn);
	void *arg;
	unsigned int nr;
	uint64_t *seen; /* address | level, 0: free */
};

union table {
	uint32_t entry4[1024];
	uint64_t entry8[512];
};

/*
 * Add a table at a level to the set.  False: it is there already.  Tables are aligned to 32 bytes,
 * so the level fits into the low bits.
 */
static bool add(struct visit *v, gpa_t table, unsigned int level)
{
	uint64_t key = table | level;
	uint64_t at = (key * 0x9e3779b97f4a7c15ULL) >> 32;

	for (;; at++) {
		uint64_t *seen = &v->seen[at % SET_SIZE];

		if (*seen == key)
			return false;
		if (!*seen) {
			*seen = key;
			return true;
		}
	}
}

static bool is_ram(const struct gmem *gm, gfn_t gfn)
{
	unsigned int nr;
	const struct gfn_range *ram = gmem_ram(gm, &nr);

	for (unsigned int i = 0; i < nr; i++)
		if (gfn >= ram[i].start && gfn < ram[i].end)
			return true;
	return false;
}

static uint64_t entry_of(const struct visit *v, const union table *t, unsigned int i)
{
	return v->format->entry_bytes == 4 ? t->entry4[i] : t->entry8[i];
}

/*
 * Name the table at `table`, whose entries are of format->level[depth], and visit those below it.
 */
static void visit(struct visit *v, gpa_t table, unsigned int depth)
{
	const struct pt_level *lv = &v->format->level[depth];
	unsigned int entries = 1u << lv->bits;
	union table t;

	if (v->nr == GUEST_TABLES_MAX || !is_ram(v->gm, gpa_to_gfn(table)) ||
	    !add(v, table, lv->level))
		return;
	v->nr++;
	v->each(v->arg, gpa_to_gfn(table));
	if (lv->level == 1 || guest_read(v->gm, table, &t, entries * v->format->entry_bytes))
		return;
	for (unsigned int i = 0; i < entries; i++) {
		uint64_t entry = entry_of(v, &t, i);

		if (v->format->classify(entry, lv, &v->rules) == PT_TABLE)
			visit(v, v->format->address(entry, lv, false), depth + 1);
	}
}

unsigned int guest_tables(struct gmem *gm, const struct walk_cpu *cpu, unsigned int nr_cpus,
			  void (*each)(void *arg, gfn_t gfn), void *arg)
{
	struct visit v = { .gm = gm, .each = each, .arg = arg };
	bool bad;

	v.seen = calloc(SET_SIZE, sizeof(*v.seen));
	if (!v.seen)
		return 0;
	for (unsigned int i = 0; i < nr_cpus; i++) {
		v.format = walk_guest_format(&cpu[i], &bad);
		v.rules = walk_guest_rules(&cpu[i]);
		if (v.format)
			visit(&v, walk_guest_root(&cpu[i], v.format), 0);
	}
	free(v.seen);
	return v.nr;
}
