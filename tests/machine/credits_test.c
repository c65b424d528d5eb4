/* SPDX-License-Identifier: MIT */
/*
 * A VM's credits: first against a machine that the test plays word by word, then many threads
 * of several VMs against a real one with too little memory.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include "mmu/machine/client.h"
#include "mmu/machine/credits.h"
#include "machine_lab.h"
#include "tests/tap.h"

struct play {
	struct credits *c;
	int machine; /* our end */
	atomic_int stops, losses;
	atomic_ullong target; /* twice that, and 1 if it was by hand */
	/* A waiting thread. */
	pthread_t thread;
	uint64_t need;
	int answer;
};

static void on_stop(void *ctx)
{
	((struct play *)ctx)->stops++;
}

static void on_lost(void *ctx)
{
	((struct play *)ctx)->losses++;
}

static void on_balloon(void *ctx, uint64_t pages, bool manual)
{
	((struct play *)ctx)->target = pages * 2 + manual;
}

static int channel_pair(int *machine)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		tap_bail("no socketpair");
	*machine = pair[0];
	return pair[1];
}

static void play_open(struct play *p, uint64_t held, uint64_t promise)
{
	struct credits_config config = { .held_pages = held,
					 .promise_pages = promise,
					 .on_stop = on_stop,
					 .on_lost = on_lost,
					 .on_balloon = on_balloon,
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

/* What the VM says next; waits for it.  0: nothing within ms. */
static int listen_for(struct play *p, struct machine_msg *msg, int ms)
{
	struct pollfd fd = { .fd = p->machine, .events = POLLIN };

	if (poll(&fd, 1, ms) <= 0)
		return 0;
	return hear(p->machine, msg, NULL);
}

#define PATIENCE 20000

static void *wait_thread(void *arg)
{
	struct play *p = arg;

	p->answer = credits_wait(p->c, p->need, 2 * p->need);
	return NULL;
}

static void start_wait(struct play *p, uint64_t need)
{
	p->need = need;
	pthread_create(&p->thread, NULL, wait_thread, p);
}

static int end_wait(struct play *p)
{
	pthread_join(p->thread, NULL);
	return p->answer;
}

/* The listener has seen all that was said so far. */
static void await_spare(struct play *p, uint64_t spare)
{
	while (credits_spare(p->c) != spare)
		sched_yield();
}

static void test_take(void)
{
	struct machine_msg msg;
	struct play p;

	play_open(&p, 1000, 100000);
	ok(credits_take(p.c, 400), "what is spare can be taken");
	ok(!credits_take(p.c, 601), "and no more, not even in part");
	is(listen_for(&p, &msg, 0), 0, "which needs no message");
	ok(credits_take(p.c, 200), "below half a batch");
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT && !msg.credit.need_pages &&
		   msg.credit.want_pages == UINT64_MAX,
	   "it asks ahead of time");
	ok(credits_take(p.c, 10) && !listen_for(&p, &msg, 0), "once");
	say(p.machine, MACHINE_GRANT, 0, 2000, -1);
	await_spare(&p, 2390);
	is(credits_held(p.c), 3000, "a grant adds to what is held");
	ok(credits_take(p.c, 1390) && !listen_for(&p, &msg, 0), "the new batch has a new half");
	ok(credits_take(p.c, 1) && listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT,
	   "below which it asks again");
	say(p.machine, MACHINE_GRANT, 0, 0, -1);
	start_wait(&p, 1000);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT && msg.credit.need_pages == 1 &&
		   msg.credit.want_pages == 2000,
	   "a waiter asks for what is missing");
	say(p.machine, MACHINE_GRANT, 0, 1, -1);
	is(end_wait(&p), 0, "and goes on with it");
	ok(credits_take(p.c, 999) && !listen_for(&p, &msg, 0),
	   "where grants are just what is needed nothing is asked ahead");
	play_close(&p);
}

