/* SPDX-License-Identifier: MIT */
/*
 * Stage 2: which moves its table allows, what it costs, and a model of it in lockstep.
 */
#include <errno.h>
#include "mmu/memory/stage2_internal.h"
#include "stage2_lab.h"
#include "tests/tap.h"

/* The rules, once more: to have other bytes a page has to be private first, or to be given up. */
static bool legal(enum page_state from, enum page_state to)
{
	if (from == to)
		return from == PG_ZERO; /* the page of zeroes comes, or goes */
	if (to == PG_SHARED)
		return from == PG_PRIVATE;
	if (to == PG_COMPRESSED || to == PG_ARCHIVED)
		return from == PG_PRIVATE;
	if (to == PG_SWAPPED)
		return from == PG_PRIVATE || from == PG_COMPRESSED;
	if (to == PG_ZERO || to == PG_BALLOONED)
		return from == PG_PRIVATE || from == PG_ABSENT;
	if (from == PG_BALLOONED)
		return to == PG_ABSENT;
	return true;
}

/* Where a run that begins at gfn may begin: each state has its own frames. */
static pfn_t first_pfn(enum page_state to, gfn_t gfn)
{
	switch (to) {
	case PG_PRIVATE: return gfn;
	case PG_SHARED: return STAGE2_STORE_PFN + gfn % (1ULL << 24) * 3 / 2;
	case PG_ZERO: return gfn / 7 % 2 ? STAGE2_ZERO_PFN : STAGE2_UNMAPPED;
	case PG_COMPRESSED: return STAGE2_UNMAPPED | ((1ULL << 39) + gfn % (1ULL << 24) * 3 / 2);
	case PG_SWAPPED: return STAGE2_UNMAPPED | gfn;
	case PG_ARCHIVED: return STAGE2_UNMAPPED | gfn / 8 % 3 << 12;
	default: return STAGE2_UNMAPPED;
	}
}

static const struct stage2_model model = {
	.legal = legal,
	.first_pfn = first_pfn,
	.follows = 1u << PG_PRIVATE | 1u << PG_SHARED | 1u << PG_COMPRESSED | 1u << PG_SWAPPED,
};

static void test_moves(void)
{
	for (unsigned int from = 0; from < PG_NR_STATES; from++)
		for (unsigned int to = 0; to < PG_NR_STATES; to++) {
			bool allowed = legal(from, to);
			struct gfn_range r = { 0, 512 };
			struct stage2 *s2;

			if (stage2_create(&r, 1, &s2))
				tap_bail("stage2_create");
			if (from != PG_ABSENT && from != PG_ZERO && from != PG_BALLOONED)
				stage2_set(s2, 7, 1, PG_PRIVATE, 7);
			if (from != PG_ABSENT && from != PG_PRIVATE)
				stage2_set(s2, 7, 1, from, first_pfn(from, 7));
			is(stage2_set(s2, 7, 1, to, first_pfn(to, 7)), allowed ? 0 : -EPERM,
			   "%s -> %s is %s", page_states[from].name, page_states[to].name,
			   allowed ? "legal" : "refused");
			stage2_destroy(s2);
		}
}

static void test_create(void)
{
	static const struct {
		const char *what;
		struct gfn_range r[2];
		unsigned int nr;
	} bad[] = {
		{ "no range", { { 0, 0 } }, 0 },
		{ "an empty range", { { 5, 5 } }, 1 },
		{ "a reversed range", { { 5, 4 } }, 1 },
		{ "overlapping ranges", { { 0, 10 }, { 9, 20 } }, 2 },
		{ "ranges out of order", { { 20, 30 }, { 0, 10 } }, 2 },
		{ "a range beyond four levels", { { 0, (1ULL << 36) + 1 } }, 1 },
	};
	struct stage2 *s2;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		is(stage2_create(bad[i].r, bad[i].nr, &s2), -EINVAL, "create refuses %s",
		   bad[i].what);
	stage2_destroy(NULL);
}

static void test_metadata(void)
{
	const struct gfn_range r = { 0, 1 << 18 }; /* 1 GiB */
	struct stage2_counters c;
	struct stage2 *s2;

	if (stage2_create(&r, 1, &s2))
		tap_bail("stage2_create");
	stage2_set(s2, 12345, 1, PG_PRIVATE, 12345);
	stage2_counters(s2, &c);
	ok(c.metadata_bytes <= 8 * QUIRE_PAGE_SIZE, "one page of 1 GiB costs %lu bytes of metadata",
	   (unsigned long)c.metadata_bytes);
	stage2_set(s2, 12345, 1, PG_ABSENT, 0);
	stage2_counters(s2, &c);
	is(c.tables, 1, "and only the root is left when it goes");
	stage2_set(s2, 0, 1 << 18, PG_PRIVATE, 0);
	stage2_counters(s2, &c);
	ok(c.metadata_bytes <= 16ULL << 18, "all of it at 4 KiB costs %.2f bytes a page (limit 16)",
	   (double)c.metadata_bytes / (1 << 18));
	is(stage2_audit(s2, stage2_lab_describe, NULL), 0, "and the audit agrees");
	stage2_destroy(s2);
}

/* The audit looks at what the door would never let in. */
static void test_audit(void)
{
	const struct gfn_range r = { 0, 512 };
	struct stage2_page page;
	struct stage2 *s2;

	if (stage2_create(&r, 1, &s2))
		tap_bail("stage2_create");
	stage2_set(s2, 7, 1, PG_ZERO, STAGE2_UNMAPPED);
	stage2_set(s2, 8, 1, PG_BALLOONED, STAGE2_UNMAPPED | 5);
	stage2_lookup(s2, 8, &page);
	is(page.pfn, STAGE2_UNMAPPED, "a ballooned page takes no payload");
	is(stage2_audit(s2, NULL, NULL), 0, "the audit finds nothing at first");
	for (unsigned int i = 7; i <= 8; i++) {
		uint64_t *e = &s2->table[s2->fresh - 1][i];

		*e |= 5ULL << QUIRE_PAGE_SHIFT;
		is(stage2_audit(s2, NULL, NULL), 1, "it finds a payload that %s pages do not have",
		   page_states[entry_state(*e)].name);
		*e &= ~EPT_ADDR_MASK;
	}
	stage2_destroy(s2);
}

int main(int argc, char **argv)
{
	tap_init();
	test_create();
	test_moves();
	test_metadata();
	test_audit();
	stage2_lockstep(&model, tap_seed(argc, argv));
	return tap_done();
}
