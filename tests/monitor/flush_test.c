/* SPDX-License-Identifier: MIT */
/*
 * Who waits for whom when entries of shadow tables become weaker.  First, a processor that is
 * kicked comes out of the guest at once, in the kick, so one thread shows every order.  Then, each
 * processor is a thread with a TLB of its own, over the tables that a KVM makes of ours.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include "mmu/base/locks.h"
#include "vmm/monitor/flush.h"
#include "tests/tap.h"

#define CPUS 2u
#define LIST 4u

static struct flush *flush;
static unsigned int kicks[CPUS], forgets;
static int forget_fails;

static void kick(void *ctx, unsigned int cpu)
{
	(void)ctx;
	kicks[cpu]++;
	flush_end(flush, cpu);
}

/* Meanwhile something more becomes weaker, once. */
static void (*while_forgetting)(void);

static int forget(void *ctx)
{
	void (*fn)(void) = while_forgetting;

	(void)ctx;
	forgets++;
	while_forgetting = NULL;
	if (fn)
		fn();
	return forget_fails;
}

static void create(void)
{
	const struct flush_config config = {
		.nr_cpus = CPUS,
		.max_list = LIST,
		.kick = kick,
		.forget = forget,
	};

	flush_destroy(flush);
	flush = flush_create(&config);
	if (!flush)
		tap_bail("no memory");
	kicks[0] = kicks[1] = forgets = 0;
	forget_fails = 0;
}

static bool forgotten;

static int begin(unsigned int cpu, maddr_t *list)
{
	return flush_begin(flush, cpu, LIST, list, &forgotten);
}

/* The entries first, first + 1, ... become weaker. */
static void weaken(maddr_t first, unsigned int nr)
{
	static struct shadow_stale stale;

	stale.nr = nr;
	for (unsigned int i = 0; i < nr; i++)
		stale.entry[i] = first + i;
	flush_stale(flush, &stale);
}

static void out_of_the_guest(void)
{
	maddr_t list[LIST];

	create();
	weaken(10, 2);
	weaken(20, 1);
	is(kicks[0] + kicks[1], 0, "who is out of the guest is not kicked");
	is(begin(0, list), 3, "it flushes when it enters ...");
	ok(list[0] == 10 && list[1] == 11 && list[2] == 20, "... all that became weaker");
	flush_end(flush, 0);
	is(begin(0, list), 0, "... once");
	is(begin(1, list), 3, "and so does the other one");
}

static void in_the_guest(void)
{
	maddr_t list[LIST];

	create();
	begin(1, list);
	weaken(10, 1);
	ok(kicks[1] == 1 && !kicks[0], "who is in the guest has to come out");
	is(begin(1, list), 1, "... and flushes when it enters again");
	flush_end(flush, 1);
	flush_finishing(flush, 1);
	weaken(20, 1);
	is(kicks[1], 2, "so has one for which KVM finishes an instruction");
	weaken(30, 1);
	is(kicks[1], 2, "... until that is over");
	is(begin(1, list), 2, "what it has to flush stays until it enters");
}

static void one_more(void)
{
	weaken(30, 1);
}

static void too_many(void)
{
	maddr_t list[LIST];

	create();
	weaken(10, LIST);
	weaken(20, 1);
	is(begin(0, list), 0, "what does not fit the list is everything");
	ok(forgets == 1 && forgotten, "... and KVM forgets it");
	flush_end(flush, 0);
	is(begin(1, list), 0, "so it has for the other one");
	ok(forgets == 1 && forgotten, "... which is told of it");
	flush_end(flush, 1);
	is(begin(1, list), 0, "... once");
	ok(!forgotten, "... as it flushes but once");
	create();
	weaken(10, LIST + 1);
	begin(0, list);
	is(forgets, 1, "so are more than ever fit");
	create();
	flush_stale(flush, &(struct shadow_stale){ .all = true });
	begin(1, list);
	is(forgets, 1, "and everything is");
}

static void too_late(void)
{
	maddr_t list[LIST];

	create();
	weaken(10, LIST + 1);
	while_forgetting = one_more;
	is(begin(0, list), 0, "what becomes weaker while KVM forgets is flushed, too");
	is(forgets, 2, "... by forgetting once more");
	is(kicks[0], 0, "... of which nobody waits for the end");
	create();
	weaken(10, 2);
	is(flush_begin(flush, 0, 1, list, &forgotten), 0, "where there is room for fewer entries");
	ok(forgotten && forgets == 1, "... KVM forgets them");
	create();
	forget_fails = -ENOMEM;
	weaken(10, LIST + 1);
	is(begin(0, list), -ENOMEM, "if KVM cannot, the processor does not enter");
	forget_fails = 0;
	is(begin(0, list), 0, "... and has still to flush");
	is(forgets, 2, "... everything");
}

/* ---- threads ---- */

#define MANY	4u
#define ENTRIES 16u
#define STAYS	2000u /* of each processor in the guest */
#define STAY	40u   /* accesses in each */

/*
 * An entry is the number of the round in which it became as it is.  KVM makes tables of its own, of
 * which TLBs are filled; 0: it is not there.  It looks at an entry again under its lock.
 */
static atomic_uint entry[ENTRIES], made[ENTRIES];
static pthread_mutex_t kvm = PTHREAD_MUTEX_INITIALIZER;
/* From the round's end on nobody may use anything older: the page has another owner. */
static atomic_uint oldest[ENTRIES];
static atomic_bool kicked[MANY];
static atomic_uint running, shootdowns, wrong, lists, alls;
static unsigned int tlb[MANY][ENTRIES], shot[MANY];
static uint64_t seeds[MANY];

