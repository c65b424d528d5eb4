/* SPDX-License-Identifier: MIT */
/*
 * The quota of the swap area: what the machine grants, what a VM keeps of it, and that the sums are
 * right whoever dies.
 */
#include <sched.h>
#include <stdatomic.h>
#include "mmu/machine/credits.h"
#include "machine_lab_tap.h"

#define RAM  (16 * MIB_PAGES)
#define SWAP 1600

struct world {
	struct lab lab;
	int control;
	unsigned int fds;
};

static void open_world(struct world *w, uint64_t swap)
{
	struct machine_config config = lab_config(&w->lab, GIB_PAGES, swap, OVERCOMMIT_ALWAYS);

	w->fds = open_fds();
	lab_open(&w->lab, &config);
	w->control = lab_connect(&w->lab);
}

static void close_world(struct world *w)
{
	close(w->control);
	lab_step(&w->lab);
	is(lab_state(&w->lab).swap_held_pages, 0, "nobody holds swap");
	lab_close(&w->lab, w->fds);
}

static struct lab_vm admit(struct world *w)
{
	return lab_admit(&w->lab, w->control, lab_promise(RAM, 0));
}

/* What a VM hears next of swap; 0: nothing; -errno: its channel is closed. */
static int64_t granted(struct lab_vm *vm)
{
	struct machine_msg msg;
	int type;

	while ((type = hear(vm->channel, &msg, NULL)) > 0)
		if (type == MACHINE_SWAP_GRANT)
			return (int64_t)msg.pages;
	return type;
}

static int64_t take(struct world *w, struct lab_vm *vm, uint64_t pages)
{
	say(vm->channel, MACHINE_SWAP_CREDIT, 0, pages, -1);
	lab_step(&w->lab);
	return granted(vm);
}

static void give(struct world *w, struct lab_vm *vm, uint64_t pages)
{
	say(vm->channel, MACHINE_SWAP_RETURN, 0, pages, -1);
	lab_step(&w->lab);
}

/* ---- the machine ---- */

static void test_grants(void)
{
	struct lab_vm a, b, c;
	uint64_t held = 0;
	struct world w;
	int64_t got;

	open_world(&w, SWAP);
	a = admit(&w), b = admit(&w), c = admit(&w);
	is(take(&w, &a, 10), 10, "a small request gets what it asks");
	is(take(&w, &b, 1000), 64, "a large one the power of two below 1/16 of what is free");
	is(lab_state(&w.lab).swap_held_pages, 74, "which the machine counts");
	for (held = 74; (got = take(&w, &a, 1000)) > 0; held += (uint64_t)got)
		;
	is(held, SWAP, "one VM may have all, in ever smaller parts");
	is(lab_state(&w.lab).swap_held_pages, SWAP, "but no more than there is");
	is(take(&w, &b, 5), 0, "another one waits behind it");
	give(&w, &b, 3);
	is(granted(&a), 3, "what comes back goes to who waited first");
	give(&w, &a, 100);
	is(granted(&b), 5, "and then to the next");
	is(take(&w, &c, 1000), 16, "who asks late gets 16 at least");
	lab_finish_vm(&a);
	lab_step(&w.lab);
	is(lab_state(&w.lab).swap_held_pages, 64 + 2 + 16, "what a dead VM had is back");
	is(take(&w, &b, RAM), -ECONNRESET, "nobody asks for more than its RAM");
	lab_finish_vm(&b);
	lab_finish_vm(&c);
	close_world(&w);
}

static void test_end_of_a_waiter(void)
{
	struct lab_vm a, b, c;
	struct world w;

	open_world(&w, 16);
	a = admit(&w), b = admit(&w), c = admit(&w);
	is(take(&w, &a, 16), 16, "the area is full");
	take(&w, &b, 8);
	take(&w, &c, 8);
	lab_finish_vm(&b);
	lab_finish_vm(&a);
	lab_step(&w.lab);
	is(granted(&c), 8, "a VM that died while it waited is passed over");
	lab_finish_vm(&c);
	close_world(&w);
}

static void test_set(void)
{
	struct machine_msg msg = wire_msg(MACHINE_SET, 0);
	struct lab_vm a, b;
	struct world w;

	open_world(&w, 100);
	a = admit(&w), b = admit(&w);
	is(take(&w, &a, 16), 16, "(swap is used)");
	msg.set = (struct machine_settings){ .fields = MACHINE_SET_SWAP, .swap_pages = 10 };
	say_msg(w.control, msg, -1);
	lab_step(&w.lab);
	is(lab_state(&w.lab).swap_held_pages, 16, "a smaller area takes nothing away");
	is(take(&w, &b, 4), 0, "but nothing is granted");
	give(&w, &a, 8);
	is(granted(&b), 2, "before enough has come back");
	take(&w, &b, 6);
	msg.set.swap_pages = 100;
	say_msg(w.control, msg, -1);
	lab_step(&w.lab);
	is(granted(&b), 6, "a larger one serves who waits");
	lab_finish_vm(&a);
	lab_finish_vm(&b);
	close_world(&w);
}

