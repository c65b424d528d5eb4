/* SPDX-License-Identifier: MIT */
/*
 * Who waits for whom when entries of shadow tables become weaker.  A processor that is kicked comes
 * out of the guest at once, in the kick, so one thread shows every order.
 */
#include "vmm/monitor/flush.h"
#include "tests/tap.h"

#define CPUS 2u
#define LIST 4u

static struct flush *flush;
static unsigned int kicks[CPUS];

static void kick(void *ctx, unsigned int cpu)
{
	(void)ctx;
	kicks[cpu]++;
	flush_end(flush, cpu);
}

static void create(void)
{
	const struct flush_config config = { .nr_cpus = CPUS, .max_list = LIST, .kick = kick };

	flush_destroy(flush);
	flush = flush_create(&config);
	if (!flush)
		tap_bail("no memory");
	kicks[0] = kicks[1] = 0;
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
	is(flush_begin(flush, 0, list), 3, "it flushes when it enters ...");
	ok(list[0] == 10 && list[1] == 11 && list[2] == 20, "... all that became weaker");
	flush_end(flush, 0);
	is(flush_begin(flush, 0, list), 0, "... once");
	is(flush_begin(flush, 1, list), 3, "and so does the other one");
}

static void in_the_guest(void)
{
	maddr_t list[LIST];

	create();
	flush_begin(flush, 1, list);
	weaken(10, 1);
	ok(kicks[1] == 1 && !kicks[0], "who is in the guest has to come out");
	is(flush_begin(flush, 1, list), 1, "... and flushes when it enters again");
	flush_end(flush, 1);
	flush_finishing(flush, 1);
	weaken(20, 1);
	is(kicks[1], 2, "so has one for which KVM finishes an instruction");
	weaken(30, 1);
	is(kicks[1], 2, "... until that is over");
	is(flush_begin(flush, 1, list), 2, "what it has to flush stays until it enters");
}

static void too_many(void)
{
	maddr_t list[LIST];

	create();
	weaken(10, LIST);
	weaken(20, 1);
	is(flush_begin(flush, 0, list), -1, "what does not fit the list is everything");
	weaken(30, 1);
	is(kicks[0], 0, "... and it has not entered");
	is(flush_begin(flush, 0, list), 1, "what came after that is a list again");
	create();
	weaken(10, LIST + 1);
	is(flush_begin(flush, 0, list), -1, "so are more than ever fit");
	create();
	flush_stale(flush, &(struct shadow_stale){ .all = true });
	is(flush_begin(flush, 1, list), -1, "and everything is");
}

int main(void)
{
	tap_init();
	out_of_the_guest();
	in_the_guest();
	too_many();
	flush_destroy(flush);
	return tap_done();
}
