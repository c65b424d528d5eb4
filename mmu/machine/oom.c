/* SPDX-License-Identifier: MIT */
#include "oom.h"

int64_t oom_badness(const struct oom_candidate *c, uint64_t memory_pages)
{
	if (c->score_adj <= OOM_SCORE_ADJ_MIN)
		return OOM_NEVER;
	return (int64_t)(c->resident_pages + c->table_pages) +
	       c->score_adj * (int64_t)(memory_pages / 1000);
}

int oom_choose(const struct oom_candidate *c, unsigned int nr, uint64_t memory_pages)
{
	int64_t worst = OOM_NEVER;
	int chosen = -1;

	for (unsigned int i = 0; i < nr; i++) {
		int64_t points = oom_badness(&c[i], memory_pages);

		if (points > worst) {
			worst = points;
			chosen = i;
		}
	}
	return chosen;
}
