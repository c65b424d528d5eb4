/* SPDX-License-Identifier: MIT */
#include <quire/types.h>
#include <stdatomic.h>
#include <stdio.h>
#include "thread.h"

static atomic_uint nr_started;

static const int own_faults[] = { THREAD_FAULTS };

static int create(struct thread *thread, void *(*begin)(void *arg))
{
	pthread_attr_t attr;
	int error = pthread_attr_init(&attr);

	if (error)
		return error;
	error = pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	if (!error)
		error = pthread_create(&thread->id, &attr, begin, thread);
	pthread_attr_destroy(&attr);
	return error;
}

static void *begin(void *arg)
{
	struct thread *thread = arg;

	/* A thread names itself: to name another one the C library opens a file in /proc. */
	pthread_setname_np(pthread_self(), thread->name);
	thread->run(thread->arg);
	return NULL;
}

int thread_start(struct thread *thread, const char *name, void (*run)(void *arg), void *arg)
{
	sigset_t blocked, before;
	int error;

	snprintf(thread->name, sizeof(thread->name), "%s", name);
	thread->run = run;
	thread->arg = arg;
	sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(own_faults); i++)
		sigdelset(&blocked, own_faults[i]);
	/* The new thread inherits the mask, so no signal reaches it before it has one. */
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	error = create(thread, begin);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	thread->started = !error;
	if (!error)
		atomic_fetch_add(&nr_started, 1);
	return -error;
}

unsigned int thread_nr_started(void)
{
	return atomic_load(&nr_started);
}

void thread_join(struct thread *thread)
{
	if (!thread->started)
		return;
	pthread_join(thread->id, NULL);
	thread->started = false;
}
