/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_VM_RENDER_H
#define QUIRE_VMM_VM_RENDER_H

/* Walks and page states as text, for crash reports and for `quire walk`. */
#include "mmu/memory/gmem.h"
#include "mmu/format/walk.h"
#include <stdio.h>

/* A page's state as gmem_states gives it; PG_NR_STATES for what is not RAM. */
uint8_t render_state(struct gmem *gm, gpa_t gpa);

/* "private, in a 2 MiB leaf", "absent", "not RAM".  The text is in a static buffer. */
const char *render_state_text(uint8_t state);

/*
 * Print one aligned line for each memory reference, in order, and mark the one that ended the
 * walk.  Then print the outcome in words, the state of the page that was reached, and what quire
 * does for the guest if stage 2 does not allow the access yet.  `state` is that of the page at
 * res->gpa (PG_NR_STATES: not RAM, or no page was reached).
 */
void render_walk(FILE *f, gva_t gva, const struct walk_result *res, uint8_t state);

/*
 * Say what quire does when the guest makes this access, and stage 2 ends the walk with a violation:
 * "a read brings in a page of zeroes".  Returns NULL if the walk ended otherwise, or not in RAM.
 * The text is in a static buffer.
 */
const char *render_answer(const struct walk_result *res, uint8_t state);

/* Does the guest's access succeed, at once or after what quire does? */
bool render_succeeds(const struct walk_result *res, uint8_t state);

/* Write the names of the bits that are set in the reference's entry, as render_bits() does. */
void render_entry_bits(char *buf, size_t size, const struct walk_ref *ref);

/*
 * Write to buf the names of the bits that are set in value, with blanks between them.  Bits without
 * a name are left out.  The text is always terminated.
 */
struct bit_name {
	uint64_t bit;
	const char *name;
};
void render_bits(char *buf, size_t size, uint64_t value, const struct bit_name *names,
		 unsigned int nr);

#endif
