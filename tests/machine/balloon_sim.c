/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "balloon_sim.h"

#define SECOND 1000000000ULL

const char *const sim_names[SIM_NR_MODELS] = {
	"idle",	       "steady",	"step-up", "step-down",	      "sawtooth", "leak",
	"cache-heavy", "never answers", "liar",	   "deflates itself", "hog",
};

struct sim *sim_new(uint64_t memory_pages, uint32_t tax_permille)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct balloon_policy_config config;

	if (!s)
		tap_bail("no memory");
	balloon_policy_defaults(&config);
	config.tax_permille = tax_permille;
	balloon_policy_init(&s->policy, &config);
	s->machine = (struct balloon_machine){
		.now_ns = 1000 * SECOND,
		.memory_pages = memory_pages,
		.min_pages = memory_pages / 64,
		.low_pages = memory_pages / 64 + memory_pages / 128,
		.high_pages = memory_pages / 32,
	};
	s->rng = 1;
	return s;
}

struct sim_guest *sim_add(struct sim *s, enum sim_model model, uint64_t ram, uint32_t shares,
			  uint64_t base)
{
	unsigned int i = s->nr++;

	s->in[i] = (struct balloon_input){
		.ram_pages = ram,
		.shares = shares,
		.min_pages = ram / 16,
		.driver = model != SIM_SILENT,
	};
	s->guest[i] = (struct sim_guest){
		.model = model,
		.base = base,
		.used = base,
		.touched = base,
		.period = 1,
		.speed = ram,
		.deflates = true,
		.low = UINT64_MAX,
	};
	return &s->guest[i];
}

uint64_t sim_size(const struct sim *s, unsigned int i)
{
	return s->in[i].ram_pages - s->in[i].actual_pages;
}

static uint64_t sim_need(const struct sim *s, unsigned int i)
{
	const struct sim_guest *g = &s->guest[i];
	uint64_t phase = s->tick % g->period;

	switch (g->model) {
	case SIM_STEP_UP:
	case SIM_SELF: return g->base + (s->tick >= g->period ? g->swing : 0);
	case SIM_STEP_DOWN: return g->base + (s->tick < g->period ? g->swing : 0);
	case SIM_SAWTOOTH: return g->base + g->swing * phase / g->period;
	case SIM_LEAK:
		return min_u64(g->base + g->swing * s->tick / g->period,
			       s->in[i].ram_pages * 15 / 16);
	case SIM_HOG: return s->in[i].ram_pages;
	default: return g->base;
	}
}

/* The driver moves towards the target, as far as the guest has pages to give. */
static void sim_drive(struct sim *s, unsigned int i)
{
	struct balloon_input *in = &s->in[i];
	struct sim_guest *g = &s->guest[i];
	uint64_t target = s->vm[i].known ? s->vm[i].target_pages : in->actual_pages;
	uint64_t idle = sim_size(s, i) - min_u64(g->used, sim_size(s, i));

	if (!in->driver)
		return;
	if (g->model == SIM_LIAR) /* it swaps to fill its balloon, and then needs that again */
		idle = sim_size(s, i) / 2;
	if (target > in->actual_pages)
		in->actual_pages += min_u64(min_u64(target - in->actual_pages, g->speed), idle);
	else
		in->actual_pages -= min_u64(in->actual_pages - target, g->speed);
	g->cache = min_u64(g->cache, sim_size(s, i) - min_u64(g->used, sim_size(s, i)));
}

/* A hog fills what it is given and calls it active, but does not suffer without. */
static void sim_live(struct sim *s, unsigned int i)
{
	struct balloon_input *in = &s->in[i];
	struct sim_guest *g = &s->guest[i];
	uint64_t need = sim_need(s, i), size = sim_size(s, i);

	if (need > size && g->model != SIM_HOG) {
		in->stats.alloc_stalls++;
		if (g->deflates)
			in->actual_pages -= min_u64(need - size, in->actual_pages);
		size = sim_size(s, i);
	}
	g->lacking = need > size && g->model != SIM_HOG ? g->lacking + 1 : 0;
	g->starved += g->lacking != 0;
	g->used = min_u64(need, size);
	g->cache = min_u64(min_u64(g->cache_wish, g->cache + in->ram_pages / 64), size - g->used);
	g->touched = max_u64(min_u64(g->touched, size), g->used + g->cache);
	in->resident_pages = g->reports ? g->used + g->cache : g->touched;
}

static void sim_sample(struct sim *s, unsigned int i)
{
	struct balloon_stats *st = &s->in[i].stats;
	struct sim_guest *g = &s->guest[i];

	if (g->model == SIM_SILENT || (s->lazy_stats && tap_random(&s->rng) % 4 == 0))
		return;
	st->have = BALLOON_HAS_AVAILABLE | BALLOON_HAS_FREE | BALLOON_HAS_TOTAL |
		   BALLOON_HAS_ALLOC_STALLS;
	st->taken_ns = s->machine.now_ns;
	st->balloon_pages = s->in[i].actual_pages;
	st->total_pages = s->in[i].ram_pages;
	st->free_pages = sim_size(s, i) - g->used - g->cache;
	st->available_pages = g->model == SIM_LIAR ? s->in[i].ram_pages / 2 :
						     st->free_pages + g->cache;
}

