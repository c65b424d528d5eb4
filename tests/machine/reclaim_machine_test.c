/* SPDX-License-Identifier: MIT */
/*
 * A machine that asks VMs to free memory: VMs that do, and others that lie or do not answer.  How a
 * shortage is split is reclaim_policy_test.c's; here it is that VMs are asked in time, that nobody
 * dies while it helps, and that who does not play along hurts himself.
 */
#include "reclaim_lab.h"

#define MEMORY (128 * MIB_PAGES) /* min 362 pages, low 452, high 542 */

/* ---- background ---- */

static void test_background(void)
{
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 10000, 0);
	is(machine_timeout_ms(w.lab.m) > 1000, true, "above low there is no tick");
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages);
	lab_step(&w.lab);
	ok(!vm[0].asks && !vm[1].asks, "at low nobody is asked");
	reclaim_take(&w, &vm[1], 1);
	lab_pass(&w.lab, 5);
	reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	ok(vm[0].asked >= w.s.high_pages - w.s.low_pages + 1 && !vm[1].asked,
	   "below it, who has most is asked for what is missing to high: %lu pages", vm[0].asked);
	ok(strstr(w.lab.log, "reclaim: 1.8 MiB free, low 1.8 MiB, high 2.1 MiB, 0.0 MiB waited"),
	   "the log says so: %s", w.lab.log);
	reclaim_free(&w, &vm[0], w.s.high_pages - reclaim_free_now(&w) - 1);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked, "one page below high it goes on");
	reclaim_free(&w, &vm[0], 1);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	is(vm[0].asked, 0, "at high it is told to stop");
	is(lab_state(&w.lab).reclaims, 0, "as the state shows");
	lab_pass(&w.lab, 1000);
	ok(machine_timeout_ms(w.lab.m) > 1000, "and there is no tick");
	is(lab_state(&w.lab).reclaimed_pages, w.s.high_pages - w.s.low_pages + 1,
	   "what came back is counted");
	reclaim_close(&w, vm, 2);
}

/* What a VM believes to have freed may be more than what has come back. */
static void test_mistaken(void)
{
	struct vm vm[2];
	unsigned int asks;
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 10000, 0);
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 5);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	asks = vm[0].asks;
	vm[0].says.still_asked = vm[0].asked;
	reclaim_say(&w, &vm[0]);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	is(vm[0].asks, asks, "a VM that knows what it still has to free is not asked again");
	vm[0].says.still_asked = 0;
	reclaim_say(&w, &vm[0]);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	is(vm[0].asks, asks + 1, "one that believes it is done is asked again");
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	is(vm[0].asks, asks + 1, "... once for each time it says so");
	reclaim_close(&w, vm, 2);
}

/* The larger the steps in which a VM grows, the more is freed ahead of it. */
static void test_ahead(void)
{
	struct vm vm[2];
	uint64_t slow;
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 1000, 0);
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	slow = vm[0].asked;
	reclaim_free(&w, &vm[0], 80);
	for (unsigned int i = 0; i < 4; i++) {
		reclaim_take(&w, &vm[1], 80);
		reclaim_free(&w, &vm[0], 80);
	}
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked > slow + 300, "who grows fast finds more: %lu pages, not %lu", vm[0].asked,
	   slow);
	reclaim_close(&w, vm, 2);
}

static void test_shares(void)
{
	struct vm vm[3];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 10000, 4000);
	reclaim_start(&w, &vm[1], 9000, 0);
	reclaim_start(&w, &vm[2], 5000, 500);
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 100);
	for (unsigned int i = 0; i < 3; i++)
		reclaim_hear(&vm[i]);
	ok(vm[1].asked && !vm[0].asked && !vm[2].asked,
	   "the VM with most pages for a share is asked; without shares it has %u",
	   MACHINE_SHARES_DEFAULT);
	vm[1].says.more = 0;
	reclaim_say(&w, &vm[1]);
	lab_pass(&w.lab, 100);
	for (unsigned int i = 0; i < 3; i++)
		reclaim_hear(&vm[i]);
	ok(!vm[1].asked && vm[2].asked && !vm[0].asked,
	   "if that has nothing to free, the next one is");
	vm[1].says.more = 1;
	reclaim_say(&w, &vm[1]);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[1]);
	ok(vm[1].asked, "until it has");
	reclaim_close(&w, vm, 3);
}

