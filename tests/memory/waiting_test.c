/* SPDX-License-Identifier: MIT */
/*
 * Guest memory without credits: what needs none goes on, what needs some waits, each in its turn,
 * and nobody is forgotten.  waiting_machine_test.c has a machine that dies.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "waiting_lab.h"

/* ---- a purse that the test fills ---- */

static struct purse {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	uint64_t credits;
	bool denies;
	void (*news)(void *arg); /* NULL: nobody seeks */
	void *arg;
} purse = { .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER };

static void purse_tell(void)
{
	pthread_cond_broadcast(&purse.filled);
	if (purse.news)
		purse.news(purse.arg);
}

static bool purse_take(void *ctx, uint64_t pages)
{
	bool enough;

	(void)ctx;
	pthread_mutex_lock(&purse.lock);
	enough = purse.credits >= pages;
	purse.credits -= enough ? pages : 0;
	pthread_mutex_unlock(&purse.lock);
	return enough;
}

static int purse_wait(void *ctx, uint64_t need, uint64_t want)
{
	int err;

	(void)ctx, (void)want;
	pthread_mutex_lock(&purse.lock);
	while (purse.credits < need && !purse.denies)
		pthread_cond_wait(&purse.filled, &purse.lock);
	err = purse.denies ? -ENOMEM : 0;
	pthread_mutex_unlock(&purse.lock);
	return err;
}

static int purse_seek(void *ctx, uint64_t need, uint64_t want, void (*news)(void *arg), void *arg)
{
	int err;

	(void)ctx, (void)want;
	pthread_mutex_lock(&purse.lock);
	purse.news = news;
	purse.arg = arg;
	err = purse.denies ? -ENOMEM : purse.credits < need ? -EAGAIN : 0;
	pthread_mutex_unlock(&purse.lock);
	return err;
}

static void purse_stop_seeking(void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&purse.lock);
	purse.news = NULL;
	pthread_mutex_unlock(&purse.lock);
}

static void purse_put(void *ctx, uint64_t pages)
{
	(void)ctx;
	pthread_mutex_lock(&purse.lock);
	purse.credits += pages;
	purse_tell();
	pthread_mutex_unlock(&purse.lock);
}

static void purse_deny(void)
{
	pthread_mutex_lock(&purse.lock);
	purse.denies = true;
	purse_tell();
	pthread_mutex_unlock(&purse.lock);
}

static bool purse_is_sought(void)
{
	bool sought;

	pthread_mutex_lock(&purse.lock);
	sought = purse.news;
	pthread_mutex_unlock(&purse.lock);
	return sought;
}

static const struct gmem_credits purse_hooks = {
	.take = purse_take,
	.wait = purse_wait,
	.seek = purse_seek,
	.stop_seeking = purse_stop_seeking,
	.put = purse_put,
};

/* ---- the guest ---- */

static void open_memory(enum gmem_hugepages hugepages, uint64_t credits)
{
	purse.credits = credits;
	purse.denies = false;
	atomic_store(&failures, 0);
	create_with((struct gmem_config){
		.hugepages = hugepages, .credits = &purse_hooks, .on_host_failure = on_failure });
}

static uint64_t waits(void)
{
	struct gmem_stats s = stats();

	return histogram_total(&s.credit_waits);
}

static enum page_state state_of(gfn_t gfn)
{
	struct stage2_page page;

	gmem_lookup(gm, gfn, &page);
	return page.state;
}

static void close_memory(uint64_t credits, const char *what)
{
	is(gmem_audit(gm, describe, NULL), 0, "%s: the audit is clean", what);
	is(purse.credits + stats().s2.pages[PG_PRIVATE] + gm->share.reserve, credits,
	   "%s: no credit is lost or doubled", what);
	guest_destroy(gm);
}

/* ---- what need not wait ---- */