/* --- the rules ----------------------------------------------------------------------------- */

static double sim_min(double a, double b)
{
	return a < b ? a : b;
}

static double sim_max(double a, double b)
{
	return a > b ? a : b;
}

static double sim_clamp(double x, double low, double high)
{
	return x < low ? low : x > high ? high : x;
}

static double sim_margin(double ram)
{
	return (uint64_t)sim_min(sim_clamp(ram / 16, MB(16), MB(512)), ram / 4);
}

static double sim_cap(double ram)
{
	return sim_clamp(ram / 32, MB(1), MB(1024));
}

static double sim_band(double ram)
{
	return sim_clamp(ram / 128, MB(1), MB(64));
}

static bool sim_answers(const struct sim *s, unsigned int i)
{
	return s->in[i].driver && s->in[i].stats.have &&
	       s->machine.now_ns - s->in[i].stats.taken_ns <= 10 * SECOND;
}

static void sim_estimate(struct sim *s, unsigned int i)
{
	const struct balloon_stats *st = &s->in[i].stats;
	double avail = sim_min(st->available_pages, s->in[i].ram_pages - st->balloon_pages);
	double now = (double)s->in[i].ram_pages - st->balloon_pages - avail;
	struct sim_guest *g = &s->guest[i];

	if (!g->seen_ns)
		g->slow = g->fast = now;
	/* A sample counts for each second since the last one. */
	for (uint64_t ns = g->seen_ns; g->seen_ns && ns < st->taken_ns; ns += SECOND) {
		g->slow += (now - g->slow) / 32;
		g->fast += (now - g->fast) / 4;
	}
	g->seen_ns = st->taken_ns;
	g->active = sim_max(now, sim_max(g->slow, g->fast));
}

/* How far a balloon of `target` pages may still grow in this tick, `taken` of it used up. */
static double sim_room(const struct sim *s, unsigned int i, double target, double taken)
{
	const struct balloon_input *in = &s->in[i];
	double ram = in->ram_pages, cap = sim_cap(ram), going = target - in->actual_pages;
	double idle = in->resident_pages - (going > 0 ? going : 0) - s->guest[i].active;
	double room =
		sim_min(ram - in->min_pages, ram - s->guest[i].active - sim_margin(ram)) - target;

	room = sim_min(sim_min(room, idle),
		       sim_min(cap - taken, in->actual_pages + 2 * cap - target));
	/* A release under way is not counted on: what is taken back of it frees nothing. */
	return sim_answers(s, i) && s->machine.now_ns >= s->guest[i].quiet_ns && room > 0 &&
			       s->vm[i].plan.from_pages >= in->actual_pages ?
		       room :
		       0;
}

static double sim_rho(const struct sim *s, unsigned int i, double target)
{
	double going = target - s->in[i].actual_pages, tau = s->policy.config.tax_permille / 1000.0;
	double pages = s->in[i].resident_pages - (going > 0 ? going : 0);
	double f = sim_min(1, s->guest[i].active / pages);

	return s->in[i].shares / (pages * (f + 1 / (1 - tau) * (1 - f)));
}

static void sim_fault(struct sim *s, unsigned int i, const char *what)
{
	char line[512];

	balloon_describe(balloon_log_get(&s->vm[i], 0), line, sizeof(line));
	if (s->faults++ < 5)
		tap_note("tick %llu, VM %u (%s): %s: %s", (unsigned long long)s->tick, i,
			 sim_names[s->guest[i].model], what, line);
}

/* Each VM by itself: bounds, truth, cap, cooling. */
static void sim_check_one(struct sim *s, unsigned int i, uint64_t before)
{
	const struct balloon_input *in = &s->in[i];
	uint64_t after = s->vm[i].target_pages, ram = in->ram_pages;

	if (after > before) {
		if (after > ram - in->min_pages)
			sim_fault(s, i, "below its minimum");
		if (!sim_answers(s, i))
			sim_fault(s, i, "took from a silent guest");
		if (after + sim_margin(ram) > in->stats.balloon_pages + in->stats.available_pages)
			sim_fault(s, i, "took what the guest needs");
		if (after - before > sim_cap(ram))
			sim_fault(s, i, "more than the cap");
		if (s->machine.now_ns < s->guest[i].quiet_ns)
			sim_fault(s, i, "took while cooling");
	}
	if (balloon_log_get(&s->vm[i], 0)->reason == BALLOON_PRESSURE) {
		s->guest[i].quiet_ns = s->machine.now_ns + 30 * SECOND;
		if (after > in->actual_pages)
			sim_fault(s, i, "did not stop under pressure");
	}
	/* Four ticks to decide, and what the driver takes to empty its balloon. */
	if (s->guest[i].lacking > 4 + ram / s->guest[i].speed)
		sim_fault(s, i, "starved");
}