/* A guest with a balloon that could give 100 MiB. */
static void say_balloon(struct world *w, struct vm *vm)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON, 0);

	msg.balloon = (struct balloon_record){
		.driver = BALLOON_DRIVER,
		.stats_ns = w->lab.now_ns,
		.nr_stats = 1,
		.stat = { { BALLOON_TAG_AVAILABLE, 100 * MiB } },
	};
	say_msg(vm->lab.channel, msg, -1);
	lab_step(&w->lab);
}

static void test_balloons_first(void)
{
	struct machine_admit admit = lab_promise(RAM, 0);
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	admit.balloon = BALLOON_MODE_AUTO;
	admit.shares = 1000;
	reclaim_admit(&w, &vm[0], 20000, admit);
	reclaim_start(&w, &vm[1], 1000, 0);
	say_balloon(&w, &vm[0]);
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 1000);
	say_balloon(&w, &vm[0]);
	lab_pass(&w.lab, 1000);
	is(reclaim_hear(&vm[0]), MACHINE_BALLOON_TARGET, "a balloon is to grow");
	is(vm[0].asked, 0, "so nobody is asked to reclaim");
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.min_pages);
	say_credit(vm[1].lab.channel, 1, 1);
	lab_step(&w.lab);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	is(vm[0].asked, 0, "... nor is it when somebody waits");
	ok(vm[1].asked, "... but others are");
	reclaim_close(&w, vm, 2);
}

/* Nobody reclaims: the machine is as it was before there was reclaim. */
static void test_nobody(void)
{
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 1000, 0);
	vm[0].says.on = vm[1].says.on = 0;
	reclaim_say(&w, &vm[0]);
	reclaim_say(&w, &vm[1]);
	is(lab_state(&w.lab).nr_reclaimers, 0, "a VM may give it up");
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.min_pages);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	ok(!vm[0].asks && !vm[1].asks, "and is not asked");
	say_credit(vm[1].lab.channel, 1, 1);
	lab_step(&w.lab);
	lab_pass(&w.lab, 200);
	is(lab_state(&w.lab).oom_kills, 1, "OOM is not put off");
	lab_await_vms(&w.lab, 1);
	reclaim_close(&w, vm, 2);
}

/* ---- direct ---- */

static void test_direct(void)
{
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 1000, 0);
	reclaim_run_out(&w, &vm[1], 300);
	lab_pass(&w.lab, 5);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked >= w.s.high_pages - w.s.min_pages + 300,
	   "who waits is added to what is missing: %lu", vm[0].asked);
	for (unsigned int i = 0; i < 9; i++) {
		lab_pass(&w.lab, 1900);
		reclaim_free(&w, &vm[0], 33);
	}
	ok(!lab_state(&w.lab).oom_kills && !vm[1].grants, "nobody is killed while pages come back");
	reclaim_free(&w, &vm[0], 3);
	reclaim_hear(&vm[1]);
	ok(vm[1].granted == 300 && vm[1].grants == 1, "and they are for who waits");
	is(lab_state(&w.lab).oom_kills, 0, "nobody is killed");
	reclaim_close(&w, vm, 2);
}

/* It frees a page a second, and so is no help. */
static void test_bounded(void)
{
	struct vm vm[2];
	unsigned int seconds;
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 1000, 0);
	reclaim_run_out(&w, &vm[1], 300);
	for (seconds = 0; seconds < 60 && !lab_state(&w.lab).oom_kills; seconds++) {
		lab_pass(&w.lab, 1000);
		vm[0].says.freed++;
		reclaim_say(&w, &vm[0]);
		reclaim_free(&w, &vm[0], 1);
	}
	ok(seconds >= 20 && seconds <= 21, "OOM is put off for 20 s at most: %u s", seconds);
	ok(lab_await_vms(&w.lab, 1) && lab_reap(&vm[0].lab, false) == SIGKILL,
	   "then the largest dies");
	vm[0].lab.pid = 0;
	reclaim_hear(&vm[1]);
	is(vm[1].granted, 300, "for who waited");
	reclaim_close(&w, vm, 2);
}

