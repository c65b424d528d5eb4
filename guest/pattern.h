/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_GUEST_PATTERN_H
#define QUIRE_GUEST_PATTERN_H

/*
 * Which page is accessed next.
 *
 *	random	any
 *	zipf	the page of rank k as often as 1/k says; ranks are scattered over the pages
 *	scan	all pages in order, again and again
 *	phases	nine of ten to a working set of an eighth of the pages, which moves on by an eighth
 *		after as many accesses as there are pages; the tenth to any page
 *
 * The sequence depends on the kind, the pages and the seed only.
 */
#include "runtime.h"
#include "zipf.h"

enum pattern_kind { PATTERN_RANDOM, PATTERN_ZIPF, PATTERN_SCAN, PATTERN_PHASES, NR_PATTERNS };
extern const char *const pattern_names[NR_PATTERNS];

struct pattern {
	enum pattern_kind kind;
	uint64_t pages, state, step;
	struct zipf zipf;
	struct shuffle place;
};

/* False: there is no room for what it needs. */
bool pattern_init(struct pattern *p, enum pattern_kind kind, uint64_t pages, uint64_t seed);

/* A page in [0, pages). */
uint64_t pattern_next(struct pattern *p);

#endif
