/* SPDX-License-Identifier: MIT */
/* The budget: watermarks, batches, and the promise that holds at every step of a random run. */
#include <errno.h>
#include "mmu/machine/budget.h"
#include "tests/tap.h"

#define NR_VMS 40
#define STEPS  200000

static void test_watermarks(void)
{
	struct budget b;

	/* 128 GiB: Linux says min_free_kbytes 46341. */
	budget_init(&b, 128 * GiB / QUIRE_PAGE_SIZE);
	is(b.min_pages, 46340 / 4, "min of 128 GiB is Linux's min_free_kbytes");
	is(b.low_pages - b.min_pages, 33554, "low is 0.1 %% of memory above it");
	is(b.high_pages - b.low_pages, b.low_pages - b.min_pages, "and high as much again");
	budget_init(&b, 4 * MiB / QUIRE_PAGE_SIZE);
	is(b.min_pages, 32, "a tiny machine keeps 1/32 of itself at most");
	budget_init(&b, 0);
	is(b.high_pages, 0, "and an empty one nothing");
}

static void test_grant(void)
{
	struct budget_vm vm = { 0 }, other = { 0 };
	uint64_t got;
	struct budget b;

	budget_init(&b, GiB / QUIRE_PAGE_SIZE);
	got = budget_grant(&b, &vm, 1);
	is(got, BUDGET_BATCH_MAX, "with plenty free, one page's need gets a batch");
	is(budget_free(&b), b.memory_pages - got, "which is no longer free");
	got = budget_grant(&b, &vm, budget_free(&b) - b.low_pages);
	is(budget_free(&b), b.low_pages, "a VM may take all above low");
	is(budget_grant(&b, &other, 1), 1, "below low a request gets just what it needs");
	is(budget_grant(&b, &other, budget_free(&b) - b.min_pages + 1), 0,
	   "nothing is granted below min");
	is(budget_charge_overhead(&b, &other, b.low_pages), -ENOMEM, "no overhead either");
	is(budget_return(&b, &other, 100), 1, "a VM cannot return what it has not");
	budget_resize(&b, b.memory_pages / 2);
	is(budget_free(&b), 0, "a machine made too small has nothing free");
	is(budget_grant(&b, &vm, 1), 0, "and grants nothing");
	budget_release(&b, &vm);
	budget_release(&b, &other);
	is(b.used_pages, 0, "when all are gone all is free");
}

static void test_random(uint64_t rng)
{
	struct budget_vm vm[NR_VMS] = { 0 };
	struct budget b;
	unsigned int broken = 0;

	budget_init(&b, 100000);
	for (unsigned int i = 0; i < STEPS && !broken; i++) {
		struct budget_vm *v = &vm[tap_random(&rng) % NR_VMS];
		uint64_t n = tap_random(&rng) % 3000, sum = 0, before = budget_free(&b), got = 0;

		switch (tap_random(&rng) % 8) {
		case 0: budget_release(&b, v); break;
		case 1: budget_return(&b, v, n); break;
		case 2:
			if (!v->overhead_pages && !budget_charge_overhead(&b, v, n % 50 + 1))
				got = v->overhead_pages;
			break;
		default: got = budget_grant(&b, v, n); break;
		}
		for (unsigned int j = 0; j < NR_VMS; j++)
			sum += vm[j].credit_pages + vm[j].overhead_pages;
		broken += sum != b.used_pages || sum > b.memory_pages;
		broken += got && before - got < b.min_pages;
	}
	is(broken, 0, "over %u steps the accounts add up and memory is never exceeded", STEPS);
}

int main(int argc, char **argv)
{
	tap_init();
	test_watermarks();
	test_grant();
	test_random(tap_seed(argc, argv));
	return tap_done();
}