static void test_put(void)
{
	struct machine_msg msg;
	struct play p;

	play_open(&p, 1000, 100000);
	credits_take(p.c, 500);
	credits_put(p.c, 500);
	is(listen_for(&p, &msg, 0), 0, "what was put back is kept");
	credits_take(p.c, 600);
	listen_for(&p, &msg, PATIENCE);
	say(p.machine, MACHINE_GRANT, 0, 1500, -1);
	await_spare(&p, 1900);
	credits_put(p.c, 600);
	is(listen_for(&p, &msg, 0), 0, "up to two batches");
	say(p.machine, MACHINE_RECALL, 0, 99, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 2500,
	   "a recall gets all that is spare");
	is(credits_held(p.c), 0, "which is held no more");
	say(p.machine, MACHINE_RECALL, 0, 99, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 0,
	   "and an answer even if nothing is");
	start_wait(&p, 100);
	listen_for(&p, &msg, PATIENCE);
	say(p.machine, MACHINE_RECALL, 0, 99, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 0,
	   "who waits has nothing to spare");
	say(p.machine, MACHINE_GRANT, 0, 100, -1);
	is(end_wait(&p), 0, "(granted)");
	credits_take(p.c, 100);
	credits_put(p.c, 30);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 30,
	   "while memory is scarce nothing is kept");
	play_close(&p);
	play_open(&p, 1000, 100000);
	credits_take(p.c, 600);
	listen_for(&p, &msg, PATIENCE);
	say(p.machine, MACHINE_GRANT, 0, 100, -1);
	await_spare(&p, 500);
	credits_put(p.c, 600);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 1000,
	   "beyond two batches all but one are returned");
	play_close(&p);
}

static void test_waiters(void)
{
	struct machine_msg msg;
	struct play p;

	play_open(&p, 10, 400);
	start_wait(&p, 50);
	listen_for(&p, &msg, PATIENCE);
	is(msg.credit.need_pages, 40, "a waiter asks");
	say(p.machine, MACHINE_DENIED, 0, 0, -1);
	is(end_wait(&p), -ENOMEM, "and may be denied");
	start_wait(&p, 50);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "another asks anew");
	say(p.machine, MACHINE_GRANT, 0, 40, -1);
	is(end_wait(&p), 0, "and is granted");
	credits_take(p.c, 40);
	start_wait(&p, 5000);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT && msg.credit.need_pages == 350,
	   "nobody asks for more than the promise");
	say(p.machine, MACHINE_GRANT, 0, 350, -1);
	is(end_wait(&p), 0, "who needs more than that shall look again");
	is(credits_held(p.c), 400, "all is held");
	is(credits_wait(p.c, 2000, 2000), 0, "then nobody waits at all");
	play_close(&p);
	play_open(&p, 10, 1000);
	start_wait(&p, 700);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT &&
		   msg.credit.need_pages == MACHINE_NEED_MAX,
	   "who needs more than one may ask for asks for that");
	say(p.machine, MACHINE_GRANT, 0, MACHINE_NEED_MAX, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT &&
		   msg.credit.need_pages == 690 - MACHINE_NEED_MAX,
	   "and then for the rest");
	say(p.machine, MACHINE_GRANT, 0, msg.credit.need_pages, -1);
	is(end_wait(&p), 0, "and has all");
	play_close(&p);
	play_open(&p, 10, 1000);
	start_wait(&p, 50);
	listen_for(&p, &msg, PATIENCE);
	credits_cancel(p.c);
	is(end_wait(&p), -ECANCELED, "a waiter can be called off");
	is(credits_wait(p.c, 50, 50), -ECANCELED, "as are all later ones");
	play_close(&p);
}

/* ---- who seeks: as who waits, but without a thread of its own ---- */

static void count_news(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static bool await_news(atomic_uint *news)
{
	for (unsigned int i = 0; i < PATIENCE && !atomic_load(news); i++)
		usleep(1000);
	return atomic_exchange(news, 0) > 0;
}

static void test_seek(void)
{
	struct machine_msg msg;
	atomic_uint news = 0;
	struct play p;

	play_open(&p, 0, 1000);
	is(credits_seek(p.c, 1, 16, count_news, &news), -EAGAIN, "who seeks does not wait");
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT && msg.credit.need_pages == 1 &&
		   msg.credit.want_pages == 16,
	   "but the machine is asked");
	say(p.machine, MACHINE_RECALL, 0, 5, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 0,
	   "and has nothing to spare");
	await_news(&news);
	say(p.machine, MACHINE_GRANT, 0, 1, -1);
	ok(await_news(&news), "a grant is news");
	is(credits_seek(p.c, 1, 16, count_news, &news), 0, "and worth another try");
	ok(credits_take(p.c, 1), "which takes it");
	is(credits_seek(p.c, 1, 16, count_news, &news), -EAGAIN, "one is not enough");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "so the machine is asked again");
	credits_put(p.c, 1);
	ok(await_news(&news) && credits_take(p.c, 1), "a page that is gone is news too");
	say(p.machine, MACHINE_GRANT, 0, 1, -1);
	ok(await_news(&news), "(granted)");
	credits_stop_seeking(p.c);
	credits_put(p.c, 1);
	is(atomic_load(&news), 0, "who seeks no more hears no more");
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 2,
	   "and what is spare goes back, because memory is scarce");
	play_close(&p);
}

