/* SPDX-License-Identifier: MIT */
/*
 * What is given back before anything is sent away: both rules, by known answers and over all that
 * they may be asked.
 */
#include "mmu/reclaim/tendency.h"
#include "tests/tap.h"

static uint64_t give(enum tendency_rule rule, unsigned int swappiness, unsigned int priority,
		     unsigned int mapped)
{
	return tendency_to_give(&(struct tendency_input){ .rule = rule,
							  .swappiness = swappiness,
							  .priority = priority,
							  .ram_pages = 1000,
							  .mapped_pages = 10 * mapped },
				100);
}

static uint64_t give_at_cost(unsigned int swappiness, uint64_t give_cost, uint64_t send_cost)
{
	return tendency_to_give(&(struct tendency_input){ .swappiness = swappiness,
							  .priority = TENDENCY_PRIORITY,
							  .ram_pages = 1000,
							  .give_cost = give_cost,
							  .send_cost = send_cost },
				100);
}

static void test_cost(void)
{
	unsigned int falls = 0;

	is(give_at_cost(0, 0, 0), 100, "swappiness 0: all is to be given back");
	is(give_at_cost(200, 0, 0), 0, "200: nothing is");
	is(give_at_cost(100, 0, 0), 50, "100: a half");
	is(give_at_cost(60, 0, 0), 70, "60, as in Linux unless told otherwise: 70 of 100");
	is(give_at_cost(100, 0, 1000000), 66, "where all that is sent comes back: two thirds");
	is(give_at_cost(100, 1000000, 0), 33, "where all that is given comes back: one third");
	is(give_at_cost(0, 1000000, 0), 100, "... but with swappiness 0 all the same");
	is(give_at_cost(200, 0, 1000000), 0, "... and with 200 nothing");
	for (unsigned int s = 1; s <= SWAPPINESS_MOST; s++)
		falls += give_at_cost(s, 7, 9) > give_at_cost(s - 1, 7, 9);
	is(falls, 0, "the more swappiness, the less is to be given back");
}

/* swap_tendency = mapped_ratio / 2 + distress + swappiness, and 100 is the bound. */
static void test_classic(void)
{
	unsigned int wrong = 0;

	is(give(TENDENCY_CLASSIC, 60, 12, 79), 100, "classic: 39 + 0 + 60 is below 100");
	is(give(TENDENCY_CLASSIC, 60, 12, 80), 0, "... and 40 + 0 + 60 is not");
	is(give(TENDENCY_CLASSIC, 60, 1, 0), 0, "... nor is 0 + 50 + 60");
	is(give(TENDENCY_CLASSIC, 60, 2, 29), 100, "... 14 + 25 + 60 is");
	is(give(TENDENCY_CLASSIC, 0, 1, 99), 100, "... 49 + 50 + 0 is");
	is(give(TENDENCY_CLASSIC, 100, 12, 0), 0, "... 0 + 0 + 100 is not");
	for (unsigned int s = 0; s <= SWAPPINESS_MOST; s++)
		for (unsigned int p = 1; p <= TENDENCY_PRIORITY; p++)
			for (unsigned int m = 0; m <= 100; m++)
				wrong += give(TENDENCY_CLASSIC, s, p, m) !=
					 (m / 2 + (100u >> p) + s >= 100 ? 0 : 100);
	is(wrong, 0, "... and so for every swappiness, priority and mapped ratio");
}

int main(void)
{
	tap_init();
	test_cost();
	test_classic();
	is(give(TENDENCY_COST, 0, 0, 0), 0, "when the priority is 0, nothing is waited for");
	is(give(TENDENCY_CLASSIC, 0, 0, 0), 0, "... by no rule");
	return tap_done();
}
