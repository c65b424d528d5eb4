/* SPDX-License-Identifier: MIT */
/*
 * churn: memory that changes all the time, at a known rate.
 *
 *	churn SEED PAGES [rate=R] [seconds=N] [read=K] [own=0|1] [salt=K] [settle=N]
 *
 * It begins with the contents of `hold SEED PAGES salt=K`.  Then it verifies and rewrites a page, R
 * times a second (1000; rate=0: as often as possible).  It goes in rounds: each round takes every
 * page once, in one order that depends on the seed.
 *
 * What page p holds after it was rewritten g times depends on SEED, salt, p and g.  So guests with
 * the same arguments are alike again as soon as they have done the same number of steps.  With
 * own=1 it is a content that no other guest has.  Contents never repeat.
 *
 * With a rate, N seconds (5) are R * N rewrites, however long the host takes over them, so the end
 * is known exactly.  After each rewrite, read=K pages (0) drawn at random are verified and left
 * alone.  settle=N waits before all pages are verified, so that a host can catch up.
 *
 * A record apart has the number of rewrites of each page, four bytes a page.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

struct churn {
	uint64_t seed, salt, pages, rate, seconds, read, settle;
	uint64_t own_seed; /* 0: not own=1 */
	uint64_t writes, reads;
	uint64_t longest; /* cycles, of one verification and rewrite */
	struct shuffle order;
	uint32_t *generation;
	uint64_t (*page)[PAGE_WORDS];
};

/* Generation 0 is what hold writes. */
static uint64_t seed_of(const struct churn *c, uint64_t page)
{
	return c->generation[page] && c->own_seed ? c->own_seed : salted(c->seed, c->salt);
}

static uint64_t index_of(const struct churn *c, uint64_t page)
{
	return (uint64_t)c->generation[page] * c->pages + page;
}

static bool check(const struct churn *c, uint64_t page)
{
	return content_check("churn", c->page[page], seed_of(c, page), index_of(c, page));
}

static void rewrite(struct churn *c, uint64_t page)
{
	content_write(c->page[page], seed_of(c, page), index_of(c, page));
}

static bool step(struct churn *c, uint64_t *reader)
{
	uint64_t page = shuffle_at(&c->order, c->writes % c->pages), start = rdtsc(), took;

	if (!check(c, page))
		return false;
	c->generation[page]++;
	rewrite(c, page);
	c->writes++;
	took = rdtsc() - start;
	if (took > c->longest)
		c->longest = took;
	for (uint64_t i = 0; i < c->read; i++, c->reads++)
		if (!check(c, random_below(reader, c->pages)))
			return false;
	return true;
}

/* When write number n is due. */
static uint64_t due(const struct churn *c, uint64_t start, uint64_t n)
{
	uint64_t hz = clock_khz() * 1000UL;

	return c->rate ? start + n / c->rate * hz + n % c->rate * hz / c->rate : start;
}

static bool run_steps(struct churn *c)
{
	uint64_t start = rdtsc(), deadline = clock_deadline(c->seconds), reader = c->seed;

	while (c->rate ? c->writes < c->rate * c->seconds : rdtsc() < deadline) {
		pause_until(due(c, start, c->writes));
		if (!step(c, &reader))
			return false;
	}
	return true;
}

static bool check_all(const struct churn *c)
{
	for (uint64_t page = 0; page < c->pages; page++)
		if (!check(c, page))
			return false;
	return true;
}

static bool churn_parse(struct churn *c, struct args *a)
{
	uint64_t own;

	c->seed = args_number(a);
	c->pages = args_number(a);
	c->rate = args_key(a, "rate", 1000);
	c->seconds = args_key(a, "seconds", 5);
	c->read = args_key(a, "read", 0);
	c->salt = args_key(a, "salt", 0);
	c->settle = args_key(a, "settle", 0);
	own = args_key(a, "own", 0);
	c->own_seed = own ? random_seed() : 0;
	a->bad |= !c->pages || own > 1;
	return args_done(a);
}

static void describe(const struct churn *c)
{
	print("churn: seed=%lu pages=%lu rate=%lu seconds=%lu read=%lu own=%d salt=%lu\n", c->seed,
	      c->pages, c->rate, c->seconds, c->read, c->own_seed != 0, c->salt);
	print("churn: ready\n");
	console_flush();
}

int churn_run(struct args *a)
{
	struct churn c = { 0 };
	uint64_t start;

	if (!churn_parse(&c, a))
		return STATUS_USAGE;
	c.page = window_create(c.pages);
	c.generation = window_create((c.pages + 1023) / 1024);
	if (!c.page || !c.generation)
		return no_room(c.pages);
	memset(c.generation, 0, c.pages * sizeof(*c.generation));
	shuffle_init(&c.order, c.pages, c.seed);
	for (uint64_t page = 0; page < c.pages; page++)
		rewrite(&c, page);
	describe(&c);
	start = rdtsc();
	if (!run_steps(&c))
		return STATUS_WRONG;
	print("churn: writes=%lu reads=%lu took_ms=%lu longest_us=%lu\n", c.writes, c.reads,
	      clock_ns(rdtsc() - start) / 1000000, clock_ns(c.longest) / 1000);
	pause_until(clock_deadline(c.settle));
	if (!check_all(&c))
		return STATUS_WRONG;
	print("churn: verified=%lu\n", c.pages);
	return STATUS_OK;
}