static void test_seek_ends(void)
{
	struct machine_msg msg;
	atomic_uint news = 0;
	struct play p;

	play_open(&p, 0, 4);
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN, "(another one seeks)");
	listen_for(&p, &msg, PATIENCE);
	close(p.machine);
	while (!p.losses)
		sched_yield();
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN, "without a machine it waits on");
	is(credits_replace_channel(p.c, channel_pair(&p.machine)), 0, "a new machine comes");
	ok(await_news(&news), "which is news");
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN, "(it seeks again)");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "so this one is asked too");
	say(p.machine, MACHINE_GRANT, 0, 4, -1);
	ok(await_news(&news) && credits_take(p.c, 4), "(it grants all)");
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN,
	   "when the promise is used up, it waits for what others put back");
	is(listen_for(&p, &msg, 0), 0, "and asks nobody");
	credits_put(p.c, 4);
	ok(await_news(&news), "(they do)");
	say(p.machine, MACHINE_RECALL, 0, 4, -1);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_RETURN, "(nothing is returned)");
	credits_stop_seeking(p.c);
	say(p.machine, MACHINE_RECALL, 0, 4, -1);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 4, "(now all is)");
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN, "it seeks again");
	listen_for(&p, &msg, PATIENCE);
	atomic_store(&news, 0);
	say(p.machine, MACHINE_DENIED, 0, 0, -1);
	ok(await_news(&news), "a denial is news");
	is(credits_seek(p.c, 1, 1, count_news, &news), -ENOMEM, "the VM must end");
	credits_cancel(p.c);
	ok(await_news(&news), "its end is news");
	is(credits_seek(p.c, 1, 1, count_news, &news), -ECANCELED, "and calls it off");
	credits_stop_seeking(p.c);
	play_close(&p);
}

/* What is needed comes back from the VM itself, while the machine looks for somebody to kill. */
static void test_call_off(void)
{
	struct machine_msg msg;
	atomic_uint news = 0;
	struct play p;

	play_open(&p, 0, 1000);
	start_wait(&p, 1);
	listen_for(&p, &msg, PATIENCE);
	say(p.machine, MACHINE_GRANT, 0, 1, -1);
	is(end_wait(&p), 0, "(a page is granted)");
	credits_take(p.c, 1);
	start_wait(&p, 1);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "(another one is asked for)");
	credits_put(p.c, 1);
	is(end_wait(&p), 0, "who waits goes on with what is put back");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CALL_OFF, "and the machine hears of it");
	credits_take(p.c, 1);
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN, "who needs one again");
	is(listen_for(&p, &msg, 0), 0, "does not ask twice at a time");
	say(p.machine, MACHINE_DENIED, 0, 0, -1);
	is(listen_for(&p, &msg, 0), 0, "(denied)");
	ok(await_news(&news), "but when the answer is here");
	is(credits_seek(p.c, 1, 1, count_news, &news), -EAGAIN,
	   "even a denial, which means nothing any more,");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "it asks");
	credits_stop_seeking(p.c);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CALL_OFF, "who seeks no more says so");
	say(p.machine, MACHINE_GRANT, 0, 0, -1);
	start_wait(&p, 1);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "(another one waits)");
	credits_cancel(p.c);
	is(end_wait(&p), -ECANCELED, "when the VM ends");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CALL_OFF, "nobody shall be killed for it");
	play_close(&p);
}

static void test_lost(void)
{
	int ram = memfd_create("ram", MFD_CLOEXEC), readonly = reopen_readonly(ram);
	struct machine_msg msg;
	struct play p;

	play_open(&p, 10, 1000);
	is(credits_attach(p.c, readonly), 0, "RAM is attached");
	close(readonly);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_ATTACH, "as the machine is told");
	is(credits_replace_channel(p.c, channel_pair(&readonly)), -EBUSY,
	   "a channel that works is not replaced");
	close(readonly);
	start_wait(&p, 50);
	listen_for(&p, &msg, PATIENCE);
	close(p.machine);
	while (!p.losses)
		sched_yield();
	ok(true, "the machine's end is told");
	ok(credits_take(p.c, 4), "what is spare can still be taken");
	credits_put(p.c, 2);
	is(credits_held(p.c), 10, "what is held stays");
	is(credits_replace_channel(p.c, channel_pair(&p.machine)), 0, "a new machine comes");
	is(listen_for(&p, &msg, PATIENCE), MACHINE_ATTACH, "and is told about RAM");
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT && msg.credit.need_pages == 42,
	   "who waited asks it");
	say(p.machine, MACHINE_GRANT, 0, 42, -1);
	is(end_wait(&p), 0, "and is granted");
	say(p.machine, MACHINE_STOP, 0, 0, -1);
	while (!p.stops)
		sched_yield();
	ok(true, "a wish to stop is told");
	say(p.machine, MACHINE_GRANT, 0, 5, -1);
	while (p.losses != 2)
		sched_yield();
	ok(true, "a grant that nobody asked for is no machine's");
	play_close(&p);
	close(ram);
}

