/* SPDX-License-Identifier: MIT */
/*
 * When a guest counts as stalled, and for how long: on both back ends, with processor time that the
 * test makes up.
 */
#include <limits.h>
#include <pthread.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "share_lab.h"

static atomic_ullong used; /* by vCPUs */

static uint64_t used_ns(void *ctx)
{
	(void)ctx;
	return atomic_load(&used);
}

/* The only vCPU is the thread that asks. */
static uint64_t own_ns(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void create_one(uint64_t (*vcpu_ns)(void *ctx))
{
	create(GMEM_HUGE_NEVER);
	atomic_store(&used, 0);
	gm->config.vcpu_ns = vcpu_ns;
}

static struct gmem_stats stats(void)
{
	struct gmem_stats s;

	gmem_stats(gm, &s);
	return s;
}

static uint64_t some_ns(void)
{
	return stats().stall.total_ns[STALL_SOME];
}

static uint64_t full_ns(void)
{
	return stats().stall.total_ns[STALL_FULL];
}

static uint64_t loads(void)
{
	struct gmem_stats s = stats();

	return histogram_total(&s.loads[PG_COMPRESSED]);
}

static void fill(gfn_t gfn, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		for (unsigned int w = 0; w < QUIRE_PAGE_SIZE / 8; w++)
			((uint64_t *)hva(gfn + i))[w] = w % 8 ? gfn + i : tap_random(&rng);
}

static void compress(gfn_t gfn, uint64_t nr)
{
	struct gmem_packed out = { 0 };

	if (gmem_compress(gm, gfn, nr, GMEM_NR_WATCHERS, &out) || out.compressed != nr)
		tap_bail("gmem_compress");
}

/* What only brings pages in, or home, is no stall. */
static void test_none(void)
{
	create_one(used_ns);
	fill(0, 64);
	gmem_drop(gm, 0, 32, NULL);
	fill(0, 64);
	is(some_ns() + full_ns(), 0, "first touches are no stall%s", guest_kind());
	compress(0, 64);
	is(some_ns() + loads(), 0, "... nor is compressing");
	for (unsigned int i = 0; i < 64; i++) {
		uint64_t word;

		guest_read(gm, gfn_to_gpa(i), &word, sizeof(word));
	}
	is(some_ns() + loads(), 0, "... nor what the VMM reads");
	destroy();
}

/*
 * Touch pages, a power of two of them, in an order in which none is expected next.  How many were
 * still compressed when their turn came?
 */
static uint64_t look_at_all(gfn_t gfn, uint64_t nr)
{
	uint64_t compressed = 0;

	for (uint64_t i = 0; i < nr; i++) {
		gfn_t g = gfn + i * 93 % nr;
		struct stage2_page page;

		gmem_lookup(gm, g, &page);
		compressed += page.state == PG_COMPRESSED;
		look_at((uint64_t *)hva(g));
	}
	return compressed;
}

static void test_loads(uint64_t (*vcpu_ns)(void *ctx), const char *what)
{
	uint64_t before, after, compressed;

	create_one(vcpu_ns);
	fill(512, 256);
	compress(512, 256);
	before = monotonic_ns();
	compressed = look_at_all(512, 256);
	after = monotonic_ns();
	ok(compressed > 64, "%lu pages were compressed when they were touched", (long)compressed);
	is(loads(), compressed, "each compressed page that is touched is a load%s", guest_kind());
	ok(some_ns() > 0 && some_ns() <= after - before, "... for which a vCPU stalls");
	ok(full_ns() > some_ns() / 2, "... and no other runs: %s", what);
	ok(stats().loads[PG_COMPRESSED].longest_ns <= after - before, "... no load is longer");
	destroy();
}

static void *touch(void *gfn)
{
	put_into((uint64_t *)hva((gfn_t)(uintptr_t)gfn), 1);
	return NULL;
}

/* A page that gets no credit, while another vCPU runs for a while. */
static void test_waits(void)
{
	uint64_t before, begun, after, given;
	struct stall_record now;
	pthread_t t;

	create_one(used_ns);
	fill(0, 1);
	before = monotonic_ns();
	most_taken = taken;
	pthread_create(&t, NULL, touch, (void *)(uintptr_t)700);
	while (!stats().waiting_pages)
		usleep(100);
	begun = monotonic_ns();
	usleep(10000);
	now = stats().stall;
	is(now.total_ns[STALL_FULL], now.total_ns[STALL_SOME],
	   "while nothing runs a stall is full%s", guest_kind());
	ok(now.total_ns[STALL_SOME] >= 10 * NS_PER_MS, "... and counts before it ends");
	usleep(10000);
	atomic_fetch_add(&used, 4 * NS_PER_MS);
	given = monotonic_ns();
	give_credits(64);
	pthread_join(t, NULL);
	after = monotonic_ns();
	ok(some_ns() >= given - begun && some_ns() <= after - before,
	   "who waits for a credit stalls until it comes");
	is(some_ns() - full_ns(), 4 * NS_PER_MS, "... and what another one ran is not full");
	is(loads(), 0, "... which is no load");
	before = some_ns();
	usleep(1000);
	is(some_ns(), before, "then it goes on");
	is(stats().waiting_pages, 0, "... and nothing waits");
	most_taken = LONG_MAX;
	destroy();
}

int main(int argc, char **argv)
{
	tap_init();
	rng = tap_seed(argc, argv);
	make_segment();
	for (unsigned int i = 0; i < 2; i++) {
		guest_on_shadow = i;
		test_none();
		test_loads(used_ns, "none is known to");
		test_waits();
	}
	test_loads(own_ns, "its own loading is no work");
	return tap_done();
}
