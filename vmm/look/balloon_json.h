/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_BALLOON_JSON_H
#define QUIRE_VMM_LOOK_BALLOON_JSON_H

#include "mmu/machine/client.h"
#include "roster.h"

/*
 * Ask a machine for what its policy decided about this VM, the newest first.  out has room for
 * BALLOON_LOG_SIZE; *nr is set.  Returns 0, or -errno with *err as client.h tells it.
 */
int balloon_decisions(struct machine_client *machine, uint32_t vm, struct machine_decision *out,
		      unsigned int *nr, struct quire_error *err);

/*
 * Print quire.balloon/1: an object for each VM of the roster that answers.  What its machine knows
 * of its balloon is in it if the machine is found; with `why` also the policy's decisions.
 */
void balloon_json(FILE *f, const struct roster *r, bool why);

#endif
