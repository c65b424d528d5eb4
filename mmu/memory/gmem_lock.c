/* SPDX-License-Identifier: MIT */
/*
 * LOCK_GMEM: taken, let go, and timed.
 *
 * A vCPU that faults waits for the pager, and the pager for this lock.  So nobody may keep it for
 * long.  Work on many pages is done in sections.  Between two of them the holder lets go, or looks
 * whether somebody waits (gmem_let_others).  Locks are taken in turns (mmu/base/locks.h), so that
 * whoever waits gets it then.  While nobody waits, a section is as long as is cheap, which is up to
 * a millisecond.  When somebody has waited, sections are short for a while.  Nobody sleeps with the
 * lock.
 *
 * It is counted how long each kind of holder waited for the lock, or for a block to be filled, and
 * how long it held the lock.
 *
 * Whoever loses a page (backend.h) holds the lock.  So the pager, which ends the VM then, hears of
 * it when the lock is let go.
 */
#include "mmu/base/clock.h"
#include "gmem_internal.h"

#define SECTION_FEW  32u	       /* pages of a short section */
#define CONTENDED_NS (100 * NS_PER_MS) /* sections stay short so long after somebody waited */

const char *const gmem_holder_name[GMEM_NR_HOLDERS] = {
	[GMEM_PAGER] = "pager",	   [GMEM_KEEPER] = "merge", [GMEM_ACCESS] = "access",
	[GMEM_GIVE] = "give_back", [GMEM_LOOK] = "look",
};

/* asked_ns: since when the holder has waited; 0: not at all. */
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
		atomic_store_explicit(&gm->contended_ns, asked_ns, memory_order_relaxed);
		lock(&gm->lock);
	}
	begin_hold(gm, who, asked_ns);
}

void gmem_unlock(struct gmem *gm)
{
	gm->stats.most_resident_pages = max_u64(gm->stats.most_resident_pages,
						stage2_resident(gm->s2) + packed_pool_pages(gm));
	if (atomic_load(&gm->backend->lost) != BACKEND_NOTHING_LOST && !gm->told_of_loss) {
		gm->told_of_loss = true;
		pager_news(gm);
	}
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

uint64_t gmem_section(struct gmem *gm, uint64_t most)
{
	uint64_t last_ns = atomic_load_explicit(&gm->contended_ns, memory_order_relaxed);
	bool contended = last_ns && monotonic_ns() < last_ns + CONTENDED_NS;

	return contended ? min_u64(most, SECTION_FEW) : most;
}

void gmem_wait_for_fill(struct gmem *gm)
{
	enum gmem_holder who = gm->holder;
	uint64_t asked_ns = monotonic_ns();

	end_hold(gm);
	pthread_cond_wait(&gm->filled, &gm->lock.mutex);
	begin_hold(gm, who, asked_ns);
}

int gmem_sleep(struct gmem *gm, pthread_cond_t *until, uint64_t until_ns)
{
	const struct timespec deadline = ns_to_timespec(until_ns);
	enum gmem_holder who = gm->holder;
	int err;

	end_hold(gm);
	err = pthread_cond_timedwait(until, &gm->lock.mutex, &deadline);
	begin_hold(gm, who, 0);
	return -err;
}
