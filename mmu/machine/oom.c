/* SPDX-License-Identifier: MIT */
#include "oom.h"

uint64_t oom_pages(const struct machine_holding *h)
{
	return max_u64(h->resident_pages, h->credit_pages) + h->alone_pages + h->share_pages +
	       h->overhead_pages;
}

int64_t oom_badness(const struct machine_holding *h, uint64_t memory_pages)
{
	if (h->oom_score_adj <= OOM_SCORE_ADJ_MIN)
		return OOM_NEVER;
	return (int64_t)oom_pages(h) + h->oom_score_adj * (int64_t)(memory_pages / 1000);
}
