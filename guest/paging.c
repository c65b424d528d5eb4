/* SPDX-License-Identifier: MIT */
/*
 * Page tables, edited at CPL 3.
 *
 * Table pages are mapped for the user, in the direct map like all RAM, so an edit is a store.  Only
 * INVLPG and CR3 need the nucleus.  Under a hypervisor without nested paging, a table *in use* is
 * write-protected, and each store to it is emulated, which is slow.  A table that is not linked yet
 * costs nothing of that.  So the code here fills a table whole, and then links it with one store to
 * its parent.
 *
 * The direct map grows a GiB at a time, when the allocator first reaches into it.  So a guest with
 * 64 GiB that uses 10 MiB has one table for it.  A block is mapped if RAM covers any part of it;
 * the allocator's zones decide what is RAM.
 */
#include "kernel.h"
#include "memory.h"
#include "paging.h"

extern pte_t direct_pdpt[512], direct_pd[512];

static bool block_has_ram(uint64_t gpa)
{
	for (unsigned int i = 0; i < boot.nr_ram; i++)
		if (boot.ram[i].start < gpa + BLOCK_SIZE && gpa < boot.ram[i].end)
			return true;
	return false;
}

void direct_map(uint64_t gib)
{
	pte_t *pd;
	uint64_t table;

	if (direct_pdpt[gib])
		return;
	table = gib ? reserve_table(gib) : (uint64_t)direct_pd;
	pd = gib ? direct(table) : direct_pd;
	for (uint64_t i = 0; i < 512; i++) {
		uint64_t gpa = gib * GiB + i * BLOCK_SIZE;

		pd[i] = block_has_ram(gpa) ? gpa | PTE_USER | PTE_PS : 0;
	}
	direct_pdpt[gib] = table | PTE_TABLE;
}

static pte_t *entry_in(pte_t *table, uint64_t gva, unsigned int level)
{
	return &table[gva >> (PAGE_SHIFT + 9 * (level - 1)) & 511];
}

static pte_t *table_of(uint64_t entry)
{
	return direct(entry & PTE_ADDRESS);
}

static uint64_t table_create(void)
{
	uint64_t gpa = alloc_pages(0);

	if (!gpa)
		panic("no page for a page table");
	memset(direct(gpa), 0, PAGE_SIZE);
	return gpa;
}

pte_t *pte_find(pte_t *root, uint64_t gva, unsigned int level, bool create)
{
	pte_t *table = root;

	for (unsigned int at = 4; at > level; at--) {
		pte_t *entry = entry_in(table, gva, at);

		if (!(*entry & PTE_P)) {
			if (!create)
				return NULL;
			*entry = table_create() | PTE_TABLE;
		} else if (at < 4 && *entry & PTE_PS) {
			return NULL;
		}
		table = table_of(*entry);
	}
	return entry_in(table, gva, level);
}

void pte_split(pte_t *root, uint64_t gva)
{
	pte_t *leaf = pte_find(root, gva, 2, false);
	uint64_t gpa = alloc_pages(0);
	pte_t *table = direct(gpa);

	if (!leaf || !gpa)
		panic("cannot split the leaf for 0x%lx", gva);
	for (uint64_t i = 0; i < 512; i++)
		table[i] = (*leaf & ~(uint64_t)PTE_PS) + i * PAGE_SIZE;
	*leaf = gpa | PTE_TABLE;
}

static void free_below(uint64_t entry, unsigned int level)
{
	pte_t *table = table_of(entry);

	for (unsigned int i = 0; level > 2 && i < 512; i++)
		if (table[i] & PTE_P)
			free_below(table[i], level - 1);
	/* A level-2 table may hold leaves and, where one was split, tables. */
	for (unsigned int i = 0; level == 2 && i < 512; i++)
		if ((table[i] & (PTE_P | PTE_PS)) == PTE_P)
			free_pages(table[i] & PTE_ADDRESS, 0);
	free_pages(entry & PTE_ADDRESS, 0);
}

void pte_free_tables(pte_t *root, uint64_t gva)
{
	pte_t *entry = entry_in(root, gva, 4);

	if (*entry & PTE_P)
		free_below(*entry, 3);
	*entry = 0;
}

/* One PDPT serves all windows.  Each GiB of a window gets a table, filled before it is linked. */
static uint64_t window_end = WINDOW_BASE;

static void window_link(uint64_t gva, uint64_t table)
{
	*pte_find(pml4, gva, 3, true) = table | PTE_TABLE;
}

void *window_create(uint64_t nr_pages)
{
	uint64_t blocks = (nr_pages + BLOCK_PAGES - 1) / BLOCK_PAGES;
	uint64_t base = window_end, table = 0;

	if (!nr_pages || blocks + blocks / BLOCK_PAGES / 512 + 2 > free_blocks(9))
		return NULL;
	for (uint64_t i = 0; i < blocks; i++) {
		pte_t *pd;

		if (i % 512 == 0) {
			if (table)
				window_link(base + (i - 512) * BLOCK_SIZE, table);
			table = table_create();
		}
		pd = direct(table);
		pd[i % 512] = alloc_pages(9) | PTE_USER | PTE_PS;
	}
	window_link(base + (blocks - 1) / 512 * GiB, table);
	window_end = base + (blocks + 511) / 512 * GiB;
	return (void *)base;
}

void *mmio_map(uint64_t gpa, uint64_t bytes)
{
	static uint64_t end = MMIO_BASE;
	uint64_t at = gpa & -PAGE_SIZE, offset = gpa % PAGE_SIZE, gva = end + offset;

	for (; at < gpa + bytes; at += PAGE_SIZE, end += PAGE_SIZE)
		*pte_find(pml4, end, 1, true) = at | PTE_USER | PTE_PCD;
	return (void *)gva;
}
