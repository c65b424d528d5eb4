/* SPDX-License-Identifier: MIT */
#include "mmu/machine/credits.h"
#include "mmu/base/clock.h"
#include "run_balloon.h"

#define TELL_AT_MOST_NS 100000000ULL /* it is not told more often, whatever a guest does */

#define ORDER_IS_ONE 1u
#define ORDER_MANUAL 2u
#define ORDER_SHIFT  2u

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

/* ---- telling ---- */

/* Did the guest take pages back that were wanted? */
static bool took_back(const struct balloon_record *last, const struct balloon_record *next)
{
	return next->actual < last->actual && next->actual < next->target &&
	       next->target >= last->target;
}

static bool has_driver(const struct balloon_record *r)
{
	return r->driver == BALLOON_DRIVER;
}

static bool is_new(const struct balloon_record *last, const struct balloon_record *next)
{
	bool reached = next->actual == next->target;
	bool was_reached = last->actual == last->target;

	return has_driver(next) != has_driver(last) || next->manual != last->manual ||
	       next->target != last->target || reached != was_reached ||
	       next->stats_ns != last->stats_ns || took_back(last, next);
}

bool run_balloon_is_due(const struct run_balloon *rb, const struct balloon_record *next,
			uint64_t now, uint64_t period_ns, uint64_t *until)
{
	bool wanted = !rb->told || is_new(&rb->last, next);

	*until = UINT64_MAX;
	if (!rb->told || (wanted && now >= rb->told_ns + TELL_AT_MOST_NS))
		return true;
	if (wanted)
		*until = rb->told_ns + TELL_AT_MOST_NS;
	else if (has_driver(next))
		*until = rb->told_ns + period_ns + TELL_AT_MOST_NS;
	return *until <= now;
}

uint64_t run_balloon_serve(struct run_balloon *rb, struct vm *vm, struct credits *credits)
{
	struct balloon_record next;
	struct gmem_stats gs;
	uint64_t now = monotonic_ns(), period_ns = vm_balloon_period(vm), until;

	obey(rb, vm);
	vm_balloon_record(vm, &next);
	if (!run_balloon_is_due(rb, &next, now, period_ns, &until))
		return until;
	gmem_stats(vm_gmem(vm), &gs);
	next.touches = gs.balloon_touches;
	next.asks = rb->told && took_back(&rb->last, &next);
	credits_tell_balloon(credits, &next);
	rb->last = next;
	rb->told = true;
	rb->told_ns = now;
	return has_driver(&next) ? now + period_ns + TELL_AT_MOST_NS : UINT64_MAX;
}
