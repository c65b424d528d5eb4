/* SPDX-License-Identifier: MIT */
/* The balloon policy's rules one at a time: silence, pressure, cooling, bounds, the log. */
#include "mmu/machine/balloon_policy.h"
#include <stdio.h>
#include <string.h>
#include "tests/tap.h"

#define SECOND 1000000000ULL
#define MB(n)  ((uint64_t)(n)*256)

#define NEVER_PLENTY 1 /* as plenty_divisor: free memory is never above high + all memory */

/* One VM of 1 GiB, 600 MiB of it available, on a machine of 4 GiB. */
struct lab {
	struct balloon_policy policy;
	struct balloon_machine machine;
	struct balloon_input in;
	struct balloon_vm vm;
};

static void tick(struct lab *l)
{
	struct balloon_vm *vm = &l->vm;

	l->machine.now_ns += SECOND;
	balloon_policy_tick(&l->policy, &l->machine, &l->in, &vm, 1);
}

/* A tick in which the guest has done what was asked and says how it is. */
static void tick_obedient(struct lab *l)
{
	uint64_t before = l->in.actual_pages;

	l->in.actual_pages = l->vm.target_pages;
	l->in.stats.available_pages += before - l->in.actual_pages;
	l->in.stats.free_pages += before;
	l->in.stats.free_pages -= min_u64(l->in.stats.free_pages, l->in.actual_pages);
	l->in.stats.balloon_pages = l->in.actual_pages;
	l->in.stats.taken_ns = l->machine.now_ns + SECOND;
	tick(l);
}

static void setup(struct lab *l, uint64_t balloon, uint64_t free)
{
	struct balloon_policy_config config;

	*l = (struct lab){
		.machine = {
			.now_ns = 100 * SECOND, .memory_pages = MB(4096), .free_pages = MB(2048),
			.min_pages = MB(32), .low_pages = MB(64), .high_pages = MB(96),
		},
		.in = {
			.ram_pages = MB(1024), .shares = 1000, .resident_pages = MB(1024) - balloon,
			.min_pages = MB(128), .actual_pages = balloon, .driver = true,
			.stats = {
				.have = BALLOON_HAS_AVAILABLE | BALLOON_HAS_FREE |
					BALLOON_HAS_SWAP | BALLOON_HAS_MAJOR_FAULTS |
					BALLOON_HAS_OOM_KILLS | BALLOON_HAS_ALLOC_STALLS,
				.available_pages = MB(600) - balloon,
				.free_pages = MB(100),
			},
		},
	};
	balloon_policy_defaults(&config);
	config.plenty_divisor = NEVER_PLENTY;
	balloon_policy_init(&l->policy, &config);
	l->vm.target_pages = balloon;
	tick_obedient(l);
	l->machine.free_pages = free;
}

static enum balloon_reason reason(const struct lab *l)
{
	return balloon_log_get(&l->vm, 0)->reason;
}

#define is_reason(l, want, ...) is(reason(l), want, __VA_ARGS__)

static void test_watermarks(void)
{
	struct lab l;

	setup(&l, 0, MB(2048));
	is_reason(&l, BALLOON_STEADY, "with memory to spare nothing is taken");
	l.machine.free_pages = MB(64);
	tick_obedient(&l);
	is(l.vm.target_pages, 0, "nor at low");
	l.machine.free_pages = MB(64) - 1;
	tick_obedient(&l);
	is_reason(&l, BALLOON_RECLAIM, "below it something is");
	is(l.vm.target_pages, MB(32), "a cap of 1/32 of RAM at most");
	is(l.policy.unmet_pages, 1, "what is still missing is left to others");
	l.machine.free_pages = MB(95);
	tick_obedient(&l);
	is(l.vm.target_pages, MB(40), "taking goes on up to high, in dead bands");
	l.machine.free_pages = MB(96);
	tick_obedient(&l);
	l.machine.free_pages = MB(95);
	tick_obedient(&l);
	is(l.vm.target_pages, MB(40), "and then not again before low");
	l.machine.free_pages = 0;
	tick(&l);
	tick(&l);
	tick(&l);
	tick(&l);
	is(l.vm.target_pages, MB(40 + 64), "targets run two caps ahead of the driver at most");
}

