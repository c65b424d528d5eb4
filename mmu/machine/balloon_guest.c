/* SPDX-License-Identifier: MIT */
/*
 * One VM, seen alone: what it uses, what it can spare, and whether it is in need.
 *
 * Active memory.  A sample says now = ram - balloon - available.  As in ESX, the estimate is the
 * largest of a slow average, a fast average and the last sample.  So it follows a rise at once and
 * a fall slowly.  It is a number of pages and not a fraction: to take idle pages would change a
 * fraction.
 *
 * Limit.  The balloon may grow to ram - active - margin.  Since active >= now, this leaves the
 * margin in what the guest said is available.  Both sides count from all RAM, so pages that were
 * taken since the sample are not counted twice.
 *
 * Pressure.  A sign is a difference to the tick before.  A release has no cap.  It is the largest
 * of RAM / 8, twice what the guest took back by itself, and what brings available memory to two
 * margins.  It doubles with every further tick of pressure, so that the whole balloon is back after
 * four.  If the guest killed a process, all is released at once.
 *
 * Cooling.  After a release nothing is taken for a while.  That while doubles each time that
 * pressure was the answer to taking, at most cooldown_shift_max times.  Two such whiles without
 * pressure undo one doubling.  So a guest that claims more available memory than it has is asked
 * ever less often.
 */
#include "mmu/base/clock.h"
#include "balloon_internal.h"

#define RELEASE_DIVISOR	  8u	/* the first release under pressure is at least RAM / 8 */
#define RELEASE_SHIFT_MAX 3u	/* four in a row: 1/8 + 2/8 + 4/8 + 8/8 */
#define THRASH_DIVISOR	  4096u /* a guest thrashes if it swaps, or faults in, in one tick ... */
#define THRASH_MIN_PAGES  64u	/* ... more than RAM / 4096 pages, and more than 64 */

/* ---- what the guest says of itself ---- */

static void take_stat(struct balloon_stats *s, uint16_t tag, uint64_t value)
{
	uint64_t pages = value / QUIRE_PAGE_SIZE;

	switch (tag) {
	case BALLOON_TAG_SWAP_IN:
	case BALLOON_TAG_SWAP_OUT:
		s->swap_pages += pages;
		s->have |= BALLOON_HAS_SWAP;
		break;
	case BALLOON_TAG_MAJOR_FAULTS:
		s->major_faults = value;
		s->have |= BALLOON_HAS_MAJOR_FAULTS;
		break;
	case BALLOON_TAG_FREE:
		s->free_pages = pages;
		s->have |= BALLOON_HAS_FREE;
		break;
	case BALLOON_TAG_TOTAL:
		s->total_pages = pages;
		s->have |= BALLOON_HAS_TOTAL;
		break;
	case BALLOON_TAG_AVAILABLE:
		s->available_pages = pages;
		s->have |= BALLOON_HAS_AVAILABLE;
		break;
	case BALLOON_TAG_OOM_KILLS:
		s->oom_kills = value;
		s->have |= BALLOON_HAS_OOM_KILLS;
		break;
	case BALLOON_TAG_ALLOC_STALLS:
		s->alloc_stalls = value;
		s->have |= BALLOON_HAS_ALLOC_STALLS;
		break;
	}
}

struct balloon_stats balloon_read_stats(const struct balloon_record *said, uint64_t ram_pages)
{
	struct balloon_stats s = { .taken_ns = said->stats_ns,
				   .balloon_pages = min_u64(said->stats_actual, ram_pages) };

	if (said->driver != BALLOON_DRIVER)
		return (struct balloon_stats){ 0 };
	for (unsigned int i = 0; i < min_u64(said->nr_stats, BALLOON_MAX_STATS); i++)
		take_stat(&s, said->stat[i].tag, said->stat[i].value);
	s.available_pages = min_u64(s.available_pages, ram_pages);
	s.free_pages = min_u64(s.free_pages, ram_pages);
	s.total_pages = min_u64(s.total_pages, ram_pages);
	return s;
}

/* ---- one tick ---- */

