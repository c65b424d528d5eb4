/* SPDX-License-Identifier: MIT */
/*
 * The rules of load control, one by one.  load_machine_test.c has what they are for.  Here VMs say
 * how long they were stalled and take credits as the test says, and memory stays as short as it is.
 */
#include "reclaim_lab.h"

#define MEMORY (64 * MIB_PAGES)
#define MAX    4u

static struct world w;
static struct vm vm[MAX + 1]; /* the one behind the last has the rest of memory */
static unsigned int nr;

/* VMs that hold so many pages; 0: one that must not die.  Memory is just below low. */
static void begin(unsigned int vms, const uint64_t *holds)
{
	nr = vms;
	reclaim_open(&w, MEMORY);
	for (unsigned int i = 0; i <= nr; i++) {
		struct machine_admit admit = lab_promise(RAM, 0);
		uint64_t pages = i < nr ? holds[i] : 0;

		admit.oom_score_adj = pages ? 0 : -1000;
		admit.shares = MACHINE_SHARES_DEFAULT;
		admit.balloon = i < nr ? BALLOON_MODE_OFF : BALLOON_MODE_AUTO;
		reclaim_admit(&w, &vm[i], pages ? pages : 1000, admit);
		vm[i].says.working_set = vm[i].lab.credits;
	}
	reclaim_take(&w, &vm[nr], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 100);
}

static void end(void)
{
	reclaim_close(&w, vm, nr + 1);
}

static void hear_all(void)
{
	for (unsigned int i = 0; i < nr; i++)
		reclaim_hear(&vm[i]);
}

/* Those of the mask `busy` return a page and take it again. */
static void be_busy(unsigned int busy)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (!(busy >> i & 1) || vm[i].still)
			continue;
		reclaim_free(&w, &vm[i], 1);
		reclaim_take(&w, &vm[i], 1);
	}
}

/* A second in which VM i was stalled for stall[i] thousandths; those that stand still for none. */
static void second(const unsigned int *stall, unsigned int busy)
{
	be_busy(busy);
	for (unsigned int i = 0; i < nr; i++) {
		vm[i].says.full_ns += vm[i].still ? 0 : stall[i] * LAB_MS;
		vm[i].says.some_ns = vm[i].says.full_ns;
		vm[i].says.suspended = vm[i].still;
		reclaim_say(&w, &vm[i]);
	}
	lab_pass(&w.lab, 1000);
	hear_all();
}

static void seconds(unsigned int n, const unsigned int *stall)
{
	while (n--)
		second(stall, ~0u);
}

static void silence(unsigned int n, unsigned int busy)
{
	while (n--) {
		be_busy(busy);
		lab_pass(&w.lab, 1000);
		hear_all();
	}
}

static uint64_t suspensions(void)
{
	return lab_state(&w.lab).suspensions;
}

/* The VM that stands still gives up all it has, as it was asked to. */
static void give_all(unsigned int i)
{
	reclaim_free(&w, &vm[i], vm[i].lab.credits - 300);
	vm[i].says.working_set = vm[i].lab.credits;
}

#define STALLED ((const unsigned int[]){ 1000, 1000, 1000, 1000 })
#define CALM	((const unsigned int[]){ 0, 0, 0, 0 })

static void test_who(void)
{
	begin(3, (uint64_t[]){ 2000, 5000, 3000 });
	seconds(4, STALLED);
	ok(!vm[0].still && vm[1].still && !vm[2].still, "of equals who holds most is suspended");
	end();
	begin(2, (uint64_t[]){ 3000, 3000 });
	seconds(8, (const unsigned int[]){ 1000, 290 });
	is(suspensions(), 0, "nobody is, if only one of two is stalled for much of the time");
	end();
	begin(2, (uint64_t[]){ 3000, 0 });
	while (!vm[0].still)
		second(STALLED, ~0u);
	while (vm[0].still)
		second(STALLED, ~0u);
	seconds(8, STALLED);
	is(suspensions(), 1, "who was suspended runs for a while");
	seconds(8, STALLED);
	is(suspensions(), 2, "... before it is again");
	end();
}

/* They ask for a page in vain, and call that off when they have freed one themselves. */
static void help_themselves(void)
{
	for (unsigned int i = 0; i < nr; i++) {
		say_credit(vm[i].lab.channel, 1, 1);
		lab_step(&w.lab);
		say(vm[i].lab.channel, MACHINE_CALL_OFF, 0, 0, -1);
		lab_step(&w.lab);
		vm[i].says.freed++;
	}
	hear_all();
}

static void test_own(void)
{
	begin(2, (uint64_t[]){ 3000, 3000 });
	reclaim_take(&w, &vm[nr], reclaim_free_now(&w) - w.s.min_pages);
	for (unsigned int i = 0; i < 5; i++) {
		help_themselves();
		second(STALLED, 0);
	}
	is(suspensions(), 1, "who gets no credits, and frees pages for itself, is busy");
	is(vm[0].granted + vm[1].granted, 0, "(no CREDIT of theirs brought a page)");
	end();
}

/* ---- what VMs say ---- */

