/* SPDX-License-Identifier: MIT */
/* Replacement policies, naively. */
#include <stdlib.h>
#include <string.h>
#include "model.h"

#define each_resident(m, p) \
	(struct model_page *p = (m)->page; p < (m)->page + MODEL_PAGES; p++) if (p->resident)

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->youngest = 2;
}

uint64_t model_nr_resident(const struct model *m)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < MODEL_PAGES; i++)
		nr += m->page[i].resident;
	return nr;
}

static void to_the_end(struct model *m, struct model_page *page)
{
	page->order = ++m->now;
}

static void load_at_the_end(struct model *m, struct model_page *page, uint64_t distance)
{
	(void)distance;
	to_the_end(m, page);
}

static struct model_page *first(struct model *m)
{
	struct model_page *found = NULL;

	for
		each_resident(m, p) if (!found || p->order < found->order) found = p;
	return found;
}

static void nothing(struct model *m, struct model_page *page)
{
	(void)m;
	(void)page;
}

/* ---- clock: a second chance to what was used ---- */

static void clock_load(struct model *m, struct model_page *page, uint64_t distance)
{
	(void)distance;
	to_the_end(m, page);
	page->used = true;
}

static void clock_used(struct model *m, struct model_page *page)
{
	(void)m;
	page->used = true;
}

static struct model_page *clock_choose(struct model *m)
{
	for (;;) {
		struct model_page *page = first(m);

		if (!page->used)
			return page;
		page->used = false;
		to_the_end(m, page);
	}
}

/* ---- lfu: counts, halved when their mean is above 8 ---- */

static void lfu_load(struct model *m, struct model_page *page, uint64_t distance)
{
	(void)distance;
	page->count = 1;
	to_the_end(m, page);
}

static struct model_page *lfu_choose(struct model *m)
{
	struct model_page *found = NULL;

	for
		each_resident(m, p) if (!found || p->count < found->count ||
					(p->count == found->count && p->order < found->order))
			found = p;
	return found;
}

/* Pages of two counts that become one: those of the lower count go first. */
static void lfu_halve(struct model *m)
{
	static struct model old;
	struct model_page *page;

	old = *m;
	while ((page = lfu_choose(&old))) {
		struct model_page *mine = &m->page[page - old.page];

		page->resident = false;
		mine->count = page->count / 2;
		to_the_end(m, mine);
	}
}

static void lfu_used(struct model *m, struct model_page *page)
{
	uint64_t sum = 0;

	page->count += page->count < 255;
	to_the_end(m, page);
	for
		each_resident(m, p) sum += p->count;
	if (sum > 8 * model_nr_resident(m))
		lfu_halve(m);
}

/* ---- gen ---- */

static uint64_t members(const struct model *m, uint64_t generation)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < MODEL_PAGES; i++)
		nr += m->page[i].resident && m->page[i].generation == generation;
	return nr;
}

static void gen_load(struct model *m, struct model_page *page, uint64_t distance)
{
	uint64_t others = model_nr_resident(m) - 1;

	page->generation = UINT64_MAX;
	if (members(m, m->oldest) > others / 4 || distance <= others / 4)
		page->generation = m->youngest;
	else
		page->generation = m->oldest;
	to_the_end(m, page);
}

static void gen_used(struct model *m, struct model_page *page)
{
	if (page->generation == m->youngest)
		return;
	page->generation = m->youngest;
	to_the_end(m, page);
}

static struct model_page *gen_choose(struct model *m)
{
	struct model_page *found = NULL;

	while (!members(m, m->oldest))
		m->oldest++;
	if (m->youngest < m->oldest + 3 && m->nr_chosen - m->began > model_nr_resident(m)) {
		m->youngest++;
		m->began = m->nr_chosen;
	}
	while (m->youngest < m->oldest + 2) {
		m->youngest++;
		m->began = m->nr_chosen;
	}
	for
		each_resident(m, p) if (p->generation == m->oldest &&
					(!found || p->order < found->order)) found = p;
	return found;
}

const struct model_rules model_rules[MODEL_NR_RULES] = {
	{ "clock", clock_load, clock_used, clock_choose },
	{ "lru", load_at_the_end, to_the_end, first },
	{ "lfu", lfu_load, lfu_used, lfu_choose },
	{ "fifo", load_at_the_end, nothing, first },
	{ "gen", gen_load, gen_used, gen_choose },
};

/* ---- for all of them ---- */

void model_load(const struct model_rules *rules, struct model *m, gfn_t gfn, uint64_t distance)
{
	struct model_page *page = &m->page[gfn];

	*page = (struct model_page){ .resident = true };
	rules->load(m, page, distance);
}

void model_used(const struct model_rules *rules, struct model *m, gfn_t gfn)
{
	if (m->page[gfn].resident)
		rules->used(m, &m->page[gfn]);
}

void model_drop(struct model *m, gfn_t gfn)
{
	m->page[gfn].resident = false;
}

gfn_t model_choose(const struct model_rules *rules, struct model *m)
{
	struct model_page *page = rules->choose(m);

	page->resident = false;
	m->nr_chosen++;
	return (gfn_t)(page - m->page);
}