/* A driver may write any number here. */
uint64_t balloon_actual(const struct balloon_input *in)
{
	return min_u64(in->actual_pages, in->ram_pages);
}

static uint64_t clamp(uint64_t x, uint64_t low, uint64_t high)
{
	return max_u64(low, min_u64(x, high));
}

/* The policy sees this VM for the first time: its balloon is as it ought to be. */
static void meet(uint64_t now_ns, const struct balloon_input *in, struct balloon_vm *vm)
{
	*vm = (struct balloon_vm){
		.known = true,
		.target_pages = balloon_actual(in),
		.last_actual_pages = balloon_actual(in),
		.last_touched = in->touches,
		.progress_ns = now_ns,
	};
}

static void set_bounds(const struct balloon_policy_config *c, const struct balloon_input *in,
		       struct balloon_plan *plan)
{
	uint64_t ram = in->ram_pages, min = min_u64(in->min_pages, ram);

	plan->ceiling_pages = ram - min;
	plan->margin_pages = min_u64(
		clamp(ram / c->margin_divisor, c->margin_min_pages, c->margin_max_pages), ram / 4);
	plan->cap_pages = clamp(ram / c->cap_divisor, c->cap_min_pages, c->cap_max_pages);
	plan->band_pages = min_u64(plan->cap_pages, clamp(ram / c->band_divisor, c->band_min_pages,
							  c->band_max_pages));
}

static bool has(const struct balloon_stats *s, uint32_t bits)
{
	return (s->have & bits) == bits;
}

/* What the guest said is available, cut down to what it can have. */
static uint64_t available(const struct balloon_input *in)
{
	const struct balloon_stats *s = &in->stats;
	uint64_t pages = has(s, BALLOON_HAS_AVAILABLE) ? s->available_pages : s->free_pages;

	if (has(s, BALLOON_HAS_TOTAL))
		pages = min_u64(pages, s->total_pages);
	return min_u64(pages, less(in->ram_pages, s->balloon_pages));
}

static bool answers(const struct balloon_policy_config *c, uint64_t now_ns,
		    const struct balloon_input *in)
{
	return in->driver && (in->stats.have & (BALLOON_HAS_AVAILABLE | BALLOON_HAS_FREE)) &&
	       less(now_ns, in->stats.taken_ns) <= c->stale_ns;
}

static bool fresh(const struct balloon_input *in, const struct balloon_vm *vm)
{
	return !vm->sampled || in->stats.taken_ns != vm->last.taken_ns;
}

static uint64_t average(uint64_t old, uint64_t sample, unsigned int shift)
{
	return old - (old >> shift) + (sample >> shift);
}

/*
 * For how many seconds does the sample stand?  A guest in which nothing changes is asked rarely,
 * and its averages go on to fall all the same.
 */
static uint64_t seconds(const struct balloon_policy_config *c, const struct balloon_input *in,
			const struct balloon_vm *vm)
{
	uint64_t ns = min_u64(less(in->stats.taken_ns, vm->last.taken_ns), c->stale_ns);

	return max_u64(1, (ns + NS_PER_S / 2) / NS_PER_S);
}

static void estimate(const struct balloon_policy_config *c, const struct balloon_input *in,
		     struct balloon_vm *vm)
{
	uint64_t now = less(less(in->ram_pages, in->stats.balloon_pages), available(in));

	if (!vm->sampled)
		vm->slow_x256 = vm->fast_x256 = now * 256;
	else
		for (uint64_t n = fresh(in, vm) ? seconds(c, in, vm) : 0; n; n--) {
			vm->slow_x256 = average(vm->slow_x256, now * 256, c->slow_shift);
			vm->fast_x256 = average(vm->fast_x256, now * 256, c->fast_shift);
		}
	vm->plan.now_pages = now;
	vm->plan.active_pages = max_u64(now, max_u64(vm->slow_x256, vm->fast_x256) / 256);
}

/* How much a counter rose since the sample before; 0 if either sample lacks it. */
static uint64_t risen(const struct balloon_input *in, const struct balloon_vm *vm, uint32_t bit,
		      uint64_t now, uint64_t before)
{
	return vm->sampled && has(&in->stats, bit) && has(&vm->last, bit) ? less(now, before) : 0;
}

