/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_KEEPER_INTERNAL_H
#define QUIRE_MMU_MERGE_KEEPER_INTERNAL_H

/*
 * What the files of the keeper share:
 *
 *   keeper.c  the thread, its passes and its pace
 *   watch.c   which regions are watched, and what was written in them
 *   scan.c    looking at the pages of one block
 *   link.c    the link: the connection between keeper and machine
 *   archive.c shared pages that the guest does not use
 */
#include "keeper.h"
#include "merge_client.h"
#include "mmu/base/clock.h"
#include "mmu/base/thread.h"
#include "mmu/memory/away.h"
#include "mmu/memory/zero.h"

/*
 * A 2 MiB leaf is worth so many 4 KiB frames: it is split only if at least so many pages would
 * leave it.  A leaf saves the guest a level of each walk and 511 entries of its TLB.
 */
#define LEAF_WORTH (QUIRE_BLOCK_PAGES / 8)

#define CALM_PAGES 64u /* if no more were written, or looked at in a pass, little goes on */

#define MAX_TABLES 4096u /* the keeper remembers at most so many page tables of the guest */

/* A part of RAM that is watched as one (keeper.h). */
struct watch_region {
	struct gfn_range range;
	bool watched;
	uint64_t present;    /* pages, when the last pass began in which it was not watched */
	unsigned int hot;    /* how many visits in a row found much of it written */
	uint64_t rest_until; /* it is hot: it is not watched before this pass */
};

/* The pages of a block that are looked at, ascending. */
struct candidates {
	unsigned int nr;
	gfn_t gfn[QUIRE_BLOCK_PAGES]; /* with MERGE_PUBLISH or without */
	uint64_t hash[QUIRE_BLOCK_PAGES];
	bool gone[QUIRE_BLOCK_PAGES]; /* it is not private any more */
	bool zero[QUIRE_BLOCK_PAGES]; /* it is all zeroes, and has no hash */
};

/* Runs of pages of one block, ascending, that are to be away. */
struct block_work {
	gfn_t block;
	unsigned int nr_runs;
	struct share_run run[QUIRE_BLOCK_PAGES];
};

/*
 * A block on its way through the machine.  While the machine answers for one block, the keeper
 * reads the next.  A flight is idle, then asked, then answered, then idle again.  A block with
 * nothing to ask about is answered at once.
 */
enum flight_state { FLIGHT_IDLE, FLIGHT_ASKED, FLIGHT_ANSWERED };

struct flight {
	enum flight_state state;
	gfn_t block;
	struct candidates candidates;
	struct merge_question question;
	unsigned int nr_answers;
	uint32_t answer[MERGE_BATCH]; /* a frame or an enum merge_none, for each entry asked */
};

/* [I] immutable   [t] the keeper's thread alone   [k] lock   [a] atomic, written by [t] */
struct keeper {
	struct keeper_config config; /* [I] hash is set */
	struct gmem *gm;	     /* [I] */
	struct lock lock;
	pthread_cond_t changed; /* something under the lock */
	struct thread thread;

	bool quitting;			    /* [k] */
	enum keeper_mode mode;		    /* [k] the mode that is wanted */
	enum keeper_mode obeyed;	    /* [t] the mode that the thread obeys so far */
	uint64_t wanted_pass;		    /* [k] passes up to this one are in a hurry */
	uint64_t passes_begun, passes_done; /* [k] */

	struct watch_region *region; /* [t] */
	unsigned int nr_regions;     /* [I] */
	uint64_t *bitmap;	     /* [t] what was written in the region that is visited */
	gfn_t table[MAX_TABLES];     /* [t] pages that are noted as page tables */
	unsigned int nr_tables;	     /* [t] */
	uint64_t ns_per_page;	     /* [t] what it costs to look at a page, on average */
	unsigned int percent;	     /* [t] the keeper may use so many percent of a processor */
	uint64_t stir;		     /* [t] what this pass changed, or found changed; 0: nothing */
	uint64_t looked;	     /* [t] how many pages this pass looked at */
	uint64_t fresh;	      /* [t] how many pages it found written that were quiet before */
	uint64_t backing_off; /* [t] how many pages were backing off when this pass ended */
	unsigned int calm;    /* [t] how many passes in a row had nothing to do, up to a limit */
	bool stirred;	      /* [k] guest memory stirred in a long pause */

	struct flight flight[2]; /* [t] */
	unsigned int turn;	 /* [t] the flight that is free next */
	struct block_work work;	 /* [t] */