static void test_limits(void)
{
	struct lab l;

	setup(&l, 0, MB(1));
	for (unsigned int i = 0; i < 100; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, MB(600 - 64), "all that is available goes, but a margin of RAM / 16");
	is_reason(&l, BALLOON_NO_SPARE, "and the reason says so");
	setup(&l, 0, MB(1));
	l.in.min_pages = MB(800);
	for (unsigned int i = 0; i < 100; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, MB(224), "but never below the minimum");
	is_reason(&l, BALLOON_AT_MINIMUM, "and the reason says so");
	setup(&l, 0, MB(1));
	l.in.stats.available_pages = MB(600 - 1);
	for (unsigned int i = 0; i < 100; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, MB(528), "less than a dead band, RAM / 128, is not worth asking for");
	setup(&l, 0, MB(1));
	l.in.resident_pages = MB(300);
	for (unsigned int i = 0; i < 10; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, 0, "pages with nothing behind them are not worth taking");
}

static void test_silent(void)
{
	struct lab l;

	setup(&l, 0, MB(1));
	tick_obedient(&l);
	is_reason(&l, BALLOON_RECLAIM, "a guest that answers is asked");
	for (unsigned int i = 0; i < 10; i++)
		tick(&l);
	is_reason(&l, BALLOON_STUCK, "one that does nothing about it for 10 s is let off");
	is(l.vm.target_pages, 0, "and owes nothing");
	tick(&l);
	is_reason(&l, BALLOON_SILENT, "statistics older than 10 s are none");
	for (unsigned int i = 0; i < 100; i++)
		tick(&l);
	is(l.vm.target_pages, 0, "and without any nothing is decided");
	setup(&l, MB(200), MB(1));
	l.in.stats.have = BALLOON_HAS_OOM_KILLS;
	tick_obedient(&l);
	is_reason(&l, BALLOON_SILENT, "statistics that say nothing of memory are none");
	is(l.vm.target_pages, MB(200), "the target stays");
	l.in.touches++;
	tick_obedient(&l);
	is_reason(&l, BALLOON_PRESSURE, "but what the device sees counts all the same");
	setup(&l, MB(200), MB(1));
	l.in.driver = false;
	l.in.actual_pages = 0;
	tick(&l);
	is_reason(&l, BALLOON_SILENT, "without a driver nothing is decided");
	is(l.vm.target_pages, 0, "nor is an old target left for the next driver");
	setup(&l, 0, MB(1));
	l.in.stats.have = BALLOON_HAS_FREE;
	l.in.stats.free_pages = MB(104);
	for (unsigned int i = 0; i < 100; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, MB(104 - 64), "free memory stands in where available is unknown");
	setup(&l, 0, MB(1));
	l.in.stats.have |= BALLOON_HAS_TOTAL;
	l.in.stats.total_pages = 0;
	tick_obedient(&l);
	is(l.vm.target_pages, 0, "more available than there is in all is not believed");
}

/* What a guest says becomes pages, and never more than it has. */
static void test_read_stats(void)
{
	struct balloon_record said = {
		.driver = BALLOON_DRIVER, .stats_ns = 7, .stats_actual = 100, .nr_stats = 10,
		.stat = {
			{ BALLOON_TAG_SWAP_IN, 3 * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_SWAP_OUT, 4 * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_MAJOR_FAULTS, 5 },
			{ BALLOON_TAG_FREE, 6 * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_TOTAL, UINT64_MAX },
			{ BALLOON_TAG_AVAILABLE, 8 * QUIRE_PAGE_SIZE },
			{ BALLOON_TAG_CACHES, 1 },
			{ BALLOON_TAG_OOM_KILLS, 9 },
			{ BALLOON_TAG_ALLOC_STALLS, 10 },
			{ 999, 1 },
		},
	};
	struct balloon_stats s = balloon_read_stats(&said, 50);

	is_hex(s.have, 0x7f, "every statistic that the policy looks at is found");
	ok(s.taken_ns == 7 && s.balloon_pages == 50 && s.total_pages == 50,
	   "sizes are cut down to RAM");
	ok(s.swap_pages == 7 && s.free_pages == 6 && s.available_pages == 8, "bytes become pages");
	ok(s.major_faults == 5 && s.oom_kills == 9 && s.alloc_stalls == 10, "counts stay counts");
	said.nr_stats = 2;
	is(balloon_read_stats(&said, 50).have, BALLOON_HAS_SWAP, "no more is read than was sent");
	said.driver = BALLOON_DRIVER_BROKEN;
	s = balloon_read_stats(&said, 50);
	ok(!s.have && !s.taken_ns, "what an earlier driver said is forgotten");
}

