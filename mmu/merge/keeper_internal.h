/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_KEEPER_INTERNAL_H
#define QUIRE_MMU_MERGE_KEEPER_INTERNAL_H

/* What keeper.c (the thread and its pace), watch.c (regions), scan.c (one block) and link.c (the
 * machine) share. */
#include "keeper.h"
#include "merge_client.h"
#include "mmu/base/clock.h"
#include "mmu/base/thread.h"
#include "mmu/memory/away.h"
#include "mmu/memory/zero.h"

/*
 * A 2 MiB leaf is worth so many 4 KiB frames: it is split only when more pages than these would
 * leave it.  A leaf saves the guest a level of each walk and 511 entries of its TLB.
 */
#define LEAF_WORTH (QUIRE_BLOCK_PAGES / 8)

#define MAX_TABLES 4096u /* guest page tables that are remembered */

/* A part of RAM that is watched as one (keeper.h). */
struct watch_region {
	struct gfn_range range;
	bool watched;
	uint64_t present; /* pages, at the beginning of the last pass in which it was not watched */
	unsigned int hot; /* visits in a row that found much of it written */
	uint64_t rest_until; /* hot: not watched before this pass */
};

/* Pages of a block that are looked at, ascending (scan.c). */
struct candidates {
	unsigned int nr;
	gfn_t gfn[QUIRE_BLOCK_PAGES]; /* | MERGE_PUBLISH */
	uint64_t hash[QUIRE_BLOCK_PAGES];
	bool gone[QUIRE_BLOCK_PAGES], zero[QUIRE_BLOCK_PAGES];
};

/* Runs of pages of one block, ascending, that shall be away. */
struct block_work {
	gfn_t block;
	unsigned int nr_runs;
	struct share_run run[QUIRE_BLOCK_PAGES];
};

/*
 * A block on its way through the machine: while it answers for one, the next is read.  idle ->
 * asked -> answered -> idle; a block with nothing to ask for is answered at once.
 */
enum flight_state { FLIGHT_IDLE, FLIGHT_ASKED, FLIGHT_ANSWERED };

struct flight {
	enum flight_state state;
	gfn_t block;
	struct candidates candidates;
	struct merge_question question;
	unsigned int nr_answers;
	uint32_t answer[MERGE_BATCH]; /* a frame or enum merge_none, for each asked for, in order */
};

/* [I] immutable   [t] the keeper's thread alone   [k] lock   [a] atomic, written by [t] */
struct keeper {
	struct keeper_config config; /* [I] hash is set */
	struct gmem *gm;	     /* [I] */
	struct lock lock;
	pthread_cond_t changed; /* any [k] */
	struct thread thread;

	bool quitting;			    /* [k] */
	enum keeper_mode mode;		    /* [k] wanted ... */
	enum keeper_mode obeyed;	    /* [t] ... and so far obeyed */
	uint64_t wanted_pass;		    /* [k] as soon as can be, up to this one */
	uint64_t passes_begun, passes_done; /* [k] */

	struct watch_region *region; /* [t] */
	unsigned int nr_regions;     /* [I] */
	uint64_t *bitmap;	     /* [t] of a region's writes */
	gfn_t table[MAX_TABLES];     /* [t] marked as page tables */
	unsigned int nr_tables;
	uint64_t ns_per_page; /* [t] what looking at a page costs, on average */
	unsigned int share;   /* [t] percent of a processor */
	uint64_t stir;	      /* [t] what this pass had to do; 0: nothing */
	unsigned int calm;    /* [t] passes without anything to do, one after the other */

	struct flight flight[2]; /* [t] */
	unsigned int turn;	 /* [t] the flight that is free next */
	struct block_work work;	 /* [t] */

	int link;		   /* [t] to the machine, or -1 */
	bool unasked;		   /* [t] not all that is noted as unique was looked up there */
	struct merge_msg msg;	   /* [t] */
	uint32_t news_waiting;	   /* [t] in the machine, when it answered last */
	struct merge_frame *news;  /* [t] */
	size_t nr_news, news_room; /* [t] the latter [a] */

	struct keeper_stats stats; /* [a] but for what keeper_stats() fills in */
};

static inline void keeper_add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/*
 * watch.c.  Begin watching regions where it makes sense; hurried: also those that are being filled.
 * True if any has just begun.
 */
bool watch_all(struct keeper *k, uint64_t pass, bool hurried);
void watch_end(struct keeper *k, struct watch_region *w);
/* What is unique may not be any more: it was written, or others asked, and we were not told. */
void watch_anew(struct keeper *k, const struct watch_region *w);
/* To k->bitmap: what was written since the last time.  False: unknown. */
bool watch_fetch(struct keeper *k, struct watch_region *w);
/* What was fetched and not looked at, from page `from` on, is for the next visit. */
void watch_put_back(struct keeper *k, const struct watch_region *w, gfn_t from);
/* Did the guest write so much of the region that watching it is a burden?  Then it rests. */
void watch_judge(struct keeper *k, struct watch_region *w, uint64_t pass);
void watch_count(struct keeper *k); /* into the statistics */

/*
 * scan.c.  Look at the pages of [start, end), which lie in one block.  written: bit n is page start
 * + n; NULL: nothing was.  Returns how many were looked at; what they are good for may show only
 * with the next call, or with scan_finish().
 */
uint64_t scan_pages(struct keeper *k, gfn_t start, gfn_t end, const uint64_t *written,
		    uint64_t pass);

/* What was looked at last may still be on its way: wait for it. */
void scan_finish(struct keeper *k);

/* What has stayed away for long will back off less. */
void scan_relax(struct keeper *k, uint64_t pass);

/* Append a page, in order of gfn, to the runs of a block. */
void scan_add_page(struct block_work *work, gfn_t gfn, enum page_state to, pfn_t pfn);

/* Send the runs of a block away, one at a time, splitting its leaf if that is worth it. */
void scan_commit(struct keeper *k, struct block_work *work);

/* Make what is away private (shared) or, when off, absent (zero), as far as credits go.  False: not
 * all; *some says whether anything. */
bool scan_unmerge(struct keeper *k, bool *some);

/* link.c.  Connect if we are not; false: there is no machine now. */
bool link_join(struct keeper *k);
void link_lose(struct keeper *k);
/*
 * Send the LOOKUP in k->msg for a flight; and receive its answer.  Not there: the machine is lost.
 */
void link_send(struct keeper *k, struct flight *f);
void link_receive(struct keeper *k, struct flight *f);
/* Where a frame is here; 0: it cannot be had, and the reference is dropped. */
pfn_t link_frame(struct keeper *k, uint32_t frame);
/* Give back the references that we do not need. */
void link_flush(struct keeper *k);
/*
 * Pages of ours that others have too: merge them, or, if that is not wanted now, let them be.  How
 * many there were.
 */
size_t link_take_news(struct keeper *k);

#endif