static void test_readmission(void)
{
	struct machine_admit again = lab_promise(RAM, 0);
	struct lab_vm a, b;
	struct world w;

	open_world(&w, 100);
	again.swap_pages = 1;
	a = lab_admit(&w.lab, w.control, again);
	is(a.error, -EINVAL, "a new VM has no swap: %s", a.text);
	again.readmit = 1;
	again.swap_pages = RAM + 1;
	a = lab_admit(&w.lab, w.control, again);
	is(a.error, -EINVAL, "and none has more than RAM: %s", a.text);
	again.swap_pages = 200;
	a = lab_admit(&w.lab, w.control, again);
	is(a.error, 0, "a VM that outlived its machine keeps what it holds");
	is(lab_state(&w.lab).swap_held_pages, 200, "even if that is more than there is");
	b = admit(&w);
	is(take(&w, &b, 1), 0, "others wait");
	give(&w, &a, 101);
	is(granted(&b), 1, "until there is room");
	lab_finish_vm(&a);
	lab_finish_vm(&b);
	close_world(&w);
}

static void breaks_the_rules(enum machine_type type, uint64_t pages, const char *what)
{
	struct lab_vm a, b;
	struct world w;

	open_world(&w, SWAP);
	a = admit(&w), b = admit(&w);
	lab_start(&w.lab, w.control, &a);
	take(&w, &a, 8);
	take(&w, &b, 8);
	say(a.channel, type, 0, pages, -1);
	lab_step(&w.lab);
	is(granted(&a), -ECONNRESET, "%s ends the channel", what);
	ok(lab_await_vms(&w.lab, 1) && lab_reap(&a, true) == SIGKILL, "and the VM");
	is(lab_state(&w.lab).swap_held_pages, 8, "what it held is back, others keep theirs");
	a.pid = 0;
	lab_finish_vm(&a);
	lab_finish_vm(&b);
	close_world(&w);
}

/* ---- what a VM keeps ---- */

struct play {
	struct credits *c;
	int machine;
	atomic_ullong reclaim; /* the last on_reclaim(), and 1 */
	atomic_int suspends;   /* calls with true, less calls with false */
	atomic_int losses;
};

static void on_reclaim(void *ctx, uint64_t pages)
{
	((struct play *)ctx)->reclaim = pages + 1;
}

static void on_suspend(void *ctx, bool suspended)
{
	((struct play *)ctx)->suspends += suspended ? 1 : -1;
}

static void on_lost(void *ctx)
{
	((struct play *)ctx)->losses++;
}

static int channel_pair(int *machine)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		tap_bail("no socketpair");
	*machine = pair[0];
	return pair[1];
}

static void play_open(struct play *p)
{
	struct credits_config config = { .promise_pages = RAM,
					 .on_reclaim = on_reclaim,
					 .on_suspend = on_suspend,
					 .on_lost = on_lost,
					 .ctx = p };

	memset(p, 0, sizeof(*p));
	config.channel = channel_pair(&p->machine);
	if (credits_create(&config, &p->c, NULL))
		tap_bail("no credits");
}

static void play_close(struct play *p)
{
	credits_destroy(p->c);
	close(p->machine);
}

/* Is this what the VM says next? */
static bool says(struct play *p, enum machine_type type, uint64_t pages)
{
	struct pollfd fd = { .fd = p->machine, .events = POLLIN };
	struct machine_msg msg;

	return poll(&fd, 1, 20000) > 0 && hear(p->machine, &msg, NULL) == (int)type &&
	       msg.pages == pages;
}

static bool says_nothing(struct play *p)
{
	return !hear(p->machine, NULL, NULL);
}

static void await_swap(struct play *p, uint64_t held)
{
	while (credits_swap_held(p->c) != held)
		sched_yield();
}

