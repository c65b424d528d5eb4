/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_TESTS_RECLAIM_MODEL_H
#define QUIRE_TESTS_RECLAIM_MODEL_H

/*
 * Replacement policies written a second time, naively: an array of pages, and a search through all
 * of it for each decision.
 */
#include <quire/types.h>

#define MODEL_PAGES 200u

struct model_page {
	bool resident, used;
	uint64_t order; /* the lower one leaves first, all else being equal */
	unsigned int count;
	uint64_t generation;
};

struct model {
	struct model_page page[MODEL_PAGES];
	uint64_t now;
	uint64_t oldest, youngest, began, nr_chosen;
};

struct model_rules {
	const char *name;
	void (*load)(struct model *m, struct model_page *page, uint64_t distance);
	void (*used)(struct model *m, struct model_page *page);
	struct model_page *(*choose)(struct model *m);
};

/* clock, lru, lfu, fifo, gen. */
#define MODEL_NR_RULES 5u
extern const struct model_rules model_rules[MODEL_NR_RULES];

void model_init(struct model *m);
uint64_t model_nr_resident(const struct model *m);

/* As the functions of reclaim.h of these names. */
void model_load(const struct model_rules *rules, struct model *m, gfn_t gfn, uint64_t distance);
void model_used(const struct model_rules *rules, struct model *m, gfn_t gfn);
void model_drop(struct model *m, gfn_t gfn);
gfn_t model_choose(const struct model_rules *rules, struct model *m);

#endif
