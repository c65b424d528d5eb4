/* SPDX-License-Identifier: MIT */
/* Counts of emulated instructions by name: each row is in the sum of its name, once. */
#include <string.h>
#include "tests/tap.h"
#include "vmm/look/stats_shadow.h"

static struct vm_info info;

/* The sum of all rows of that name, if no row before this one has it. */
static uint64_t by_name(unsigned int row)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++) {
		if (strcmp(monitor_name(i), monitor_name(row)) != 0)
			continue;
		if (i < row)
			return 0;
		sum += info.shadow.emulated[i];
	}
	return sum;
}

int main(void)
{
	unsigned int several = 0;
	uint64_t sum = 0;

	tap_init();
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++)
		info.shadow.emulated[i] = 1ULL << i;
	for (unsigned int i = 0; i < MONITOR_NR_ROWS; i++) {
		uint64_t got = stats_shadow_emulated_by_name(&info, i);

		is(got, by_name(i), "%s, row %u", monitor_name(i), i);
		several += __builtin_popcountll(got) > 1;
		sum += got;
	}
	ok(several, "%u names have several rows", several);
	is(sum, stats_shadow_emulated(&info), "the sum of all is what was emulated");
	return tap_done();
}
