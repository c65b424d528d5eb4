/* SPDX-License-Identifier: MIT */
/*
 * How a shortage is split among VMs: known answers, and random machines against a model that takes
 * one page at a time.
 */
#include "mmu/machine/reclaim_policy.h"
#include "tests/tap.h"

#define MAX_VMS 40u
#define KEEP	RECLAIM_KEEP_PAGES

/* ---- the model ---- */

static double model_charge(const struct reclaim_input *in, uint64_t give)
{
	double left = (double)(in->held_pages - give);
	double active = (double)min_u64(in->active_pages, in->held_pages - give);

	return (active / 4 + (left - active)) / in->shares;
}

/* Take pages one by one, each from the VM that has the greatest charge for a share. */
static void model(const struct reclaim_input *in, uint64_t *give, unsigned int nr, uint64_t demand)
{
	uint64_t given = 0;

	for (unsigned int i = 0; i < nr; i++) {
		bool all = in[i].still && in[i].able && in[i].held_pages > KEEP;

		give[i] = all ? in[i].held_pages - KEEP : 0;
		given += give[i];
	}
	for (; given < demand; given++) {
		int most = -1;

		for (unsigned int i = 0; i < nr; i++)
			if (in[i].able && in[i].held_pages > KEEP + give[i] &&
			    (most < 0 ||
			     model_charge(&in[i], give[i]) > model_charge(&in[most], give[most])))
				most = (int)i;
		if (most < 0)
			return;
		give[most]++;
	}
}

/* ---- known answers ---- */

static const struct reclaim_input plain = { .held_pages = 10000, .shares = 1000, .able = true };

static bool near(uint64_t got, uint64_t want, uint64_t by)
{
	return got + by >= want && got <= want + by;
}

static void test_known(void)
{
	struct reclaim_input in[3] = { plain, plain, plain };
	uint64_t give[3];

	is(reclaim_split(in, give, 3, 0), 0, "nothing is missing, nobody gives");
	is(reclaim_split(in, give, 3, 3000), 3000, "what is missing is asked for");
	ok(near(give[0], 1000, 46) && near(give[1], 1000, 46) && near(give[2], 1000, 46),
	   "equals give the same");
	in[1].held_pages = 12000;
	reclaim_split(in, give, 3, 2000);
	ok(give[1] == 2000 && !give[0] && !give[2], "who has more than the others gives first");
	in[1].held_pages = 10000;
	in[1].shares = 2000;
	reclaim_split(in, give, 3, 5000);
	ok(!give[1] && near(give[0], 2500, 78), "who has twice the shares may have twice as much");
	in[0].active_pages = 10000;
	in[1].shares = 1000;
	in[1].active_pages = 9000;
	in[2].active_pages = 2000;
	reclaim_split(in, give, 3, 5000);
	ok(!give[0] && !give[1] && give[2] == 5000, "idle pages go before those in use");
	reclaim_split(in, give, 3, 12000);
	ok(near(give[0], 2667, 187) && near(give[1], 2667, 187) && near(give[2], 6667, 187),
	   "four pages in use go for one that is idle");
	in[2].able = false;
	is(reclaim_split(in, give, 3, 30000), 2 * (10000 - KEEP),
	   "each keeps a little, and who has nothing to give all");
	is(give[2], 0, "(nothing)");
	in[2].able = true;
	in[2].still = true;
	in[2].held_pages = 500;
	reclaim_split(in, give, 3, 100);
	ok(give[2] == 500 - KEEP && !give[0] && !give[1], "who stands still gives all there is");
	in[2].able = false;
	reclaim_split(in, give, 3, 100);
	is(give[2], 0, "unless it cannot");
	is(reclaim_split(in, give, 0, 100), 0, "nobody is there");
}

/* A liar gains by its lie, but no more than is said. */
static void test_liar(void)
{
	struct reclaim_input in[2] = { plain, plain };
	uint64_t give[2], honest, liar;

	in[1].active_pages = UINT64_MAX;
	in[0].held_pages = in[1].held_pages = 1 << 20;
	reclaim_split(in, give, 2, 1 << 20);
	honest = in[0].held_pages - give[0];
	liar = in[1].held_pages - give[1];
	tap_note("of 2 equal VMs the idle one keeps %lu, the liar %lu", honest, liar);
	ok(near(liar, 4 * honest, 4 * (1 << 14)), "a liar has four times what an idle VM has");
	in[0].active_pages = 1 << 20;
	reclaim_split(in, give, 2, 1 << 20);
	ok(near(give[0], give[1], 1 << 14), "and nothing more than one that uses its memory");
}

static void test_large(void)
{
	struct reclaim_input in[2] = { plain, plain };
	uint64_t give[2];

	in[0].held_pages = 1ULL << 52;
	in[0].shares = 1;
	in[1].shares = 1000000;
	is(reclaim_split(in, give, 2, 1ULL << 50), 1ULL << 50, "the largest numbers");
	is(give[0], 1ULL << 50, "do not overflow");
}

/* ---- random ---- */

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return n ? tap_random(seed) % n : 0;
}

static unsigned int random_machine(uint64_t *seed, struct reclaim_input *in)
{
	unsigned int nr = 1 + (unsigned int)below(seed, MAX_VMS);

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t held = below(seed, 1 << below(seed, 16));

		in[i] = (struct reclaim_input){
			.held_pages = held,
			.active_pages = below(seed, 4) ? below(seed, held + 1) : UINT64_MAX,
			.shares = 1 + (uint32_t)below(seed, below(seed, 3) ? 2000 : 1000000),
			.able = below(seed, 8) != 0,
			.still = below(seed, 8) == 0,
		};
	}
	return nr;
}

static uint64_t sum(const uint64_t *give, unsigned int nr)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < nr; i++)
		pages += give[i];
	return pages;
}

/*
 * A VM is further from the model than a piece only if others of the same charge took its place: the
 * last piece of each VM is too much or too little by one at most.
 */
static unsigned int compare(const struct reclaim_input *in, unsigned int nr, uint64_t demand)
{
	uint64_t give[MAX_VMS], want[MAX_VMS], piece = max_u64(demand / 64, 16);
	uint64_t total = reclaim_split(in, give, nr, demand), far = 0;
	unsigned int faults = 0;

	model(in, want, nr, demand);
	faults += total != sum(give, nr) || total != sum(want, nr);
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t off = give[i] > want[i] ? give[i] - want[i] : want[i] - give[i];

		faults += give[i] && (!in[i].able || give[i] + KEEP > in[i].held_pages);
		far = max_u64(far, off > piece ? off - piece : 0);
	}
	return faults + (far > nr * piece / 2);
}

static void test_random(uint64_t seed)
{
	struct reclaim_input in[MAX_VMS];
	unsigned int faults = 0;

	for (unsigned int i = 0; i < 400; i++) {
		unsigned int nr = random_machine(&seed, in);
		uint64_t demand = below(&seed, 1 << below(&seed, 15));
		unsigned int bad = compare(in, nr, demand);

		if (bad)
			tap_note("machine %u, %u VMs, demand %lu", i, nr, demand);
		faults += bad;
	}
	is(faults, 0, "400 random machines are split as the model splits them, page by page");
}

int main(int argc, char **argv)
{
	tap_init();
	test_known();
	test_liar();
	test_large();
	test_random(tap_seed(argc, argv));
	return tap_done();
}
