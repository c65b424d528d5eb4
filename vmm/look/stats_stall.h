/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_STALL_H
#define QUIRE_VMM_LOOK_STATS_STALL_H

/* For how long a VM's vCPUs waited for its memory, and what they waited for, as JSON and text. */
#include <stdio.h>
#include "vmm/vm/vm_info.h"

struct json;

/* Write the members of an object in "vms"; docs/stats.md describes them. */
void stats_stall(struct json *json, const struct gmem_stats *gs);

/* Print the group of a report (report.h). */
void report_stall(FILE *f, const struct gmem_stats *gs);

#endif
