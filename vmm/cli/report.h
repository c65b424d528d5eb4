/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_REPORT_H
#define QUIRE_VMM_CLI_REPORT_H

/* The counters of machines and VMs as text for people, and in the form of /proc/meminfo. */
#include <stdio.h>
#include "roster.h"

/* A headline, and the lines of a group: "  name  value  remark". */
void report_group(FILE *f, const char *name);
void report_pages(FILE *f, const char *name, uint64_t pages);
void report_count(FILE *f, const char *name, uint64_t count);
void report_seconds(FILE *f, const char *name, uint64_t ns);
void report_word(FILE *f, const char *name, const char *word);

/* One machine: ledger, budget, and what its VMs add up to. */
void report_machine(FILE *f, const struct roster *r, unsigned int machine);

/* All VMs that are in no machine, summed up; nothing if there are none. */
void report_others(FILE *f, const struct roster *r);

/* One VM that answered. */
void report_vm(FILE *f, const struct roster *r, const struct roster_vm *vm);

/* The machine in the form of /proc/meminfo: kB, names as the kernel has them where it does. */
void report_meminfo(FILE *f, const struct roster *r, unsigned int machine);

#endif
