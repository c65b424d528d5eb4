/* SPDX-License-Identifier: MIT */
#include "mmu/machine/credits.h"
#include "mmu/base/clock.h"
#include "vmm/dev/balloon.h"
#include "run_balloon.h"

#define TELL_NS		NS_PER_S     /* while there is a driver */
#define TELL_AT_MOST_NS 100000000ULL /* not more often, whatever a guest does */

#define ORDER_IS_ONE 1u
#define ORDER_MANUAL 2u
#define ORDER_SHIFT  2u

/* Tags of virtio's statistics that the policy looks at: VIRTIO 1.2, section 5.5.6.4. */
enum tag {
	TAG_SWAP_IN = 0,
	TAG_SWAP_OUT = 1,
	TAG_MAJOR_FAULTS = 2,
	TAG_FREE = 4,
	TAG_TOTAL = 5,
	TAG_AVAILABLE = 6,
	TAG_OOM_KILLS = 10,
	TAG_ALLOC_STALLS = 11,
};

/* ---- targets ---- */

void run_balloon_order(struct run_balloon *rb, uint64_t pages, bool manual)
{
	atomic_store(&rb->order, pages << ORDER_SHIFT | (manual ? ORDER_MANUAL : 0) | ORDER_IS_ONE);
}

static void obey(struct run_balloon *rb, struct vm *vm)
{
	uint64_t order = atomic_exchange(&rb->order, 0);

	if (order)
		vm_set_balloon(vm, order >> ORDER_SHIFT, order & ORDER_MANUAL);
}

/* ---- statistics ---- */

static void take_stat(struct balloon_stats *s, uint16_t tag, uint64_t value)
{
	uint64_t pages = value / QUIRE_PAGE_SIZE;

	switch (tag) {
	case TAG_SWAP_IN:
	case TAG_SWAP_OUT:
		s->swap_pages += pages;
		s->have |= BALLOON_HAS_SWAP;
		break;
	case TAG_MAJOR_FAULTS:
		s->major_faults = value;
		s->have |= BALLOON_HAS_MAJOR_FAULTS;
		break;
	case TAG_FREE:
		s->free_pages = pages;
		s->have |= BALLOON_HAS_FREE;
		break;
	case TAG_TOTAL:
		s->total_pages = pages;
		s->have |= BALLOON_HAS_TOTAL;
		break;
	case TAG_AVAILABLE:
		s->available_pages = pages;
		s->have |= BALLOON_HAS_AVAILABLE;
		break;
	case TAG_OOM_KILLS:
		s->oom_kills = value;
		s->have |= BALLOON_HAS_OOM_KILLS;
		break;
	case TAG_ALLOC_STALLS:
		s->alloc_stalls = value;
		s->have |= BALLOON_HAS_ALLOC_STALLS;
		break;
	}
}

/* Without a driver what an earlier one said is of no more use. */
static struct balloon_stats read_stats(const struct balloon_info *info)
{
	struct balloon_stats s = { .taken_ns = info->stats_ns,
				   .balloon_pages = info->stats_actual };

	if (info->driver != BALLOON_DRIVER)
		return (struct balloon_stats){ 0 };
	for (unsigned int i = 0; i < info->nr_stats; i++)
		take_stat(&s, info->stat[i].tag, info->stat[i].value);
	return s;
}

/* ---- telling ---- */

/* Pages that were wanted, and the guest took them nevertheless. */
static bool took_back(const struct machine_balloon *last, const struct machine_balloon *next)
{
	return next->actual_pages < last->actual_pages && next->actual_pages < next->target_pages &&
	       next->target_pages >= last->target_pages;
}

static bool is_new(const struct machine_balloon *last, const struct machine_balloon *next)
{
	bool reached = next->actual_pages == next->target_pages;
	bool was_reached = last->actual_pages == last->target_pages;

	return next->driver != last->driver || next->manual != last->manual ||
	       next->target_pages != last->target_pages || reached != was_reached ||
	       next->stats.taken_ns != last->stats.taken_ns || took_back(last, next);
}

bool run_balloon_is_due(const struct run_balloon *rb, const struct machine_balloon *next,
			uint64_t now, uint64_t *until)
{
	bool wanted = !rb->told || is_new(&rb->last, next);

	*until = UINT64_MAX;
	if (!rb->told || (wanted && now >= rb->told_ns + TELL_AT_MOST_NS))
		return true;
	if (wanted)
		*until = rb->told_ns + TELL_AT_MOST_NS;
	else if (next->driver)
		*until = rb->told_ns + TELL_NS;
	return *until <= now;
}

static struct machine_balloon picture(struct vm *vm)
{
	struct balloon_info info;

	balloon_info(vm_balloon(vm), &info);
	return (struct machine_balloon){
		.driver = info.driver == BALLOON_DRIVER,
		.manual = vm_balloon_is_manual(vm),
		.target_pages = info.target,
		.actual_pages = info.actual,
		.silent_since_ns = info.silent_since_ns,
		.stats = read_stats(&info),
	};
}

uint64_t run_balloon_serve(struct run_balloon *rb, struct vm *vm, struct credits *credits)
{
	struct machine_balloon next;
	struct gmem_stats gs;
	uint64_t now = monotonic_ns(), until;

	obey(rb, vm);
	next = picture(vm);
	if (!run_balloon_is_due(rb, &next, now, &until))
		return until;
	gmem_stats(vm_gmem(vm), &gs);
	next.ballooned_faults = gs.balloon_touches;
	next.asks = rb->told && took_back(&rb->last, &next);
	credits_tell_balloon(credits, &next);
	rb->last = next;
	rb->told = true;
	rb->told_ns = now;
	return next.driver ? now + TELL_NS : UINT64_MAX;
}
