/* SPDX-License-Identifier: MIT */
/* thread.h: a thread's name and the signals it blocks.  clock.h: timeouts for poll(). */
#include <signal.h>
#include <string.h>
#include "mmu/base/clock.h"
#include "mmu/base/thread.h"
#include "tests/tap.h"

struct seen {
	char name[16];
	sigset_t blocked;
};

static void look(void *arg)
{
	struct seen *seen = arg;

	pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
}

static void test_thread(void)
{
	struct thread thread = { 0 };
	struct seen seen;
	sigset_t before, after;

	thread_join(&thread);
	ok(true, "joining a thread that was not started returns");
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	is(thread_start(&thread, "a name longer than 15 bytes", look, &seen), 0, "it starts");
	ok(thread.started, "... and says so");
	thread_join(&thread);
	ok(!thread.started, "it is joined");
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	ok(!strcmp(seen.name, "a name longer t"), "its name is cut to 15 bytes: '%s'", seen.name);
	ok(sigismember(&seen.blocked, SIGTERM) && sigismember(&seen.blocked, SIGRTMAX),
	   "it blocks signals that are for the main loop");
	ok(!sigismember(&seen.blocked, SIGSEGV) && !sigismember(&seen.blocked, SIGBUS),
	   "it does not block its own faults");
	ok(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGTERM),
	   "its maker blocks what it blocked before");
}

static void test_poll_ms(void)
{
	is(poll_ms(5, 5), 0, "a deadline that is now");
	is(poll_ms(NS_PER_S, 5), 0, "a deadline that has passed");
	is(poll_ms(5, 6), 1, "1 ns is rounded up");
	is(poll_ms(0, NS_PER_MS), 1, "1 ms");
	is(poll_ms(0, 2 * NS_PER_S + 1), 2001, "2 s and 1 ns");
	is(poll_ms(0, 3600 * NS_PER_S), POLL_MS_MAX, "an hour: the longest timeout");
	is(poll_ms(NS_PER_S, UINT64_MAX), POLL_MS_MAX, "a deadline that never comes");
}

static void test_timespec(void)
{
	struct timespec ts = ns_to_timespec(3 * NS_PER_S + 7);

	ok(ts.tv_sec == 3 && ts.tv_nsec == 7, "3 s and 7 ns as a timespec");
}

int main(void)
{
	tap_init();
	test_thread();
	test_poll_ms();
	test_timespec();
	return tap_done();
}
