/* SPDX-License-Identifier: MIT */
/*
 * The auditor of stage 2: it walks the whole tree and counts everything anew.
 */
#include "mmu/base/audit.h"
#include "stage2_internal.h"

struct recount {
	const struct stage2 *s2;
	struct audit *audit;
	uint64_t pages[PG_NR_STATES], large_leaves, tables; /* the fresh count */
};

/* The frame of a page that is mapped, or the payload of one that is not. */
static void audit_number(struct recount *a, uint64_t e, gfn_t gfn)
{
	enum page_state state = entry_state(e);
	const struct page_state_info *info = &page_states[state];
	pfn_t pfn = ept_pfn(e);

	if (!ept_present(e)) {
		if (info->payload == NUMBER_NONE && pfn)
			audit_fault(a->audit, "gfn %#lx: %s with a payload, %#lx",
				    (unsigned long)gfn, info->name, (unsigned long)pfn);
		return;
	}
	if (state == PG_PRIVATE && pfn != gfn)
		audit_fault(a->audit, "gfn %#lx: private frame %#lx is not its own",
			    (unsigned long)gfn, (unsigned long)pfn);
	if (state == PG_SHARED && (pfn < STAGE2_STORE_PFN || pfn >= STAGE2_ZERO_PFN))
		audit_fault(a->audit, "gfn %#lx: shared frame %#lx is not the store's",
			    (unsigned long)gfn, (unsigned long)pfn);
	if (state == PG_ZERO && pfn != STAGE2_ZERO_PFN)
		audit_fault(a->audit, "gfn %#lx: zero frame %#lx is not the page of zeroes",
			    (unsigned long)gfn, (unsigned long)pfn);
}

/* A leaf, or an entry that maps nothing, over gfn. */
static void audit_page(struct recount *a, uint64_t e, unsigned int level, gfn_t gfn)
{
	enum page_state state = entry_state(e);
	uint64_t nr = level_pages(level);
	const struct page_state_info *info;

	if (state == PG_ABSENT || state >= PG_NR_STATES) {
		audit_fault(a->audit, "gfn %#lx: entry %#lx has no state", (unsigned long)gfn,
			    (unsigned long)e);
		return;
	}
	info = &page_states[state];
	a->pages[state] += nr;
	if (!stage2_is_ram(a->s2, gfn, nr))
		audit_fault(a->audit, "gfn %#lx: %s outside RAM", (unsigned long)gfn, info->name);
	if (ept_present(e) != (info->frame != NUMBER_NONE) && !info->maps_late)
		audit_fault(a->audit, "gfn %#lx: entry %#lx is not as %s must be",
			    (unsigned long)gfn, (unsigned long)e, info->name);
	if (!ept_present(e) && (e & ~(EPT_SW_MASK | EPT_ADDR_MASK)))
		audit_fault(a->audit, "gfn %#lx: entry %#lx maps nothing, but has bits of a leaf",
			    (unsigned long)gfn, (unsigned long)e);
	if ((e & EPT_W) && !info->writable)
		audit_fault(a->audit, "gfn %#lx: %s and writable", (unsigned long)gfn, info->name);
	audit_number(a, e, gfn);
	if (level == 2)
		a->large_leaves++;
	if (level > 2 || (level == 2 && !info->large))
		audit_fault(a->audit, "gfn %#lx: %s at level %u", (unsigned long)gfn, info->name,
			    level);
}

/* A table of entries lv, the first of which is over gfn, and all that is below. */
static void audit_table(struct recount *a, uint32_t table, const struct pt_level *lv, gfn_t gfn)
{
	const struct stage2 *s2 = a->s2;
	unsigned int used = 0;

	a->tables++;
	for (unsigned int i = 0; i < STAGE2_ENTRIES; i++, gfn += level_pages(lv->level)) {
		uint64_t e = s2->table[table][i];

		if (e == 0)
			continue;
		used++;
		if (STAGE2_FORMAT->classify(e, lv, &stage2_rules) == PT_RESERVED)
			audit_fault(a->audit, "gfn %#lx: %s %#lx is malformed", (unsigned long)gfn,
				    lv->name, (unsigned long)e);
		else if (entry_is_table(e, lv->level))
			audit_table(a, ept_pfn(e), lv + 1, gfn);
		else
			audit_page(a, e, lv->level, gfn);
	}
	if (used != s2->info[table].used)
		audit_fault(a->audit, "table %u: %u entries used, %u counted", table, used,
			    s2->info[table].used);
	if (used == 0 && table != 0)
		audit_fault(a->audit, "table %u: empty but linked", table);
}

unsigned int stage2_audit(const struct stage2 *s2, void (*report)(void *ctx, const char *what),
			  void *ctx)
{
	struct audit audit = { .report = report, .ctx = ctx };
	struct recount a = { .s2 = s2, .audit = &audit };
	uint64_t sum = 0;
	uint32_t given_back = 0;

	audit_table(&a, 0, &STAGE2_FORMAT->level[0], 0);
	for (unsigned int state = PG_ABSENT + 1; state < PG_NR_STATES; state++) {
		sum += a.pages[state];
		audit_expect(&audit, s2->pages[state], a.pages[state], page_states[state].name);
	}
	if (sum > s2->ram_pages)
		audit_fault(&audit, "%lu pages have a state, RAM has %lu", (unsigned long)sum,
			    (unsigned long)s2->ram_pages);
	audit_expect(&audit, s2->large_leaves, a.large_leaves, "large leaves");
	for (uint32_t t = s2->free; t; t = s2->info[t].next_free)
		given_back++;
	if (a.tables != s2->tables || a.tables + given_back != s2->fresh)
		audit_fault(&audit, "%lu tables linked and %u given back, %lu counted of %u",
			    (unsigned long)a.tables, given_back, (unsigned long)s2->tables,
			    s2->fresh);
	return audit.faults;
}
