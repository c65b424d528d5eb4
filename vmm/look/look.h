/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_LOOK_H
#define QUIRE_VMM_LOOK_LOOK_H

/*
 * One look at a machine and at the VMs there are.  `quire stat --json`, `quire top`, metrics, the
 * page in the browser and scenarios all read the same look, or the document that it is written as.
 */
#include <stdio.h>
#include "roster.h"
#include "stats.h"

struct look {
	struct roster roster;
	const struct roster_machine *machine; /* that it is about, in the roster; NULL: none */
	uint64_t at_ns;			      /* CLOCK_MONOTONIC */
};

/*
 * Look at the machine at `address` and its VMs; NULL: at all VMs, and at look_machine()'s choice.
 * `warn` is told what could not be asked, and may be NULL.  Takes PATIENCE_MS of roster.c at most
 * for all VMs together.
 *
 * 0; -ENOMEM; -EMFILE, -ENFILE: there are too many VMs to ask at once; or another -errno: the
 * machine does not answer.  *out is to be finished only after 0.
 */
int look_take(struct look *out, const char *address, void (*warn)(const char *text),
	      struct quire_error *err);

void look_finish(struct look *look);

/* The machine that one means without saying which: the only one, or else the default; or NULL. */
const struct roster_machine *look_machine(const struct roster *r);

/* What stats_vm() writes of a VM of the roster that answered.  It points into the roster. */
struct stats_vm look_stats(const struct roster *r, const struct roster_vm *vm);

/*
 * Write a document of quire.stats/1: this machine, which may be NULL, and the VMs of the roster
 * that answered.  0; -ENOMEM; -EIO: f could not be written.
 */
int look_document(FILE *f, const struct roster *r, const struct roster_machine *machine);

#endif
