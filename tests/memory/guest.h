/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_GUEST_H
#define QUIRE_TESTS_MEMORY_GUEST_H

/*
 * A guest that is threads of a test, on either back end.
 *
 * With the window the threads touch it, as vCPUs do.  On shadow tables they touch a range of
 * addresses of its own, in which a page is mapped only as the shadow tables have it: a touch of
 * anything else is a signal, whose handler does what a vCPU does with a page fault.  A flush takes
 * away the pages whose entries it names, and no others.  So an entry that should have been named is
 * found, as is a frame that the guest can still reach when it has gone.
 */
#include "mmu/memory/gmem_internal.h"

#define GUEST_MAX 8 /* on shadow tables, at a time; guests come and go in one thread at a time */

extern bool guest_on_shadow; /* the next guest is to be */

/* QUIRE_PAGING says whether guests are to be on shadow tables, as it does to quire run. */
void guest_take_mode(void);

/* As gmem_create and gmem_start. */
int guest_create(const struct gmem_config *config, struct gmem **gm, struct quire_error *err);

void guest_destroy(struct gmem *gm);

/* Where the guest has gpa. */
uint8_t *guest_hva(const struct gmem *gm, gpa_t gpa);

/* " on shadow tables" or "": for the names of assertions. */
const char *guest_kind(void);

#endif