static void test_said(void)
{
	begin(4, (uint64_t[]){ 2000, 2000, 2000, 2000 });
	seconds(2, (const unsigned int[]){ 1000, 1000, 0, 0 });
	silence(5, 15);
	silence(8, 3);
	is(suspensions(), 0, "a stall of which nothing more is heard is over");
	end();
	begin(2, (uint64_t[]){ 3000, 3000 });
	for (unsigned int i = 0; i < 4; i++) {
		second(STALLED, ~0u);
		lab_pass(&w.lab, 100);
		reclaim_say(&w, &vm[0]), reclaim_say(&w, &vm[1]);
	}
	is(suspensions(), 1, "what is said again within half a period says nothing of a period");
	end();
	begin(2, (uint64_t[]){ 3000, 3000 });
	vm[0].says.full_ns = vm[1].says.full_ns = 900 * LAB_MS;
	second(CALM, ~0u);
	for (unsigned int i = 0; i < 8; i++) {
		vm[0].says.full_ns -= 100 * LAB_MS, vm[1].says.full_ns -= 100 * LAB_MS;
		second(CALM, ~0u);
	}
	is(suspensions(), 0, "a stall that falls is none");
	end();
	begin(2, (uint64_t[]){ 3000, 3000 });
	seconds(4, STALLED);
	is(suspensions(), 1, "(one of two is suspended)");
	for (unsigned int i = 0; i < 2; i++)
		if (vm[i].still) {
			vm[i].says.on = 0;
			reclaim_say(&w, &vm[i]);
		}
	hear_all();
	ok(!vm[0].still && !vm[1].still, "who does not reclaim any more goes on");
	end();
}

/* ---- how long ---- */

/* The others are neither stalled nor calm meanwhile. */
static void finish_turn(void)
{
	for (unsigned int i = 0; i < 12 && vm[0].still; i++)
		second((const unsigned int[]){ 0, 250, 250 }, ~0u);
}

static void test_turns(void)
{
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	seconds(4, STALLED);
	ok(vm[0].still, "(the largest is suspended)");
	finish_turn();
	ok(!vm[0].still && suspensions() == 2,
	   "when its turn is over one of those is suspended that were stalled at its beginning");
	end();
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	seconds(4, STALLED);
	give_all(0);
	reclaim_free(&w, &vm[2], 1500);
	finish_turn();
	ok(!vm[0].still, "when its turn is over, a VM goes on");
	is(suspensions(), 1, "... and nobody else is suspended if there is room for it");
	end();
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	seconds(4, STALLED);
	give_all(0);
	reclaim_free(&w, &vm[2], 1500);
	seconds(2, CALM);
	ok(vm[0].still, "with room for it, it waits until the others have been calm for a while");
	seconds(2, CALM);
	ok(!vm[0].still, "... and then goes on before its turn is over");
	end();
	begin(4, (uint64_t[]){ 5000, 2000, 2000, 2000 });
	seconds(4, STALLED);
	give_all(0);
	seconds(5, STALLED);
	is(suspensions(), 1, "while memory is not short, no other one is suspended");
	end();
}

/* It needs room for the working set that it had, and not for all that it held. */
static void test_room(void)
{
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	vm[0].says.working_set = 800;
	seconds(4, STALLED);
	ok(vm[0].still, "(the largest is suspended)");
	give_all(0);
	reclaim_take(&w, &vm[nr], reclaim_free_now(&w) - w.s.high_pages - 700);
	seconds(4, CALM);
	ok(vm[0].still, "with room for less than its working set, it waits");
	reclaim_free(&w, &vm[nr], 200);
	seconds(1, CALM);
	ok(!vm[0].still, "... with room for that, though not for all it held, it goes on");
	end();
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	vm[0].says.working_set = RAM;
	seconds(4, STALLED);
	ok(vm[0].still, "(the largest is suspended)");
	give_all(0);
	reclaim_free(&w, &vm[nr], 1500);
	seconds(4, CALM);
	ok(!vm[0].still, "who says that it uses more than it has needs room for what it had");
	end();
}

/* Memory was enough for all, so who was stalled before does not take turns any more. */
static void test_forgotten(void)
{
	begin(3, (uint64_t[]){ 5000, 2500, 2500 });
	seconds(4, STALLED);
	ok(vm[0].still, "(the largest is suspended)");
	give_all(0);
	reclaim_free(&w, &vm[nr], 2000);
	seconds(8, CALM);
	ok(!vm[0].still, "(with memory for all it goes on)");
	reclaim_take(&w, &vm[nr], reclaim_free_now(&w) - w.s.low_pages + 1);
	for (unsigned int i = 0; i < 8 && !vm[1].still; i++)
		second((const unsigned int[]){ 1000, 1000, 0 }, 3);
	ok(vm[1].still, "(memory is short again, and one of two is suspended)");
	for (unsigned int i = 0; i < 12 && vm[1].still; i++)
		second((const unsigned int[]){ 1000, 0, 0 }, 1);
	ok(vm[0].still && !vm[2].still,
	   "the turn goes to the other one, and not to who was stalled once before");
	end();
}

/* vm[nr] has a balloon, whose guest uses 2 MiB. */
static void say_balloon(bool driver)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON, 0);

	msg.balloon = (struct balloon_record){
		.driver = driver ? BALLOON_DRIVER : 0,
		.stats_ns = w.lab.now_ns,
		.nr_stats = 1,
		.stat = { { BALLOON_TAG_AVAILABLE, 126 * MiB } },
	};
	say_msg(vm[nr].lab.channel, msg, -1);
	lab_step(&w.lab);
	reclaim_hear(&vm[nr]);
}

/* Memory that nobody misses is on its way. */
static void test_balloon(void)
{
	begin(3, (uint64_t[]){ 2000, 5000, 3000 });
	for (unsigned int i = 0; i < 8; i++) {
		say_balloon(true);
		second(STALLED, ~0u);
	}
	is(suspensions(), 0, "while a balloon is to grow, nobody is suspended");
	say_balloon(false);
	seconds(4, STALLED);
	is(suspensions(), 1, "... and then somebody is");
	end();
}

int main(void)
{
	tap_init();
	test_who();
	test_own();
	test_said();
	test_turns();
	test_room();
	test_forgotten();
	test_balloon();
	return tap_done();
}