/* A machine that reads nothing for a while. */
static void test_congested(void)
{
	struct machine_msg msg;
	unsigned int returns = 0;
	uint64_t back = 0;
	struct play p;

	play_open(&p, 5000, 100000);
	credits_take(p.c, 5000);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_CREDIT, "(asks ahead)");
	say(p.machine, MACHINE_GRANT, 0, 0, -1);
	say(p.machine, MACHINE_RECALL, 0, 1, -1);
	is(listen_for(&p, &msg, PATIENCE), MACHINE_RETURN, "(memory is scarce)");
	for (unsigned int i = 0; i < 5000; i++)
		credits_put(p.c, 1);
	ok(credits_spare(p.c) > 0, "what cannot be said now is kept (%u)",
	   (unsigned int)credits_spare(p.c));
	start_wait(&p, 6000);
	while (listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN) {
		back += msg.pages;
		returns++;
	}
	ok(returns > 10 && msg.type == MACHINE_CREDIT, "and said when there is room");
	is(back + credits_held(p.c), 5000, "no credit is lost or doubled");
	say(p.machine, MACHINE_GRANT, 0, 6000, -1);
	is(end_wait(&p), 0, "(granted)");
	play_close(&p);
}

/* ---- many threads ---- */

#define MEMORY	   20000
#define NR_VMS	   4
#define NR_THREADS 3
#define STEPS	   50000

struct world {
	atomic_long spent; /* by all VMs */
	atomic_uint exceeded, waits, denials;
	struct credits *c[NR_VMS];
	uint64_t seed;
};

struct job {
	struct world *world;
	struct credits *c;
	uint64_t rng;
	uint64_t pages; /* spent by this thread */
};

static void unspend(struct job *j, uint64_t pages)
{
	j->pages -= pages;
	j->world->spent -= (long)pages;
	credits_put(j->c, pages);
}

static void spend(struct job *j, uint64_t pages)
{
	struct world *w = j->world;
	int code;

	while (!credits_take(j->c, pages)) {
		w->waits++;
		code = credits_wait(j->c, pages, 4 * pages);
		if (code == -ENOMEM) {
			w->denials++;
			unspend(j, j->pages); /* or all would go on wanting what there is not */
			return;
		}
	}
	j->pages += pages;
	if (atomic_fetch_add(&w->spent, (long)pages) + (long)pages > MEMORY)
		w->exceeded++;
}

static void *work(void *arg)
{
	struct job *j = arg;

	for (unsigned int i = 0; i < STEPS; i++) {
		uint64_t n = tap_random(&j->rng) % 64 + 1;

		/* Together they want more than there is, now and then. */
		if (j->pages > 2900 || tap_random(&j->rng) % 5 == 0)
			unspend(j, min_u64(j->pages, n * 3));
		else
			spend(j, n);
	}
	unspend(j, j->pages);
	return NULL;
}

struct served {
	struct machine *m;
	int stop;
};

static void *serve(void *arg)
{
	struct served *s = arg;

	machine_run(s->m, s->stop);
	return NULL;
}

static void admit_vms(struct machine_client *client, struct world *w)
{
	struct machine_admit admit = lab_promise(9000, 5);

	for (unsigned int i = 0; i < NR_VMS; i++) {
		struct machine_admitted vm;
		struct credits_config config;

		if (machine_client_admit(client, &admit, &vm, NULL))
			tap_bail("not admitted");
		config = (struct credits_config){ .channel = vm.channel,
						  .promise_pages = 9000,
						  .held_pages = vm.credit_pages };
		if (credits_create(&config, &w->c[i], NULL))
			tap_bail("no credits");
	}
}

static void run_jobs(struct world *w)
{
	pthread_t thread[NR_VMS * NR_THREADS];
	struct job job[NR_VMS * NR_THREADS];

	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++) {
		job[i] = (struct job){ .world = w, .c = w->c[i % NR_VMS], .rng = w->seed + i };
		pthread_create(&thread[i], NULL, work, &job[i]);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
}

