/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_SELFTEST_H
#define QUIRE_GUEST_SELFTEST_H

/*
 * The selftest's groups, and TAP.
 */
#include "paging.h"
#include "reach.h"

void tap_ok(bool pass, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tap_hex(uint64_t got, uint64_t want, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The test named cannot be made here: so the numbers of the others stay. */
void tap_skip(const char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void selftest_traps(void);
void selftest_permissions(void);
void selftest_translation(void);
void selftest_rights(void);
void selftest_tlb(void);
void selftest_events(void);
void selftest_buddy(void);
void selftest_slab(void);
void selftest_frames(void);
void selftest_ram(uint64_t most_pages); /* write that many free pages, then verify them */

/* Accesses of one byte, for guarded(): a fetch calls the address, where a `ret` should be. */
void access_read(uint64_t gva);
void access_write(uint64_t gva);
void access_fetch(uint64_t gva);

#define NO_FAULT PROBE_OK

#define RW    (PTE_P | PTE_W | PTE_U)
#define BIT51 (1UL << 51)

bool bit51_is_reserved(void);

/* Set the page's entry in our root, and say INVLPG.  Returns a pointer to the entry. */
pte_t *scratch_map(uint64_t gva, uint64_t entry);

/* Access gva at CPL 3: NO_FAULT, the page fault's error code, or another vector << 16. */
uint64_t try_access(void (*access)(uint64_t), uint64_t gva);

#endif
