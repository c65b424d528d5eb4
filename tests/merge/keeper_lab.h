/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_MERGE_KEEPER_LAB_H
#define QUIRE_TESTS_MERGE_KEEPER_LAB_H

/*
 * Keepers of several VMs and a real machine, in one process and without KVM.
 *
 * The machine runs in a thread (keeper_machine.h).  The guest of a VM is the test's own threads,
 * which touch the window, or what shadow tables map (tests/memory/guest.h).  What it knows of each
 * page's content is the model: everything else (frames, references, credits, reasons) is compared
 * with that.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "mmu/merge/keeper_internal.h"
#include "tests/memory/blocks.h"
#include "tests/memory/guest.h"
#include "mmu/machine/credits.h"
#include "mmu/memory/ramfile.h"
#include "keeper_machine.h"
#include "tests/tap.h"

struct lab_vm {
	/* What it shall be. */
	uint64_t nr; /* pages */
	const char *domain;
	enum gmem_hugepages hugepages;
	enum keeper_mode mode;
	bool logged;	       /* has a log of writes ... */
	uint64_t region_pages; /* ... by regions of so many pages (0: one) */
	uint64_t look_ns;      /* keeper_config.look_ns */

	struct gmem *gm;
	struct credits *credits;
	struct keeper *k;
	uint32_t id;
	atomic_bool lost;
	struct gmem_credits hooks;

	/* The log: what was written while it was watched. */
	struct keeper_log log;
	pthread_mutex_t log_lock;
	bool *watched;
	uint64_t *dirty;
	uint64_t *always; /* bit by gfn: as if written all the time */
	unsigned int watches, unwatches;
	void (*on_fetch)(struct lab_vm *vm);
	void (*on_pass)(struct lab_vm *vm); /* at its beginning */

	uint32_t *content; /* the model: by gfn, 0 is all zeroes */
	bool *table;	   /* page tables of the guest, by gfn */
	bool right;	   /* every access so far found what it should */
};

/* Notes in the log that the page was written, if it is watched. */
void lab_log_write(struct lab_vm *vm, gfn_t gfn);

/* Makes the log say of [gfn, gfn + nr) that it is written all the time, or no longer. */
void lab_always(struct lab_vm *vm, gfn_t gfn, uint64_t nr, bool on);

/* A new machine has it. */
void lab_vm_readmit(struct lab_vm *vm);

/* Admits the VM, creates its memory and its keeper. */
void lab_vm_start(struct lab_vm *vm);

/* Destroys both, and asserts that every access found what it should. */
void lab_vm_end(struct lab_vm *vm);

#define LAB_WORDS (QUIRE_PAGE_SIZE / sizeof(uint64_t))

/* The bytes of a content. */
void lab_fill(uint64_t *page, uint32_t content);

/* Where the guest has the page. */
void *lab_hva(const struct lab_vm *vm, gfn_t gfn);

/*
 * A write in the moment in which a run cannot be written at all: KVM tells a vCPU so, and its loop
 * waits for the end of the change (exit.c); a thread gets a signal, and does the same.
 */
extern _Thread_local struct lab_vm *lab_inside;

/* Installs the handler of SIGSEGV for such writes. */
void lab_catch_segv(void);

/*
 * What the guest does to memory in the window.  ThreadSanitizer takes a new mapping for a write to
 * all of it, which would race with every such access, so it does not watch functions marked so.
 */
#define LAB_GUEST __attribute__((no_sanitize("thread"), noinline))
uint64_t lab_get(const volatile uint64_t *word);
void lab_set(volatile uint64_t *word, uint64_t value);

/*
 * The bits come before and after, as a log that stops the write until it has noted it would do.  It
 * sees what the guest writes, and not what accessors do.
 */
void lab_write(struct lab_vm *vm, gfn_t gfn, uint32_t content, bool by_window);

/* Reads the page through the window or an accessor, and compares it with the model. */
bool lab_reads_right(struct lab_vm *vm, gfn_t gfn, bool by_window);

/* Every byte, as the accessors see it; by_window brings what is absent in. */
bool lab_all_right(struct lab_vm *vm, bool by_window);

/* So many passes of one keeper, which have ended on return. */
void lab_pass(struct lab_vm *vm, unsigned int passes);

/* Passes of all, one VM after the other. */
void lab_rounds(struct lab_vm *vm, unsigned int nr, unsigned int rounds);

/* Statistics of the guest memory. */
struct gmem_stats lab_stats(struct lab_vm *vm);

/* Pages in this state. */
uint64_t lab_pages(struct lab_vm *vm, enum page_state state);

/* Statistics of the keeper. */
struct keeper_stats lab_keeper(struct lab_vm *vm);

/* Private pages that are private for this reason. */
uint64_t lab_reason(struct lab_vm *vm, enum note_reason reason);

/* The state of one page. */
enum page_state lab_page_state(struct lab_vm *vm, gfn_t gfn);

/* Frames of machines that are gone, in the VM's memory. */
uint64_t lab_orphans(struct lab_vm *vm);

/* Each private page has one reason, and is paid for; so is the reserve, and nothing else. */
bool lab_adds_up(struct lab_vm *vm);

/* What is under way between machine and VMs settles soon. */
bool lab_eventually(bool (*holds)(struct lab_vm *vm, unsigned int nr), struct lab_vm *vm,
		    unsigned int nr);

/* References to frames of each VM: what the machine counts is what entries name. */
bool lab_references_agree(struct lab_vm *vm, unsigned int nr);

/* Credits: what VMs hold is what the machine says that they hold. */
bool lab_credits_agree(struct lab_vm *vm, unsigned int nr);

#endif
