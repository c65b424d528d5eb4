/* SPDX-License-Identifier: MIT */
/*
 * The machine, stepped: credits, who waits for them, and who is killed when there are none.  As in
 * machine_test.c all sums are recomputed after each step, and are zero at the end.
 */
#include "machine_lab_tap.h"

static void test_credits(void)
{
	unsigned int fds = open_fds();
	struct machine_state s;
	struct machine_msg msg;
	struct lab_vm vm, other;
	struct lab lab;
	int control;

	lab_open_plain(&lab, 256 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	s = lab_state(&lab);
	vm = lab_admit(&lab, control, lab_promise(250 * MIB_PAGES, 0));
	other = lab_admit(&lab, control, lab_promise(250 * MIB_PAGES, 0));
	is((s.free_pages - s.low_pages) / 16, 4056,
	   "a batch is a sixteenth of what is free above low");
	is(vm.credits, 3584, "and a VM starts with that, rounded down to three bits");
	say_credit(vm.channel, 1, 1);
	lab_step(&lab);
	ok(hear(vm.channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 1,
	   "who wants one gets one");
	say_credit(vm.channel, 1, UINT64_MAX);
	lab_step(&lab);
	ok(hear(vm.channel, &msg, NULL) == MACHINE_GRANT && msg.pages > 1000,
	   "who wants more gets a batch");
	s = lab_state(&lab);
	lab_take(&lab, vm.channel, s.free_pages - s.low_pages - 99);
	say_credit(vm.channel, 100, 0);
	lab_step(&lab);
	ok(hear(vm.channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 100,
	   "the last need above low is met to the page");
	ok(hear(other.channel, &msg, NULL) == MACHINE_RECALL && !msg.pages,
	   "and below low others are asked for what they can spare");
	is(hear(vm.channel, &msg, NULL), 0, "but not who just needed it");
	say_credit(other.channel, 5, UINT64_MAX);
	lab_step(&lab);
	ok(hear(other.channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 5,
	   "below low a grant is what is needed");
	is(hear(other.channel, &msg, NULL), 0, "nobody is recalled twice without an answer");
	say_credit(other.channel, 0, UINT64_MAX);
	lab_step(&lab);
	ok(hear(other.channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 0,
	   "and nothing for who needs nothing");
	say(other.channel, MACHINE_RETURN, 0, other.credits, -1);
	lab_step(&lab);
	is(lab_state(&lab).free_pages, s.low_pages - 1 - 5 + other.credits,
	   "what is returned is free");
	say(other.channel, MACHINE_RETURN, 0, 6, -1);
	lab_step(&lab);
	is(hear(other.channel, &msg, NULL), -ECONNRESET,
	   "to return more than one has ends the channel");
	is(lab_state(&lab).nr_vms, 1, "and the VM");
	lab_finish_vm(&other);
	say_credit(vm.channel, MACHINE_NEED_MAX + 1, 0);
	lab_step(&lab);
	is(hear(vm.channel, &msg, NULL), -ECONNRESET,
	   "as does to need more than an access can use");
	lab_finish_vm(&vm);
	vm = lab_admit(&lab, control, lab_promise(100, 0));
	say_credit(vm.channel, MACHINE_NEED_MAX, 0);
	lab_step(&lab);
	is(hear(vm.channel, &msg, NULL), -ECONNRESET, "or more than the promise");
	lab_finish_vm(&vm);
	close(control);
	lab_close(&lab, fds);
}

/* Take all that is left above min but `spare` pages. */
static void drain(struct lab *lab, struct lab_vm *vm, uint64_t spare)
{
	struct machine_state s = lab_state(lab);

	lab_take(lab, vm->channel, s.free_pages - s.min_pages - spare);
}

static void test_waiting(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm vm[3];
	struct lab lab;
	int control;

	lab_open_plain(&lab, 256 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 3; i++)
		vm[i] = lab_admit(&lab, control, lab_promise(250 * MIB_PAGES, 0));
	drain(&lab, &vm[0], 10);
	say_credit(vm[1].channel, 100, 100);
	lab_step(&lab);
	while (hear(vm[1].channel, &msg, NULL) == MACHINE_RECALL)
		;
	say_credit(vm[2].channel, 5, 5);
	lab_step(&lab);
	is(hear(vm[1].channel, &msg, NULL), 0, "below min a request waits");
	while (hear(vm[2].channel, &msg, NULL) == MACHINE_RECALL)
		;
	is(msg.type, MACHINE_RECALL, "and is not overtaken by a smaller one");
	say(vm[0].channel, MACHINE_RETURN, 0, 90, -1);
	lab_step(&lab);
	ok(hear(vm[1].channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 100,
	   "what comes back goes to it");
	is(hear(vm[2].channel, &msg, NULL), 0, "the next waits on");
	say_credit(vm[2].channel, 5, 5);
	lab_step(&lab);
	is(hear(vm[2].channel, &msg, NULL), -ECONNRESET, "to ask twice ends the channel");
	say_credit(vm[1].channel, 7, 7);
	lab_step(&lab);
	lab_finish_vm(&vm[0]);
	lab_step(&lab);
	ok(hear(vm[1].channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 7,
	   "the end of another VM serves who waits");
	lab_finish_vm(&vm[1]);
	lab_finish_vm(&vm[2]);
	close(control);
	lab_close(&lab, fds);
}

static bool told(int control, struct machine_msg *msg)
{
	return hear(control, msg, NULL) == MACHINE_GONE;
}

/* Four VMs; the first holds what is left, the fourth needs more. */
static void test_oom(void)
{
	static const uint64_t resident[4] = { 3000, 4000, 100, 10 };
	static const int adj[4] = { -1000, 0, 30, 0 };
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm vm[4];
	struct lab lab;
	int control;

	lab_open_plain(&lab, 64 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 4; i++) {
		struct machine_admit a = lab_promise(64 * MIB_PAGES, 100);

		a.oom_score_adj = adj[i];
		vm[i] = lab_admit(&lab, control, a);
		lab_start(&lab, control, &vm[i]);
		say(vm[i].channel, MACHINE_RETURN, 0, vm[i].credits, -1);
		lab_take(&lab, vm[i].channel, resident[i]);
		lab_attach(&lab, &vm[i], 64 * MIB_PAGES, resident[i]);
	}
	drain(&lab, &vm[0], 0);
	while (hear(vm[3].channel, &msg, NULL) > 0)
		;
	say_credit(vm[3].channel, 50, 50);
	lab_step(&lab);
	is(hear(vm[1].channel, &msg, NULL), MACHINE_RECALL, "first others are asked");
	is(machine_timeout_ms(lab.m), 200, "and given time");
	lab_pass(&lab, 199);
	is(lab_reap(&vm[1], false), 0, "in which nobody dies");
	lab_pass(&lab, 1);
	is(lab_reap(&vm[1], true), SIGKILL, "then the worst is killed: %s", lab.log);
	ok(lab_await_vms(&lab, 3), "the machine sees it end");
	while (!told(control, &msg))
		;
	ok(msg.vm == vm[1].id && msg.gone.reason == MACHINE_OOM && msg.gone.badness == 4100 &&
		   msg.gone.had.resident_pages == 4000 && msg.gone.need_pages == 50 &&
		   msg.gone.free_pages < msg.gone.min_pages + 50,
	   "its launcher has the numbers");
	ok(hear(vm[3].channel, &msg, NULL) == MACHINE_GRANT && msg.pages == 50,
	   "and who waited has its pages");
	is(lab_state(&lab).oom_kills, 1, "one kill is counted");
	is(lab_reap(&vm[0], false) | lab_reap(&vm[2], false) | lab_reap(&vm[3], false), 0,
	   "all others live");
	vm[1].pid = 0;
	drain(&lab, &vm[0], 0);
	say_credit(vm[3].channel, 50, 50);
	lab_step(&lab);
	lab_pass(&lab, 200);
	is(lab_reap(&vm[2], true), SIGKILL, "oom_score_adj in thousandths makes one worse");
	ok(lab_await_vms(&lab, 2), "it too is gone");
	vm[2].pid = 0;
	while (hear(vm[3].channel, &msg, NULL) > 0)
		;
	drain(&lab, &vm[0], 0);
	say_credit(vm[3].channel, 50, 50);
	lab_step(&lab);
	lab_pass(&lab, 200);
	is(lab_reap(&vm[3], true), SIGKILL, "who waits may be the worst");
	vm[3].pid = 0;
	ok(lab_await_vms(&lab, 1), "and then only who must not be killed is left");
	drain(&lab, &vm[0], 0);
	say_credit(vm[0].channel, 50, 50);
	lab_step(&lab);
	lab_pass(&lab, 200);
	is(hear(vm[0].channel, &msg, NULL), MACHINE_DENIED, "which is denied what it needs");
	is(lab_reap(&vm[0], false), 0, "and lives");
	for (unsigned int i = 0; i < 4; i++)
		lab_finish_vm(&vm[i]);
	close(control);
	lab_close(&lab, fds);
}

/* Who waits is helped by its own balloon: others live, and the next has its own time. */
static void test_called_off(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm vm[3];
	struct lab lab;
	int control;

	lab_open_plain(&lab, 256 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 3; i++) {
		vm[i] = lab_admit(&lab, control, lab_promise(250 * MIB_PAGES, 0));
		lab_start(&lab, control, &vm[i]);
	}
	drain(&lab, &vm[0], 0);
	say_credit(vm[1].channel, 50, 50);
	lab_step(&lab);
	lab_pass(&lab, 150);
	say_credit(vm[2].channel, 1, 1);
	say(vm[1].channel, MACHINE_CALL_OFF, 0, 0, -1);
	lab_step(&lab);
	while (hear(vm[1].channel, &msg, NULL) == MACHINE_RECALL)
		;
	ok(msg.type == MACHINE_GRANT && msg.pages == 0, "who calls off has an answer");
	say(vm[1].channel, MACHINE_CALL_OFF, 0, 0, -1);
	lab_step(&lab);
	is(hear(vm[1].channel, &msg, NULL), 0, "one");
	lab_pass(&lab, 150);
	is(lab_state(&lab).oom_kills, 0, "the next one has its own time");
	say(vm[2].channel, MACHINE_CALL_OFF, 0, 0, -1);
	lab_step(&lab);
	lab_pass(&lab, 1000);
	is(lab_state(&lab).oom_kills, 0, "and nobody is killed for who needs nothing");
	drain(&lab, &vm[0], 0);
	say_credit(vm[1].channel, 50, 50);
	lab_step(&lab);
	say(vm[0].channel, MACHINE_RETURN, 0, 90, -1);
	lab_pass(&lab, 200);
	while (hear(vm[1].channel, &msg, NULL) == MACHINE_RECALL)
		;
	ok(msg.type == MACHINE_GRANT && msg.pages == 50,
	   "what comes back at the moment when the time is over is granted");
	is(lab_state(&lab).oom_kills, 0, "... and nobody is killed");
	for (unsigned int i = 0; i < 3; i++)
		lab_finish_vm(&vm[i]);
	ok(lab_await_vms(&lab, 0), "(all end)");
	close(control);
	lab_close(&lab, fds);
}

/* A need that all deaths together would not meet kills nobody. */
static void test_hopeless(void)
{
	unsigned int fds = open_fds();
	struct machine_msg msg;
	struct lab_vm vm, bystander;
	struct lab lab;
	int control;

	lab_open_plain(&lab, 10000, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	bystander = lab_admit(&lab, control, lab_promise(1000, 10));
	lab_start(&lab, control, &bystander);
	vm = lab_admit(&lab, control, lab_promise(20000, 10));
	say(bystander.channel, MACHINE_RETURN, 0, bystander.credits, -1);
	lab_step(&lab);
	drain(&lab, &vm, 0);
	say_credit(vm.channel, 100, 0);
	lab_step(&lab);
	lab_pass(&lab, 200);
	is(hear(vm.channel, &msg, NULL), MACHINE_DENIED, "a need beyond the machine is denied");
	is(lab_reap(&bystander, false), 0, "and nobody dies for it");
	lab_finish_vm(&vm);
	lab_finish_vm(&bystander);
	close(control);
	lab_close(&lab, fds);
}

/* One death may not be enough.  The VM that waits has no process that could be killed. */
static void test_second_victim(void)
{
	unsigned int fds = open_fds();
	struct lab_vm vm[3];
	struct lab lab;
	int control;

	lab_open_plain(&lab, 64 * MIB_PAGES, OVERCOMMIT_ALWAYS);
	control = lab_connect(&lab);
	for (unsigned int i = 0; i < 3; i++) {
		vm[i] = lab_admit(&lab, control, lab_promise(64 * MIB_PAGES, 100 * (3 - i)));
		if (i < 2)
			lab_start(&lab, control, &vm[i]);
		lab_attach(&lab, &vm[i], 64 * MIB_PAGES, 0);
		say(vm[i].channel, MACHINE_RETURN, 0, vm[i].credits, -1);
		lab_take(&lab, vm[i].channel, i < 2 ? 200 : 0);
	}
	drain(&lab, &vm[2], 0);
	say_credit(vm[2].channel, MACHINE_NEED_MAX, 0);
	lab_step(&lab);
	lab.now_ns += 200 * LAB_MS;
	machine_serve(lab.m);
	is(lab_state(&lab).oom_kills, 1, "one victim at a time");
	lab.now_ns += 100 * LAB_MS;
	ok(lab_await_vms(&lab, 2), "is dead before another is chosen");
	is(machine_timeout_ms(lab.m), 200, "if that was not enough, others are asked again");
	lab_pass(&lab, 200);
	is(lab_state(&lab).oom_kills, 2, "and then the next dies");
	for (unsigned int i = 0; i < 3; i++)
		lab_finish_vm(&vm[i]);
	close(control);
	lab_close(&lab, fds);
}

int main(void)
{
	tap_init();
	test_credits();
	test_waiting();
	test_oom();
	test_called_off();
	test_hopeless();
	test_second_victim();
	return tap_done();
}
