/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MACHINE_MERGE_LAB_H
#define QUIRE_TESTS_MACHINE_MERGE_LAB_H

/*
 * VMs that are members of domains: a RAM file of pages that a number fills, and a connection over
 * which the test says whatever it wants.
 */
#include "mmu/merge/merge_client.h"
#include "machine_lab.h"

struct merge_vm {
	struct lab_vm vm;
	int merge;
	struct merge_msg msg; /* what it asks next, then the answer */
};

/* Fills page gfn of the RAM file; the same number makes the same bytes, and is their hash. */
void merge_fill(const struct merge_vm *v, uint64_t gfn, uint64_t number);

/* As lab_admit, when there may be news of VMs that ended before. */
struct lab_vm merge_admit(struct lab *lab, int control, struct machine_admit admit);

/* The attached VM becomes a member of its domain. */
void merge_join_lab(struct lab *lab, struct merge_vm *v);

/* Admits, attaches and joins a VM. */
void merge_vm_open(struct lab *lab, int control, struct merge_vm *v, const char *domain,
		   uint64_t pages);

/* Ends the VM, and lets the machine see it. */
void merge_vm_close(struct lab *lab, struct merge_vm *v);

/* Begins a message in v->msg. */
void merge_begin(struct merge_vm *v, enum merge_type type, uint32_t arg);

/* Fills a page with a number, and adds it to the LOOKUP in v->msg; gfn may have MERGE_PUBLISH. */
void merge_add(struct merge_vm *v, uint64_t gfn, uint64_t number);

/* Adds a page with any hash to the LOOKUP in v->msg, whatever the page has. */
void merge_claim(struct merge_vm *v, uint64_t gfn, uint64_t hash);

/* Type of the answer to v->msg, which takes its place; 0: none; -errno: hung up. */
int merge_say(struct lab *lab, struct merge_vm *v, int *descriptor);

/* Fills a page with a number and looks it up.  The frame in the answer, or an enum merge_none. */
uint32_t merge_look(struct lab *lab, struct merge_vm *v, uint64_t gfn, uint64_t number);

/* Looks a page up by any hash, whatever the page has. */
uint32_t merge_lie(struct lab *lab, struct merge_vm *v, uint64_t gfn, uint64_t hash);

/* Asks for NEWS: the number of frames in the answer, UINT32_MAX if it is none. */
uint32_t merge_get_news(struct lab *lab, struct merge_vm *v);

/* Gives back one reference to a frame. */
void merge_drop(struct lab *lab, struct merge_vm *v, uint32_t frame);

#endif
