/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_BALLOON_H
#define QUIRE_VMM_LOOK_STATS_BALLOON_H

/* The counters of a VM's balloon, and what its guest says of itself, as JSON and as text. */
#include <stdio.h>
#include "vmm/vm/vm_info.h"

struct json;

/* Write the balloon's members of an object in "vms"; docs/stats.md describes them. */
void stats_balloon(struct json *json, const struct vm_info *info);

/* Print the balloon's groups of a report (report.h). */
void report_balloon(FILE *f, const struct vm_info *info);

/* The name of an enum balloon_mode; "?" for any other number. */
const char *balloon_mode_name(uint32_t mode);

/* The name of an enum balloon_driver; "?" for any other number. */
const char *balloon_driver_name(uint32_t driver);

/* Get the value of a tag.  Returns false if the guest does not tell it. */
bool balloon_guest_stat(const struct balloon_record *b, uint16_t tag, uint64_t *value);

#endif
