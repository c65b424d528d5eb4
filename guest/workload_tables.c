/* SPDX-License-Identifier: MIT */
/*
 * tables: what does a kernel's work on its page tables cost?
 *
 *	tables compute|switch|edit|churn|batch|fork [ops=N] [pages=N]
 *
 * An operation is
 *
 *	compute  a word at random of N pages, read and written
 *	switch   a load of CR3, to the other of two address spaces, and a write to each of N pages
 *	edit     the same; before it, two entries of the table that maps the pages are exchanged
 *	churn    a page is mapped, written, unmapped, and INVLPG
 *	batch    the same for N pages at a time, with one load of CR3 in the end; it counts a page
 *	fork     an address space of N pages becomes two, which share them until they are written;
 *		 all are written in the child, which ends, and in the parent; it counts a page
 *
 * Each word that is written is verified.  The pages lie at SCRATCH_BASE, in leaves of 4 KiB.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define MAX_PAGES 512UL /* one page table */

struct tables {
	uint64_t pages, ops, wrong;
	uint64_t frame[2][MAX_PAGES]; /* of each address space */
	pte_t *root[2];
};

static struct tables t;

static volatile uint64_t *page_at(uint64_t i)
{
	return (volatile uint64_t *)(SCRATCH_BASE + i * PAGE_SIZE);
}

static pte_t *pte_at(unsigned int space, uint64_t i)
{
	return pte_find(t.root[space], SCRATCH_BASE + i * PAGE_SIZE, 1, true);
}

static void expect(const volatile uint64_t *at, uint64_t want)
{
	uint64_t got = *at;

	if (got == want)
		return;
	if (!t.wrong++)
		report_wrong("tables", at, want, got);
}

/* ---- address spaces ---- */

/* All but what is at SCRATCH_BASE is the kernel's, in both. */
static pte_t *new_root(void)
{
	pte_t *root = direct(alloc_pages(0));

	for (unsigned int i = 0; i < 512; i++)
		root[i] = i == SCRATCH_BASE >> 39 ? 0 : pml4[i];
	return root;
}

static void map_all(unsigned int space)
{
	for (uint64_t i = 0; i < t.pages; i++)
		*pte_at(space, i) = t.frame[space][i] | PTE_USER;
}

static bool get_frames(unsigned int space)
{
	for (uint64_t i = 0; i < t.pages; i++) {
		t.frame[space][i] = alloc_pages(0);
		if (!t.frame[space][i])
			return false;
		memset(direct(t.frame[space][i]), 0, PAGE_SIZE);
	}
	return true;
}

/* ---- operations ---- */

static void compute(void)
{
	uint64_t state = 1, sum = 0;

	map_all(0);
	for (uint64_t n = 0; n < t.ops; n++) {
		uint64_t x = random_next(&state);

		page_at(x % t.pages)[x / t.pages % PAGE_WORDS]++;
	}
	for (uint64_t i = 0; i < t.pages * PAGE_WORDS; i++)
		sum += page_at(0)[i];
	expect(&sum, t.ops);
}

/* A page's word counts how often its address space came by. */
static void visit(unsigned int space, uint64_t turn)
{
	root_switch(t.root[space]);
	for (uint64_t i = 0; i < t.pages; i++) {
		expect(page_at(i), turn);
		*page_at(i) = turn + 1;
	}
}

static void switches(void)
{
	map_all(0);
	map_all(1);
	for (uint64_t n = 0; n < t.ops; n++)
		visit(n % 2, n / 2);
}

/* Two of its pages change places. */
static void edits(void)
{
	map_all(0);
	map_all(1);
	for (uint64_t n = 0; n < t.ops; n++) {
		pte_t *a = pte_at(n % 2, 0), *b = pte_at(n % 2, t.pages - 1);
		uint64_t was = *a;

		*a = *b;
		*b = was;
		visit(n % 2, n / 2);
	}
}

static void churn(void)
{
	for (uint64_t n = 0; n < t.ops; n++) {
		uint64_t i = n % t.pages;
		volatile uint64_t *at = page_at(i);

		*pte_at(0, i) = t.frame[0][(n / t.pages + i) % t.pages] | PTE_USER;
		*at = n;
		expect(direct(*pte_at(0, i) & PTE_ADDRESS), n);
		*pte_at(0, i) = 0;
		tlb_flush_page((const void *)at);
	}
}

