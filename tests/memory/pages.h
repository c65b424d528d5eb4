/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MEMORY_PAGES_H
#define QUIRE_TESTS_MEMORY_PAGES_H

/* Pages with bytes that follow from their numbers: what the guest writes, and is to find again. */
#include "share_lab.h"

typedef void fill_fn(uint64_t *page, uint64_t number);

/* A page that packs to some hundred bytes, and that no other page is like. */
fill_fn fill_text;

/* A page that does not pack. */
fill_fn fill_random;

/* The guest writes the pages of [gfn, gfn + nr). */
void fill(gfn_t gfn, uint64_t nr, fill_fn *with);

/* How many pages of the run do not have these bytes, read by the guest or by the VMM. */
uint64_t wrong(gfn_t gfn, uint64_t nr, fill_fn *with, bool guest);

/* Asserts that the audit of guest memory finds nothing. */
void is_sound(const char *when);

#endif
