/* SPDX-License-Identifier: MIT */
/*
 * fill and hold: memory with exactly known duplicates.
 *
 *	fill SEED PAGES [dup=K] [zero=K] [own=K] [packs=K] [order=seq|shuffle|scatter] [salt=K]
 *		[seconds=N] [writes=N]
 *	hold, the same, but seconds=5 unless told
 *
 * There are three kinds of page:
 *
 *	zero	zero=K pages are written with zeroes
 *	own	own=K pages have contents that no page of any guest has, drawn for this run
 *	common	the n that are left have ceil(n / dup) contents: page j of them has content j mod
 *		that, so contents 0, 1, 2 ... come again and again and each comes dup times
 *		(the last ones once less where n does not divide)
 *
 * Of 100 own or common contents, packs=K can be compressed; the others cannot.
 *
 * A common content depends on the seed, the salt and its number only: guests with the same
 * seed and salt share it, others share nothing.  Where the pages lie:
 *
 *	seq	in runs: zero, own, common
 *	shuffle	the same, permuted; the permutation depends on the seed
 *	scatter	spread evenly: the zero pages over all, the own pages over the rest; so with
 *		own=3/4 of PAGES every fourth page is common, and stands alone
 *
 * Between writing and verifying it waits, so that a host can merge: N seconds, or until there is
 * input.  With writes=N it then writes to a page drawn at random, N times: a word, which keeps its
 * value.  A host that merges N such guests perfectly keeps common + N * own frames, and one for
 * zeroes, or none.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

enum order { ORDER_SEQ, ORDER_SHUFFLE, ORDER_SCATTER };
static const char *const order_names[] = { "seq", "shuffle", "scatter" };

struct fill {
	const char *name;
	uint64_t seed, salt, pages, zero, own, dup, packs, seconds, writes;
	uint64_t common;   /* contents that other guests can have */
	uint64_t own_seed; /* of those that none has */
	enum order order;
	struct shuffle shuffle;
	uint64_t (*page)[PAGE_WORDS];
};

struct content {
	uint64_t seed, index;
};

/*
 * Of *of things, `chosen` are chosen.  Is thing *i one of these?  *i becomes its number among the
 * chosen, or among the others, and *of their number.
 */
static bool choose(const struct fill *f, uint64_t *i, uint64_t *of, uint64_t chosen)
{
	bool scatter = f->order == ORDER_SCATTER;
	uint64_t before = scatter ? spread(*i, *of, chosen) : *i < chosen ? *i : chosen;
	bool is = scatter ? spread(*i + 1, *of, chosen) > before : *i < chosen;

	*i = is ? before : *i - before;
	*of = is ? chosen : *of - chosen;
	return is;
}

/* The numbers of contents with and without CONTENT_PACKS are spread evenly. */
static uint64_t numbered(const struct fill *f, uint64_t i)
{
	return spread(i + 1, 100, f->packs) > spread(i, 100, f->packs) ? i | CONTENT_PACKS : i;
}

static struct content content_of(const struct fill *f, uint64_t i)
{
	uint64_t of = f->pages;

	if (f->order == ORDER_SHUFFLE)
		i = shuffle_at(&f->shuffle, i);
	if (choose(f, &i, &of, f->zero))
		return (struct content){ 0, CONTENT_ZERO };
	if (choose(f, &i, &of, f->own))
		return (struct content){ f->own_seed, numbered(f, i) };
	return (struct content){ salted(f->seed, f->salt), numbered(f, i % f->common) };
}

static bool fill_parse(struct fill *f, struct args *a)
{
	const char *order;

	f->seed = args_number(a);
	f->pages = args_number(a);
	f->dup = args_key(a, "dup", 1);
	f->zero = args_key(a, "zero", 0);
	f->own = args_key(a, "own", 0);
	f->packs = args_key(a, "packs", 0);
	f->salt = args_key(a, "salt", 0);
	f->seconds = args_key(a, "seconds", f->seconds);
	f->writes = args_key(a, "writes", 0);
	order = args_text(a, "order", "seq");
	while (f->order < ARRAY_SIZE(order_names) && strcmp(order, order_names[f->order]))
		f->order++;
	a->bad |= f->order == ARRAY_SIZE(order_names) || !f->pages || !f->dup;
	a->bad |= f->packs > 100 || f->zero > f->pages || f->own > f->pages - f->zero;
	return args_done(a);
}

static void write_all(const struct fill *f)
{
	for (uint64_t i = 0; i < f->pages; i++) {
		struct content c = content_of(f, i);

		content_write(f->page[i], c.seed, c.index);
	}
}

static void write_at_random(const struct fill *f)
{
	uint64_t state = f->seed, start = rdtsc();

	for (uint64_t i = 0; i < f->writes; i++) {
		volatile uint64_t *word = f->page[random_below(&state, f->pages)];
		uint64_t same = *word;

		*word = same;
	}
	print("%s: writes=%lu ns_per_write=%lu\n", f->name, f->writes,
	      clock_ns(rdtsc() - start) / f->writes);
}

static bool verify(const struct fill *f)
{
	for (uint64_t i = 0; i < f->pages; i++) {
		struct content c = content_of(f, i);

		if (!content_check(f->name, f->page[i], c.seed, c.index))
			return false;
	}
	return true;
}

static void describe(const struct fill *f)
{
	uint64_t distinct = f->common + f->own;

	print("%s: seed=%lu pages=%lu distinct=%lu zero=%lu duplicates=%lu order=%s common=%lu "
	      "own=%lu salt=%lu\n",
	      f->name, f->seed, f->pages, distinct, f->zero, f->pages - f->zero - distinct,
	      order_names[f->order], f->common, f->own, f->salt);
	print("%s: ready\n", f->name);
}

static int fill_and_verify(struct fill *f)
{
	f->common = (f->pages - f->zero - f->own + f->dup - 1) / f->dup;
	f->own_seed = f->own ? random_seed() : 0;
	f->page = window_create(f->pages);
	if (!f->page)
		return no_room(f->pages);
	shuffle_init(&f->shuffle, f->pages, f->seed);
	write_all(f);
	describe(f);
	if (f->seconds)
		pause_for_input(clock_deadline(f->seconds));
	if (f->writes)
		write_at_random(f);
	if (!verify(f))
		return STATUS_WRONG;
	print("%s: verified=%lu\n", f->name, f->pages);
	return STATUS_OK;
}

int fill_run(struct args *a)
{
	struct fill f = { .name = "fill" };

	return fill_parse(&f, a) ? fill_and_verify(&f) : STATUS_USAGE;
}

int hold_run(struct args *a)
{
	struct fill f = { .name = "hold", .seconds = 5 };

	return fill_parse(&f, a) ? fill_and_verify(&f) : STATUS_USAGE;
}
