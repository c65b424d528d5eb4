/* SPDX-License-Identifier: MIT */
/*
 * A marked frame: `mov $number, %eax; ret`, then the number, then the stamp of the last write.
 * Each write has another stamp, and is looked for in all marked frames through the direct map.
 */
#include "memory.h"
#include "paging.h"
#include "reach.h"

#define AT_NUMBER 8
#define AT_STAMP  16

static const uint64_t at_kind[NR_ACCESS_KINDS] = { AT_NUMBER, AT_STAMP, 0 };

static uint64_t marked[MAX_MARKED], stamp;
static unsigned int nr_marked;
static volatile uint64_t got;

uint64_t frame_mark(uint64_t gpa)
{
	volatile uint64_t *page = direct(gpa);
	uint64_t number = MARK_FIRST + nr_marked;

	if (nr_marked == MAX_MARKED)
		panic("too many marked frames");
	marked[nr_marked++] = gpa;
	page[0] = 0xb8 | number << 8 | 0xc3UL << 40;
	page[AT_NUMBER / 8] = number;
	page[AT_STAMP / 8] = 0;
	return number;
}

void frames_unmark(void)
{
	nr_marked = 0;
}

/* The frame that has the stamp. */
static uint64_t written(void)
{
	uint64_t found = REACH_WRONG;

	for (unsigned int i = 0; i < nr_marked; i++) {
		if (*(volatile uint64_t *)direct(marked[i] + AT_STAMP) != stamp)
			continue;
		if (found != REACH_WRONG)
			return REACH_WRONG;
		found = MARK_FIRST + i;
	}
	return found;
}

static uint64_t outcome(enum access_kind kind, bool faulted, uint64_t code, uint64_t value)
{
	if (faulted)
		return code;
	return kind == ACCESS_WRITE ? written() : value;
}

static void user_read(uint64_t at)
{
	got = *(volatile uint64_t *)at;
}

static void user_write(uint64_t at)
{
	*(volatile uint64_t *)at = stamp;
}

static void user_fetch(uint64_t at)
{
	got = ((uint32_t(*)(void))at)();
}

uint64_t reach_user(enum access_kind kind, uint64_t gva)
{
	static void (*const access[])(uint64_t) = { user_read, user_write, user_fetch };
	const struct trap *t = &guard_trap;
	bool faulted;
	uint64_t code;

	stamp++;
	faulted = guarded(access[kind], gva + at_kind[kind]);
	code = t->vector == VECTOR_PF ? t->error : t->vector << 16 | t->error;
	if (faulted && t->vector == VECTOR_PF && t->cr2 != gva + at_kind[kind])
		code |= REACH_WRONG;
	return outcome(kind, faulted, code, got);
}

uint64_t reach_nucleus(enum access_kind kind, uint64_t gva)
{
	uint64_t at = gva + at_kind[kind];
	struct probed p = probe(kind, at, ++stamp);

	if (p.code < MARK_FIRST && p.code != PROBE_OK && p.value != at)
		p.code |= REACH_WRONG;
	return outcome(kind, p.code != PROBE_OK, p.code, p.value);
}