static uint32_t signs_in_statistics(const struct balloon_input *in, const struct balloon_vm *vm)
{
	const struct balloon_stats *s = &in->stats, *l = &vm->last;
	bool low = available(in) < 2 * vm->plan.margin_pages;
	uint64_t many = max_u64(in->ram_pages / THRASH_DIVISOR, THRASH_MIN_PAGES);
	uint32_t signs = 0;

	if (risen(in, vm, BALLOON_HAS_OOM_KILLS, s->oom_kills, l->oom_kills))
		signs |= BALLOON_SIGN_OOM;
	if (risen(in, vm, BALLOON_HAS_ALLOC_STALLS, s->alloc_stalls, l->alloc_stalls))
		signs |= BALLOON_SIGN_STALL;
	if (low && risen(in, vm, BALLOON_HAS_SWAP, s->swap_pages, l->swap_pages) > many)
		signs |= BALLOON_SIGN_SWAP;
	if (low && risen(in, vm, BALLOON_HAS_MAJOR_FAULTS, s->major_faults, l->major_faults) > many)
		signs |= BALLOON_SIGN_FAULTS;
	return signs;
}

/* How many pages the guest took out of its balloon though nobody wanted it smaller. */
static uint64_t taken_back(const struct balloon_input *in, const struct balloon_vm *vm)
{
	return less(min_u64(vm->last_actual_pages, vm->target_pages), balloon_actual(in));
}

/* Signs that the device itself saw.  They count even if the statistics are old or missing. */
static uint32_t signs_at_device(const struct balloon_input *in, const struct balloon_vm *vm)
{
	return (taken_back(in, vm) ? BALLOON_SIGN_DEFLATED : 0) |
	       (in->touches > vm->last_touched ? BALLOON_SIGN_TOUCHED : 0) |
	       (in->asks ? BALLOON_SIGN_ASKS : 0);
}

static uint64_t cooldown(const struct balloon_policy_config *c, const struct balloon_vm *vm)
{
	return c->cooldown_ns << (vm->episodes ? vm->episodes - 1 : 0);
}

/* Take nothing for a while, and for longer if it was taking that led to the release. */
static void cool(const struct balloon_policy_config *c, uint64_t now_ns, struct balloon_vm *vm)
{
	uint64_t quiet = less(now_ns, vm->cool_ns);

	for (; vm->episodes && quiet > 2 * cooldown(c, vm); vm->episodes--)
		quiet -= 2 * cooldown(c, vm);
	if (vm->inflated && vm->episodes <= c->cooldown_shift_max)
		vm->episodes++;
	vm->inflated = false;
	vm->cool_ns = max_u64(vm->cool_ns, now_ns + cooldown(c, vm));
}

static void release(const struct balloon_policy_config *c, uint64_t now_ns,
		    const struct balloon_input *in, struct balloon_vm *vm)
{
	struct balloon_plan *plan = &vm->plan;
	uint64_t touched = less(in->touches, vm->last_touched);
	uint64_t base = min_u64(vm->target_pages, balloon_actual(in));
	uint64_t pages =
		max_u64(in->ram_pages / RELEASE_DIVISOR, 2 * (taken_back(in, vm) + touched));

	if (plan->answers)
		pages = max_u64(pages, less(2 * plan->margin_pages, available(in)));
	pages <<= min_u64(vm->pressed_ticks, RELEASE_SHIFT_MAX);
	if (plan->signs & BALLOON_SIGN_OOM)
		pages = base;
	vm->target_pages = less(base, pages);
	vm->pressed_ticks++;
	plan->reason = BALLOON_PRESSURE;
	cool(c, now_ns, vm);
}

static bool stuck(const struct balloon_policy_config *c, uint64_t now_ns,
		  const struct balloon_input *in, struct balloon_vm *vm)
{
	if (balloon_actual(in) > vm->last_actual_pages || vm->target_pages <= balloon_actual(in))
		vm->progress_ns = now_ns;
	return now_ns - vm->progress_ns >= c->stuck_ns;
}

