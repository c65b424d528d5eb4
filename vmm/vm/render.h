/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_RENDER_H
#define QUIRE_VMM_VM_RENDER_H

/* Walks and page states as text, for crash reports and for `quire walk`. */
#include "mmu/memory/gmem.h"
#include "mmu/format/walk.h"
#include <stdio.h>

/*
 * One aligned line for each memory reference, in order, the refused one marked, and the
 * outcome in words.  With gm (may be NULL) also the state of the page that was reached.
 */
void render_walk(FILE *f, gva_t gva, const struct walk_result *res, struct gmem *gm);

/* "private, in a 2 MiB leaf", "absent", "not RAM". */
void render_page(FILE *f, struct gmem *gm, gpa_t gpa);

/*
 * Append to buf the names of the bits that are set in value, separated by blanks.  Bits without
 * a name are left out.  Always terminated.
 */
struct bit_name {
	uint64_t bit;
	const char *name;
};
void render_bits(char *buf, size_t size, uint64_t value, const struct bit_name *names,
		 unsigned int nr);

#endif
