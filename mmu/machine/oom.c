/* SPDX-License-Identifier: MIT */
#include "oom.h"

uint64_t oom_pages(const struct machine_holding *h)
{
	return max_u64(h->resident_pages, h->credit_pages) + h->alone_pages + h->share_pages +
	       h->overhead_pages;
}

static uint64_t beyond(uint64_t has, uint64_t due)
{
	return has > due ? has - due : 0;
}

uint64_t oom_unpaid(const struct machine_holding *h)
{
	return beyond(h->resident_pages, h->credit_pages + OOM_TOUCH_PAGES) +
	       beyond(h->anon_pages, h->overhead_pages + OOM_SLACK_PAGES);
}

uint64_t oom_excess(const struct machine_holding *h)
{
	return oom_unpaid(h) + h->ignored_pages +
	       beyond(h->credit_pages, h->resident_pages + OOM_SPARE_PAGES) +
	       beyond(h->resident_pages + h->alone_pages + h->share_pages,
		      h->ram_pages + OOM_SPARE_PAGES);
}

int64_t oom_badness(const struct machine_holding *h, uint64_t memory_pages)
{
	if (h->oom_score_adj <= OOM_SCORE_ADJ_MIN)
		return OOM_NEVER;
	return (int64_t)oom_pages(h) + h->oom_score_adj * (int64_t)(memory_pages / 1000);
}
