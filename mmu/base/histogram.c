/* SPDX-License-Identifier: MIT */
#include "histogram.h"

void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned int n = ns ? 63 - (unsigned int)__builtin_clzll(ns) : 0;

	h->count[n < HISTOGRAM_BUCKETS ? n : HISTOGRAM_BUCKETS - 1]++;
	if (ns > h->longest_ns)
		h->longest_ns = ns;
}

uint64_t histogram_total(const struct histogram *h)
{
	uint64_t total = 0;

	for (unsigned int n = 0; n < HISTOGRAM_BUCKETS; n++)
		total += h->count[n];
	return total;
}

uint64_t histogram_percentile(const struct histogram *h, unsigned int percent)
{
	uint64_t total = histogram_total(h), below = 0;

	for (unsigned int n = 0; n < HISTOGRAM_BUCKETS; n++) {
		below += h->count[n];
		if (total && below * 100 >= total * percent)
			return histogram_bound(n);
	}
	return 0;
}
