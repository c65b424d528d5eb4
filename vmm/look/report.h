/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_REPORT_H
#define QUIRE_VMM_LOOK_REPORT_H

/*
 * The counters of machines and VMs as text for people, and in the form of /proc/meminfo.
 *
 * A report has groups: a headline, and under it lines of the form "  name  value  remark".
 */
#include <stdio.h>
#include "roster.h"

/* Print the headline of a new group. */
void report_group(FILE *f, const char *name);

/* Print a line with an amount of memory, as a size and in pages. */
void report_pages(FILE *f, const char *name, uint64_t pages);

/* Print a line with a number of events. */
void report_count(FILE *f, const char *name, uint64_t count);

/* Print a line with a length of time. */
void report_seconds(FILE *f, const char *name, uint64_t ns);

/* Print a line with how many times were counted, and how long they were. */
void report_times(FILE *f, const char *name, const struct histogram *h);

/* Print a line with a word. */
void report_word(FILE *f, const char *name, const char *word);

/* Print the report of one machine: its ledger, its budget, and what its VMs add up to. */
void report_machine(FILE *f, const struct roster *r, unsigned int machine);

/* All VMs that are in no machine, summed up; nothing if there are none. */
void report_others(FILE *f, const struct roster *r);

/* Print the report of one VM, which has answered. */
void report_vm(FILE *f, const struct roster *r, const struct roster_vm *vm);

/*
 * Print the machine in the form of /proc/meminfo: in kB, and under the kernel's names where it has
 * any.
 */
void report_meminfo(FILE *f, const struct roster *r, unsigned int machine);

#endif
