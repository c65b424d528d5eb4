/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_LEDGER_H
#define QUIRE_MMU_MACHINE_LEDGER_H

/*
 * The ledger counts what was promised, and says whether one more promise may be made.
 *
 * The rules are those of Linux's vm.overcommit_memory (Documentation/mm/overcommit-accounting.rst
 * and __vm_enough_memory() in mm/util.c).  The machine's memory takes the place of totalram, and
 * its swap that of swap space.  A VM's promise (its RAM and fixed overhead) takes the place of a
 * mapping, and the client that asks that of the process.  Everything is in pages of 4 KiB.
 *
 * The ledger knows nothing of frames.  A page that was merged or ballooned can come back, so it
 * stays promised.  The budget (budget.h) counts the frames that exist.
 *
 * There are no locks: the machine is one thread.
 */
#include <quire/types.h>

enum overcommit_mode {
	OVERCOMMIT_GUESS = 0,  /* refuse only what is obviously too much */
	OVERCOMMIT_ALWAYS = 1, /* refuse nothing */
	OVERCOMMIT_NEVER = 2,  /* promise no more than CommitLimit */
};

/* How mode 0 guesses. */
enum overcommit_guess {
	GUESS_TOTAL,	/* as Linux since 5.2: refuse one request > memory + swap */
	GUESS_ESTIMATE, /* as before 5.2: refuse one request > what is free or could be freed */
};

struct ledger_config {
	uint64_t memory_pages; /* totalram */
	uint64_t swap_pages;
	uint64_t reserved_huge_pages; /* hugetlb in Linux: mode 2 does not promise them */
	enum overcommit_mode mode;
	enum overcommit_guess guess;
	uint32_t ratio;	     /* percent of memory; may exceed 100 */
	bool limit_in_pages; /* limit_pages takes the place of ratio (overcommit_kbytes) */
	uint64_t limit_pages;
	uint64_t admin_reserve_pages; /* only privileged clients are promised these */
	uint64_t user_reserve_pages;  /* upper bound of a client's own reserve */
};

struct ledger {
	struct ledger_config config;
	uint64_t committed_pages; /* Committed_AS */
};

/* Who asks. */
struct ledger_client {
	bool privileged;      /* cap_sys_admin in Linux */
	uint64_t total_pages; /* what it was promised before; mm->total_vm in Linux */
};

/* What the machine has free.  Only GUESS_ESTIMATE looks at it. */
struct ledger_free {
	uint64_t free_pages;	/* free frames, and frames of the store that could be dropped */
	uint64_t reserve_pages; /* the high watermark; totalreserve in Linux */
};

/* The sum behind an answer.  The one line that a refusal prints is made of it. */
struct ledger_sum {
	bool admitted;
	enum overcommit_mode mode;
	uint64_t request_pages;
	uint64_t committed_pages;     /* before the request */
	uint64_t limit_pages;	      /* mode 2: CommitLimit; mode 0: what was compared */
	uint64_t admin_reserve_pages; /* taken off the limit for this client */
	uint64_t user_reserve_pages;  /* taken off the limit for this client */
	uint64_t allowed_pages;	      /* limit less reserves: committed + request must be below */
};

/*
 * Fill *config with Linux's defaults: mode 0, ratio 50, admin reserve min(memory / 32, 8 MiB), user
 * reserve min(memory / 32, 128 MiB).
 */
void ledger_defaults(struct ledger_config *config, uint64_t memory_pages, uint64_t swap_pages);

/*
 * CommitLimit, as Linux's vm_commit_limit() has it: floor((memory - reserved_huge) * ratio / 100) +
 * swap, saturating.
 */
uint64_t ledger_commit_limit(const struct ledger_config *config);

/*
 * Ask for a promise of `request` pages.
 *
 * Returns 0: the promise is made and added to committed_pages; -ENOMEM: it is refused and nothing
 * changed.  *sum, which may be NULL, becomes the sum behind the answer in both cases.
 */
int ledger_commit(struct ledger *ledger, struct ledger_client client, struct ledger_free free,
		  uint64_t request, struct ledger_sum *sum);

/* Take back a promise of `pages` that was made before. */
void ledger_uncommit(struct ledger *ledger, uint64_t pages);

/* Add a promise without asking.  This is for a VM that an earlier machine admitted. */
void ledger_readmit(struct ledger *ledger, uint64_t pages);

/*
 * Write a sum as one line without a newline: "mode 2: 0.0 MiB committed + ...".  Returns as
 * snprintf() does.
 */
int ledger_describe(const struct ledger_sum *sum, char *buf, size_t len);

#endif
