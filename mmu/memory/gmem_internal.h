/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MEMORY_GMEM_INTERNAL_H
#define QUIRE_MMU_MEMORY_GMEM_INTERNAL_H

/*
 * What the files of this room share, and what the keeper (mmu/merge) uses of them.
 *
 * Unless a contract says otherwise, the caller holds LOCK_GMEM.
 */
#include "gmem.h"
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "history.h"
#include "packed.h"
#include "shadow_window.h"
#include "share.h"
#include "swapped.h"
#include "touched.h"
#include "waiting.h"
#include "window.h"

#define NO_BLOCK UINT64_MAX

/* [I] immutable after create   [g] LOCK_GMEM   [a] atomic   [p] the pager thread alone */
struct gmem {
	struct gmem_config config;	      /* [I] its ram is the next field */
	struct gfn_range ram[8];	      /* [I] */
	struct gmem_swap swap_config;	      /* [I] if config.swap is set, it is this */
	struct window window;		      /* [I] */
	struct shadow_window shadow;	      /* [I] if the guest runs on shadow tables */
	struct backend *backend;	      /* [I] one of them, by its operations */
	struct stage2 *s2;		      /* [g] */
	struct lock lock;		      /* taken by gmem_lock */
	enum gmem_holder holder;	      /* [g] who has it ... */
	uint64_t held_since_ns;		      /* [g] ... and since when */
	atomic_ullong contended_ns;	      /* [a] when somebody last had to wait for it */
	struct gfn_range held[GMEM_MAX_HELD]; /* [g] by gmem_hold; they stay private */
	unsigned int nr_held;		      /* [g] */
	struct gmem_stats stats;	      /* [g] what gmem_stats does not fill in */

	uint64_t changes;	/* [g] how often pages have changed their state */
	struct share share;	/* [g] */
	struct history history; /* [g] */
	struct packed packed;	/* [g] */
	struct swapped swapped; /* [g] */
	struct touch_watcher watcher[GMEM_NR_WATCHERS]; /* [g] */
	struct gfn_range last_group; /* [g] the last pages that came in as a group */

	struct waiting waiting;	    /* [g] pages that wait for credits */
	struct waiting loading;	    /* [g] ... and for the swap file */
	unsigned int vcpus_waiting; /* [g] ... and vCPUs on shadow tables, which do it themselves */
	uint64_t vcpus_waiting_since; /* [g] the first of these */
	atomic_uint sleepers;	      /* [a] who is in gmem_wait */
	struct stall stall;	      /* [g] */
	uint64_t stalled_cpu_ns;      /* [g] what vCPUs used while they loaded their pages */
	atomic_ullong sleepers_since; /* [a] ... when the first of them came */
	atomic_ullong seeking_since;  /* [a] when the pager began to seek; 0: it does not */
	atomic_bool seeking;	      /* changed under LOCK_GMEM: gmem_seek was called */

	gfn_t filling;	       /* [g] the block that is being filled or collapsed, or NO_BLOCK */
	pthread_cond_t filled; /* with LOCK_GMEM: filling has become NO_BLOCK */

	struct gmem_dozer dozer[GMEM_NR_DOZERS];
	void (*wanted)(void *ctx); /* [I] the helper's; NULL: there is none */
	void *helper;		   /* [I] */

	struct thread pager;  /* [I] while it is started, pager_event is valid */
	int pager_event;      /* [I] eventfd that makes the pager look around; -1: no pager */
	atomic_bool stopping; /* the pager is to end */
	bool host_failed;     /* [p] on_host_failure was called */
	bool told_of_loss;    /* [g] the pager was told that a page is lost (backend.h) */
};

/* --- the lock (gmem_lock.c) --- */

/* Take LOCK_GMEM, and let it go. */
void gmem_lock(struct gmem *gm, enum gmem_holder who);
void gmem_unlock(struct gmem *gm);

/* Between two sections: if somebody waits for LOCK_GMEM, let it go and take it again after them. */
void gmem_let_others(struct gmem *gm);

