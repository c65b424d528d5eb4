/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_LOCKS_H
#define QUIRE_MMU_BASE_LOCKS_H

/*
 * The locks of a VM process, in the order in which they may be taken: a thread that holds one may
 * take only those below it in this list.  Each thread keeps the set of levels that it holds, and
 * lock() checks the order against it.  A violation aborts, and names both locks.
 *
 *   level         protects
 *   LOCK_PROCESS  who wants a VM process to end (vmm/launch/run_vm.c)
 *   LOCK_VM       how the VM ends; what vCPUs are asked for, and which are out of the guest
 *                 (vmm/vm/vm_impl.h)
 *   LOCK_TEXT     the text port's copy of a text (vmm/dev/text_port.c)
 *   LOCK_UART     the serial port's registers (vmm/dev/uart.c)
 *   LOCK_KEEPER   what the keeper is asked for (mmu/merge/keeper.c)
 *   LOCK_VIRTIO   a virtio device's registers and queues (vmm/dev/virtio.h)
 *   LOCK_VIRTIO_STATE  what a virtio device publishes, and a console's input (vmm/dev/balloon.c)
 *   LOCK_GMEM     stage 2, every change to the window, gmem's counters (mmu/memory/gmem.c)
 *   LOCK_SWAP     what the swap file's thread is to do (mmu/swap/swap_io.c)
 *   LOCK_FLUSH    what vCPUs have to flush, and which are in the guest (vmm/monitor/flush.c)
 *   LOCK_CREDITS  page credits at hand, and who waits for more (mmu/machine/credits.c)
 *   LOCK_CONSOLE  the console's output buffer (vmm/vm/console.c)
 *   LOCK_TAIL     the last lines that the guest printed (vmm/vm/console.c)
 *
 * Turns.  Whoever wants a lock takes its `turn` first, and keeps that until it has the lock.  So a
 * thread that lets go and comes back at once finds the turn taken, if another one waits, and gets
 * the lock after it.  With a mutex alone it would win again and again: a sleeper takes long to
 * wake up.
 *
 * No thread holds a lock while it is in KVM_RUN.  LOCK_GMEM is held during the memory system calls
 * that make a stage-2 change real.
 *
 * A vCPU may hold LOCK_TEXT or LOCK_VIRTIO while it waits for memory, and these or LOCK_CONSOLE
 * while it waits for the reader of the guest's output.  A virtio device's own thread may hold
 * LOCK_VIRTIO while it waits for memory.  So no threads but these wait for these three locks; the
 * others only try them.
 */
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>

enum lock_level {
	LOCK_PROCESS,
	LOCK_VM,
	LOCK_TEXT,
	LOCK_UART,
	LOCK_KEEPER,
	LOCK_VIRTIO,
	LOCK_VIRTIO_STATE,
	LOCK_GMEM,
	LOCK_SWAP,
	LOCK_FLUSH,
	LOCK_CREDITS,
	LOCK_CONSOLE,
	LOCK_TAIL,
};

struct lock {
	pthread_mutex_t turn; /* of the thread that gets the mutex next */
	pthread_mutex_t mutex;
	enum lock_level level;
};

extern _Thread_local unsigned int locks_held; /* bit n: this thread holds level n */

_Noreturn void lock_order_violation(enum lock_level level);

static inline void lock_init(struct lock *l, enum lock_level level)
{
	pthread_mutex_init(&l->turn, NULL);
	pthread_mutex_init(&l->mutex, NULL);
	l->level = level;
}

static inline void lock_finish(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
	pthread_mutex_destroy(&l->turn);
}

static inline void lock(struct lock *l)
{
	if (locks_held >> l->level)
		lock_order_violation(l->level);
	pthread_mutex_lock(&l->turn);
	pthread_mutex_lock(&l->mutex);
	pthread_mutex_unlock(&l->turn);
	locks_held |= 1u << l->level;
}

/* Take the lock if nobody has it or waits for it.  False: somebody does. */
static inline bool lock_try(struct lock *l)
{
	bool free;

	if (locks_held >> l->level)
		lock_order_violation(l->level);
	if (pthread_mutex_trylock(&l->turn))
		return false;
	free = !pthread_mutex_trylock(&l->mutex);
	pthread_mutex_unlock(&l->turn);
	if (free)
		locks_held |= 1u << l->level;
	return free;
}

/* Does somebody wait for the lock, which the caller holds? */
static inline bool lock_is_wanted(struct lock *l)
{
	if (pthread_mutex_trylock(&l->turn))
		return true;
	pthread_mutex_unlock(&l->turn);
	return false;
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
