/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_BUDGET_H
#define QUIRE_MMU_MACHINE_BUDGET_H

/*
 * The budget: the frames that exist.  Where the ledger counts promises, this is the promise
 * kept: pages in the hands of VMs, and what VMs cost besides, never exceed the machine's memory.
 *
 *   memory == free + sum over VMs (credits + overhead) + frames of the stores
 *
 * A VM may make as many pages resident as it holds *credits*.  It asks for them in batches, so
 * that a first touch normally needs no message, and gives back what it does not need.  Watermarks
 * as in Linux (mm/page_alloc.c): d = max(min / 4, 0.1 % of memory), low = min + d,
 * high = min + 2d.
 *
 *   above low     a request gets a batch
 *   below low     it gets just what it needs, and others' unspent credits are recalled
 *   below min     it gets nothing: the VM waits, and in the end somebody is killed (oom.h)
 *
 * Locking: none inside; the machine is one thread.
 */
#include <quire/types.h>

struct budget {
	uint64_t memory_pages;
	uint64_t used_pages; /* credits and overheads of all VMs, and store frames */
	uint64_t min_pages, low_pages, high_pages;
};

/* A VM's account. */
struct budget_vm {
	uint64_t credit_pages;	 /* granted: upper bound of its resident pages */
	uint64_t overhead_pages; /* fixed cost of its process, charged at admission */
};

#define BUDGET_BATCH_MAX 8192u /* 32 MiB */

/*
 * All free, with watermarks for memory_pages: min = sqrt(16 * KiB of memory) KiB, between 128 KiB
 * and 256 MiB but at most 1/32 of a small machine.
 */
void budget_init(struct budget *b, uint64_t memory_pages);

/*
 * Change the size of the machine; memory may become smaller than what is in use, and then
 * nothing is granted until enough came back.
 */
void budget_resize(struct budget *b, uint64_t memory_pages);

/* Frames in nobody's hands; 0 if the machine was made smaller than what is in use. */
uint64_t budget_free(const struct budget *b);

/*
 * Charge a VM's fixed overhead, once.  0; -ENOMEM: it would take free memory below min.
 */
int budget_charge_overhead(struct budget *b, struct budget_vm *vm, uint64_t pages);

/*
 * Grant credits: at least `need`, up to a batch when there is plenty.  Returns the number granted,
 * or 0 if `need` would take free memory below min.
 */
uint64_t budget_grant(struct budget *b, struct budget_vm *vm, uint64_t need);

/* Take back unspent credits.  Returns the number taken: at most what the VM holds. */
uint64_t budget_return(struct budget *b, struct budget_vm *vm, uint64_t pages);

/* The VM is gone: everything it held returns. */
void budget_release(struct budget *b, struct budget_vm *vm);

/* A VM that outlived its machine brings its true state: charged whatever the watermarks say. */
void budget_readmit(struct budget *b, struct budget_vm *vm, uint64_t credits, uint64_t overhead);

/*
 * Charge frames of a store (store/store.h), which belong to no VM.  Returns how many of `frames` there
 * is room for.  They may take free memory below min, down to half of it: a merge first makes one
 * frame and then frees the private pages that are equal to it, so what it takes comes back
 * within moments, doubled at least; and merging must go on when memory is shortest.
 */
uint64_t budget_charge_store(struct budget *b, uint64_t frames);
void budget_uncharge_store(struct budget *b, uint64_t frames);

#endif
