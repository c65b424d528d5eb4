/* SPDX-License-Identifier: MIT */
#include "tendency.h"

#define CLASSIC_BOUND 100u

const char *const tendency_rule_name[TENDENCY_NR_RULES] = {
	[TENDENCY_COST] = "cost",
	[TENDENCY_CLASSIC] = "classic",
};

static uint64_t by_classic(const struct tendency_input *in, uint64_t want)
{
	uint64_t mapped_ratio = in->mapped_pages * 100 / in->ram_pages;
	unsigned int distress = 100u >> in->priority;

	return mapped_ratio / 2 + distress + in->swappiness >= CLASSIC_BOUND ? 0 : want;
}

/* The names are those of get_scan_count(): ap is the pressure on what is sent away. */
static uint64_t by_cost(const struct tendency_input *in, uint64_t want)
{
	uint64_t sum = in->give_cost + in->send_cost;
	uint64_t send_cost = sum + in->send_cost, give_cost = sum + in->give_cost;
	uint64_t total = send_cost + give_cost + 1;
	uint64_t ap = in->swappiness * total / (send_cost + 1);
	uint64_t fp = (SWAPPINESS_MOST - in->swappiness) * total / (give_cost + 1);

	return (uint64_t)((__uint128_t)want * fp / (ap + fp));
}

uint64_t tendency_to_give(const struct tendency_input *in, uint64_t want)
{
	static uint64_t (*const rule[TENDENCY_NR_RULES])(const struct tendency_input *,
							 uint64_t) = {
		[TENDENCY_COST] = by_cost,
		[TENDENCY_CLASSIC] = by_classic,
	};

	return in->priority ? rule[in->rule](in, want) : 0;
}
