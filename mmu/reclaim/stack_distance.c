/* SPDX-License-Identifier: MIT */
/*
 * Stack distances by a tree: B. T. Bennett and V. J. Kruskal, "LRU Stack Processing", IBM Journal
 * of Research and Development 19(4), 1975.
 *
 * Time is a row of places, and each page has a mark at the place of its last access.  Then the
 * distance is the number of marks from there on.  A tree by P. M. Fenwick ("A New Data Structure
 * for Cumulative Frequency Tables", Software: Practice and Experience 24(3), 1994) counts them.
 *
 * There are twice as many places as pages.  When all are used, the marks move together at the
 * beginning, in their order.  That takes O(places) and happens once in nr_pages accesses at most.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "stack_distance.h"

struct marks {
	uint32_t *tree;	 /* [0, nr_places], of which [0] is not used */
	uint32_t *place; /* the mark of each page, or 0 */
	uint64_t nr_places, now;
	uint32_t nr_marks;
};

static void add(struct marks *m, uint64_t place, uint32_t n)
{
	for (; place <= m->nr_places; place += place & -place)
		m->tree[place] += n;
}

static uint32_t count_up_to(const struct marks *m, uint64_t place)
{
	uint32_t n = 0;

	for (; place; place -= place & -place)
		n += m->tree[place];
	return n;
}

/* Move the marks together: each goes to the place that is its rank. */
static void close_ranks(struct marks *m, uint32_t nr_pages)
{
	for (uint32_t page = 0; page < nr_pages; page++)
		if (m->place[page])
			m->place[page] = count_up_to(m, m->place[page]);
	memset(m->tree, 0, (m->nr_places + 1) * sizeof(*m->tree));
	for (uint32_t place = 1; place <= m->nr_marks; place++)
		add(m, place, 1);
	m->now = m->nr_marks;
}

/* Access a page: its distance, or 0 if this is the first time. */
static uint32_t touch(struct marks *m, uint32_t page)
{
	uint32_t distance = 0, at = m->place[page];

	if (at) {
		distance = m->nr_marks - count_up_to(m, at - 1);
		add(m, at, (uint32_t)-1);
	} else {
		m->nr_marks++;
	}
	m->place[page] = (uint32_t)++m->now;
	add(m, m->now, 1);
	return distance;
}

int stack_distances(const struct trace *t, uint64_t *nr_at, struct quire_error *err)
{
	struct marks m = { .nr_places = 2ULL * t->nr_pages };
	int code = 0;

	m.tree = calloc(m.nr_places + 1, sizeof(*m.tree));
	m.place = calloc(t->nr_pages + 1ULL, sizeof(*m.place));
	if (!m.tree || !m.place)
		code = quire_fail(err, -ENOMEM, "no memory for %u pages", t->nr_pages);
	for (uint64_t i = 0; i < trace_length(t) && !code; i++) {
		if (m.now == m.nr_places)
			close_ranks(&m, t->nr_pages);
		nr_at[touch(&m, trace_page(t, i))]++;
	}
	free(m.tree);
	free(m.place);
	return code;
}
