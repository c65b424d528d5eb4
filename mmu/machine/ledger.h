/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_LEDGER_H
#define QUIRE_MMU_MACHINE_LEDGER_H

/*
 * The ledger: what was promised, and whether one more promise may be made.
 *
 * The meaning is Linux's vm.overcommit_memory (Documentation/mm/overcommit-accounting.rst and
 * __vm_enough_memory() in mm/util.c), with the machine's memory in place of totalram, its swap
 * in place of swap space, a VM's promise (its RAM and fixed overhead) in place of a mapping,
 * and the client that asks in place of the process.  Everything is in pages of 4 KiB.
 *
 * The ledger knows nothing of frames: a page that was merged, ballooned or compressed can come
 * back, so it stays promised.  What exists is the budget's business (budget.h).
 *
 * Locking: none inside; the machine is one thread.
 */
#include <quire/types.h>

enum overcommit_mode {
	OVERCOMMIT_GUESS = 0,  /* refuse only what is obviously too much */
	OVERCOMMIT_ALWAYS = 1, /* refuse nothing */
	OVERCOMMIT_NEVER = 2,  /* promise no more than CommitLimit */
};

/* How mode 0 guesses. */
enum overcommit_guess {
	GUESS_TOTAL,	/* Linux >= 5.2: request > memory + swap, each alone */
	GUESS_ESTIMATE, /* before: request > what is free or could be freed */
};

struct ledger_config {
	uint64_t memory_pages; /* totalram */
	uint64_t swap_pages;
	uint64_t reserved_huge_pages; /* hugetlb in Linux: not for promises in mode 2 */
	enum overcommit_mode mode;
	enum overcommit_guess guess;
	uint32_t ratio;	     /* percent of memory, may exceed 100 */
	bool limit_in_pages; /* overcommit_kbytes: limit_pages instead of ratio */
	uint64_t limit_pages;
	uint64_t admin_reserve_pages; /* only privileged clients may use the last of it */
	uint64_t user_reserve_pages;  /* upper bound of a client's own reserve */
};

struct ledger {
	struct ledger_config config;
	uint64_t committed_pages; /* Committed_AS */
};

/* Who asks. */
struct ledger_client {
	bool privileged;      /* cap_sys_admin */
	uint64_t total_pages; /* what it has been promised already: mm->total_vm */
};

/* What the machine has free, for GUESS_ESTIMATE; ignored otherwise. */
struct ledger_free {
	uint64_t free_pages;	/* frames free, and store frames that could be dropped */
	uint64_t reserve_pages; /* totalreserve: high watermark */
};

/* The sum behind an answer, for the one line that a refusal prints. */
struct ledger_sum {
	bool admitted;
	enum overcommit_mode mode;
	uint64_t request_pages;
	uint64_t committed_pages;     /* before the request */
	uint64_t limit_pages;	      /* mode 2: CommitLimit; mode 0: what was compared with */
	uint64_t admin_reserve_pages; /* taken off the limit for this client */
	uint64_t user_reserve_pages;
	uint64_t allowed_pages; /* limit less reserves: committed + request must be below */
};

/*
 * Defaults as Linux has them: mode 0, ratio 50, admin reserve min(memory / 32, 8 MiB), user
 * reserve min(memory / 32, 128 MiB).
 */
void ledger_defaults(struct ledger_config *config, uint64_t memory_pages, uint64_t swap_pages);

/* vm_commit_limit(): floor((memory - reserved_huge) * ratio / 100) + swap, saturating. */
uint64_t ledger_commit_limit(const struct ledger_config *config);

/*
 * Ask for a promise of `request` pages.  Admitted: it is added to committed_pages and returns 0.
 * Refused: -ENOMEM and nothing changed.  *sum (may be NULL) says why in either case.
 */
int ledger_commit(struct ledger *ledger, struct ledger_client client, struct ledger_free free,
		  uint64_t request, struct ledger_sum *sum);

/* Take a promise of `pages` back; it was made before. */
void ledger_uncommit(struct ledger *ledger, uint64_t pages);

/* Add a promise without asking: a VM that was admitted by a machine that has died since. */
void ledger_readmit(struct ledger *ledger, uint64_t pages);

/* One line without newline: "mode 2: committed 3.1 GiB + request 80.0 GiB > limit ...". */
int ledger_describe(const struct ledger_sum *sum, char *buf, size_t len);

#endif
