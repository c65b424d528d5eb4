/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_STATS_H
#define QUIRE_VMM_STATS_H

/*
 * One JSON object, quire.stats/1: {"schema", "machine": {...}, "vms": [{...}]}.  Every member's
 * name ends in its unit (_pages, _bytes, _ns) or counts the events it names.
 */
#include <stdio.h>
#include "vm.h"

/* After vm_run().  0, or -EIO if f could not be written. */
int stats_write(FILE *f, struct vm *vm);

#endif
