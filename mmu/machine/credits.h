/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_CREDITS_H
#define QUIRE_MMU_MACHINE_CREDITS_H

/*
 * A VM's page credits: the right to make pages resident, taken from the machine in batches.
 *
 * A credit is *spare* until credits_take() spends it on a page, and spare again when
 * credits_put() says that the page is gone.  held == spare + spent, and spent is at least what
 * the VM has resident.  A fault takes what it needs under LOCK_GMEM; if there is not enough, it
 * drops all locks, calls credits_wait() and starts over:
 *
 *	again:
 *		lock gmem
 *		if the page is absent and !credits_take(c, n):
 *			unlock gmem
 *			if credits_wait(c, n, more) == 0: goto again
 *
 * Threads: any thread may call anything but create and destroy.  One thread inside listens to
 * the machine.  It runs the callbacks, with no lock held; they must not call credits_destroy.
 */
#include <quire/error.h>
#include <quire/types.h>

struct credits;
struct balloon_record;

struct credits_config {
	int channel;			    /* to the machine; taken over, also on failure */
	uint64_t held_pages;		    /* as ADMITTED said */
	uint64_t promise_pages;		    /* RAM: more is never held */
	void (*on_thread_start)(void *ctx); /* first thing in the thread inside; may be NULL */
	void (*on_stop)(void *ctx);	    /* the machine asks the VM to end in order */
	/*
	 * The machine is lost.  From now until credits_replace_channel() credits_held() is
	 * constant, pages are taken from what is spare, and credits_wait() waits.
	 */
	void (*on_lost)(void *ctx);
	/* The machine wants the balloon to be so large; manual: because somebody said so. */
	void (*on_balloon)(void *ctx, uint64_t pages, bool manual); /* may be NULL */
	void *ctx;
};

/* 0, or -errno with *err (may be NULL). */
int credits_create(const struct credits_config *config, struct credits **out,
		   struct quire_error *err);

/* No thread may be inside any call.  NULL is fine. */
void credits_destroy(struct credits *c);

/*
 * Tell the machine, and each later machine, about the RAM file: a descriptor that can only
 * read it, the caller's.  0 or -errno.
 */
int credits_attach(struct credits *c, int ram_readonly);

/*
 * Give the machine one end of a connection about equal pages (merge_protocol.h).  Takes fd over,
 * also on failure.
 *
 * Returns 0; -ENOTCONN: there is no machine now; -EAGAIN: it is too busy to be told, or has not
 * been told of the RAM file yet; -EALREADY: this machine has one already, and takes no other.
 */
int credits_join(struct credits *c, int fd);

/*
 * Ask for a batch ahead of time, which the machine grants only if memory is plenty.  Never blocks.
 */
void credits_ask(struct credits *c);

/* Spend `pages` spare credits, or none.  Never blocks, and normally sends nothing. */
bool credits_take(struct credits *c, uint64_t pages);

/*
 * Wait until `need` credits are spare, asking for `want` (at least need).  No lock may be held.
 *
 * Returns 0: try again, another thread may have been faster, or less than `need` remain to be
 * had under the promise because other threads have just brought pages in; -ENOMEM: the machine
 * denied it, the VM must end; -ECANCELED: credits_cancel() was called.
 */
int credits_wait(struct credits *c, uint64_t need, uint64_t want);

/* Pages are gone: their credits are spare.  What is far more than needed goes to the machine. */
void credits_put(struct credits *c, uint64_t pages);

/*
 * Pages are gone that will not be wanted soon, because they are in the balloon: the machine gets
 * exactly as many credits back, at once, unless somebody here waits for some.
 */
void credits_give(struct credits *c, uint64_t pages);

/*
 * Tell the machine of the balloon: now, or when there is room, or another machine.  Only the last
 * one counts.
 */
void credits_tell_balloon(struct credits *c, const struct balloon_record *balloon);

/* Every credits_wait(), present and future, returns -ECANCELED: the VM is ending. */
void credits_cancel(struct credits *c);

/*
 * Talk to a new machine, which admitted this VM again with credits_held().  Takes fd over, also
 * on failure.  0; -EBUSY: the channel is not lost.
 */
int credits_replace_channel(struct credits *c, int fd);

/* All credits, spent and spare; and those that are spare. */
uint64_t credits_held(struct credits *c);
uint64_t credits_spare(struct credits *c);

#endif
