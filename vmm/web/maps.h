/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_WEB_MAPS_H
#define QUIRE_VMM_WEB_MAPS_H

/*
 * The states of all pages of all VMs, as they were at the last look, and what has changed since an
 * earlier one.
 *
 * A VM is asked for its map only if its counters say that a page may have changed.  What has
 * changed is known by block of MAPS_BLOCK pages.  Each time that something changes begins a new
 * generation, so whoever has seen a generation gets the blocks that are younger.
 */
#include <stdbool.h>
#include <stdio.h>
#include "vmm/look/roster.h"

#define MAPS_BLOCK     512u
#define MAPS_MAX_BYTES (64ull << 20) /* of all maps; a VM beyond that has none */

struct maps_vm;

struct maps {
	struct maps_vm *vm;
	unsigned int nr;
	uint64_t bytes, generation;
};

/* Ask the VMs of the roster, and forget those that are not in it.  0 or -ENOMEM. */
int maps_update(struct maps *maps, const struct roster *r);

/* Has this VM no map because all maps together would take more than MAPS_MAX_BYTES? */
bool maps_refused(const struct maps *maps, uint32_t pid);

/*
 * Write the blocks that are younger than a generation, a line of JSON for each VM that has any,
 * with this text before it and that one after it:
 *
 *   {"pid":N,"pages":N,"from":GFN,"runs":[STATE,PAGES,STATE,PAGES...]}
 *
 * STATE is an index of the palette (live.h), or -1 for what is not RAM or has not changed.
 */
void maps_write(const struct maps *maps, uint64_t since, FILE *f, const char *before,
		const char *after);

#endif
