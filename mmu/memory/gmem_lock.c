/* SPDX-License-Identifier: MIT */
/*
 * LOCK_GMEM: taken, let go, and timed.
 *
 * A vCPU that faults waits for the pager, and the pager for this lock.  So nobody may keep it for
 * long.  Work on many pages is done in sections, each of which takes a fraction of a millisecond.
 * Between two of them the holder lets go, or looks whether somebody waits (gmem_let_others).  Locks
 * are taken in turns (mmu/base/locks.h), so whoever waits gets it then.
 *
 * How long each kind of holder waited for the lock, and held it, is counted.
 */
#include "mmu/base/clock.h"
#include "gmem_internal.h"

const char *const gmem_holder_name[GMEM_NR_HOLDERS] = {
	[GMEM_PAGER] = "pager",	   [GMEM_KEEPER] = "merge", [GMEM_ACCESS] = "access",
	[GMEM_GIVE] = "give_back", [GMEM_LOOK] = "look",
};

static void begin_hold(struct gmem *gm, enum gmem_holder who, uint64_t asked_ns)
{
	gm->holder = who;
	gm->held_since_ns = monotonic_ns();
	histogram_add(&gm->stats.waits[who], asked_ns ? gm->held_since_ns - asked_ns : 0);
}

static void end_hold(struct gmem *gm)
{
	histogram_add(&gm->stats.holds[gm->holder], monotonic_ns() - gm->held_since_ns);
}

void gmem_lock(struct gmem *gm, enum gmem_holder who)
{
	uint64_t asked_ns = 0;

	if (!lock_try(&gm->lock)) {
		asked_ns = monotonic_ns();
		lock(&gm->lock);
	}
	begin_hold(gm, who, asked_ns);
}

void gmem_unlock(struct gmem *gm)
{
	end_hold(gm);
	unlock(&gm->lock);
}

void gmem_let_others(struct gmem *gm)
{
	enum gmem_holder who = gm->holder;

	if (!lock_is_wanted(&gm->lock))
		return;
	gmem_unlock(gm);
	gmem_lock(gm, who);
}

void gmem_wait_for_fill(struct gmem *gm)
{
	enum gmem_holder who = gm->holder;

	end_hold(gm);
	pthread_cond_wait(&gm->filled, &gm->lock.mutex);
	begin_hold(gm, who, 0);
}
