/* SPDX-License-Identifier: MIT */
/*
 * When vCPUs are stalled, and how long a page takes to be loaded.
 *
 * A vCPU stalls from when its access is found to need a load, or a credit that is not at hand,
 * until it is answered.  With the window the pager knows only pages, and not who sleeps there: a
 * kworker of KVM's may have taken the fault for the vCPU, which is halted meanwhile.  So what is
 * counted is accesses that wait, and processor time says whether other vCPUs ran (stall.h).  On
 * shadow tables the vCPU's thread loads the page itself, and that is no work of the guest.
 */
#include "mmu/base/clock.h"
#include "gmem_internal.h"

static uint64_t worked_ns(void *ctx)
{
	struct gmem *gm = ctx;
	uint64_t used = gm->config.vcpu_ns ? gm->config.vcpu_ns(gm->config.ctx) : 0;

	return used - min_u64(used, gm->stalled_cpu_ns);
}

void gmem_stall_init(struct gmem *gm)
{
	stall_init(&gm->stall, monotonic_ns(), worked_ns, gm);
}

bool gmem_loads(const struct gmem *gm, gfn_t gfn, enum page_state *state)
{
	struct stage2_page page;

	assert_held(&gm->lock);
	if (stage2_lookup(gm->s2, gfn, &page))
		return false;
	*state = page.state;
	return page_states[page.state].loads;
}

void gmem_stall_begin(struct gmem *gm, uint64_t since_ns)
{
	assert_held(&gm->lock);
	stall_begin(&gm->stall, since_ns);
}

void gmem_stall_end(struct gmem *gm)
{
	assert_held(&gm->lock);
	stall_end(&gm->stall, monotonic_ns());
}

void gmem_count_load(struct gmem *gm, enum page_state state, uint64_t since_ns)
{
	assert_held(&gm->lock);
	histogram_add(&gm->stats.loads[state], monotonic_ns() - since_ns);
}
