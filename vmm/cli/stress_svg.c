/* SPDX-License-Identifier: MIT */
/* Where the guests' memory was, over time, as SVG: an area for each state of pages. */
#include <inttypes.h>
#include <quire/abi.h>
#include "stress.h"
#include "vmm/print/chart.h"
#include "vmm/print/table.h"

static const enum stress_number number_of[PG_NR_STATES] = {
	[PG_ABSENT] = STRESS_ABSENT,	   [PG_PRIVATE] = STRESS_PRIVATE,
	[PG_SHARED] = STRESS_SHARED,	   [PG_ZERO] = STRESS_ZERO,
	[PG_BALLOONED] = STRESS_BALLOONED, [PG_COMPRESSED] = STRESS_COMPRESSED,
	[PG_SWAPPED] = STRESS_SWAPPED,	   [PG_ARCHIVED] = STRESS_ARCHIVED,
};

static double seconds(const void *data, unsigned int point)
{
	const struct stress *s = data;

	return (double)s->sample[point].ns / 1e9;
}

static double bytes(const void *data, unsigned int point, unsigned int series)
{
	const struct stress *s = data;

	return (double)s->sample[point].sum.of[number_of[chart_state[series]]] * QUIRE_PAGE_SIZE;
}

void stress_svg(FILE *f, const struct stress *s)
{
	const struct chart_mark memory = { (double)s->opt.memory_bytes, "memory of the machine" };
	const struct chart_mark asked = { (double)(s->end_ns - s->start_ns) / 1e9,
					  "then all is verified" };
	char head[256];

	snprintf(head, sizeof(head),
		 "%" PRIu64 " guests of %s on a machine of %s: %s, seed %" PRIu64, s->opt.guests,
		 size_text(s->opt.guest_bytes), size_text(s->opt.memory_bytes),
		 stress_patterns[s->opt.pattern], s->opt.seed);
	chart_svg(f, &(struct chart){
			     .title = "Where the guests' memory was",
			     .head = head,
			     .unit = CHART_BYTES,
			     .stacked = true,
			     .series = chart_states,
			     .nr_series = PG_NR_STATES,
			     .nr_points = s->nr_samples,
			     .moment = &asked,
			     .nr_moments = 1,
			     .level = &memory,
			     .nr_levels = 1,
			     .time = seconds,
			     .value = bytes,
			     .data = s,
		     });
}