/* A VM may free pages and use them itself: it calls off what it asked for. */
static void test_own(void)
{
	struct vm vm[1];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_run_out(&w, &vm[0], 300);
	lab_pass(&w.lab, 5);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked, "who waits is asked too");
	vm[0].says.freed += 1000;
	reclaim_say(&w, &vm[0]);
	say(vm[0].lab.channel, MACHINE_CALL_OFF, 0, 0, -1);
	lab_pass(&w.lab, 3000);
	is(lab_state(&w.lab).oom_kills, 0, "it helps itself, and nobody dies");
	reclaim_close(&w, vm, 1);
}

/* ---- those who do not play along ---- */

static void test_ignorant(void)
{
	struct vm vm[3];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 9000, 0);
	reclaim_start(&w, &vm[1], 12000, 0);
	reclaim_start(&w, &vm[2], 1000, 0);
	vm[1].says.more = vm[2].says.more = 0;
	reclaim_say(&w, &vm[1]);
	reclaim_say(&w, &vm[2]);
	reclaim_run_out(&w, &vm[2], 300);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked, "(one is asked)");
	for (unsigned int i = 0; i < 18; i++)
		lab_pass(&w.lab, 100);
	is(lab_state(&w.lab).oom_kills, 0, "it has two seconds");
	is(reclaim_record_of(&w, &vm[0]).ignores, 0, "in which nothing is held against it");
	for (unsigned int i = 0; i < 4; i++)
		lab_pass(&w.lab, 100);
	is(lab_state(&w.lab).oom_kills, 1, "then somebody is killed");
	ok(lab_await_vms(&w.lab, 2) && lab_reap(&vm[0].lab, false) == SIGKILL,
	   "it is the VM that did not answer, although it is not the largest");
	vm[0].lab.pid = 0;
	reclaim_hear(&vm[2]);
	is(vm[2].granted, 300, "who waited has its pages");
	reclaim_close(&w, vm, 3);
}

/* Nobody waits: it is asked in the background.  Others are asked for its part. */
static void test_made_good(void)
{
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 9000, 0);
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	for (unsigned int i = 0; i < 30 && !vm[1].asked; i++) {
		lab_pass(&w.lab, 100);
		reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	}
	ok(vm[0].asked && vm[1].asked, "when the one who was asked does nothing, another is");
	is(reclaim_record_of(&w, &vm[0]).ignores, 1, "and it is known as one that ignores us");
	is(reclaim_record_of(&w, &vm[0]).asked_pages, vm[0].asked, "with what it was asked for");
	reclaim_free(&w, &vm[1], 1000);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	ok(!vm[0].asked && !vm[1].asked, "memory is enough again");
	is(reclaim_record_of(&w, &vm[0]).ignores, 1, "that is not forgotten");
	reclaim_take(&w, &vm[1], reclaim_free_now(&w) - w.s.low_pages + 1);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]), reclaim_hear(&vm[1]);
	ok(vm[0].asked && vm[1].asked, "the next time both are asked at once");
	reclaim_free(&w, &vm[0], 10);
	is(reclaim_record_of(&w, &vm[0]).ignores, 1, "ten pages do not make it good");
	reclaim_free(&w, &vm[0], 246);
	is(reclaim_record_of(&w, &vm[0]).ignores, 0, "256 do");
	reclaim_close(&w, vm, 2);
}

/* It says that it frees pages, and keeps them. */
static void test_liar(void)
{
	struct vm vm[3];
	unsigned int rounds;
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 1000, 0);
	reclaim_start(&w, &vm[2], 1000, 0);
	vm[1].says.more = 0;
	reclaim_say(&w, &vm[1]);
	reclaim_run_out(&w, &vm[1], 300);
	for (rounds = 0; rounds < 100 && !lab_state(&w.lab).oom_kills; rounds++) {
		lab_pass(&w.lab, 100);
		vm[0].says.freed += 1000;
		reclaim_say(&w, &vm[0]);
	}
	ok(rounds >= 20 && rounds <= 24, "words put nothing off: %u ms", rounds * 100);
	ok(lab_await_vms(&w.lab, 2) && lab_reap(&vm[0].lab, false) == SIGKILL,
	   "the liar has most, and dies");
	vm[0].lab.pid = 0;
	reclaim_close(&w, vm, 3);
}