static void test_take(void)
{
	struct play p;

	play_open(&p);
	is(credits_take_swap(p.c, 0), 0, "who wants to swap soon asks ahead");
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "for a batch");
	is(credits_take_swap(p.c, 5), 0, "before the answer there is none");
	ok(says_nothing(&p), "and one question is enough");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 100, -1);
	await_swap(&p, 100);
	is(credits_take_swap(p.c, 30), 30, "then it is taken");
	ok(says_nothing(&p), "while half a batch is left without a word");
	is(credits_take_swap(p.c, 20), 20, "below that");
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "it asks ahead");
	is(credits_take_swap(p.c, 70), 50, "who wants more than there is gets what there is");
	credits_put_swap(p.c, 100);
	ok(says_nothing(&p), "who waits for more gives nothing back");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 150, -1);
	await_swap(&p, 250);
	ok(says_nothing(&p), "two batches are kept");
	credits_take_swap(p.c, 100);
	say(p.machine, MACHINE_RECLAIM, 0, 77, -1);
	while (p.reclaim != 78)
		sched_yield();
	ok(true, "a RECLAIM is passed on");
	play_close(&p);
}

static void test_put(void)
{
	struct play p;

	play_open(&p);
	credits_take_swap(p.c, 0);
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "(asked)");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 1024, -1);
	await_swap(&p, 1024);
	credits_take_swap(p.c, 1000);
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "(asked again)");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 10, -1);
	await_swap(&p, 1034);
	credits_put_swap(p.c, 500);
	ok(says(&p, MACHINE_SWAP_RETURN, 524), "beyond two batches all but one go back");
	is(credits_swap_held(p.c), 510, "and are held no more");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 10, -1);
	while (!p.losses)
		sched_yield();
	ok(true, "a grant that nobody asked for is none of a machine");
	play_close(&p);
}

/* The disk of the VM has no room. */
static void test_useless(void)
{
	struct play p;

	play_open(&p);
	credits_take_swap(p.c, 0);
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "(asked)");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 1024, -1);
	await_swap(&p, 1024);
	is(credits_take_swap(p.c, 600), 600, "(600 are taken)");
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "(asked ahead)");
	credits_give_swap(p.c, 256);
	ok(says(&p, MACHINE_SWAP_RETURN, 424 + 256), "whose disk is full keeps nothing");
	is(credits_swap_held(p.c), 344, "but what it uses");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 512, -1);
	ok(says(&p, MACHINE_SWAP_RETURN, 512), "nor what is granted then");
	is(credits_swap_held(p.c), 344, "and has no more than before");
	credits_put_swap(p.c, 44);
	ok(says(&p, MACHINE_SWAP_RETURN, 44), "what it puts back goes on");
	is(credits_take_swap(p.c, 256), 0, "when it tries again");
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "it asks");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 512, -1);
	await_swap(&p, 812);
	ok(says_nothing(&p), "and keeps what it gets");
	play_close(&p);
}

static void test_lost(void)
{
	struct reclaim_record record = { .on = 1, .swapped = 5 };
	struct machine_msg msg;
	struct play p;

	play_open(&p);
	credits_tell_reclaim(p.c, &record);
	ok(hear(p.machine, &msg, NULL) == MACHINE_RECLAIMED && msg.reclaim.swapped == 5,
	   "a record goes to the machine");
	credits_take_swap(p.c, 0);
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "(asked)");
	say(p.machine, MACHINE_SWAP_GRANT, 0, 100, -1);
	say(p.machine, MACHINE_SUSPEND, 0, 1, -1);
	say(p.machine, MACHINE_RECLAIM, 0, 9, -1);
	while (p.reclaim != 10)
		sched_yield();
	is(p.suspends, 1, "a SUSPEND is passed on");
	close(p.machine);
	while (!p.losses)
		sched_yield();
	is(p.suspends, 0, "when the machine is lost, the guest goes on");
	is(p.reclaim, 1, "and nobody wants its pages");
	is(credits_take_swap(p.c, 60), 60, "swap at hand can be used");
	credits_put_swap(p.c, 60);
	is(credits_swap_held(p.c), 100, "and what is held does not change");
	is(credits_replace_channel(p.c, channel_pair(&p.machine)), 0, "a new machine");
	poll(&(struct pollfd){ .fd = p.machine, .events = POLLIN }, 1, 20000);
	ok(hear(p.machine, &msg, NULL) == MACHINE_RECLAIMED && msg.reclaim.swapped == 5,
	   "is told the record too");
	credits_take_swap(p.c, 60);
	ok(says(&p, MACHINE_SWAP_CREDIT, 1024), "and is asked for swap");
	play_close(&p);
}

int main(void)
{
	tap_init();
	test_grants();
	test_end_of_a_waiter();
	test_set();
	test_readmission();
	breaks_the_rules(MACHINE_SWAP_RETURN, 9, "a SWAP_RETURN of more than is held");
	breaks_the_rules(MACHINE_SWAP_CREDIT, 0, "a SWAP_CREDIT for nothing");
	breaks_the_rules(MACHINE_SWAP_CREDIT, RAM, "a SWAP_CREDIT beyond RAM");
	test_take();
	test_put();
	test_useless();
	test_lost();
	return tap_done();
}
