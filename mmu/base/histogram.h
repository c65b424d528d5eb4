/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_HISTOGRAM_H
#define QUIRE_MMU_BASE_HISTOGRAM_H

/*
 * How long something took, many times over: lengths of time, counted by their binary logarithm.
 *
 * Bucket n counts times from 2^n ns up to, but not with, 2^(n+1) ns.  The first one counts 0 ns
 * too, and the last one, from nine minutes on, has no end.  All zeroes is an empty histogram.
 *
 * Locking: there is none inside.
 */
#include <stdint.h>

#define HISTOGRAM_BUCKETS 40u

struct histogram {
	uint64_t count[HISTOGRAM_BUCKETS];
	uint64_t longest_ns;
};

/* Count one time. */
void histogram_add(struct histogram *h, uint64_t ns);

/* How many times were counted. */
uint64_t histogram_total(const struct histogram *h);

/* The bound of bucket n, in ns: what it counts is below that. */
static inline uint64_t histogram_bound(unsigned int n)
{
	return 2ULL << n;
}

/* The least bound below which percent % of the times are, or more.  0: the histogram is empty. */
uint64_t histogram_percentile(const struct histogram *h, unsigned int percent);

#endif