static void test_signs(void)
{
	static const struct {
		uint32_t sign;
		uint64_t stalls, ooms, swaps, faults, touched, deflated;
		bool asks, low;
		unsigned int left; /* of a balloon of 512 MiB */
	} t[] = {
		{ BALLOON_SIGN_STALL, .stalls = 1, .left = 384 },
		{ BALLOON_SIGN_OOM, .ooms = 1, .left = 0 },
		{ BALLOON_SIGN_TOUCHED, .touched = 1, .left = 384 },
		{ BALLOON_SIGN_TOUCHED, .touched = MB(100), .left = 512 - 200 },
		{ BALLOON_SIGN_DEFLATED, .deflated = MB(1), .left = 511 - 128 },
		{ BALLOON_SIGN_DEFLATED, .deflated = MB(100), .left = 412 - 200 },
		{ BALLOON_SIGN_ASKS, .asks = true, .left = 384 },
		{ BALLOON_SIGN_SWAP, .swaps = 65, .low = true, .left = 384 },
		{ BALLOON_SIGN_FAULTS, .faults = 65, .low = true, .left = 384 },
		{ 0, .swaps = 64, .faults = 64, .low = true, .left = 512 },
		{ 0, .swaps = 9999, .faults = 9999, .left = 512 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(t); i++) {
		struct lab l;

		setup(&l, MB(512), MB(90));
		l.in.stats.available_pages = t[i].low ? MB(127) : MB(300);
		tick_obedient(&l);
		l.in.stats.alloc_stalls += t[i].stalls;
		l.in.stats.oom_kills += t[i].ooms;
		l.in.stats.swap_pages += t[i].swaps;
		l.in.stats.major_faults += t[i].faults;
		l.in.touches += t[i].touched;
		l.in.actual_pages -= t[i].deflated;
		l.in.asks = t[i].asks;
		l.in.stats.taken_ns = l.machine.now_ns + SECOND;
		tick(&l);
		is(balloon_log_get(&l.vm, 0)->signs, t[i].sign, "case %u: the sign is seen", i);
		is(l.vm.target_pages, MB(t[i].left), "and %u MiB are left", t[i].left);
	}
}

static void test_release_doubles(void)
{
	static const unsigned int left[] = { 960 - 128 - 64, 960 - 64 - 384, 0, 0 };
	struct lab l;

	setup(&l, MB(896), MB(90));
	l.in.stats.available_pages = 0;
	for (unsigned int i = 0; i < 4; i++) {
		l.in.stats.alloc_stalls++;
		l.in.stats.available_pages = 0;
		l.in.actual_pages = l.vm.target_pages;
		l.in.stats.balloon_pages = l.in.actual_pages;
		l.in.stats.taken_ns = l.machine.now_ns + SECOND;
		tick(&l);
		is(l.vm.target_pages, MB(left[i]), "after %u ticks of pressure %u MiB are left",
		   i + 1, left[i]);
	}
}

/* Ticks until something is taken again after a release. */
static unsigned int quiet(struct lab *l)
{
	uint64_t target;
	unsigned int n = 0;

	l->in.asks = true;
	tick_obedient(l);
	l->in.asks = false;
	do {
		target = l->vm.target_pages;
		tick_obedient(l);
	} while (n++ < 10000 && l->vm.target_pages <= target);
	return n;
}

static void test_cooling(void)
{
	unsigned int want = 30;
	struct lab l;

	setup(&l, MB(100), MB(1));
	is(quiet(&l), 30, "nothing is taken for 30 s after a release");
	for (unsigned int i = 0; i < 8; i++) {
		is(quiet(&l), want, "if taking leads to pressure again, for %u s", want);
		want = min_u64(want * 2, 30 << 6);
	}
	l.machine.free_pages = MB(1000);
	for (unsigned int i = 0; i < 3 * 30 << 6; i++)
		tick_obedient(&l);
	l.machine.free_pages = MB(1);
	ok(quiet(&l) < 30 << 6, "a quiet time is forgiven");
}

static void test_plenty(void)
{
	struct lab l;

	setup(&l, MB(200), MB(2048));
	tick_obedient(&l);
	is(l.vm.target_pages, MB(200), "without plenty the balloon stays");
	l.policy.config.plenty_divisor = 32;
	tick_obedient(&l);
	is(l.vm.target_pages, MB(192), "with plenty, a dead band in a tick");
	is_reason(&l, BALLOON_PLENTY, "and the reason says so");
	for (unsigned int i = 0; i < 100; i++)
		tick_obedient(&l);
	is(l.vm.target_pages, 0, "until it is empty");
	setup(&l, MB(200), MB(96 + 128));
	l.policy.config.plenty_divisor = 32;
	tick_obedient(&l);
	is(l.vm.target_pages, MB(200), "memory / 32 above high is not plenty");
	l.machine.free_pages = MB(96 + 128 + 64);
	tick(&l);
	is(l.vm.target_pages, MB(192), "an eighth of what is above that goes in a tick");
	tick(&l);
	is(l.vm.target_pages, MB(192), "and what the guest did not take yet counts as gone");
}

/* Active memory against the same averages in floating point. */
static void test_estimate(uint64_t rng)
{
	double slow = MB(424), fast = MB(424), now = 0, worst = 0;
	unsigned int falls = 0;
	struct lab l;

	setup(&l, 0, MB(90));
	for (unsigned int i = 0; i < 1000; i++) {
		double most, diff;

		if (tap_random(&rng) % 10 == 0 || !i)
			l.in.stats.available_pages = tap_random(&rng) % MB(1024);
		now = MB(1024) - (double)l.in.stats.available_pages;
		slow += (now - slow) / 32;
		fast += (now - fast) / 4;
		most = now > slow ? now : slow;
		falls += fast > most;
		most = fast > most ? fast : most;
		tick_obedient(&l);
		diff = most - (double)balloon_log_get(&l.vm, 0)->active_pages;
		worst = diff > worst ? diff : -diff > worst ? -diff : worst;
	}
	ok(worst < 2 && falls, "active is the largest of slow, fast and now: off by %.2f pages",
	   worst);
}

static void test_appetite(void)
{
	struct lab l;

	setup(&l, MB(500), MB(2048));
	l.in.stats.available_pages = MB(33);
	tick_obedient(&l);
	is(l.vm.target_pages, MB(500), "half a margin available is enough");
	l.in.stats.available_pages = MB(31);
	tick_obedient(&l);
	is(l.vm.target_pages, MB(500 - 33), "less is not: the margin is restored at once");
	is_reason(&l, BALLOON_GIVEN, "and the reason says so");
	tick(&l);
	is(l.vm.target_pages, MB(500 - 33), "and not twice from the same statistics");
	setup(&l, MB(500), MB(80));
	l.in.stats.available_pages = 0;
	tick_obedient(&l);
	is(l.vm.target_pages, MB(500), "below high somebody else would have to give it");
	is_reason(&l, BALLOON_NOBODY, "and there is nobody");
}

static void test_manual(void)
{
	struct lab l;

	setup(&l, 0, MB(2048));
	l.in.manual = true;
	l.in.manual_pages = MB(300);
	tick(&l);
	is(l.vm.target_pages, MB(300), "a target set by hand is taken as it is");
	l.in.manual_pages = MB(1000);
	tick(&l);
	is(l.vm.target_pages, MB(1024 - 128), "down to the minimum");
	is_reason(&l, BALLOON_MANUAL, "and the reason says so");
}

static void test_log(void)
{
	const char *want = "reclaim: balloon 0.0 -> 64.0 MiB in 2 ticks: lowest shares per page; "
			   "available 536.0, margin 64.0, limit 536.0; rho 379 = 1000 shares / "
			   "2696.0 MiB charged (resident 1024.0, active 424.0); machine free 1.0, "
			   "wants 95.0";
	char line[512], small[8];
	struct lab l;
	int len;

	setup(&l, 0, MB(1));
	tick_obedient(&l);
	tick_obedient(&l);
	is(balloon_log_count(&l.vm), 1, "ticks that decide the same are one record");
	is(balloon_log_get(&l.vm, 0)->ticks, 2, "which counts them");
	len = balloon_describe(balloon_log_get(&l.vm, 0), line, sizeof(line));
	ok(!strcmp(line, want), "it reads: %s", line);
	is(len, strlen(line), "its length is returned");
	is(balloon_describe(balloon_log_get(&l.vm, 0), small, sizeof(small)), len,
	   "also if it does not fit");
	ok(!strcmp(small, "reclaim"), "and then it is cut");
	is(balloon_describe(balloon_log_get(&l.vm, 0), NULL, 0), len, "or not written at all");
	for (unsigned int i = 0; i < 100; i++) {
		l.machine.free_pages = i % 2 ? MB(1) : MB(500);
		l.in.asks = i % 3 == 0;
		tick_obedient(&l);
	}
	is(balloon_log_count(&l.vm), BALLOON_LOG_SIZE, "the log is bounded");
	for (unsigned int i = 0; i + 1 < BALLOON_LOG_SIZE; i++)
		if (balloon_log_get(&l.vm, i)->first_ns <= balloon_log_get(&l.vm, i + 1)->last_ns)
			tap_bail("record %u is not newer than the one before", i);
	for (unsigned int i = 0; i < BALLOON_NR_REASONS; i++)
		if (!balloon_reason_name(i))
			tap_bail("reason %u has no name", i);
	ok(!balloon_reason_name(BALLOON_NR_REASONS), "every reason has a name, and no other");
	l.in.stats.alloc_stalls++;
	l.in.asks = true;
	tick_obedient(&l);
	balloon_describe(balloon_log_get(&l.vm, 0), line, sizeof(line));
	ok(strstr(line, "(alloc-stall, asked)"), "signs are named: %s", line);
}

static uint64_t odd(uint64_t *rng)
{
	static const uint64_t values[] = { 0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX / 2, MB(1024) };

	return values[tap_random(rng) % ARRAY_SIZE(values)] + tap_random(rng) % 3 - 1;
}

/* Whatever a driver writes into its statistics, it harms nobody and nothing overflows. */
static void test_nonsense(uint64_t rng)
{
	unsigned int wrong = 0;
	struct lab l;

	setup(&l, 0, MB(1));
	for (unsigned int i = 0; i < 200000; i++) {
		uint64_t before = l.vm.target_pages;

		l.in.stats = (struct balloon_stats){
			.have = (uint32_t)tap_random(&rng),
			.taken_ns = l.machine.now_ns + tap_random(&rng) % 3,
			.balloon_pages = odd(&rng),
			.available_pages = odd(&rng),
			.free_pages = odd(&rng),
			.total_pages = odd(&rng),
			.swap_pages = odd(&rng),
			.major_faults = odd(&rng),
			.oom_kills = odd(&rng),
			.alloc_stalls = odd(&rng),
		};
		l.in.actual_pages = tap_random(&rng) % 2 ? l.vm.target_pages : odd(&rng);
		l.in.touches += tap_random(&rng) % 50 == 0 ? tap_random(&rng) >> 20 : 0;
		l.in.resident_pages = tap_random(&rng) % MB(1024);
		l.in.driver = tap_random(&rng) % 8;
		l.machine.free_pages = tap_random(&rng) % MB(200);
		l.policy.config.plenty_divisor = i % 3 ? NEVER_PLENTY : 32;
		if (tap_random(&rng) % 100 == 0)
			l.machine.now_ns += tap_random(&rng) % (10000 * SECOND);
		tick(&l);
		wrong += l.vm.target_pages > before && (l.vm.target_pages > MB(1024 - 128) ||
							l.vm.target_pages - before > MB(32));
		wrong += l.vm.target_pages > MB(1024);
	}
	l.vm = (struct balloon_vm){ 0 };
	l.in.actual_pages = UINT32_MAX;
	tick(&l);
	wrong += l.vm.target_pages > MB(1024);
	is(wrong, 0, "nonsense from a driver never breaks minimum or cap");
}

int main(int argc, char **argv)
{
	tap_init();
	test_watermarks();
	test_limits();
	test_silent();
	test_read_stats();
	test_signs();
	test_release_doubles();
	test_cooling();
	test_plenty();
	test_appetite();
	test_estimate(1);
	test_manual();
	test_log();
	test_nonsense(tap_seed(argc, argv));
	return tap_done();
}
