/* SPDX-License-Identifier: MIT */
#include <quire/types.h>
#include "balloon_pace.h"

static bool is_size(uint16_t tag)
{
	return tag == BALLOON_TAG_FREE || tag == BALLOON_TAG_TOTAL || tag == BALLOON_TAG_AVAILABLE;
}

/* Such a counter rises when the guest lacks memory. */
static bool is_sign(uint16_t tag)
{
	return tag == BALLOON_TAG_SWAP_IN || tag == BALLOON_TAG_SWAP_OUT ||
	       tag == BALLOON_TAG_MAJOR_FAULTS || tag == BALLOON_TAG_OOM_KILLS ||
	       tag == BALLOON_TAG_ALLOC_STALLS;
}

static const struct balloon_stat *find(const struct balloon_record *r, uint16_t tag)
{
	for (uint32_t i = 0; i < r->nr_stats; i++)
		if (r->stat[i].tag == tag)
			return &r->stat[i];
	return NULL;
}

static bool differs(const struct balloon_pace *p, uint16_t tag, uint64_t a, uint64_t b)
{
	uint64_t by = a > b ? a - b : b - a;

	return (is_sign(tag) && by) ||
	       (is_size(tag) && by / QUIRE_PAGE_SIZE > p->ram_pages / BALLOON_PACE_PART);
}

static bool is_news(const struct balloon_pace *p, const struct balloon_record *now)
{
	const struct balloon_record *last = &p->last;

	if (now->target != last->target || now->actual != last->actual ||
	    now->nr_stats != last->nr_stats)
		return true;
	for (uint32_t i = 0; i < now->nr_stats; i++) {
		const struct balloon_stat *was = find(last, now->stat[i].tag);

		if (!was || differs(p, now->stat[i].tag, was->value, now->stat[i].value))
			return true;
	}
	return false;
}

void balloon_pace_stop(struct balloon_pace *p)
{
	p->period_ns = 0;
}

bool balloon_pace_look(struct balloon_pace *p, const struct balloon_record *now, bool stirred,
		       uint64_t now_ns)
{
	if (!p->period_ns || stirred || is_news(p, now)) {
		uint64_t next_ns = now_ns + p->shortest_ns;

		p->next_ns = p->period_ns ? min_u64(p->next_ns, next_ns) : next_ns;
		p->period_ns = p->shortest_ns / 2;
		p->last = *now;
	}
	if (now_ns < p->next_ns)
		return false;
	p->period_ns = min_u64(2 * p->period_ns, p->longest_ns);
	p->next_ns = now_ns + p->period_ns;
	return true;
}
