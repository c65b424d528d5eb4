/* SPDX-License-Identifier: MIT */
/* When a VM tells its machine of its balloon. */
#include "vmm/launch/run_balloon.h"
#include "tests/tap.h"

#define MS 1000000ULL

static struct run_balloon rb;
static uint64_t until;

static bool due(const struct balloon_record *next, uint64_t ms)
{
	return run_balloon_is_due(&rb, next, ms * MS, 2000 * MS, &until);
}

/* `last` was told when the clock said 10 s. */
static void told(struct balloon_record last)
{
	rb.told = true;
	rb.told_ns = 10000 * MS;
	rb.last = last;
}

int main(void)
{
	struct balloon_record none = { 0 }, quiet = {
		.driver = BALLOON_DRIVER, .target = 100, .actual = 50, .stats_ns = 7,
	}, next;

	tap_init();
	ok(due(&none, 1), "the first is due, though there is no driver");
	told(none);
	ok(!due(&none, 99999) && until == UINT64_MAX, "that there is still none is no news");
	next = none;
	next.driver = BALLOON_DRIVER;
	ok(due(&next, 10100), "a driver that comes is");
	ok(!due(&next, 10099) && until == 10100 * MS,
	   "... but there is a tenth of a second between two");

	told(quiet);
	ok(!due(&quiet, 12099) && until == 12100 * MS, "with a driver it is once in a period");
	ok(due(&quiet, 12100), "at least");
	next = quiet;
	next.stats_ns = 8;
	ok(due(&next, 10100), "new statistics");
	next = quiet;
	next.actual = 60;
	ok(!due(&next, 10100), "progress is no news");
	next.actual = 100;
	ok(due(&next, 10100), "a target reached is");
	next.actual = 40;
	ok(due(&next, 10100), "and pages that the guest took back");
	next.target = 20;
	ok(due(&next, 10100), "and a new target");
	next = quiet;
	next.manual = 1;
	ok(due(&next, 10100), "and that it is by hand");
	told(next);
	next.touches++;
	ok(!due(&next, 10100), "touches are looked at once in a period");

	is(rb.order, 0, "there is no order");
	run_balloon_order(&rb, 0, false);
	ok(rb.order != 0, "a target of 0 is one");
	return tap_done();
}