/*
 * How many pages to work on in one section: `most`, or fewer if somebody had to wait for LOCK_GMEM
 * lately.  It needs no lock.
 */
uint64_t gmem_section(struct gmem *gm, uint64_t most);

/* Wait, without LOCK_GMEM, until a block has been filled. */
void gmem_wait_for_fill(struct gmem *gm);

/*
 * Wait, without LOCK_GMEM, for something that does not come from its holders: until until_ns at
 * most (CLOCK_MONOTONIC, which is the condition's; UINT64_MAX: however long).  0 or -ETIMEDOUT.
 */
int gmem_sleep(struct gmem *gm, pthread_cond_t *until, uint64_t until_ns);

/* --- a walk over all of RAM (gmem.c) --- */

/* Where the walk is: at a linear run (stage2_linear_run) of nr pages from gfn on. */
struct gmem_run {
	gfn_t gfn;
	uint64_t nr;
	struct stage2_page page; /* at gfn */
	gfn_t ram_end;		 /* the end of the range of RAM that the run lies in */
};

/*
 * Step to the next run of RAM, or to the first one if *run is all zeroes.  Runs come in ascending
 * order.  False: there are no more.  The next run begins at gfn + nr, so the caller may change nr.
 * It may also let go of LOCK_GMEM between two steps.
 */
bool gmem_each_run(const struct gmem *gm, struct gmem_run *run);

/* --- changes of state (gmem.c) --- */

/*
 * Change stage 2 by stage2_set or stage2_set_large, and note what becomes private as written: the
 * keeper has to look at it.  The caller knows that the change is legal.  They return what stage 2
 * does, which is 0.
 */
int gmem_set(struct gmem *gm, gfn_t gfn, uint64_t nr, enum page_state to, pfn_t pfn);
int gmem_set_large(struct gmem *gm, gfn_t block);

/* The name of a shared page's frame. */
struct gmem_frame gmem_frame_at(struct gmem *gm, pfn_t pfn);

/* --- giving back (give_back.c) --- */

/*
 * Free the frames of [gfn, end): private pages, or pages that are mapped from a provider already.
 * The host manages them singly.  What it frees moves to state `to`, with frames from pfn on as in
 * stage2_set, and its credits are put back.  The rest is zeroed and stays private.  Returns how
 * many pages moved.
 */
uint64_t gmem_punch(struct gmem *gm, gfn_t gfn, gfn_t end, enum page_state to, pfn_t pfn);

/* Is gfn held?  *nr: in, pages to examine; out, length of the prefix with the same answer. */
bool gmem_is_held(const struct gmem *gm, gfn_t gfn, uint64_t *nr);

/* --- blocks (gmem.c) --- */

/*
 * Manage the block at `block`, which is one 2 MiB leaf, singly.  0; -ENOMEM: vm.max_map_count binds
 * (nothing changed).
 */
int gmem_split(struct gmem *gm, gfn_t block);

/*
 * Manage the block at `block`, which is RAM, as one again, and make it one huge page of the host.
 * LOCK_GMEM is dropped meanwhile.
 *
 * Returns 0; on failure nothing changed:
 *   -EEXIST  it is one 2 MiB leaf already
 *   -EBUSY   not all of it is private
 *   -EAGAIN  the host has no huge page now
 *   -ENOMEM  there is no mapping to spare
 */
int gmem_collapse(struct gmem *gm, gfn_t block);

/* --- bringing in (bring_in.c) --- */

void bring_in_init(struct gmem *gm);
void bring_in_finish(struct gmem *gm);

/*
 * Wait until no block of [start, end) is being filled: only then does absent mean that nothing is
 * there.  LOCK_GMEM may be dropped meanwhile.
 */
void gmem_await_filled(struct gmem *gm, gfn_t start, gfn_t end);

/*
 * The absent pages of [gfn, end) that are in the RAM file all the same, because the guest touched
 * them when no event told of it, become private.  Returns how many; they cost credits.
 */
