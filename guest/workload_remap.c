/* SPDX-License-Identifier: MIT */
/*
 * remap: page tables that change all the time, over memory that changes too.
 *
 *	remap SECONDS [pages=N] [seed=N]
 *
 * There are 256 slots: gvas of one page each, four in a page table.  Each step draws a slot.  It
 * maps a page of N (1000 unless told) there, or goes on with the page that is there, or unmaps it.
 * Every byte of the page is verified through the slot, and half of the time it is rewritten.  An
 * entry is made without A and D.  A must be set after the first read, and D after the first write.
 * Now and then all tables of the slots are freed, and new ones are made as needed.
 *
 * A page has four contents, which come back all the time and are alike in guests with the same
 * seed; one content of every fourth page is zeroes.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define SLOTS	    256u
#define TABLE_SLOTS 4u	 /* slots that share a page table */
#define DROP_ODDS   256u /* all tables are freed once in so many steps */
#define CONTENTS    4u	 /* of a page */

#define NO_PAGE UINT64_MAX

struct remap {
	uint64_t seed, pages, maps, writes, drops;
	uint64_t slot[SLOTS]; /* the page that is mapped there, or NO_PAGE */
	uint8_t *generation;  /* by page: which of its contents it has */
	uint64_t (*page)[PAGE_WORDS];
};

static uint64_t gva_of(unsigned int slot)
{
	return SCRATCH_BASE + slot / TABLE_SLOTS * BLOCK_SIZE +
	       slot % TABLE_SLOTS * (BLOCK_SIZE / TABLE_SLOTS);
}

static uint64_t content_of(const struct remap *r, uint64_t page)
{
	uint64_t generation = r->generation[page];

	return generation || page % 4 ? generation * r->pages + page : CONTENT_ZERO;
}

/* ---- the tables ---- */

/* Where the window has the page. */
static uint64_t gpa_of(const struct remap *r, uint64_t page)
{
	uint64_t gva = (uint64_t)r->page[page];

	return (*pte_find(pml4, gva, 2, false) & PTE_ADDRESS) + gva % BLOCK_SIZE;
}

static void map(struct remap *r, unsigned int slot, uint64_t page)
{
	pte_t *pte = pte_find(pml4, gva_of(slot), 1, true);

	*pte = gpa_of(r, page) | PTE_P | PTE_W | PTE_U | PTE_NX;
	if (r->slot[slot] != NO_PAGE)
		tlb_flush_page((void *)gva_of(slot));
	r->slot[slot] = page;
	r->maps++;
}

static void unmap(struct remap *r, unsigned int slot)
{
	if (r->slot[slot] == NO_PAGE)
		return;
	*pte_find(pml4, gva_of(slot), 1, false) = 0;
	tlb_flush_page((void *)gva_of(slot));
	r->slot[slot] = NO_PAGE;
}

static void drop_tables(struct remap *r)
{
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		r->slot[slot] = NO_PAGE;
	pte_free_tables(pml4, SCRATCH_BASE);
	root_switch(direct((uint64_t)pml4));
	r->drops++;
}

/* The entry must have these bits now, because the processor has set them. */
static bool has_bits(unsigned int slot, uint64_t bits)
{
	pte_t *pte = pte_find(pml4, gva_of(slot), 1, false);

	if ((*pte & bits) == bits)
		return true;
	report_wrong("remap", pte, *pte | bits, *pte);
	return false;
}

/* ---- the memory ---- */

/* Verify the slot's page through the slot; with rewrite, give it its next content. */
static bool use(struct remap *r, unsigned int slot, bool rewrite)
{
	uint64_t page = r->slot[slot], *at = (uint64_t *)gva_of(slot);

	if (!content_check("remap", at, r->seed, content_of(r, page)) || !has_bits(slot, PTE_A))
		return false;
	if (!rewrite)
		return true;
	r->generation[page] = (r->generation[page] + 1) % CONTENTS;
	content_write(at, r->seed, content_of(r, page));
	r->writes++;
	return has_bits(slot, PTE_A | PTE_D);
}

static bool step(struct remap *r, uint64_t *state)
{
	unsigned int slot = (unsigned int)random_below(state, SLOTS);
	uint64_t page = random_below(state, r->pages), die = random_next(state);

	if (die % DROP_ODDS == 0) {
		drop_tables(r);
		return true;
	}
	die /= DROP_ODDS;
	if (die % 8 == 0) {
		unmap(r, slot);
		return true;
	}
	if (die % 8 < 5 || r->slot[slot] == NO_PAGE)
		map(r, slot, page);
	return use(r, slot, die / 8 % 2);
}

static bool run_until(struct remap *r, uint64_t deadline)
{
	uint64_t state = r->seed;

	drop_tables(r);
	while (rdtsc() < deadline)
		if (!step(r, &state))
			return false;
	drop_tables(r);
	return true;
}

static bool check_all(const struct remap *r)
{
	for (uint64_t page = 0; page < r->pages; page++)
		if (!content_check("remap", r->page[page], r->seed, content_of(r, page)))
			return false;
	return true;
}

int remap_run(struct args *a)
{
	static struct remap r;
	uint64_t seconds = args_number(a);

	r.seed = args_key(a, "seed", 1);
	r.pages = args_key(a, "pages", 1000);
	a->bad |= !r.pages;
	if (!args_done(a))
		return STATUS_USAGE;
	r.page = window_create(r.pages);
	r.generation = window_create((r.pages + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!r.page || !r.generation)
		return no_room(r.pages);
	memset(r.generation, 0, r.pages);
	for (uint64_t page = 0; page < r.pages; page++)
		content_write(r.page[page], r.seed, content_of(&r, page));
	print("remap: seed=%lu pages=%lu seconds=%lu\nremap: ready\n", r.seed, r.pages, seconds);
	console_flush();
	if (!run_until(&r, clock_deadline(seconds)) || !check_all(&r))
		return STATUS_WRONG;
	print("remap: maps=%lu writes=%lu drops=%lu\nremap: verified=%lu\n", r.maps, r.writes,
	      r.drops, r.pages);
	return STATUS_OK;
}
