/* SPDX-License-Identifier: MIT */
/*
 * A stack of page frame numbers, see frames.h.
 */
#include "frames.h"
#include "memory.h"
#include "paging.h"

struct frames_page {
	struct frames_page *below;
	uint64_t nr;
	uint32_t frame[FRAMES_PER_PAGE];
};
_Static_assert(sizeof(struct frames_page) == PAGE_SIZE, "the numbers of a page fill it");

/* Get pages for all numbers that are expected, at most 2 MiB of them, or what can be had. */
static void find_spare(struct frames *f)
{
	unsigned int order = 0;

	while (order < HALF_ORDER && f->nr + ((uint64_t)FRAMES_PER_PAGE << order) < f->expected)
		order++;
	while (!(f->spare = alloc_pages(order)) && order)
		order--;
	f->nr_spare = f->spare ? 1UL << order : 0;
}

/* A page for the list, or 0. */
static uint64_t take_spare(struct frames *f)
{
	if (!f->nr_spare)
		find_spare(f);
	return f->nr_spare ? f->spare + --f->nr_spare * PAGE_SIZE : 0;
}

static void free_spare(struct frames *f)
{
	while (f->nr_spare)
		free_pages(take_spare(f), 0);
}

static void keep(struct frames *f, struct frames_page *page)
{
	page->below = f->kept;
	f->kept = page;
	f->nr_kept++;
}

void frames_reserve(struct frames *f, uint64_t nr)
{
	uint64_t need = (nr + FRAMES_PER_PAGE - 1) / FRAMES_PER_PAGE;

	f->expected = nr;
	while (f->reserved < need && f->reserved < BLOCK_PAGES) {
		uint64_t page = take_spare(f);

		if (!page)
			break;
		keep(f, direct(page));
		f->reserved++;
	}
	free_spare(f);
}

static struct frames_page *page_for_list(struct frames *f)
{
	struct frames_page *page = f->kept;
	uint64_t gpa;

	if (page) {
		f->kept = page->below;
		f->nr_kept--;
		return page;
	}
	gpa = take_spare(f);
	return gpa ? direct(gpa) : NULL;
}

bool frames_push(struct frames *f, uint64_t gpa)
{
	if (!f->top || f->top->nr == FRAMES_PER_PAGE) {
		struct frames_page *top = page_for_list(f);

		if (!top)
			return false;
		top->below = f->top;
		top->nr = 0;
		f->top = top;
	}
	f->top->frame[f->top->nr++] = (uint32_t)(gpa >> PAGE_SHIFT);
	f->nr++;
	return true;
}

uint64_t frames_peek(const struct frames *f)
{
	return (uint64_t)f->top->frame[f->top->nr - 1] << PAGE_SHIFT;
}

uint64_t frames_pop(struct frames *f)
{
	struct frames_page *top = f->top;
	uint64_t gpa = frames_peek(f);

	f->nr--;
	if (!--top->nr) {
		f->top = top->below;
		if (f->nr_kept < f->reserved)
			keep(f, top);
		else
			free_pages(direct_gpa(top), 0);
	}
	if (!f->nr)
		free_spare(f);
	return gpa;
}

uint64_t frames_alloc(struct frames *f, unsigned int order, uint64_t blocks)
{
	uint64_t n = 0;

	for (; n < blocks; n++) {
		uint64_t gpa = alloc_pages(order);

		if (!gpa)
			break;
		if (!frames_push(f, gpa)) {
			free_pages(gpa, order);
			break;
		}
	}
	return n;
}

void frames_free(struct frames *f, unsigned int order)
{
	while (f->nr)
		free_pages(frames_pop(f), order);
}
