/* SPDX-License-Identifier: MIT */
/*
 * locked: instructions that read and write memory as one, on pages that the host may be taking
 * away, or bringing back, at that moment.
 *
 *	locked SECONDS [pages=N] [seed=N]
 *
 * Each step draws a page (of N, 1000 unless told) and begins with one locked instruction on a word
 * of it: XADD, CMPXCHG, XCHG, INC, ADD or CMPXCHG8B, in turn.  Instructions that return the old
 * value must return the right one.  Then every byte of the page is verified.
 *
 * The instruction adds 1 to the word, but every fourth time on a page it takes the 3 away again.
 * So a page has four contents, which come back all the time, and are alike in guests with the same
 * seed.  A quarter of the pages would be zero but for that word.
 */
#include "memory.h"
#include "paging.h"
#include "workload.h"

#define CONTENTS 4u /* of a page */

struct locked {
	uint64_t seed, pages, operations;
	uint8_t *count; /* by page: what was added to its word */
	uint64_t (*page)[PAGE_WORDS];
};

/* ---- the instructions: add 1 to *word, which is `old`; what they return, or `old` ---- */

static uint64_t by_xadd(volatile uint64_t *word, uint64_t old)
{
	uint64_t n = 1;

	(void)old;
	__asm__ volatile("lock xaddq %0, %1" : "+r"(n), "+m"(*word)::"memory", "cc");
	return n;
}

static uint64_t by_cmpxchg(volatile uint64_t *word, uint64_t old)
{
	__asm__ volatile("lock cmpxchgq %2, %1"
			 : "+a"(old), "+m"(*word)
			 : "r"(old + 1)
			 : "memory", "cc");
	return old;
}

static uint64_t by_xchg(volatile uint64_t *word, uint64_t old)
{
	uint64_t n = old + 1;

	__asm__ volatile("xchgq %0, %1" : "+r"(n), "+m"(*word)::"memory");
	return n;
}

static uint64_t by_inc(volatile uint64_t *word, uint64_t old)
{
	__asm__ volatile("lock incq %0" : "+m"(*word)::"memory", "cc");
	return old;
}

static uint64_t by_add(volatile uint64_t *word, uint64_t old)
{
	__asm__ volatile("lock addq $1, %0" : "+m"(*word)::"memory", "cc");
	return old;
}

static uint64_t by_cmpxchg8b(volatile uint64_t *word, uint64_t old)
{
	uint64_t new = old + 1;
	uint32_t low = (uint32_t)old, high = (uint32_t)(old >> 32);

	__asm__ volatile("lock cmpxchg8b %2"
			 : "+a"(low), "+d"(high), "+m"(*word)
			 : "b"((uint32_t) new), "c"((uint32_t)(new >> 32))
			 : "memory", "cc");
	return (uint64_t)high << 32 | low;
}

static uint64_t (*const instruction[])(volatile uint64_t *word, uint64_t old) = {
	by_xadd, by_cmpxchg, by_xchg, by_inc, by_add, by_cmpxchg8b,
};

/* ---- what a page holds ---- */

static uint64_t content_of(uint64_t page)
{
	return page % 4 ? page : CONTENT_ZERO;
}

/* Which of a page's words the instructions are for. */
static uint64_t place_of(uint64_t page)
{
	return mix(page) % PAGE_WORDS;
}

/* The word without what was added to it. */
static uint64_t base_of(const struct locked *l, uint64_t page)
{
	return content_word(l->seed, content_of(page), place_of(page));
}

static bool check(const struct locked *l, uint64_t page)
{
	volatile uint64_t *word = &l->page[page][place_of(page)];
	uint64_t want = base_of(l, page) + l->count[page];

	if (*word != want) {
		report_wrong("locked", word, want, *word);
		return false;
	}
	return content_check_but("locked", l->page[page], l->seed, content_of(page),
				 place_of(page));
}

static bool step(struct locked *l, uint64_t page)
{
	volatile uint64_t *word = &l->page[page][place_of(page)];
	uint64_t old = base_of(l, page) + l->count[page], got = old;

	if (l->count[page] < CONTENTS - 1)
		got = instruction[l->operations % ARRAY_SIZE(instruction)](word, old);
	else
		__asm__ volatile("lock subq $3, %0" : "+m"(*word)::"memory", "cc");
	l->count[page] = (l->count[page] + 1) % CONTENTS;
	l->operations++;
	if (got != old) {
		report_wrong("locked", word, old, got);
		return false;
	}
	return check(l, page);
}

/* ---- all of it ---- */

static bool check_all(const struct locked *l)
{
	for (uint64_t page = 0; page < l->pages; page++)
		if (!check(l, page))
			return false;
	return true;
}

static bool run_until(struct locked *l, uint64_t deadline)
{
	uint64_t state = l->seed;

	while (rdtsc() < deadline)
		if (!step(l, random_below(&state, l->pages)))
			return false;
	return true;
}

int locked_run(struct args *a)
{
	uint64_t seconds = args_number(a);
	struct locked l = { .seed = args_key(a, "seed", 1), .pages = args_key(a, "pages", 1000) };

	a->bad |= !l.pages;
	if (!args_done(a))
		return STATUS_USAGE;
	l.page = window_create(l.pages);
	l.count = window_create((l.pages + PAGE_SIZE - 1) / PAGE_SIZE);
	if (!l.page || !l.count)
		return no_room(l.pages);
	memset(l.count, 0, l.pages);
	for (uint64_t page = 0; page < l.pages; page++)
		content_write(l.page[page], l.seed, content_of(page));
	print("locked: seed=%lu pages=%lu seconds=%lu\nlocked: ready\n", l.seed, l.pages, seconds);
	console_flush();
	if (!run_until(&l, clock_deadline(seconds)) || !check_all(&l))
		return STATUS_WRONG;
	print("locked: operations=%lu\nlocked: verified=%lu\n", l.operations, l.pages);
	return STATUS_OK;
}
