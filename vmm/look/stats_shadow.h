/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_SHADOW_H
#define QUIRE_VMM_LOOK_STATS_SHADOW_H

/* How a guest's addresses are translated; and the counters of shadow tables, as JSON and text. */
#include <stdio.h>
#include "vmm/vm/vm_info.h"

struct json;

/* The values of --paging, by enum vm_paging. */
extern const char *const paging_name[VM_NR_PAGINGS];

/* Write the members of an object in "vms"; docs/stats.md describes them. */
void stats_shadow(struct json *json, const struct vm_info *info);

/* At how many exceptions the guest came out. */
uint64_t stats_shadow_exceptions(const struct vm_info *info);

/* How many instructions were emulated. */
uint64_t stats_shadow_emulated(const struct vm_info *info);

/*
 * How many by the name of this row (monitor_name).  Some rows are the same instruction by name, in
 * different forms: the first of them has their sum, and the others 0.
 */
uint64_t stats_shadow_emulated_by_name(const struct vm_info *info, unsigned int row);

/* Print the group of a report (report.h), if the guest has shadow tables. */
void report_shadow(FILE *f, const struct vm_info *info);

#endif
