/* SPDX-License-Identifier: MIT */
/* histogram.h: which bucket counts what, and what is below which bound. */
#include "mmu/base/histogram.h"
#include "tests/tap.h"

static void test_buckets(void)
{
	static const struct {
		uint64_t ns;
		unsigned int bucket;
	} row[] = {
		{ 0, 0 },      { 1, 0 },      { 2, 1 },		  { 3, 1 },	      { 4, 2 },
		{ 65535, 15 }, { 65536, 16 }, { 1ULL << 39, 39 }, { UINT64_MAX, 39 },
	};

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct histogram h = { 0 };

		histogram_add(&h, row[i].ns);
		is(h.count[row[i].bucket], 1, "%llu ns are counted in bucket %u",
		   (unsigned long long)row[i].ns, row[i].bucket);
		is(histogram_total(&h), 1, "... and nowhere else");
		is(h.longest_ns, row[i].ns, "... and are the longest");
	}
	is(histogram_bound(15), 65536, "bucket 15 counts what is below 65536 ns");
}

static void test_percentile(void)
{
	struct histogram h = { 0 };

	is(histogram_percentile(&h, 50), 0, "there is no median of nothing");
	for (unsigned int i = 0; i < 98; i++)
		histogram_add(&h, 100);
	histogram_add(&h, 1000);
	histogram_add(&h, 700);
	is(histogram_percentile(&h, 50), 128, "half are below 128 ns");
	is(histogram_percentile(&h, 98), 128, "98 of 100 are");
	is(histogram_percentile(&h, 99), 1024, "99 of 100 are below 1024 ns only");
	is(histogram_percentile(&h, 100), 1024, "and so are all");
	is(h.longest_ns, 1000, "the longest is known exactly");
}

int main(void)
{
	tap_init();
	test_buckets();
	test_percentile();
	return tap_done();
}