static void test_numbers(void)
{
	struct machine_vm_record r;
	struct vm vm[1];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 1000, 0);
	memset(&vm[0].says, 0xff, sizeof(vm[0].says));
	reclaim_say(&w, &vm[0]);
	r = reclaim_record_of(&w, &vm[0]);
	ok(r.reclaim.on == 1 && r.reclaim.more == 1 && r.reclaim.suspended == 1 && !r.reclaim.pad,
	   "flags are flags");
	ok(r.reclaim.compressed == RAM && r.reclaim.swapped == RAM && r.reclaim.pool == RAM &&
		   r.reclaim.working_set == RAM && r.reclaim.working_set_error == RAM &&
		   r.reclaim.still_asked == RAM,
	   "no size is above RAM");
	ok(r.reclaim.some_ns <= w.lab.now_ns && r.reclaim.full_ns <= r.reclaim.some_ns,
	   "no time is in the future");
	vm[0].says.on = 0;
	reclaim_say(&w, &vm[0]);
	r = reclaim_record_of(&w, &vm[0]);
	ok(!r.reclaim.on && !r.reclaim.compressed && !r.reclaim.freed, "off is off");
	reclaim_close(&w, vm, 1);
}

/* ---- when things die ---- */

static void test_deaths(void)
{
	struct vm vm[3];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 8000, 0);
	reclaim_start(&w, &vm[2], 1000, 0);
	reclaim_run_out(&w, &vm[2], 300);
	lab_pass(&w.lab, 5);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked, "(one is asked)");
	kill(vm[0].lab.pid, SIGKILL);
	lab_await_vms(&w.lab, 2);
	reclaim_hear(&vm[2]);
	is(vm[2].granted, 300, "if it dies meanwhile, its pages are back too");
	is(lab_state(&w.lab).nr_reclaimers, 2, "and it is asked no more");
	close(vm[1].lab.channel);
	vm[1].lab.channel = -1;
	lab_step(&w.lab);
	is(lab_state(&w.lab).nr_reclaimers, 1, "nor is one that hung up and lives");
	reclaim_close(&w, vm, 3);
}

static void test_new_machine(void)
{
	struct machine_admit again = lab_promise(RAM, 0);
	unsigned int fds = open_fds();
	struct vm vm[2];
	struct world w;

	reclaim_open(&w, MEMORY);
	reclaim_start(&w, &vm[0], 20000, 0);
	reclaim_start(&w, &vm[1], 8000, 0);
	reclaim_run_out(&w, &vm[1], 300);
	machine_destroy(w.lab.m);
	close(w.control);
	reclaim_open(&w, MEMORY);
	w.fds = fds;
	for (unsigned int i = 0; i < 2; i++) {
		int ram = vm[i].lab.ram, readonly = reopen_readonly(ram);
		pid_t pid = vm[i].lab.pid;

		close(vm[i].lab.channel);
		again.readmit = 1;
		again.credit_pages = vm[i].lab.credits;
		vm[i].lab = lab_admit(&w.lab, w.control, again);
		vm[i].lab.ram = ram;
		vm[i].lab.pid = pid;
		say(vm[i].lab.channel, MACHINE_ATTACH, 0, 0, readonly);
		close(readonly);
		vm[i].asked = vm[i].asks = 0;
	}
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	is(vm[0].asks, 0, "a new machine asks nobody of whom it has heard nothing");
	reclaim_say(&w, &vm[0]);
	lab_pass(&w.lab, 100);
	reclaim_hear(&vm[0]);
	ok(vm[0].asked >= w.s.high_pages - w.s.min_pages, "then it asks for what is missing");
	reclaim_close(&w, vm, 2);
}

int main(void)
{
	tap_init();
	test_background();
	test_mistaken();
	test_ahead();
	test_shares();
	test_balloons_first();
	test_nobody();
	test_direct();
	test_bounded();
	test_own();
	test_ignorant();
	test_made_good();
	test_liar();
	test_numbers();
	test_deaths();
	test_new_machine();
	return tap_done();
}
