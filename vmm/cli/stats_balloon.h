/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_STATS_BALLOON_H
#define QUIRE_VMM_CLI_STATS_BALLOON_H

/* What is counted of a VM's balloon, and what its guest says of itself: as JSON and as text. */
#include <stdio.h>
#include "vmm/vm/vm_info.h"

struct json;

/* Members of an object in "vms"; docs/stats.md has them. */
void stats_balloon(struct json *json, const struct vm_info *info);

/* Groups of a report (report.h). */
void report_balloon(FILE *f, const struct vm_info *info);

const char *balloon_mode_name(uint32_t mode);	  /* of an enum balloon_mode */
const char *balloon_driver_name(uint32_t driver); /* of an enum balloon_driver */

/* The value of a tag; false: the guest does not tell it. */
bool balloon_guest_stat(const struct balloon_record *b, uint16_t tag, uint64_t *value);

#endif
