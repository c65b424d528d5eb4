/* SPDX-License-Identifier: MIT */
/*
 * The ledger against vectors taken from a live Linux 6.1 (totalram 120358 pages, no swap), and
 * against the cases people ask about.
 */
#include <errno.h>
#include <string.h>
#include "mmu/machine/ledger.h"
#include "tests/tap.h"

#define PAGES(kib) ((kib) / 4)
#define GIB_PAGES  (GiB / QUIRE_PAGE_SIZE)

/* The live kernel of the vectors. */
static struct ledger kernel(enum overcommit_mode mode, uint32_t ratio, bool root)
{
	struct ledger l = { .config = { .memory_pages = 120358, .mode = mode, .ratio = ratio } };

	l.config.admin_reserve_pages = PAGES(8192);
	l.config.user_reserve_pages = PAGES(14483);
	l.committed_pages = root ? 986 : 1066;
	return l;
}

static const struct ledger_free nothing_free;

/* The largest request that is admitted, by bisection over the function itself. */
static uint64_t largest(struct ledger l, bool root)
{
	struct ledger_client client = { .privileged = root, .total_pages = 279 };
	uint64_t lo = 0, hi = 1ULL << 40;

	while (lo + 1 < hi) {
		uint64_t mid = (lo + hi) / 2;
		struct ledger copy = l;

		if (ledger_commit(&copy, client, nothing_free, mid, NULL) == 0)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static void test_kernel_vectors(void)
{
	static const struct {
		uint32_t ratio;
		uint64_t limit_kib, root, user;
	} v[] = {
		{ 50, 240716, 59184, 57056 },
		{ 25, 120356, 29094, 26966 },
		{ 80, 385144, 95291, 93163 },
		{ 100, 481432, 119363, 117235 },
		{ 150, 722148, 179542, 177414 },
		{ 33, 158872, 38723, 36595 },
		{ 0, 0, 0, 0 },
	};
	struct ledger l = kernel(OVERCOMMIT_GUESS, 50, true);

	is(largest(l, true), 120358, "mode 0 admits memory + swap and no page more");
	for (unsigned int i = 0; i < ARRAY_SIZE(v); i++) {
		l = kernel(OVERCOMMIT_NEVER, v[i].ratio, true);
		is(ledger_commit_limit(&l.config) * 4, v[i].limit_kib, "ratio %u: CommitLimit",
		   v[i].ratio);
		is(largest(l, true), v[i].root, "ratio %u: largest request of root", v[i].ratio);
		l = kernel(OVERCOMMIT_NEVER, v[i].ratio, false);
		is(largest(l, false), v[i].user, "ratio %u: and of a user", v[i].ratio);
	}
	l = kernel(OVERCOMMIT_NEVER, 50, true);
	l.config.limit_in_pages = true;
	l.config.limit_pages = PAGES(40000);
	is(largest(l, true), 9005, "overcommit_kbytes 40000: largest request of root");
	l = kernel(OVERCOMMIT_NEVER, 50, true);
	l.config.admin_reserve_pages = l.config.user_reserve_pages = 0;
	is(largest(l, true), 59192, "no reserves: largest request of root");
}

/* 80 GiB asked of a 4 GiB machine. */
static void test_eighty(void)
{
	static const struct {
		enum overcommit_mode mode;
		uint64_t swap_gib;
		bool admitted;
	} v[] = {
		{ OVERCOMMIT_GUESS, 0, false },	 { OVERCOMMIT_GUESS, 76, true },
		{ OVERCOMMIT_GUESS, 75, false }, { OVERCOMMIT_ALWAYS, 0, true },
		{ OVERCOMMIT_ALWAYS, 76, true }, { OVERCOMMIT_NEVER, 0, false },
		{ OVERCOMMIT_NEVER, 78, false }, { OVERCOMMIT_NEVER, 79, true },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(v); i++) {
		struct ledger l = { 0 };
		struct ledger_sum sum;
		char line[320];
		int err;

		ledger_defaults(&l.config, 4 * GIB_PAGES, v[i].swap_gib * GIB_PAGES);
		l.config.mode = v[i].mode;
		err = ledger_commit(&l, (struct ledger_client){ 0 }, nothing_free, 80 * GIB_PAGES,
				    &sum);
		ledger_describe(&sum, line, sizeof(line));
		is(err, v[i].admitted ? 0 : -ENOMEM, "80 GiB of 4 GiB, mode %d, swap %d GiB: %s",
		   v[i].mode, (int)v[i].swap_gib, v[i].admitted ? "admitted" : "refused");
		ok(!strncmp(line, v[i].admitted ? "admitted" : "refused", 7), "says: %s", line);
		is(l.committed_pages, v[i].admitted ? 80 * GIB_PAGES : 0, "and the ledger says so");
	}
}

static void test_running_total(void)
{
	struct ledger l = { 0 };
	struct ledger_client c = { 0 };

	ledger_defaults(&l.config, 4 * GIB_PAGES, 0);
	for (unsigned int i = 0; i < 40; i++)
		ledger_commit(&l, c, nothing_free, GIB_PAGES, NULL);
	is(l.committed_pages, 40 * GIB_PAGES, "mode 0 keeps a total but does not look at it");
	l.config.mode = OVERCOMMIT_NEVER;
	is(ledger_commit(&l, c, nothing_free, 1, NULL), -ENOMEM,
	   "switching to mode 2 above the limit is allowed and stops new promises");
	ledger_uncommit(&l, 39 * GIB_PAGES);
	is(ledger_commit(&l, c, nothing_free, 1, NULL), 0, "until enough of them are gone");
	ledger_uncommit(&l, GIB_PAGES + 1);
	is(l.committed_pages, 0, "and the total is zero at the end");
	l.config.mode = OVERCOMMIT_ALWAYS;
	is(ledger_commit(&l, c, nothing_free, UINT64_MAX - 1, NULL), 0, "mode 1 admits anything");
	is(ledger_commit(&l, c, nothing_free, 2, NULL), -ENOMEM, "that can be counted");
}

static void test_estimate(void)
{
	struct ledger l = { 0 };
	struct ledger_client user = { 0 }, root = { .privileged = true };
	struct ledger_free f = { .free_pages = 10000, .reserve_pages = 500 };

	ledger_defaults(&l.config, 40000, 1000);
	l.config.guess = GUESS_ESTIMATE;
	l.config.admin_reserve_pages = 300;
	is(ledger_commit(&l, root, f, 10499, NULL), 0, "estimate: free + swap - reserve, less one");
	is(ledger_commit(&l, root, f, 10500, NULL), -ENOMEM, "estimate: not all of it");
	is(ledger_commit(&l, user, f, 10199, NULL), 0, "estimate: a user less the admin reserve");
	is(ledger_commit(&l, user, f, 10200, NULL), -ENOMEM, "estimate: and no more");
}

int main(void)
{
	tap_init();
	test_kernel_vectors();
	test_eighty();
	test_running_total();
	test_estimate();
	return tap_done();
}
