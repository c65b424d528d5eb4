/* SPDX-License-Identifier: MIT */
/*
 * What VMs say of their reclaim.
 */
#include "server_internal.h"

static void clamp(uint64_t *value, uint64_t max)
{
	*value = min_u64(*value, max);
}

static struct reclaim_record cut_down(const struct reclaim_record *said, uint64_t ram, uint64_t now)
{
	struct reclaim_record r = *said;

	if (!said->on)
		return (struct reclaim_record){ 0 };
	r.on = 1;
	r.more = said->more != 0;
	r.suspended = said->suspended != 0;
	r.pad = 0;
	clamp(&r.still_asked, ram);
	clamp(&r.compressed, ram);
	clamp(&r.pool, ram);
	clamp(&r.swapped, ram);
	clamp(&r.working_set, ram);
	clamp(&r.working_set_error, ram);
	clamp(&r.some_ns, now);
	clamp(&r.full_ns, r.some_ns);
	return r;
}

void reclaim_said(struct machine *m, struct tenant *t, const struct reclaim_record *said)
{
	t->reclaim = cut_down(said, t->promise.ram_pages, machine_now(m));
}