/* The tick took back what was still to come from this VM, before it looked at the others. */
static bool sim_stopped(const struct sim *s, unsigned int i)
{
	enum balloon_reason reason = balloon_log_get(&s->vm[i], 0)->reason;

	return reason == BALLOON_PRESSURE || reason == BALLOON_STUCK;
}

/* How long is a matter between the policy and the guest's past; 30 s at least. */
static bool sim_cools(const struct sim *s, unsigned int i)
{
	return balloon_log_get(&s->vm[i], 0)->reason == BALLOON_COOLING;
}

/* All together: the shortage is met if it can be, by those with the lowest rho. */
static void sim_check_all(struct sim *s, const uint64_t *before)
{
	double demand = s->machine.high_pages - (double)s->machine.free_pages, taken = 0, left = 0;
	double piece;

	if (s->machine.free_pages < s->machine.low_pages)
		s->was_short = true;
	else if (s->machine.free_pages >= s->machine.high_pages)
		s->was_short = false;
	for (unsigned int i = 0; i < s->nr; i++) {
		double rise = (double)s->vm[i].target_pages - before[i], ram = s->in[i].ram_pages;
		double room = sim_room(s, i, s->vm[i].target_pages, rise > 0 ? rise : 0);

		if (sim_answers(s, i) && before[i] > s->in[i].actual_pages)
			demand -= sim_stopped(s, i) ? 0 : before[i] - s->in[i].actual_pages;
		taken += rise > 0 ? rise : 0;
		left += !sim_cools(s, i) && room >= sim_band(ram) + 4 ? room : 0;
	}
	if (!s->was_short)
		return;
	piece = demand / 64 + 4;
	if (taken + 4 < demand && left > 0)
		sim_fault(s, 0, "a shortage was not met though it could be");
	for (unsigned int i = 0; i < s->nr; i++)
		for (unsigned int j = 0; s->vm[i].target_pages > before[i] && j < s->nr; j++) {
			double ram = s->in[j].ram_pages, t = s->vm[j].target_pages;
			double back = sim_max(piece, sim_band(s->in[i].ram_pages));
			double rise = t > before[j] ? t - before[j] : 0;

			if (!sim_cools(s, j) && sim_room(s, j, t, rise) >= sim_band(ram) + 4 &&
			    sim_rho(s, i, s->vm[i].target_pages - back) > sim_rho(s, j, t) * 1.001)
				sim_fault(s, i, "somebody else had a lower rho");
		}
}

static void sim_count(struct sim *s, unsigned int i, uint64_t before)
{
	uint64_t after = s->vm[i].target_pages;
	int direction = (after > before) - (after < before);
	struct sim_guest *g = &s->guest[i];

	if (direction && g->direction && direction != g->direction)
		g->reversals++;
	if (direction) {
		g->direction = direction;
		g->last_move_tick = s->tick;
	}
	g->low = min_u64(g->low, after);
	g->high = max_u64(g->high, after);
	s->hash = (s->hash ^ after) * 0x100000001b3ULL;
}

/* --- running ------------------------------------------------------------------------------- */

void sim_tick(struct sim *s)
{
	struct balloon_vm *vms[SIM_MAX];
	uint64_t before[SIM_MAX], resident = s->reserved_pages;

	s->machine.now_ns += SECOND;
	for (unsigned int i = 0; i < s->nr; i++) {
		sim_drive(s, i);
		sim_live(s, i);
		sim_sample(s, i);
		if (sim_answers(s, i))
			sim_estimate(s, i);
		vms[i] = &s->vm[i];
		before[i] = s->vm[i].known ? s->vm[i].target_pages : s->in[i].actual_pages;
		resident += s->in[i].resident_pages;
	}
	s->over += resident > s->machine.memory_pages;
	s->machine.free_pages =
		s->machine.memory_pages - min_u64(resident, s->machine.memory_pages);
	balloon_policy_tick(&s->policy, &s->machine, s->in, vms, s->nr);
	for (unsigned int i = 0; i < s->nr; i++) {
		sim_check_one(s, i, before[i]);
		sim_count(s, i, before[i]);
	}
	sim_check_all(s, before);
	s->tick++;
}

void sim_run(struct sim *s, unsigned int ticks)
{
	while (ticks--)
		sim_tick(s);
}

void sim_mark(struct sim *s)
{
	for (unsigned int i = 0; i < s->nr; i++) {
		s->guest[i].low = UINT64_MAX;
		s->guest[i].high = s->guest[i].reversals = s->guest[i].starved = 0;
		s->guest[i].direction = 0;
	}
}

uint64_t sim_range(const struct sim_guest *g)
{
	return g->high - g->low;
}
