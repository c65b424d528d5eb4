/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_PAGING_H
#define QUIRE_GUEST_PAGING_H

/*
 * Page tables, edited at CPL 3.  Level 1 is the page table, 4 the root; a leaf is at level 1
 * (4 KiB) or 2 (2 MiB).
 */
#include "kernel.h"

/* Volatile, because the CPU reads entries, and sets their A and D bits, unseen by the compiler. */
typedef volatile uint64_t pte_t;

#define PTE_ADDRESS 0x000ffffffffff000UL
#define PTE_TABLE   (PTE_P | PTE_W | PTE_U | PTE_A)
#define PTE_USER    (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX)

extern pte_t pml4[512]; /* the root the image comes with */

/* RAM at gpa, through the direct map. */
static inline void *direct(uint64_t gpa)
{
	return (void *)(DIRECT_BASE + gpa);
}

static inline uint64_t direct_gpa(const volatile void *p)
{
	return (uint64_t)p - DIRECT_BASE;
}

/*
 * Put the 2 MiB blocks of RAM within GiB number gib into the direct map.  Doing it again changes
 * nothing.  GiB 0 has its table in the image; the others take a page from the allocator's reserve.
 */
void direct_map(uint64_t gib);

/*
 * The entry for gva at this level in the tables under root.  NULL if a table is missing on the way,
 * or a larger leaf is there.  With create, missing tables are made.
 */
pte_t *pte_find(pte_t *root, uint64_t gva, unsigned int level, bool create);

/* Replace the 2 MiB leaf for gva by a table of 512 leaves that map the same. */
void pte_split(pte_t *root, uint64_t gva);

/* Free the tables (not what they map) below the root's entry for gva. */
void pte_free_tables(pte_t *root, uint64_t gva);

/*
 * A window: nr_pages of fresh memory, contiguous in gva, of 2 MiB leaves, not touched.
 * Returns NULL, having changed nothing, if there are not enough free blocks.
 */
void *window_create(uint64_t nr_pages);

/* Map the registers of a device at [gpa, gpa + bytes).  Returns where gpa is mapped. */
void *mmio_map(uint64_t gpa, uint64_t bytes);

static inline void tlb_flush_page(const void *gva)
{
	nucleus_call(CALL_INVLPG, (uint64_t)gva, 0);
}

static inline void root_switch(const pte_t *root_direct)
{
	nucleus_call(CALL_CR3, direct_gpa(root_direct), 0);
}

#endif
