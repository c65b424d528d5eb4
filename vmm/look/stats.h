/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_LOOK_STATS_H
#define QUIRE_VMM_LOOK_STATS_H

/*
 * The counters of VMs and of their machine as JSON.  docs/stats.md describes every member.
 *
 * `quire run --stats` writes a document when its guests have ended, `quire stat --json` at any
 * time.  The form is the same: quire.stats/1, {"schema", "machine": {...}, "vms": [{...}]}.  The
 * numbers of a VM come from a struct vm_info, which the VM left at its end or sent over its
 * control socket.
 */
#include <stdio.h>
#include "mmu/base/machine_protocol.h"
#include "vmm/vm/vm_info.h"

struct json;

/* The account of a VM with its machine. */
struct stats_account {
	const char *machine; /* its address */
	uint32_t id;
	const struct machine_vm_record *record;
};

struct launch_end;

struct stats_vm {
	const struct vm_info *info;   /* NULL: nobody knows them, and `end` is there */
	struct stats_account account; /* its id is 0 if no machine knows the VM */
	const struct launch_end *end; /* how it ended, if our launcher saw that; else NULL */
	uint32_t nr_vcpus;	      /* what it had or was to have; valid if `end` is there */
	uint64_t ram_bytes;
};

/*
 * Write the members of "machine".  If state is NULL there is no machine: only the host is
 * described.
 */
void stats_machine(struct json *json, const struct machine_state *state);

/* Write the members of one object in "vms". */
void stats_vm(struct json *json, const struct stats_vm *vm);

/* Write an object: how many times were below each power of two, and not below the one before. */
void stats_times(struct json *json, const char *name, const struct histogram *h);

/* Write the members of a document: its schema, its machine, and its VMs. */
void stats_members(struct json *json, const struct machine_state *machine,
		   const struct stats_vm *vm, unsigned int nr_vms);

/* Write a whole document.  Returns 0, or -EIO if f could not be written. */
int stats_document(FILE *f, const struct machine_state *machine, const struct stats_vm *vm,
		   unsigned int nr_vms);

/*
 * How many pages are in use beyond the machine's memory.  That is 0 unless an operator made the
 * machine smaller than what was in use.  At every moment,
 * memory + excess == free + credits + store + overhead.
 */
uint64_t stats_excess_pages(const struct machine_state *state);

/* How many frames the VM occupies alone. */
uint64_t stats_resident_pages(const struct vm_info *info);

/* How many exits there were, for all reasons. */
uint64_t stats_exits(const struct vm_info *info);

/*
 * The name of an exit reason in small letters and without prefix: "io".  It is in a static buffer.
 */
const char *stats_exit_name(uint32_t reason);

/* The name of an enum vm_state; "?" for any other number. */
const char *stats_state_name(uint32_t state);

/* The name of an enum keeper_mode; "?" for any other number. */
const char *stats_merge_name(uint32_t mode);

/* The name of the VM's domain; "none" if it merges with itself only. */
const char *stats_domain(const struct vm_info *info);

/* The name of an enum note_reason, with `blank` between its words.  It is in a static buffer. */
const char *stats_reason_name(unsigned int reason, char blank);

/* How many pages of the VM are in the state of this name; 0 if there is no such state. */
uint64_t stats_state_pages(const struct vm_info *info, const char *name);

#endif
