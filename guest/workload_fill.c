/* SPDX-License-Identifier: MIT */
/*
 * fill and hold: memory with exactly known duplicates.
 *
 *	fill SEED PAGES [dup=K] [zero=K] [order=seq|shuffle]
 *	hold, the same and [seconds=N]: stays, before it verifies, so that a host can merge
 *
 * Of PAGES pages, zero=K are zeroes.  The other n = PAGES - K have ceil(n / dup) distinct
 * contents: page j of them has content j mod distinct, so contents 0, 1, 2 ... come again and
 * again, in runs, and each comes dup times (the last ones once less where n does not divide).
 * A content depends on the seed and its number only: two guests with the same seed share.
 * order=shuffle spreads the pages by a permutation that depends on the seed.
 *
 * A host that merges perfectly keeps `distinct` frames (and one for zeroes, or none).
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

struct fill {
	const char *name;
	uint64_t seed, pages, zero, dup, distinct;
	bool shuffled;
	struct shuffle order;
	uint64_t (*page)[PAGE_WORDS];
};

static uint64_t content_of(const struct fill *f, uint64_t i)
{
	if (f->shuffled)
		i = shuffle_at(&f->order, i);
	return i < f->zero ? CONTENT_ZERO : (i - f->zero) % f->distinct;
}

static bool fill_parse(struct fill *f, struct args *a)
{
	const char *order;

	f->seed = args_number(a);
	f->pages = args_number(a);
	f->dup = args_key(a, "dup", 1);
	f->zero = args_key(a, "zero", 0);
	order = args_text(a, "order", "seq");
	f->shuffled = !strcmp(order, "shuffle");
	a->bad |= !f->shuffled && strcmp(order, "seq");
	a->bad |= !f->pages || !f->dup || f->zero > f->pages;
	return args_done(a);
}

static bool verify(const struct fill *f)
{
	for (uint64_t i = 0; i < f->pages; i++)
		if (!content_check(f->name, f->page[i], f->seed, content_of(f, i)))
			return false;
	return true;
}

static int fill_and_verify(struct fill *f, uint64_t seconds)
{
	uint64_t n = f->pages - f->zero;

	f->distinct = (n + f->dup - 1) / f->dup;
	f->page = window_create(f->pages);
	if (!f->page)
		return no_room(f->pages);
	shuffle_init(&f->order, f->pages, f->seed);
	for (uint64_t i = 0; i < f->pages; i++)
		content_write(f->page[i], f->seed, content_of(f, i));
	print("%s: seed=%lu pages=%lu distinct=%lu zero=%lu duplicates=%lu order=%s\n", f->name,
	      f->seed, f->pages, f->distinct, f->zero, n - f->distinct,
	      f->shuffled ? "shuffle" : "seq");
	if (seconds)
		pause_until(clock_deadline(seconds));
	if (!verify(f))
		return STATUS_WRONG;
	print("%s: verified=%lu\n", f->name, f->pages);
	return STATUS_OK;
}

int fill_run(struct args *a)
{
	struct fill f = { .name = "fill" };

	return fill_parse(&f, a) ? fill_and_verify(&f, 0) : STATUS_USAGE;
}

int hold_run(struct args *a)
{
	struct fill f = { .name = "hold" };
	uint64_t seconds = args_key(a, "seconds", 5);

	return fill_parse(&f, a) ? fill_and_verify(&f, seconds) : STATUS_USAGE;
}
