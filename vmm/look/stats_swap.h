/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_SWAP_H
#define QUIRE_VMM_LOOK_STATS_SWAP_H

/* What a VM has in its swap file, and what came and went, as JSON and text. */
#include <stdio.h>
#include "vmm/vm/vm_info.h"

struct json;

/* Write the members of an object in "vms"; docs/stats.md describes them. */
void stats_swap(struct json *json, const struct gmem_stats *gs);

/* Print the group of a report (report.h), if the VM has a swap file. */
void report_swap(FILE *f, const struct gmem_stats *gs);

#endif