static void batch(void)
{
	for (uint64_t n = 0; n < t.ops; n += t.pages) {
		map_all(0);
		for (uint64_t i = 0; i < t.pages; i++)
			*page_at(i) = n + i;
		for (uint64_t i = 0; i < t.pages; i++) {
			expect(direct(t.frame[0][i]), n + i);
			*pte_at(0, i) = 0;
		}
		root_switch(t.root[0]);
	}
}

/* The other address space has the frame, too, as long as both map it. */
static bool copy_on_write(struct trap *trap)
{
	uint64_t i = (trap->cr2 - SCRATCH_BASE) / PAGE_SIZE;
	unsigned int space = t.root[1] != NULL;

	if (trap->vector != VECTOR_PF || i >= t.pages)
		return false;
	if (space) {
		t.frame[1][i] = alloc_pages(0);
		memcpy(direct(t.frame[1][i]), direct(t.frame[0][i]), PAGE_SIZE);
	}
	*pte_at(space, i) = t.frame[space][i] | PTE_USER;
	return true;
}

/* The child's tables are a copy of the parent's, and neither may write. */
static void fork(void)
{
	t.root[1] = new_root();
	for (uint64_t i = 0; i < t.pages; i++) {
		*pte_at(0, i) = t.frame[0][i] | (PTE_USER & ~(uint64_t)PTE_W);
		*pte_at(1, i) = *pte_at(0, i);
	}
	root_switch(t.root[1]);
}

static void end_child(void)
{
	pte_t *root = t.root[1];

	root_switch(t.root[0]);
	pte_free_tables(root, SCRATCH_BASE);
	free_pages(direct_gpa(root), 0);
	for (uint64_t i = 0; i < t.pages; i++)
		free_pages(t.frame[1][i], 0);
	t.root[1] = NULL;
}

static void forks(void)
{
	for (uint64_t i = 0; i < t.pages; i++)
		free_pages(t.frame[1][i], 0);
	free_pages(direct_gpa(t.root[1]), 0);
	map_all(0);
	trap_hook = copy_on_write;
	for (uint64_t n = 0; n < t.ops; n += t.pages) {
		fork();
		for (uint64_t i = 0; i < t.pages; i++)
			*page_at(i) = ~n;
		end_child();
		for (uint64_t i = 0; i < t.pages; i++) {
			expect(page_at(i), n);
			*page_at(i) = n + t.pages;
		}
	}
	trap_hook = NULL;
}

static const struct kind {
	const char *name;
	void (*run)(void);
	uint64_t pages, ops;
} kinds[] = {
	{ "compute", compute, 256, 20000000 },
	{ "switch", switches, 8, 2000 },
	{ "edit", edits, 8, 2000 },
	{ "churn", churn, 64, 2000 },
	{ "batch", batch, 64, 6400 },
	{ "fork", forks, 256, 2560 },
};

int tables_run(struct args *a)
{
	const char *name = args_word(a);
	const struct kind *kind = kinds;
	uint64_t start, hundredths;

	while (kind < kinds + ARRAY_SIZE(kinds) && name && strcmp(kind->name, name))
		kind++;
	if (!name || kind == kinds + ARRAY_SIZE(kinds))
		return STATUS_USAGE;
	t.pages = args_key(a, "pages", kind->pages);
	t.ops = args_key(a, "ops", kind->ops);
	a->bad |= !t.ops || !t.pages || t.pages > MAX_PAGES;
	if (!args_done(a))
		return STATUS_USAGE;
	t.root[0] = direct((uint64_t)pml4);
	t.root[1] = new_root();
	if (!get_frames(0) || !get_frames(1))
		return no_room(2 * t.pages);
	start = rdtsc();
	kind->run();
	hundredths = clock_ns(rdtsc() - start) * 100 / t.ops;
	root_switch(t.root[0]);
	print("tables: kind=%s pages=%lu ops=%lu ns_per_op=%lu.%02lu verified=%lu\n", kind->name,
	      t.pages, t.ops, hundredths / 100, hundredths % 100, t.wrong ? 0 : t.ops);
	return t.wrong ? STATUS_WRONG : STATUS_OK;
}
