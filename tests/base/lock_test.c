/* SPDX-License-Identifier: MIT */
/* locks.h: whoever lets go of a lock and comes back at once does not overtake who waits for it. */
#include <sched.h>
#include "mmu/base/clock.h"
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "tests/tap.h"

#define ROUNDS	   300u
#define PATIENCE_S 20u

static struct lock lock_of_test;
static unsigned int taken; /* [lock_of_test] */

static void take_once(void *arg)
{
	(void)arg;
	lock(&lock_of_test);
	taken++;
	unlock(&lock_of_test);
}

static bool await_wanted(void)
{
	uint64_t until = monotonic_ns() + PATIENCE_S * NS_PER_S;

	while (!lock_is_wanted(&lock_of_test) && monotonic_ns() < until)
		sched_yield();
	return lock_is_wanted(&lock_of_test);
}

static void test_turns(void)
{
	unsigned int seen = 0, fair = 0;
	struct thread thread = { 0 };

	lock(&lock_of_test);
	ok(!lock_is_wanted(&lock_of_test), "nobody waits for a lock");
	for (unsigned int i = 0; i < ROUNDS && seen == i; i++) {
		thread_start(&thread, "once", take_once, NULL);
		seen += await_wanted();
		unlock(&lock_of_test);
		lock(&lock_of_test);
		fair += taken == i + 1;
		unlock(&lock_of_test);
		thread_join(&thread);
		lock(&lock_of_test);
	}
	unlock(&lock_of_test);
	is(seen, ROUNDS, "who holds it sees that somebody waits");
	is(fair, seen, "... and does not get it back before that one has had it");
}

static void test_try(void)
{
	struct thread thread = { 0 };

	ok(lock_try(&lock_of_test), "a free lock can be had at once");
	thread_start(&thread, "once", take_once, NULL);
	ok(await_wanted(), "somebody waits for it");
	unlock(&lock_of_test);
	thread_join(&thread);
	ok(lock_try(&lock_of_test), "it is free again");
	unlock(&lock_of_test);
}

int main(void)
{
	tap_init();
	lock_init(&lock_of_test, LOCK_GMEM);
	test_turns();
	test_try();
	lock_finish(&lock_of_test);
	return tap_done();
}