/* 100 shared pages, 16 of zeroes that nobody has read, and a reserve; then no more credits. */
static void open_merged(void)
{
	struct share_run run = { 0, 100, PG_SHARED, frame_of(1) };
	struct share_run zeroes = { 200, 16, PG_ZERO, 0 };
	struct share_result res = { 0 };

	open_memory(GMEM_HUGE_NEVER, 400);
	for (gfn_t g = 0; g < 100; g++)
		fill_page((uint64_t *)hva(g), 1 + g);
	for (gfn_t g = 200; g < 216; g++)
		hva(g)[0] = 0;
	lock(&gm->lock);
	share_commit(gm, &run, &res);
	zero_commit(gm, &zeroes, 1, &res);
	unlock(&gm->lock);
	is(res.merged, 116, "(pages are merged)");
	pthread_mutex_lock(&purse.lock);
	purse.credits = 0;
	pthread_mutex_unlock(&purse.lock);
}

static void test_others_go_on(void)
{
	struct toucher first, more, breaker, reader;
	uint64_t reserve, private;

	open_merged();
	reserve = gm->share.reserve;
	private = stats().s2.pages[PG_PRIVATE];
	ok(reserve > 0, "there is a reserve of %lu", (long)reserve);
	toucher_start(&first, 1024, true);
	ok(await_waiting(1), "a first touch waits");
	toucher_start(&breaker, 3, true);
	toucher_start(&reader, 205, false);
	ok(toucher_is_done(&breaker), "a break that the reserve pays does not wait behind it");
	ok(toucher_is_done(&reader), "nor does a read of a page of zeroes");
	toucher_start(&more, 1500, false);
	ok(await_waiting(2), "another first touch waits too");
	/* Now the balloon's driver, on another vCPU: its own pages are merged as well. */
	put_into((volatile uint64_t *)hva(7), 1);
	is(stats().waiting_pages, 2, "a driver of a balloon runs meanwhile");
	is(gmem_balloon(gm, 300, 8, NULL), 0, "and gives pages back");
	ok(await_waiting(2) && !atomic_load(&first.done), "which had no frame, so nobody gains");
	purse_put(NULL, 1);
	ok(await_waiting(1) && (guest_on_shadow || toucher_is_done(&first)),
	   "with one credit one goes on, the older one where the pager decides");
	is(gmem_balloon(gm, 3, 1, NULL), 0, "a page with a frame goes into the balloon");
	ok(toucher_is_done(&first) && toucher_is_done(&more),
	   "and what it frees goes to who waits");
	for (struct toucher *t[] = { &first, &more, &breaker, &reader }, **p = t; p < t + 4; p++)
		toucher_end(*p);
	is(stats().waiting_pages, 0, "nobody waits");
	ok(!purse_is_sought(), "and nothing is sought");
	ok(waits() == 2 || (guest_on_shadow && waits() == 3), "two waits were counted");
	ok(stats().credit_wait_ns >= stats().credit_waits.longest_ns, "with their time");
	close_memory(reserve + private + 1, "merged");
}

/* ---- turns ---- */

#define IN_LINE 12

/* Far from each other, but the last two: these are neighbours. */
static gfn_t place(unsigned int n)
{
	return n == IN_LINE - 1 ? place(n - 1) + 3 : 20 + n * 40;
}

static void stand_in_line(struct toucher *t)
{
	bool waits = true;

	for (unsigned int i = 0; i < IN_LINE; i++) {
		toucher_start(&t[i], place(i), i % 2);
		waits &= await_waiting(i + 1);
	}
	ok(waits, "%u accesses wait", IN_LINE);
}

static void test_turns(enum gmem_hugepages hugepages)
{
	struct toucher t[IN_LINE];
	bool in_turn = true, alone = true;

	open_memory(hugepages, 0);
	stand_in_line(t);
	for (unsigned int i = 0; i < IN_LINE - 2; i++) {
		purse_put(NULL, 1);
		in_turn &= toucher_is_done(&t[i]);
		for (unsigned int j = i + 1; j < IN_LINE; j++)
			in_turn &= state_of(place(j)) == PG_ABSENT;
	}
	ok(in_turn, "credits go to them one by one, the oldest first");
	purse_put(NULL, 50);
	for (unsigned int i = 0; i < IN_LINE; i++)
		toucher_end(&t[i]);
	for (unsigned int i = 0; i < IN_LINE - 2; i++)
		alone &= state_of(place(i)) == PG_PRIVATE && state_of(place(i) + 1) == PG_ABSENT;
	ok(alone || hugepages == GMEM_HUGE_AUTO, "each got its page alone, while others waited");
	ok(stats().s2.pages[PG_PRIVATE] > IN_LINE, "and the last one a group");
	close_memory(IN_LINE - 2 + 50, "turns");
}

