/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_PAGE_LIST_H
#define QUIRE_MMU_RECLAIM_PAGE_LIST_H

/*
 * Lists of pages.  A page is in at most one list, so its two links are at its own number in one
 * array of 8 bytes a page.  Each list is a ring through a head, and the heads follow the pages in
 * the array: list 0 is at nr_pages.  The first page of a list is the next to leave.
 */
#include <errno.h>
#include <stdlib.h>
#include "reclaim.h"

struct page_link {
	uint32_t next, previous;
};

struct page_lists {
	struct page_link *link;
	uint32_t nr_pages;
};

_Static_assert(RECLAIM_MAX_PAGES + 256 <= UINT32_MAX, "a link holds every page and head");

/* Allocate nr empty lists, at most 256.  0 or -ENOMEM. */
static inline int page_lists_create(struct page_lists *l, gfn_t nr_pages, unsigned int nr)
{
	l->nr_pages = (uint32_t)nr_pages;
	l->link = calloc(nr_pages + nr, sizeof(*l->link));
	if (!l->link)
		return -ENOMEM;
	for (uint32_t i = l->nr_pages; i < l->nr_pages + nr; i++)
		l->link[i] = (struct page_link){ .next = i, .previous = i };
	return 0;
}

static inline void page_lists_destroy(struct page_lists *l)
{
	free(l->link);
}

static inline bool page_list_is_empty(const struct page_lists *l, unsigned int list)
{
	return l->link[l->nr_pages + list].next == l->nr_pages + list;
}

/* The first page of a list that is not empty. */
static inline gfn_t page_list_first(const struct page_lists *l, unsigned int list)
{
	return l->link[l->nr_pages + list].next;
}

/* Put a page, which is in no list, at the end of one. */
static inline void page_list_add(struct page_lists *l, unsigned int list, gfn_t gfn)
{
	uint32_t head = l->nr_pages + list, page = (uint32_t)gfn;
	uint32_t last = l->link[head].previous;

	l->link[page] = (struct page_link){ .next = head, .previous = last };
	l->link[last].next = page;
	l->link[head].previous = page;
}

/* Take a page out of its list, whichever that is. */
static inline void page_list_remove(struct page_lists *l, gfn_t gfn)
{
	struct page_link at = l->link[gfn];

	l->link[at.previous].next = at.next;
	l->link[at.next].previous = at.previous;
}

/* Move a page to the end of a list. */
static inline void page_list_move(struct page_lists *l, unsigned int list, gfn_t gfn)
{
	page_list_remove(l, gfn);
	page_list_add(l, list, gfn);
}

/* Take the first page out of a list that is not empty. */
static inline gfn_t page_list_take(struct page_lists *l, unsigned int list)
{
	gfn_t gfn = page_list_first(l, list);

	page_list_remove(l, gfn);
	return gfn;
}

#endif