static void kick_thread(void *ctx, unsigned int cpu)
{
	(void)ctx;
	atomic_store(&kicked[cpu], true);
}

static int forget_all(void *ctx)
{
	static atomic_bool busy;

	(void)ctx;
	if (atomic_exchange(&busy, true) || locks_held)
		atomic_fetch_add(&wrong, 1);
	pthread_mutex_lock(&kvm);
	for (unsigned int i = 0; i < ENTRIES; i++)
		atomic_store(&made[i], 0);
	pthread_mutex_unlock(&kvm);
	atomic_fetch_add(&shootdowns, 1);
	atomic_fetch_add(&alls, 1);
	sched_yield();
	atomic_store(&busy, false);
	return 0;
}

static unsigned int look_up(unsigned int i)
{
	unsigned int found;

	pthread_mutex_lock(&kvm);
	if (!atomic_load(&made[i]))
		atomic_store(&made[i], atomic_load(&entry[i]));
	found = atomic_load(&made[i]);
	pthread_mutex_unlock(&kvm);
	return found;
}

static void use(unsigned int cpu, unsigned int i)
{
	unsigned int least = atomic_load(&oldest[i]), now = atomic_load(&shootdowns);

	if (shot[cpu] != now)
		memset(tlb[cpu], 0, sizeof(tlb[cpu]));
	shot[cpu] = now;
	if (!tlb[cpu][i])
		tlb[cpu][i] = look_up(i);
	if (tlb[cpu][i] < least)
		atomic_fetch_add(&wrong, 1);
}

static void flush_list(unsigned int cpu, const maddr_t *list, int nr)
{
	pthread_mutex_lock(&kvm);
	for (int n = 0; n < nr; n++)
		atomic_store(&made[list[n]], 0);
	pthread_mutex_unlock(&kvm);
	memset(tlb[cpu], 0, sizeof(tlb[cpu]));
	atomic_fetch_add(&lists, 1);
}

/* On a busy host the processors may have gone far before there are many rounds: then they go on. */
static bool have_seen_enough(void)
{
	return atomic_load(&lists) > 100 && atomic_load(&alls) > 10;
}

static void *processor(void *arg)
{
	unsigned int cpu = (unsigned int)(uintptr_t)arg;
	maddr_t list[LIST];

	for (unsigned int stay = 0; stay < STAYS * tap_storm() || !have_seen_enough(); stay++) {
		unsigned int room = (unsigned int)(tap_random(&seeds[cpu]) % (LIST + 1));
		bool all;
		int nr = flush_begin(flush, cpu, room, list, &all);

		if (nr || all)
			flush_list(cpu, list, nr);
		for (unsigned int n = 0; n < STAY && !atomic_load(&kicked[cpu]); n++)
			use(cpu, (unsigned int)(tap_random(&seeds[cpu]) % ENTRIES));
		sched_yield();
		use(cpu, (unsigned int)(tap_random(&seeds[cpu]) % ENTRIES));
		atomic_store(&kicked[cpu], false);
		flush_end(flush, cpu);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Some entries become weaker, sometimes more than a list has room for. */
static void one_round(unsigned int round, uint64_t *seed)
{
	static struct shadow_stale stale;
	unsigned int first = (unsigned int)(tap_random(seed) % ENTRIES);

	stale.nr = (unsigned int)(1 + tap_random(seed) % (tap_random(seed) % 8 ? 2 : LIST + 2));
	for (unsigned int n = 0; n < stale.nr; n++) {
		stale.entry[n] = (first + n) % ENTRIES;
		atomic_store(&entry[stale.entry[n]], round);
	}
	flush_stale(flush, &stale);
	for (unsigned int n = 0; n < stale.nr; n++)
		atomic_store(&oldest[stale.entry[n]], round);
}

static void storm(uint64_t seed)
{
	const struct flush_config config = {
		.nr_cpus = MANY,
		.max_list = LIST,
		.kick = kick_thread,
		.forget = forget_all,
	};
	unsigned int round = 1;
	pthread_t thread[MANY];
	struct lock gmem;

	flush_destroy(flush);
	flush = flush_create(&config);
	lock_init(&gmem, LOCK_GMEM);
	for (unsigned int i = 0; i < ENTRIES; i++)
		atomic_store(&entry[i], 1);
	for (unsigned int i = 0; i < MANY; i++) {
		seeds[i] = seed + i;
		atomic_fetch_add(&running, 1);
		pthread_create(&thread[i], NULL, processor, (void *)(uintptr_t)i);
	}
	while (atomic_load(&running)) {
		lock(&gmem);
		one_round(++round, &seed);
		unlock(&gmem);
		sched_yield();
	}
	for (unsigned int i = 0; i < MANY; i++)
		pthread_join(thread[i], NULL);
	lock_finish(&gmem);
	is(atomic_load(&wrong), 0, "%u processors use nothing whose time is over", MANY);
	ok(have_seen_enough(),
	   "... in %u rounds, with %u lists flushed, and all forgotten %u times", round,
	   atomic_load(&lists), atomic_load(&alls));
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	out_of_the_guest();
	in_the_guest();
	too_many();
	too_late();
	storm(seed);
	flush_destroy(flush);
	return tap_done();
}