/* What is under way settles soon. */
static bool accounts_agree(struct machine_client *client, struct world *w)
{
	for (unsigned int i = 0; i < 10000; i++) {
		struct machine_state state;
		uint64_t held = 0;

		for (unsigned int j = 0; j < NR_VMS; j++)
			held += credits_held(w->c[j]);
		if (machine_client_get(client, &state, NULL))
			return false;
		if (state.credit_pages == held)
			return true;
	}
	return false;
}

static void test_threads(uint64_t seed)
{
	struct machine_config config = { .recall_ms = 5 };
	struct served served = { .stop = eventfd(0, EFD_CLOEXEC) };
	struct world world = { .seed = seed };
	struct machine_client *client;
	struct machine_state state;
	pthread_t machine;
	uint64_t one = 1;
	int pair[2];

	ledger_defaults(&config.ledger, MEMORY, 0);
	config.ledger.mode = OVERCOMMIT_ALWAYS;
	if (machine_create(&config, &served.m, NULL) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ||
	    machine_adopt_control(served.m, pair[0]))
		tap_bail("no machine");
	pthread_create(&machine, NULL, serve, &served);
	if (machine_client_create(pair[1], &client, NULL))
		tap_bail("no client");
	admit_vms(client, &world);
	run_jobs(&world);
	is(world.exceeded, 0, "in no moment more is spent than there is");
	ok(world.waits > 0, "threads waited %u times, denied %u", world.waits, world.denials);
	is(world.spent, 0, "all is given up");
	for (unsigned int i = 0; i < NR_VMS; i++)
		is(credits_spare(world.c[i]), credits_held(world.c[i]), "all is spare");
	ok(accounts_agree(client, &world), "and the machine has the same account");
	for (unsigned int i = 0; i < NR_VMS; i++)
		credits_destroy(world.c[i]);
	machine_client_destroy(client);
	if (write(served.stop, &one, sizeof(one)) < 0)
		tap_bail("no stop");
	pthread_join(machine, NULL);
	machine_get_state(served.m, &state);
	is(state.credit_pages + state.overhead_pages + state.committed_pages, 0,
	   "at the end every account is zero");
	machine_destroy(served.m);
	close(served.stop);
}

static void test_give(void)
{
	struct machine_msg msg;
	struct play p;

	play_open(&p, 1000, 100000);
	credits_take(p.c, 500);
	credits_give(p.c, 300);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_RETURN && msg.pages == 300,
	   "what is given goes to the machine at once");
	ok(credits_spare(p.c) == 500 && credits_held(p.c) == 700, "just that, and nothing else");
	start_wait(&p, 2000);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_CREDIT, "while a thread waits");
	credits_give(p.c, 200);
	is(listen_for(&p, &msg, 0), 0, "it stays here");
	say(p.machine, MACHINE_GRANT, 0, 2000, -1);
	is(end_wait(&p), 0, "... and helps");
	play_close(&p);
}

static void await_target(struct play *p, uint64_t want)
{
	for (unsigned int i = 0; i < PATIENCE && p->target != want; i++)
		usleep(1000);
	is(p->target, want, "a target arrives");
}

static void test_balloon(void)
{
	struct balloon_record b = { .driver = BALLOON_DRIVER, .actual = 5 };
	struct machine_msg msg;
	struct play p;
	int next;

	play_open(&p, 1000, 100000);
	credits_tell_balloon(p.c, &b);
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_BALLOON && msg.balloon.actual == 5,
	   "the machine is told of the balloon");
	msg = wire_msg(MACHINE_BALLOON_TARGET, 0);
	msg.target.pages = 77;
	say_msg(p.machine, msg, -1);
	await_target(&p, 77 * 2);
	msg.target.manual = 1;
	say_msg(p.machine, msg, -1);
	await_target(&p, 77 * 2 + 1);

	msg.target.pages = 100001;
	say_msg(p.machine, msg, -1);
	for (unsigned int i = 0; i < PATIENCE && !p.losses; i++)
		usleep(1000);
	is(p.losses, 1, "who wants more than RAM is no machine");
	b.actual = 6;
	credits_tell_balloon(p.c, &b);
	close(p.machine);
	next = channel_pair(&p.machine);
	is(credits_replace_channel(p.c, next), 0, "another takes over");
	ok(listen_for(&p, &msg, PATIENCE) == MACHINE_BALLOON && msg.balloon.actual == 6,
	   "and is told what was said last");
	play_close(&p);
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_take();
	test_put();
	test_give();
	test_balloon();
	test_waiters();
	test_seek();
	test_seek_ends();
	test_call_off();
	test_lost();
	test_congested();
	test_threads(seed);
	return tap_done();
}
