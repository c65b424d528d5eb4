/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_CLI_STATS_H
#define QUIRE_VMM_CLI_STATS_H

/*
 * One JSON object, quire.stats/1: {"schema", "machine": {...}, "vms": [{...}]}; docs/stats.md
 * has every member.  `quire run --stats` writes it at the end of its guest, `quire stat --json`
 * at any time of any guests: both have a struct vm_info, their own or from a control socket.
 */
#include <stdio.h>
#include "mmu/base/machine_protocol.h"
#include "vmm/vm/vm_info.h"

struct json;

/* What a machine keeps of a VM. */
struct stats_account {
	const char *machine; /* its address */
	uint32_t id;
	const struct machine_vm_record *record;
};

struct launch_end;

struct stats_vm {
	const struct vm_info *info;   /* NULL: unknown, and then there is `end` */
	struct stats_account account; /* id 0: no machine knows it */
	const struct launch_end *end; /* it has ended, under this launcher; else NULL */
	uint32_t nr_vcpus;	      /* what it was, or was to be, if there is `end` */
	uint64_t ram_bytes;
};

/* The members of "machine"; state NULL: there is none, only the host is described. */
void stats_machine(struct json *json, const struct machine_state *state);

/* The members of an object in "vms". */
void stats_vm(struct json *json, const struct stats_vm *vm);

/* All of it.  0, or -EIO if f could not be written. */
int stats_document(FILE *f, const struct machine_state *machine, const struct stats_vm *vm,
		   unsigned int nr_vms);

/*
 * Pages in use beyond the machine's memory, which was made smaller than that; else 0.  At every
 * moment: memory + excess == free + credits + store + overhead.
 */
uint64_t stats_excess_pages(const struct machine_state *state);

/* Frames that a VM occupies. */
uint64_t stats_resident_pages(const struct vm_info *info);

/* Exits of all reasons. */
uint64_t stats_exits(const struct vm_info *info);

/* The name of an exit reason without prefix and in small letters, in a static buffer: "io". */
const char *stats_exit_name(uint32_t reason);

const char *stats_state_name(uint32_t state);	      /* of an enum vm_state */
const char *stats_merge_name(uint32_t mode);	      /* of an enum keeper_mode */
const char *stats_domain(const struct vm_info *info); /* "none": its own */

/* Of an enum note_reason, in a static buffer, with `blank` between its words. */
const char *stats_reason_name(unsigned int reason, char blank);

/* Pages of a VM in the state of this name; 0 if there is no such state. */
uint64_t stats_state_pages(const struct vm_info *info, const char *name);

#endif