/* Decide what concerns no other VM, the most urgent first. */
static void decide_alone(const struct balloon_policy_config *c, uint64_t now_ns,
			 const struct balloon_input *in, struct balloon_vm *vm)
{
	struct balloon_plan *plan = &vm->plan;
	bool is_stuck = stuck(c, now_ns, in, vm);

	if (in->manual) {
		vm->target_pages = min_u64(in->manual_pages, plan->ceiling_pages);
		plan->reason = BALLOON_MANUAL;
	} else if (in->driver && plan->signs) {
		release(c, now_ns, in, vm);
	} else if (!plan->answers) {
		plan->reason = BALLOON_SILENT;
		if (!in->driver) /* a driver that comes later starts from the balloon as it is */
			vm->target_pages = min_u64(vm->target_pages, balloon_actual(in));
	} else if (is_stuck) {
		vm->target_pages = balloon_actual(in);
		plan->reason = BALLOON_STUCK;
		cool(c, now_ns, vm);
	} else {
		plan->may_get = true;
		plan->may_give = now_ns >= vm->cool_ns;
		plan->reason = plan->may_give ? BALLOON_STEADY : BALLOON_COOLING;
	}
	if (plan->reason != BALLOON_PRESSURE)
		vm->pressed_ticks = 0;
}

static void remember(const struct balloon_input *in, struct balloon_vm *vm)
{
	vm->last_actual_pages = balloon_actual(in);
	vm->last_touched = in->touches;
	if (vm->plan.answers)
		vm->last = in->stats;
	/* Without a driver the guest boots anew: averages and counters do not go on. */
	vm->sampled = in->driver && (vm->sampled || vm->plan.answers);
}

void balloon_look(const struct balloon_policy_config *c, uint64_t now_ns,
		  const struct balloon_input *in, struct balloon_vm *vm)
{
	struct balloon_plan *plan = &vm->plan;

	if (!vm->known)
		meet(now_ns, in, vm);
	*plan = (struct balloon_plan){ .from_pages = vm->target_pages };
	set_bounds(c, in, plan);
	plan->signs = signs_at_device(in, vm);
	plan->answers = answers(c, now_ns, in);
	if (plan->answers) {
		plan->signs |= signs_in_statistics(in, vm);
		estimate(c, in, vm);
		plan->limit_pages =
			min_u64(plan->ceiling_pages,
				less(less(in->ram_pages, plan->active_pages), plan->margin_pages));
	}
	decide_alone(c, now_ns, in, vm);
	/* The pages that the guest still owes will be idle ones. */
	plan->resident_pages = less(in->resident_pages, less(vm->target_pages, balloon_actual(in)));
	plan->active_pages = min_u64(plan->active_pages, plan->resident_pages);
	remember(in, vm);
}

uint64_t balloon_room(const struct balloon_input *in, const struct balloon_vm *vm)
{
	const struct balloon_plan *plan = &vm->plan;
	uint64_t ahead = balloon_actual(in) + 2 * plan->cap_pages;
	uint64_t room = less(min_u64(plan->limit_pages, ahead), vm->target_pages);

	room = min_u64(room, less(plan->resident_pages, plan->active_pages));
	room = min_u64(room, plan->cap_pages - plan->taken_pages);
	return plan->may_give && room >= plan->band_pages ? room : 0;
}

uint64_t balloon_expected(const struct balloon_input *in, const struct balloon_vm *vm)
{
	return less(less(in->ram_pages, vm->plan.now_pages), vm->target_pages);
}

uint64_t balloon_appetite(const struct balloon_input *in, const struct balloon_vm *vm)
{
	const struct balloon_plan *plan = &vm->plan;
	uint64_t expected = balloon_expected(in, vm);

	if (!plan->may_get || expected >= plan->margin_pages / 2)
		return 0;
	return min_u64(plan->margin_pages - expected, vm->target_pages);
}

uint64_t balloon_charge(const struct balloon_policy_config *c, uint64_t active, uint64_t resident)
{
	active = min_u64(active, resident);
	return active * (1000 - c->tax_permille) + (resident - active) * 1000;
}
