/* SPDX-License-Identifier: MIT */
/*
 * touch: what does the first access to a page cost?
 *
 *	touch PAGES|all [order=seq|random|shuffle] [write|read] [seed=N]
 *
 * It makes one access to each 4 KiB page of memory that has not been touched before.  The pages are
 * mapped with 2 MiB leaves, so that stage 1 costs next to nothing and the host is what is measured.
 * seq and shuffle access each page once; random draws PAGES times, with repetition.  Writes are
 * verified afterwards, and that time does not count.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

enum order { ORDER_SEQ, ORDER_RANDOM, ORDER_SHUFFLE };
static const char *const order_names[] = { "seq", "random", "shuffle" };

struct touch {
	uint64_t pages, seed;
	enum order order;
	bool read;
	struct shuffle shuffle;
	volatile uint64_t (*page)[PAGE_WORDS];
};

/* The pages in order, from a state that starts as the seed. */
static uint64_t next_page(const struct touch *t, uint64_t i, uint64_t *state)
{
	if (t->order == ORDER_SEQ)
		return i;
	if (t->order == ORDER_SHUFFLE)
		return shuffle_at(&t->shuffle, i);
	return random_below(state, t->pages);
}

static uint64_t mark_of(const struct touch *t, uint64_t page)
{
	return mix(t->seed ^ page);
}

static uint64_t touch_all(const struct touch *t)
{
	uint64_t state = t->seed, start = rdtsc();

	for (uint64_t i = 0; i < t->pages; i++) {
		uint64_t page = next_page(t, i, &state);

		if (t->read)
			(void)t->page[page][0];
		else
			t->page[page][0] = mark_of(t, page);
	}
	return rdtsc() - start;
}

static bool verify(const struct touch *t)
{
	uint64_t state = t->seed;

	for (uint64_t i = 0; i < t->pages && !t->read; i++) {
		uint64_t page = next_page(t, i, &state), got = t->page[page][0];

		if (got != mark_of(t, page)) {
			report_wrong("touch", &t->page[page][0], mark_of(t, page), got);
			return false;
		}
	}
	return true;
}

/* The most that a window can have: all free blocks but those for the window's own tables. */
static uint64_t most_pages(void)
{
	uint64_t blocks = free_blocks(9), tables = blocks / BLOCK_PAGES / 512 + 2;

	return blocks > tables ? (blocks - tables) * BLOCK_PAGES : 0;
}

static bool touch_parse(struct touch *t, struct args *a)
{
	const char *order = args_text(a, "order", "seq");

	t->read = args_flag(a, "read");
	a->bad |= args_flag(a, "write") && t->read;
	t->seed = args_key(a, "seed", 1);
	t->pages = args_flag(a, "all") ? most_pages() : args_number(a);
	for (t->order = ORDER_SEQ; t->order < ARRAY_SIZE(order_names); t->order++)
		if (!strcmp(order, order_names[t->order]))
			break;
	a->bad |= t->order == ARRAY_SIZE(order_names) || !t->pages;
	return args_done(a);
}

int touch_run(struct args *a)
{
	struct touch t;
	uint64_t cycles, hundredths;

	if (!touch_parse(&t, a))
		return STATUS_USAGE;
	t.page = window_create(t.pages);
	if (!t.page)
		return no_room(t.pages);
	shuffle_init(&t.shuffle, t.pages, t.seed);
	cycles = touch_all(&t);
	hundredths = clock_ns(cycles) * 100 / t.pages;
	print("touch: pages=%lu order=%s access=%s seed=%lu cycles=%lu ns_per_page=%lu.%02lu\n",
	      t.pages, order_names[t.order], t.read ? "read" : "write", t.seed, cycles,
	      hundredths / 100, hundredths % 100);
	return verify(&t) ? STATUS_OK : STATUS_WRONG;
}
