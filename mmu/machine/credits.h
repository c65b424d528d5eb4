/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MACHINE_CREDITS_H
#define QUIRE_MMU_MACHINE_CREDITS_H

/*
 * A VM's page credits.  A credit is the right to make one page resident.  The VM takes credits from
 * the machine in batches.
 *
 * A credit is *spare* until credits_take() spends it on a page.  It is spare again when
 * credits_put() says that the page is gone.  So held == spare + spent, and spent is at least the
 * number of resident pages.  A fault takes the credits it needs under LOCK_GMEM.  If there are not
 * enough, it drops all locks, calls credits_wait() and starts over:
 *
 *	again:
 *		lock gmem
 *		if the page is absent and !credits_take(c, n):
 *			unlock gmem
 *			if credits_wait(c, n, more) == 0: goto again
 *
 * Threads: any thread may call any function but create and destroy.  A thread of this module's own
 * listens to the machine and runs the callbacks, with no lock held.  A callback must not call
 * credits_destroy().
 */
#include <quire/error.h>
#include <quire/types.h>

struct credits;
struct balloon_record;
struct reclaim_record;

struct credits_config {
	int channel;			    /* to the machine; taken over, also on failure */
	uint64_t held_pages;		    /* as ADMITTED said */
	uint64_t promise_pages;		    /* RAM: the VM never holds more credits */
	void (*on_thread_start)(void *ctx); /* first thing in the listening thread; may be NULL */
	void (*on_stop)(void *ctx);	    /* the machine asks the VM to end in order */
	/*
	 * The machine is lost.  Until credits_replace_channel(), credits_held() and
	 * credits_swap_held() do not change, pages are paid for with the credits that are spare,
	 * and credits_wait() waits.
	 */
	void (*on_lost)(void *ctx);
	/* The machine wants a balloon of so many pages; manual: an operator did.  May be NULL. */
	void (*on_balloon)(void *ctx, uint64_t pages, bool manual);
	/*
	 * The machine wants so many pages freed from now on, in place of what it wanted before; 0:
	 * none any more.  May be NULL.  It is called with 0 when the machine is lost.
	 */
	void (*on_reclaim)(void *ctx, uint64_t pages);
	/*
	 * The machine wants the guest to stand still, or to go on.  May be NULL.  It is called with
	 * false when the machine is lost.
	 */
	void (*on_suspend)(void *ctx, bool suspended);
	void *ctx;
};

/* Create and begin to listen.  Returns 0, or -errno with *err, which may be NULL. */
int credits_create(const struct credits_config *config, struct credits **out,
		   struct quire_error *err);

/* Stop listening and free.  No thread may be in any other call.  NULL is fine. */
void credits_destroy(struct credits *c);

/*
 * Show the RAM file to the machine, and to each later machine.  ram_readonly is a descriptor that
 * can only read the file; it stays the caller's.  Returns 0 or -errno.
 */
int credits_attach(struct credits *c, int ram_readonly);

/*
 * Ask the machine for a connection about equal pages (merge_protocol.h), and wait for it.  The
 * caller holds no lock.  One thread of a VM asks.
 *
 * Returns the connection, which is the caller's; or
 *   -ENOTCONN    there is no machine now, or it has no memory for it
 *   -EAGAIN      the machine has too much to read, or was not shown the RAM file yet
 *   -EALREADY    this machine gave us one, and gives no other
 *   -ECANCELED   credits_cancel() was called
 */
int credits_join(struct credits *c);

/* Ask for a batch ahead of time.  The machine grants it only if memory is plenty.  Never blocks. */
void credits_ask(struct credits *c);

/*
 * Spend `pages` spare credits.  Returns false, and spends none, if there are not so many.  Never
 * blocks, and normally sends nothing.
 */
bool credits_take(struct credits *c, uint64_t pages);

/*
 * Wait until `need` credits are spare.  If the machine has to be asked, ask for `want`, which is at
 * least need.  The caller holds no lock.
 *
 * Returns 0: try again;
 *   -ENOMEM      the machine denied it, and the VM must end
 *   -ECANCELED   credits_cancel() was called
 *
 * To try again may fail.  Another thread may have been faster, or other threads have just brought
 * in so many pages that the promise leaves less than `need`.
 */
int credits_wait(struct credits *c, uint64_t need, uint64_t want);

/*
 * The same for a thread that must not block, the VM's pager: -EAGAIN where credits_wait() would
 * wait, or where pages that others bring in have all the credits that the promise allows.  Any lock
 * above LOCK_CREDITS may be held.
 *
 * From the first call until credits_stop_seeking() the VM counts as one that waits: the machine is
 * asked for what it needs, and no spare credit goes back.  news(arg) is called each time something
 * has changed, so that it is worth to try, and to seek, again.  It is called by any thread, under
 * LOCK_CREDITS.  -ENOMEM means a denial that came since the first call.  One thread of a VM seeks.
 */
int credits_seek(struct credits *c, uint64_t need, uint64_t want, void (*news)(void *arg),
		 void *arg);

/* Nothing is sought any more, and news is not called again.  Fine if nothing was. */
void credits_stop_seeking(struct credits *c);

/*
 * Pages are gone, and their credits are spare again.  If far more are spare than this VM needs,
 * some go back to the machine.
 */
void credits_put(struct credits *c, uint64_t pages);

/*
 * Pages are gone and will not be wanted soon, because they are in the balloon.  Exactly as many
 * credits go back to the machine at once, unless a thread of this VM waits for some.
 */
void credits_give(struct credits *c, uint64_t pages);

/*
 * Tell the machine of the balloon.  If the machine cannot be told now, it is told when it reads
 * again, or the next machine is.  Only the last record counts.
 */
void credits_tell_balloon(struct credits *c, const struct balloon_record *balloon);

/*
 * Tell the machine of reclaim, as credits_tell_balloon() does.  The machine asks nobody to reclaim
 * who has not told it.
 */
void credits_tell_reclaim(struct credits *c, const struct reclaim_record *reclaim);

/*
 * Take up to `pages` of the machine's swap area.  Returns how many were taken, 0 if there are none
 * at hand; the machine is asked in time for more.  Never blocks.  With 0 pages it only asks.
 */
uint64_t credits_take_swap(struct credits *c, uint64_t pages);

/* So much of the swap area is used no more.  Never blocks. */
void credits_put_swap(struct credits *c, uint64_t pages);

/*
 * The same, and the VM's disk is full: all that is at hand goes back to the machine, and what it
 * grants goes too, until credits_take_swap() is called again.
 */
void credits_give_swap(struct credits *c, uint64_t pages);

/* The VM is ending: credits_wait(), credits_seek() and credits_join(), under way or
 * later, return -ECANCELED. */
void credits_cancel(struct credits *c);

/*
 * Go on with a new machine, which has admitted this VM again with credits_held() and
 * credits_swap_held().  fd is the channel to it.  Takes fd over, also on failure.  Returns 0;
 *   -EBUSY: the old channel is not lost
 */
int credits_replace_channel(struct credits *c, int fd);

/* Of the swap area: what the VM holds, used and spare together. */
uint64_t credits_swap_held(struct credits *c);

/* The number of credits, spent and spare together; and of those that are spare. */
uint64_t credits_held(struct credits *c);
uint64_t credits_spare(struct credits *c);

#endif