uint64_t gmem_adopt(struct gmem *gm, gfn_t gfn, gfn_t end);

/*
 * Answer an access to gfn, which is RAM.  A write makes it private, with as many pages around it as
 * the policy says (bring_in.c, away.c).  A read may make it zero instead.  LOCK_GMEM may be dropped
 * meanwhile.
 *
 * Returns 0 with the range that came in, which is empty if there was nothing to do;
 *   -EDQUOT  there is not one credit at hand: see gmem_wait and gmem_seek, and try again
 *   -EINPROGRESS, -EIO, -EBADMSG  as swapped_fetch
 *   or the host's -errno: it has no memory
 */
int gmem_bring_in(struct gmem *gm, gfn_t gfn, bool write, struct gfn_range *in);

/* --- faults (gmem.c) --- */

/* A fault was answered; *in came in, which is empty if the fault was late. */
void gmem_count_fault(struct gmem *gm, const struct gfn_range *in);

/* Pages came in or home: the guest is active again, which those who doze want to know.  No lock. */
void gmem_stir(struct gmem *gm);

/* The guest cannot go on: somebody else than the pager found out.  LOCK_GMEM is dropped for it. */
void gmem_fail(struct gmem *gm, gpa_t gpa, int err);

/* --- stalls (stalled.c) --- */

/* Nobody is stalled, from now on. */
void gmem_stall_init(struct gmem *gm);

/*
 * An access to gfn is to be answered.  Does it stall its vCPU, because the page has to be loaded?
 * *state: the page's, if it is RAM.
 */
bool gmem_loads(const struct gmem *gm, gfn_t gfn, enum page_state *state);

/* A vCPU stalls since since_ns, until gmem_stall_end. */
void gmem_stall_begin(struct gmem *gm, uint64_t since_ns);
void gmem_stall_end(struct gmem *gm);

/* A page in that state was loaded, for an access of since_ns. */
void gmem_count_load(struct gmem *gm, enum page_state state, uint64_t since_ns);

/* --- the walk (access.c) --- */

/* Stage 2 and memory, as a walk sees them.  They stay valid as long as gm. */
struct walk_stage2 gmem_walk_stage2(struct gmem *gm);
struct walk_memory gmem_walk_memory(struct gmem *gm);

/* --- credits (bring_in.c) --- */

/* Wait until a page can be brought in.  0; -EDQUOT: there will be no credit.  No lock is held. */
int gmem_wait(struct gmem *gm);

/*
 * The same for the pager, which does not sleep.  0: try again; -EAGAIN: pager_news is called when
 * it is worth to try again; -EDQUOT: there will be no credit.
 */
int gmem_seek(struct gmem *gm);

/* Nothing waits for credits any more.  Fine if nothing did. */
void gmem_stop_seeking(struct gmem *gm);

/* Take that many credits.  False: they are not at hand, and none was taken. */
bool gmem_take(struct gmem *gm, uint64_t pages);

/* Take credits for nr pages, or for half of them, or half of that, and so on.  Returns how many. */
uint64_t gmem_take_some(struct gmem *gm, uint64_t nr);

/* Say that more credits would be welcome, although nobody waits for them.  Any lock may be held. */
void gmem_ask(struct gmem *gm);

/* Put back the credits of pages that are gone.  gmem_give: the guest will not want them soon. */
void gmem_put(struct gmem *gm, uint64_t pages);
void gmem_give(struct gmem *gm, uint64_t pages);

/* --- the pager (pager.c) --- */

/* Start the pager's thread.  0, or -errno with the reason in *err (may be NULL). */
int pager_start(struct gmem *gm, struct quire_error *err);

/*
 * Something has arrived that pages may wait for: the pager tries them again.  gm is the struct
 * gmem.  Any lock may be held.
 */
void pager_news(void *gm);

/* End the pager's thread, which was started.  No lock is held. */
void pager_stop(struct gmem *gm);

#endif