	int link;		   /* [t] the connection to the machine; -1: none */
	bool forsaken;		   /* [t] a machine has played foul: there is to be none any more */
	struct hash_secret secret; /* [t] the domain's, from the machine of this link */
	bool unasked;		   /* [t] this machine does not know all unique pages */
	struct merge_msg msg;	   /* [t] the packet that is sent or received */
	uint64_t told_pages;	   /* [t] what had become shared or zero when that was told last */
	uint32_t news_waiting;	   /* [t] as the machine said in its last answer */
	struct merge_frame *news;  /* [t] */
	size_t nr_news, news_room; /* [t], and news_room [a] */
	bool memory_short;	   /* [t] as the machine said with its last news */
	uint64_t looked_ns;	   /* [t] when archive_look() looked last; 0: never */

	struct keeper_stats stats; /* [a] but for what keeper_stats() fills in */
};

static inline void keeper_add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* ---- watch.c ---- */

/*
 * Begin to watch every region for which that makes sense.  hurried: also regions that are being
 * filled.  Returns true if watching has just begun for any.
 */
bool watch_all(struct keeper *k, uint64_t pass, bool hurried);

/* End watching a region.  It is fine if it is not watched. */
void watch_end(struct keeper *k, struct watch_region *w);

/*
 * Forget that pages of a region are unique: they may have been written, or others have asked the
 * machine for them and we were not told.
 */
void watch_anew(struct keeper *k, const struct watch_region *w);

/* Fetch to k->bitmap what was written in a region since the last time.  False: it is not known. */
bool watch_fetch(struct keeper *k, struct watch_region *w);

/* Leave what was fetched for page `from` and those after it to the next visit. */
void watch_put_back(struct keeper *k, const struct watch_region *w, gfn_t from);

/* End watching for some passes if the guest writes so much of the region that it is a burden. */
void watch_judge(struct keeper *k, struct watch_region *w, uint64_t pass);

/* Count the watched regions for the statistics. */
void watch_count(struct keeper *k);

/* ---- scan.c ---- */

/*
 * Look at the pages of [start, end), which lie in one block.  Bit n of `written` is page start + n;
 * NULL: none was written.  Returns how many pages were looked at.  What comes of them may show only
 * with the next call, or with scan_finish().
 */
uint64_t scan_pages(struct keeper *k, gfn_t start, gfn_t end, const uint64_t *written,
		    uint64_t pass);

/* Wait for what was looked at last and is still on its way through the machine. */
void scan_finish(struct keeper *k);

/* Let pages that have stayed away for long back off less. */
void scan_relax(struct keeper *k, uint64_t pass);

/* Append a page to the runs of a block.  Pages come in order of gfn. */
void scan_add_page(struct block_work *work, gfn_t gfn, enum page_state to, pfn_t pfn);

/*
 * Send the runs of a block away, a section at a time.  This splits the block's leaf if that is
 * worth it, and uses up work->run.
 */
void scan_commit(struct keeper *k, struct block_work *work);

/*
 * Undo what the mode does not allow: make shared and archived pages private and, if the keeper is
 * off, zero pages absent, as far as credits go.  Returns false if some are left.  *some says
 * whether any was undone.
 */
bool scan_unmerge(struct keeper *k, bool *some);

/* ---- link.c ---- */

/*
 * Connect to the machine unless we are connected, and learn the domain's secret.  False: there is
 * no machine now.
 */
bool link_join(struct keeper *k);

/* Send the LOOKUP in k->msg for a flight.  If the machine is lost, the flight is not asked. */
void link_send(struct keeper *k, struct flight *f);

/* Receive the answer for a flight.  If the machine is lost, there are no answers. */
void link_receive(struct keeper *k, struct flight *f);

/* The pfn of a frame here.  0: it cannot be had, and so many references to it are given back. */
pfn_t link_frame(struct keeper *k, uint32_t frame, uint32_t references);

/* Give back so many references to a frame of which no page knows. */
void link_drop(struct keeper *k, uint32_t frame, uint32_t references);

/* Tell the machine that the guest does not use nr frames, ascending, at most MERGE_COLD_MOST. */
void link_tell_cold(struct keeper *k, const uint32_t *frame, unsigned int nr);

/* Give back the references that we do not need. */
void link_flush(struct keeper *k);

/* Tell the machine what the last pass came to, if that made pages shared or zero. */
void link_tell_pass(struct keeper *k);

/*
 * Ask for news: pages of ours for which others have found a partner.  Merges them, or gives the
 * frames back if the mode does not want them.  Returns how many there were.
 */
size_t link_take_news(struct keeper *k);

/* ---- archive.c ---- */

/* If memory is short and it is time, tell the machine which shared pages the guest does not use. */
void archive_look(struct keeper *k);

/*
 * Frames of ours were archived, as nr entries of NEWS say: make pages archived that are not used.
 * What is not needed of their references is given back, or on the list for that.
 */
void archive_take(struct keeper *k, const struct merge_frame *news, size_t nr);

#endif
