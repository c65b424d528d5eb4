/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_LOCKS_H
#define QUIRE_MMU_LOCKS_H

/*
 * The locks of a VM process, in the order in which they may be taken: a thread that holds
 * one may take only those below it.  The order is checked on every lock through a per-thread
 * set of levels held; a violation aborts naming both.
 *
 *   level         protects
 *   LOCK_VCPU     a vCPU's job slot and run state (vmm/vcpu.c)
 *   LOCK_GMEM     stage 2, every change to the window, gmem's counters (mmu/gmem.c)
 *   LOCK_CREDITS  page credits at hand, and who waits for more (mmu/machine/credits.c)
 *   LOCK_CONSOLE  the console's output buffer (vmm/console.c)
 *
 * None is held across KVM_RUN, poll or a wait for another thread; LOCK_GMEM is held across
 * the memory system calls that make a stage-2 change real.
 */
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum lock_level {
	LOCK_VCPU,
	LOCK_GMEM,
	LOCK_CREDITS,
	LOCK_CONSOLE,
};

struct lock {
	pthread_mutex_t mutex;
	enum lock_level level;
};

extern _Thread_local unsigned int locks_held;	/* bit n: this thread holds level n */

static inline void lock_init(struct lock *l, enum lock_level level)
{
	pthread_mutex_init(&l->mutex, NULL);
	l->level = level;
}

static inline void lock_finish(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

static inline void lock(struct lock *l)
{
	if (locks_held >> l->level) {
		fprintf(stderr, "quire: lock order: taking level %d while holding %#x\n", l->level,
			locks_held);
		abort();
	}
	pthread_mutex_lock(&l->mutex);
	locks_held |= 1u << l->level;
}

static inline bool lock_is_held(const struct lock *l)
{
	return locks_held & (1u << l->level);
}

static inline void unlock(struct lock *l)
{
	assert(lock_is_held(l));
	locks_held &= ~(1u << l->level);
	pthread_mutex_unlock(&l->mutex);
}

#define assert_held(l) assert(lock_is_held(l))

#endif
