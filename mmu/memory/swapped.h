/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_SWAPPED_H
#define QUIRE_MMU_MEMORY_SWAPPED_H

/*
 * Swapped pages: they lose their frames, and a file has their bytes (mmu/swap).
 *
 * Nobody holds LOCK_GMEM while the disk works.  A page that goes is copied, written, and compared
 * (swap_out.c).  A page that is touched is asked for, and whoever wants it comes again when it has
 * been read (swapped.c).  The page's number in the area, which is its payload, is its gfn.
 *
 * All with LOCK_GMEM held, which all but swapped_await keep.
 */
#include <pthread.h>
#include "mmu/swap/swap.h"
#include "mmu/swap/swap_io.h"
#include "stage2.h"

struct gmem;
struct swap_load;
struct swap_batch;

/* [g] LOCK_GMEM for all of it; area is NULL if the VM has no swap file */
struct swapped {
	struct swap *area;
	struct swap_io *io;
	struct zpack *zpack;	  /* one thread packs, which `leaving` sees to; the io's unpacks */
	struct swap_load *load;	  /* a few, which are being read or have been */
	uint64_t loads;		  /* since creation: what is used again is the oldest */
	struct swap_batch *batch; /* pages that are leaving ... */
	bool leaving;		  /* ... and somebody has it */
	struct swap_op closing;	  /* a chunk that is being punched out ... */
	bool is_closing;	  /* ... if there is one */
	bool peeked;		  /* a guest_peek hears of it when something was read */
	pthread_cond_t changed;	  /* something was read or written */
};

/* Set up gm->swapped, if there is a file.  0 or -errno (swapped_finish is to be called, too). */
int swapped_init(struct gmem *gm);

/* Start the thread.  0 or -errno. */
int swapped_start(struct gmem *gm);

/* The thread ends; then, all is freed.  LOCK_GMEM is not held. */
void swapped_stop(struct gmem *gm);
void swapped_finish(struct gmem *gm);

/*
 * See that the bytes of gfn, which is swapped, are at hand; to read on, up to around - 1 of those
 * that left after it come, too.
 *
 * Returns 0: it can come home, or be shown, as long as LOCK_GMEM is held;
 *   -EINPROGRESS  not yet: swapped_await(), and look again what the page is
 *   -EIO          the disk does not give it back; or another -errno of the host
 *   -EBADMSG      what it gives back is something else
 */
int swapped_fetch(struct gmem *gm, gfn_t gfn, uint64_t around);

/* Bring gfn home, which is swapped: as gmem_bring_in, or as swapped_fetch. */
int swapped_bring_home(struct gmem *gm, gfn_t gfn, struct gfn_range *in);

/* Sleep without LOCK_GMEM until something was read or written. */
void swapped_await(struct gmem *gm);

/*
 * The same for guest_peek, until until_ns (CLOCK_MONOTONIC) at most.  0: look again; -ETIMEDOUT:
 * it is too late, and on_peek will be called.
 */
int swapped_await_until(struct gmem *gm, uint64_t until_ns);

/* If space is not used any more, let the host have it. */
void swapped_settle(struct gmem *gm);

/* For swap_out.c: see to its part of swapped_init and swapped_finish. */
int swap_batch_create(struct swap_batch **out);
void swap_batch_destroy(struct swap_batch *b);

/* Compare the area with stage 2, and count it anew, as in mmu/base/audit.h. */
unsigned int swapped_audit(struct gmem *gm, void (*report)(void *ctx, const char *what), void *ctx);

#endif
