/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_THREAD_H
#define QUIRE_MMU_BASE_THREAD_H

/*
 * The threads of a VM process.  Signals are the main loop's business, which reads them from a
 * descriptor, so all other threads block them.  Only THREAD_FAULTS stay open.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include "sanitized.h"

/* The signals by which a thread reports a fault of its own, for an initializer. */
#define THREAD_FAULTS SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS

#define THREAD_NAME_MAX 15

/*
 * The stack of a thread.  It is less than 2 MiB, so that no huge page fits into it where the host
 * gives them to everybody: a VM is charged for what a stack really needs.
 */
#if QUIRE_SANITIZED
#define THREAD_STACK_BYTES (8 << 20)
#else
#define THREAD_STACK_BYTES (1 << 20)
#endif

/* The caller's.  It must not move while the thread runs.  All zeroes is a thread not started. */
struct thread {
	pthread_t id; /* valid while started */
	bool started; /* and not joined */
	char name[THREAD_NAME_MAX + 1];
	void (*run)(void *arg);
	void *arg;
};

/*
 * Call run(arg) in a new thread.  The name, at most THREAD_NAME_MAX bytes of which are used, is
 * what ps and debuggers show.  0; -EAGAIN, and the thread is not started.
 */
int thread_start(struct thread *thread, const char *name, void (*run)(void *arg), void *arg);

/* How many threads this process has started so, those that have ended too. */
unsigned int thread_nr_started(void);

/* Wait until run() has returned.  Does nothing if the thread was not started. */
void thread_join(struct thread *thread);

#endif
