/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_BUDGET_H
#define QUIRE_MMU_MACHINE_BUDGET_H

/*
 * The budget counts the frames that exist, where the ledger counts promises.  The pages in the
 * hands of VMs, what VMs cost besides, and the frames of the stores never exceed the machine's
 * memory:
 *
 *   memory == free + sum over VMs (credits + overhead) + frames of the stores
 *
 * A VM may make as many pages resident as it holds *credits*.  It asks for credits in batches, so
 * that a first touch normally needs no message, and gives back those that it does not need.
 *
 * There are three watermarks, as in Linux (mm/page_alloc.c): min, low = min + d and high = min +
 * 2d, where d = max(min / 4, 0.1 % of memory).  What a request gets depends on where it leaves free
 * memory:
 *
 *   above low     a batch
 *   below low     just what it needs; the unspent credits of other VMs are recalled
 *   below min     nothing: the VM waits, and in the end a VM is killed (oom.h)
 *
 * There are no locks: the machine is one thread.
 */
#include <quire/types.h>

struct budget {
	uint64_t memory_pages;
	uint64_t used_pages; /* credits and overheads of all VMs, and frames of the stores */
	uint64_t min_pages, low_pages, high_pages;
};

/* A VM's account. */
struct budget_vm {
	uint64_t credit_pages;	 /* that it holds: it has at most so many pages resident */
	uint64_t overhead_pages; /* cost of its process, charged at admission, and of merging it */
};

#define BUDGET_BATCH_MAX 8192u /* 32 MiB */

/*
 * Begin with all memory free, and watermarks for so much memory.  min is sqrt(16 * memory in KiB)
 * KiB.  It is at least 128 KiB and at most 256 MiB, but never more than 1/32 of memory.
 */
void budget_init(struct budget *b, uint64_t memory_pages);

/*
 * Change the size of the machine.  Memory may become smaller than what is in use: then nothing is
 * granted until enough has come back.
 */
void budget_resize(struct budget *b, uint64_t memory_pages);

/* The number of free frames; 0 if the machine was made smaller than what is in use. */
uint64_t budget_free(const struct budget *b);

/*
 * Charge a VM's fixed overhead, once.  Returns 0; -ENOMEM: free memory would be below min, and
 * nothing changed.
 */
int budget_charge_overhead(struct budget *b, struct budget_vm *vm, uint64_t pages);

/* The VM's overhead is so much now, whatever the watermarks say. */
void budget_set_overhead(struct budget *b, struct budget_vm *vm, uint64_t pages);

/*
 * Grant credits: `need`, or a batch if that is more, when there is plenty.  A batch is rounded to
 * three bits, so that a VM does not learn how much is free.  Returns how many were granted: 0 if
 * `need` would take free memory below min.
 */
uint64_t budget_grant(struct budget *b, struct budget_vm *vm, uint64_t need);

/* Take back unspent credits.  Returns how many were taken: at most as many as the VM holds. */
uint64_t budget_return(struct budget *b, struct budget_vm *vm, uint64_t pages);

/* The VM has ended: take back everything that it held. */
void budget_release(struct budget *b, struct budget_vm *vm);

/*
 * Charge a VM that outlived its machine with what it holds already, whatever the watermarks say.
 */
void budget_readmit(struct budget *b, struct budget_vm *vm, uint64_t credits, uint64_t overhead);

/*
 * Charge frames of a store (store/store.h), which belong to no VM.  Returns for how many of them
 * there was room: only those are charged.
 *
 * Frames may take free memory below min, down to half of it.  A merge first makes one frame, and
 * then frees the private pages that are equal to it.  So what it takes comes back within moments,
 * twice at least, and merging must go on when memory is shortest.
 */
uint64_t budget_charge_store(struct budget *b, uint64_t frames);

/* Take back the charge for frames that are free again. */
void budget_uncharge_store(struct budget *b, uint64_t frames);

#endif
