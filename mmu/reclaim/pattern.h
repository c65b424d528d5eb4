/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_RECLAIM_PATTERN_H
#define QUIRE_MMU_RECLAIM_PATTERN_H

/*
 * Traces that are made, to compare policies by.  Equal arguments give equal text on every machine.
 *
 *   zipf    the page of rank k is accessed as often as 1/k says; ranks are scattered over the pages
 *   scan    all pages in order, again and again
 *   random  each access is to any page
 *   phases  a working set of an eighth of the pages gets nine accesses of ten, and moves on eight
 *           times; the tenth is to any page
 *   mixed   zipf, of which a scan through all pages takes every second access, for a fifth of the
 *           time: a backup, a garbage collection
 */
#include <quire/error.h>
#include <quire/types.h>

#define PATTERN_MAX_PAGES (1ULL << 31)

struct pattern {
	uint32_t nr_pages; /* at least 1 */
	uint64_t length;
	uint32_t write_percent; /* of accesses, 0 to 100 */
	uint64_t seed;
	unsigned int kind; /* an index into pattern_names */
};

#define PATTERN_KINDS 5u
extern const char *const pattern_names[PATTERN_KINDS];

/*
 * Write the trace.  An error of f stops it; the caller asks ferror().  It takes O(1) for each
 * access, O(log pages) for zipf and mixed, and 12 bytes of memory for each page.
 * 0; -ENOMEM, with a line in *err.
 */
int pattern_write(const struct pattern *pattern, FILE *f, struct quire_error *err);

#endif
