/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_KEEPER_H
#define QUIRE_MMU_MERGE_KEEPER_H

/*
 * The keeper: one thread of a VM that looks for pages worth sharing, and shares them.
 *
 * It visits RAM in *regions*.  For each region somebody (KVM) can say what the guest wrote since
 * the last visit.  The keeper looks only at pages that were not written for an epoch.  A page of
 * zeroes becomes `zero`.  The hash of any other page is looked up with the machine; if another page
 * of the domain is the same, both become `shared`.  A page that was looked at and not written since
 * is not looked at again, so that an idle guest costs next to nothing.
 */
#include "mmu/base/hash.h"
#include "mmu/memory/gmem.h"
#include "mmu/memory/note.h"

enum keeper_mode {
	KEEPER_OFF,  /* share nothing */
	KEEPER_ZERO, /* give up pages of zeroes only, which no other VM can notice */
	KEEPER_ON,   /* share equal pages too */
	KEEPER_NR_MODES
};

/*
 * The log of what the guest wrote.  All calls come from the keeper's thread, with no lock held.  A
 * region that is not watched may be written at full speed and costs nothing.
 */
struct keeper_log {
	unsigned int nr_regions;
	/* The pages of a region.  They begin and end at multiples of 64, but for the end of RAM. */
	struct gfn_range (*range)(void *ctx, unsigned int region);
	/* Begin or end watching a region.  Returns 0 or -errno. */
	int (*watch)(void *ctx, unsigned int region, bool on);
	/*
	 * Fetch which pages were written since the last call, or since watching began: bit n is
	 * page start + n of the region.  Pages that were not written may be among them.  Returns 0,
	 * or -errno: the keeper then ends watching the region.
	 */
	int (*fetch)(void *ctx, unsigned int region, uint64_t *bitmap);
	void *ctx;
};

struct keeper_config {
	struct gmem *gm; /* outlives the keeper */
	enum keeper_mode mode;
	uint64_t pages_per_s;	      /* the pace; 0: the keeper sets it */
	const struct keeper_log *log; /* borrowed; NULL: any page may have been written */
	/*
	 * Get a connection to the machine (merge_protocol.h); called without a lock, and may wait.
	 * Returns it, the keeper's; or -errno: there is no machine now, and the keeper asks again
	 * later.  NULL: there never is a machine.
	 */
	int (*join)(void *ctx);
	/*
	 * Call `each` for every frame that is known to hold page tables of the guest now.  Returns
	 * false if nothing is known so far: the keeper asks again soon.  May be NULL.
	 */
	bool (*page_tables)(void *ctx, void (*each)(void *arg, gfn_t gfn), void *arg);
	void (*on_thread_start)(void *ctx); /* first thing in the thread; may be NULL */
	/*
	 * The machine has offered a segment that others can change (store_view_add).  It is not
	 * mapped, and the keeper has left the machine for good.  Called at most once; may be NULL.
	 */
	void (*on_false_segment)(void *ctx);
	void *ctx;
	page_hasher *hash; /* for tests; NULL: page_hash() */
	uint64_t look_ns;  /* for tests: memory is short, and archive.c looks so often */
};

struct keeper_stats {
	uint32_t mode;		   /* enum keeper_mode */
	uint32_t joined;	   /* 1: the keeper is connected to a machine */
	uint64_t full_scans;	   /* passes over all of RAM */
	uint64_t pages_scanned;	   /* pages that were hashed, or found to be zero */
	uint64_t pages_skipped;	   /* pages not written since they were last looked at */
	uint64_t merged_pages;	   /* pages that became shared */
	uint64_t zeroed_pages;	   /* pages that became zero */
	uint64_t mismatches;	   /* pages whose bytes the machine's frame did not have */
	uint64_t collapsed_blocks; /* blocks that became a 2 MiB leaf again */
	uint64_t cpu_ns;	   /* processor time of the keeper's thread */
	uint64_t pages_per_s;	   /* the pace now */
	uint64_t watched_regions, regions;
	uint64_t metadata_bytes;		/* what the keeper itself occupies */
	uint64_t reason_pages[NOTE_NR_REASONS]; /* of private pages */
};

struct keeper;

/*
 * Create a keeper without its thread.  This may open descriptors.  Returns 0, or -ENOMEM with *err,
 * which may be NULL.
 */
int keeper_create(const struct keeper_config *config, struct keeper **out, struct quire_error *err);

/* Start the keeper's thread.  Returns 0, or -errno with *err, which may be NULL. */
int keeper_start(struct keeper *k, struct quire_error *err);

/*
 * Stop the thread and free the keeper.  To be called before its gmem is destroyed.  NULL is fine.
 */
void keeper_destroy(struct keeper *k);

/*
 * Change the mode.  Returns at once, and the thread obeys soon.  When the mode becomes KEEPER_OFF
 * or KEEPER_ZERO, the thread makes shared and archived pages private, as far as credits allow.
 * When it becomes KEEPER_OFF, the thread makes zero pages absent too.
 */
void keeper_set_mode(struct keeper *k, enum keeper_mode mode);

/*
 * Ask for a full pass as soon as possible and at full speed.  In the modes KEEPER_OFF and
 * KEEPER_ZERO a pass tries again to un-share what could not be un-shared before.  Returns a ticket:
 * the pass is over when keeper_passes_done() is at least that.
 */
uint64_t keeper_request_pass(struct keeper *k);

/* The number of the last pass that is over. */
uint64_t keeper_passes_done(struct keeper *k);

/* What it does now.  How many pages became shared or zero so far.  Any thread. */
enum keeper_mode keeper_mode(struct keeper *k);
uint64_t keeper_found_pages(const struct keeper *k);

/* Copy the statistics to *out.  Any thread may call this, without guest memory's lock. */
void keeper_stats(struct keeper *k, struct keeper_stats *out);

#endif