/* ---- one entry a page ---- */

static void on_signal(int sig)
{
	(void)sig;
}

static void test_one_entry(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct toucher t[4];

	sigaction(SIGUSR1, &action, NULL);
	open_memory(GMEM_HUGE_NEVER, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		toucher_start(&t[i], 33, i & 1);
	ok(await_waiting(1), "an access waits");
	for (unsigned int i = 0; i < 400; i++) {
		pthread_kill(t[i % ARRAY_SIZE(t)].thread, SIGUSR1);
		if (i % 100 == 99)
			usleep(20000);
	}
	ok(await_waiting(1), "one, however many threads and signals there are");
	purse_put(NULL, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++)
		toucher_end(&t[i]);
	is(waits(), 1, "all go on, and it is counted once");
	signal(SIGUSR1, SIG_DFL);
	close_memory(1, "one entry");
}

/* Somebody else brings the page in, and nobody tells the pager of the credits for it. */
static void test_settled(void)
{
	struct toucher t[2];
	uint64_t value = 5;

	open_memory(GMEM_HUGE_NEVER, 0);
	toucher_start(&t[0], 40, false);
	ok(await_waiting(1), "a read waits");
	toucher_start(&t[1], 80, true);
	ok(await_waiting(2), "and a write of another page");
	pthread_mutex_lock(&purse.lock);
	purse.credits = 1;
	pthread_mutex_unlock(&purse.lock);
	is(guest_write(gm, gfn_to_gpa(80) + 8, &value, sizeof(value)), 0,
	   "an accessor brings that page in");
	ok(toucher_is_done(&t[1]), "and who waited for it goes on");
	is(stats().waiting_pages, 1, "the other one waits on");
	ok(purse_is_sought(), "and credits are sought for it");
	pthread_mutex_lock(&purse.lock);
	purse.credits = 1;
	pthread_mutex_unlock(&purse.lock);
	is(guest_write(gm, gfn_to_gpa(40) + 8, &value, sizeof(value)), 0, "until it comes in too");
	ok(!purse_is_sought(), "at once nothing is sought any more");
	ok(toucher_is_done(&t[0]), "and all go on");
	toucher_end(&t[0]);
	toucher_end(&t[1]);
	close_memory(2, "settled");
}

static void test_full(void)
{
	struct toucher t;

	open_memory(GMEM_HUGE_NEVER, 0);
	toucher_start(&t, 1900, true);
	ok(await_waiting(1), "an access waits");
	lock(&gm->lock);
	for (gfn_t g = 0; g < WAITING_MAX; g++)
		waiting_add(gm, g, true, monotonic_ns());
	unlock(&gm->lock);
	for (unsigned int i = 0; i < PATIENCE_MS && waits() < 2; i++)
		usleep(1000);
	is(waits(), 2, "of a full list the oldest gives way: it, ...");
	is(stats().waiting_pages, WAITING_MAX, "and another one as it comes again");
	purse_put(NULL, WAITING_MAX - 1);
	ok(await_waiting(1) && !atomic_load(&t.done), "now it is the last");
	purse_put(NULL, 1);
	ok(toucher_is_done(&t), "but not forgotten");
	toucher_end(&t);
	close_memory(WAITING_MAX, "full");
}

static void test_denied(void)
{
	struct toucher t[2];

	open_memory(GMEM_HUGE_NEVER, 0);
	toucher_start(&t[0], 1000, true);
	ok(await_waiting(1), "an access waits");
	toucher_start(&t[1], 40, true);
	ok(await_waiting(2), "and another one");
	purse_deny();
	for (unsigned int i = 0; i < PATIENCE_MS && !atomic_load(&failures); i++)
		usleep(1000);
	is(atomic_load(&failed_err), -EDQUOT, "credits are denied, which is told");
	is(atomic_load(&failed_gpa), gfn_to_gpa(1000), "with the page that waited longest");
	for (unsigned int i = 0; i < PATIENCE_MS && purse_is_sought(); i++)
		usleep(1000);
	ok(!purse_is_sought(), "none are sought after that");
	purse.denies = false;
	purse_put(NULL, 10);
	gmem_balloon(gm, 0, 1, NULL);
	/* Any event makes the pager look around, and credits are there. */
	put_into((volatile uint64_t *)hva(500), 1);
	toucher_end(&t[0]);
	toucher_end(&t[1]);
	is(atomic_load(&failures), 1, "it is told once");
	close_memory(10, "denied");
}

/* ---- a model: who is there at last, and does everybody go on? ---- */

#define THREADS 6
#define STEPS	(1500 * tap_storm())
#define CREDITS 700 /* fewer than there are pages */

static atomic_int running;

struct guest {
	pthread_t thread;
	uint64_t rng, wrong;
	unsigned int id;
};

/* A page has its own number, or was given back since. */
static void *run_guest(void *arg)
{
	struct guest *g = arg;

	for (unsigned int i = 0; i < STEPS; i++) {
		gfn_t gfn = tap_random(&g->rng) % (NR_PAGES / THREADS) * THREADS + g->id;
		volatile uint64_t *word = (volatile uint64_t *)hva(gfn);
		uint64_t value = gfn + 1;

		switch (tap_random(&g->rng) % 8) {
		case 0: guest_write(gm, gfn_to_gpa(gfn), &value, sizeof(value)); break;
		case 1: gmem_drop(gm, gfn, 1, NULL); break;
		case 2:
		case 3: value = look_at(word); break;
		default: put_into(word, value);
		}
		g->wrong += value && value != gfn + 1;
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Gives back now and then what others wait for, and never lets all of them wait. */
static void run_balloon(uint64_t *seed)
{
	while (atomic_load(&running)) {
		gfn_t gfn = tap_random(seed) % (NR_PAGES - 64);

		if (!stats().waiting_pages && tap_random(seed) % 4)
			usleep(200);
		else
			gmem_balloon(gm, gfn, 1 + tap_random(seed) % 64, NULL);
		if (tap_random(seed) % 8 == 0)
			gmem_unballoon(gm, gfn, 64, NULL);
	}
}

static void test_model(enum gmem_hugepages hugepages, bool zero_reads)
{
	struct guest guest[THREADS];
	uint64_t wrong = 0;

	open_memory(hugepages, CREDITS);
	lock(&gm->lock);
	gm->share.zero_reads = zero_reads;
	unlock(&gm->lock);
	atomic_store(&running, THREADS);
	for (unsigned int i = 0; i < THREADS; i++) {
		guest[i] = (struct guest){ .id = i, .rng = tap_random(&rng) };
		pthread_create(&guest[i].thread, NULL, run_guest, &guest[i]);
	}
	run_balloon(&rng);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(guest[i].thread, NULL);
		wrong += guest[i].wrong;
	}
	is(wrong, 0, "no byte is wrong");
	is(atomic_load(&refused), 0, "no access failed");
	is(stats().waiting_pages, 0, "nobody waits at the end");
	ok(!purse_is_sought(), "nothing is sought");
	ok(waits() > 0, "%lu accesses had to wait", (long)waits());
	close_memory(CREDITS, "model");
}

/* What concerns the pager's list: vCPUs on shadow tables wait by themselves. */
static void test_pager(void)
{
	test_turns(GMEM_HUGE_NEVER);
	test_turns(GMEM_HUGE_AUTO);
	test_one_entry();
	test_settled();
	test_full();
	test_denied();
}

static void test_all(bool on_shadow)
{
	guest_on_shadow = on_shadow;
	test_others_go_on();
	test_model(GMEM_HUGE_NEVER, false);
	test_model(GMEM_HUGE_AUTO, false);
	test_model(GMEM_HUGE_NEVER, true);
}

int main(int argc, char **argv)
{
	tap_init();
	count_refusals();
	rng = tap_seed(argc, argv);
	make_segment();
	test_pager();
	test_all(false);
	test_all(true);
	return tap_done();
}
