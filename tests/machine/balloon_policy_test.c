/* SPDX-License-Identifier: MIT */
/*
 * The balloon policy on simulated guests: it converges, holds still, reacts, taxes idleness as the
 * paper has it, and keeps its rules at every tick.  Figures for docs/balloon.md are printed.
 */
#include "balloon_sim.h"

static void finish(struct sim *s)
{
	free(s);
}

/* Two VMs of equal shares, one idle and one that uses all it gets: sections 5.3 and 5.4 there. */
static struct sim *paper(uint32_t tax_permille)
{
	struct sim *s = sim_new(MB(1024), tax_permille);
	struct sim_guest *idle = sim_add(s, SIM_IDLE, MB(1024), 1000, MB(1));
	struct sim_guest *hog = sim_add(s, SIM_HOG, MB(1024), 1000, 0);

	s->in[0].min_pages = s->in[1].min_pages = 0;
	/* The idle one was there first and has touched three quarters of the machine. */
	s->in[0].actual_pages = MB(256);
	s->in[1].actual_pages = MB(1024 - 224);
	idle->touched = MB(768);
	hog->used = MB(224);
	return s;
}

/* What the idle one keeps where rho is equal: (1 - tau) busy == (1 - tau) active + idle. */
static double split(double tau, double total, double active)
{
	return ((1 - tau) * total + tau * active) / (2 - tau);
}

static double idle_part(const struct sim *s)
{
	return (double)s->in[0].resident_pages /
	       (s->in[0].resident_pages + s->in[1].resident_pages);
}

/* It gave until rho was within 12.5 %; a step is a dead band of 8 MiB. */
static void check_split(struct sim *s, double tau)
{
	double total = s->in[0].resident_pages + s->in[1].resident_pages;
	double want = split(tau, total, MB(1)) / total, got = idle_part(s);
	double odds = 1.125 * want / (1 - want), most = odds / (1 + odds) + MB(8) / total;

	tap_note("tau %.2f: the idle VM keeps %.1f %% of %.0f MiB; equal rho is at %.1f %%, "
		 "the band ends at %.1f %%",
		 tau, got * 100, total / MB(1), want * 100, most * 100);
	ok(got >= most - MB(16) / total && got <= most,
	   "with tau %.2f the idle one of two equals keeps %.0f %%, within the band", tau,
	   want * 100);
}

static void test_paper(void)
{
	struct sim *s = paper(0);
	uint64_t start;

	sim_run(s, 600);
	check_split(s, 0);
	s->policy.config.tax_permille = 750;
	start = s->tick;
	sim_run(s, 600);
	check_split(s, 0.75);
	tap_note("from tau 0 to 0.75: the last move came after %llu ticks",
		 (unsigned long long)(s->guest[0].last_move_tick - start));
	is(s->faults, 0, "and no rule was broken on the way");
	is(s->in[1].stats.alloc_stalls + s->over, 0, "nor more memory handed out than there is");
	finish(s);
	s = paper(750);
	s->in[0].shares = 4000;
	sim_run(s, 600);
	ok(idle_part(s) > 0.49 && idle_part(s) < 0.54,
	   "four times the shares make up for the tax: %.1f %%", idle_part(s) * 100);
	finish(s);
}

/* Somebody else takes memory from the machine, up to so much. */
static void grow(struct sim *s, uint64_t to, unsigned int ticks)
{
	uint64_t step = (to - s->reserved_pages) / ticks;

	while (ticks--) {
		s->reserved_pages += step;
		sim_tick(s);
	}
}

/* Equal shares, equal resident: the idle one pays first, the busy one only when it has no more. */
static void test_idle_first(void)
{
	struct sim *s = sim_new(MB(2048), 750);

	for (unsigned int i = 0; i < 2; i++) {
		struct sim_guest *g = sim_add(s, SIM_STEADY, MB(1024), 1000, i ? MB(64) : MB(600));

		g->touched = MB(1000);
	}
	grow(s, MB(300), 100);
	tap_note("300 MiB go elsewhere: of equal VMs the busy one gave %llu MiB, the idle one %llu",
		 (unsigned long long)s->vm[0].target_pages / 256,
		 (unsigned long long)s->vm[1].target_pages / 256);
	is(s->vm[0].target_pages, 0, "a busy VM gives nothing while an idle one can");
	ok(s->machine.free_pages >= s->machine.low_pages, "and the machine has what it wanted");
	grow(s, MB(900), 100);
	sim_run(s, 100);
	tap_note("900 MiB go elsewhere: the busy one gave %llu MiB, the idle one %llu",
		 (unsigned long long)s->vm[0].target_pages / 256,
		 (unsigned long long)s->vm[1].target_pages / 256);
	ok(s->vm[0].target_pages > 0, "when the idle one has no more, the busy one gives too");
	ok(s->vm[1].target_pages > 2 * s->vm[0].target_pages, "but less");
	is(s->faults, 0, "and no rule was broken");
	finish(s);
}

static void populate(struct sim *s, unsigned int nr, bool (*fits)(enum sim_model))
{
	for (unsigned int i = 0; i < nr; i++) {
		enum sim_model model;
		uint64_t ram = MB(128 + tap_random(&s->rng) % 4000), part = ram / 16;
		struct sim_guest *g;

		do
			model = tap_random(&s->rng) % SIM_NR_MODELS;
		while (!fits(model));
		g = sim_add(s, model, ram, 250u << tap_random(&s->rng) % 4, part);
		g->base += model == SIM_IDLE || model == SIM_LIAR ?
				   0 :
				   part * (tap_random(&s->rng) % 6);
		g->swing = part * (3 + tap_random(&s->rng) % 4);
		g->period = (60 + tap_random(&s->rng) % 600) * (model == SIM_SAWTOOTH ? 1 : 5);
		g->cache_wish = model == SIM_CACHE ? ram : tap_random(&s->rng) % (ram / 4);
		g->reports = tap_random(&s->rng) % 3 == 0;
		g->deflates = tap_random(&s->rng) % 4 != 0;
		g->speed = ram / (1 + tap_random(&s->rng) % 64);
		g->touched = ram / 2 + tap_random(&s->rng) % (ram / 2);
	}
}

static uint64_t sum_ram(const struct sim *s)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < s->nr; i++)
		sum += s->in[i].ram_pages;
	return sum;
}

static void resize(struct sim *s, uint64_t memory)
{
	s->machine = (struct balloon_machine){
		.now_ns = s->machine.now_ns,
		.memory_pages = memory,
		.min_pages = memory / 64,
		.low_pages = memory / 64 + memory / 128,
		.high_pages = memory / 32,
	};
}

static bool is_constant(enum sim_model m)
{
	return m == SIM_IDLE || m == SIM_STEADY || m == SIM_CACHE || m == SIM_SILENT;
}

/* Constant guests: how long until the last target moves, and how much they move afterwards. */
static void test_converges(uint64_t seed)
{
	uint64_t worst_ticks = 0, worst_range = 0, unmet = 0, faults = 0, reversals = 0;

	for (unsigned int run = 0; run < 20; run++) {
		struct sim *s = sim_new(0, 750);

		s->rng = seed + run;
		s->lazy_stats = run % 2;
		populate(s, 8 + run * 2, is_constant);
		resize(s, sum_ram(s) * (55 + run) / 100);
		sim_run(s, 400);
		for (unsigned int i = 0; i < s->nr; i++) {
			worst_ticks = max_u64(worst_ticks, s->guest[i].last_move_tick);
			reversals += s->guest[i].reversals;
		}
		sim_mark(s);
		sim_run(s, 2000);
		for (unsigned int i = 0; i < s->nr; i++)
			worst_range = max_u64(worst_range,
					      sim_range(&s->guest[i]) * 1000 / s->in[i].ram_pages);
		unmet += s->policy.unmet_pages != 0;
		faults += s->faults;
		finish(s);
	}
	tap_note("constant guests, 20 machines of 8 to 46 VMs: last move at tick %llu, "
		 "%llu reversals; afterwards within %llu/1000 of RAM; %llu machines stayed short",
		 (unsigned long long)worst_ticks, (unsigned long long)reversals,
		 (unsigned long long)worst_range, (unsigned long long)unmet);
	ok(worst_ticks <= 200, "constant guests converge within 200 ticks");
	ok(worst_range <= 8, "and stay within one dead band, 1/128 of RAM, for 2000 ticks");
	is(faults, 0, "no rule was broken");
}

/* A guest with half its RAM in the balloon suddenly needs all of it. */
static void step(bool deflates, bool tight, uint64_t *first, uint64_t *whole)
{
	struct sim *s = sim_new(MB(4096), 750);
	struct sim_guest *g = sim_add(s, SIM_STEP_UP, MB(1024), 1000, MB(200));

	s->policy.config.plenty_divisor = NEVER_PLENTY;
	sim_add(s, SIM_IDLE, MB(3072), 1000, MB(100))->touched = tight ? MB(3000) : MB(100);
	s->in[0].actual_pages = MB(704);
	g->touched = MB(256);
	g->swing = MB(700);
	g->period = 100;
	g->deflates = deflates;
	s->reserved_pages = tight ? MB(750) : 0;
	sim_run(s, 100);
	for (*first = *whole = 0; s->tick < 200 && !*whole;) {
		uint64_t before = s->vm[0].target_pages;

		sim_tick(s);
		if (!*first && s->vm[0].target_pages < before)
			*first = s->tick - 100;
		if (sim_size(s, 0) >= MB(900))
			*whole = s->tick - 100;
	}
	is(s->faults, 0, "no rule was broken");
	finish(s);
}

static void test_reacts(void)
{
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t first, whole;

		step(i & 1, i & 2, &first, &whole);
		tap_note("step of 700 MiB on 320, %s, machine %s: released in tick %llu, "
			 "all that was needed there in tick %llu",
			 i & 1 ? "deflates on OOM" : "does not deflate by itself",
			 i & 2 ? "tight" : "with plenty", (unsigned long long)first,
			 (unsigned long long)whole);
		is(first, 1, "a step in demand is answered in the same tick");
		ok(whole && whole <= 4, "and met within 4");
	}
}

/* A guest falls silent with a target it did not reach: nobody waits for it. */
static void test_mute(void)
{
	struct sim *s = sim_new(MB(2048), 750);
	uint64_t target;

	for (unsigned int i = 0; i < 2; i++)
		sim_add(s, SIM_IDLE, MB(1024), i ? 4000 : 1000, MB(64))->touched = MB(1008);
	sim_run(s, 1);
	ok(s->vm[0].target_pages && !s->vm[1].target_pages, "the one with the lower rho is asked");
	s->guest[0].model = SIM_SILENT;
	s->guest[0].speed = 1;
	sim_run(s, 12);
	target = s->vm[0].target_pages;
	sim_run(s, 88);
	is(s->vm[0].target_pages, target, "when it falls silent its target stays");
	is(balloon_log_get(&s->vm[0], 0)->reason, BALLOON_SILENT, "and the reason says so");
	ok(s->machine.free_pages >= s->machine.low_pages, "and another gives what it does not");
	is(s->faults, 0, "no rule was broken");
	finish(s);
}

/* A guest that says half its RAM is available when 1/16 is. */
static void test_liar(void)
{
	struct sim *s = sim_new(MB(1024), 750);
	struct sim_guest *g = sim_add(s, SIM_LIAR, MB(1024), 1000, MB(900));
	uint64_t hour[4];

	g->touched = MB(1024);
	s->reserved_pages = MB(400);
	s->policy.config.plenty_divisor = NEVER_PLENTY;
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t before = s->in[0].stats.alloc_stalls;

		sim_run(s, 3600);
		hour[i] = s->in[0].stats.alloc_stalls - before;
	}
	tap_note("liar: %llu, %llu, %llu, %llu ticks of pressure in four hours",
		 (unsigned long long)hour[0], (unsigned long long)hour[1],
		 (unsigned long long)hour[2], (unsigned long long)hour[3]);
	ok(hour[0] <= 10, "a guest that lies is left alone more and more");
	ok(hour[3] <= 2 && hour[3] <= hour[0], "at most twice an hour in the end");
	is(s->faults, 0, "no rule was broken");
	finish(s);
}

static bool is_any(enum sim_model m)
{
	return m != SIM_NR_MODELS;
}

/* Those that need no more tomorrow than today. */
static bool is_calm(enum sim_model m)
{
	return is_constant(m) || m == SIM_STEP_DOWN || m == SIM_LIAR;
}

struct tally {
	uint64_t guests, reversals, starved, range;
};

static void add_up(const struct sim *s, struct tally *tally)
{
	for (unsigned int i = 0; i < s->nr; i++) {
		const struct sim_guest *g = &s->guest[i];
		struct tally *t = &tally[g->model];

		t->guests++;
		t->reversals += g->reversals;
		t->starved += g->starved;
		t->range = max_u64(t->range, sim_range(g) * 1000 / s->in[i].ram_pages);
	}
}

/* Everything at once, short of memory: the rules hold at each tick, and the calm stay calm. */
static void test_soak(uint64_t seed)
{
	struct tally tally[SIM_NR_MODELS] = { 0 };
	uint64_t faults = 0, vm_ticks = 0;

	for (unsigned int run = 0; run < 10; run++) {
		struct sim *s = sim_new(0, run % 4 * 250);

		s->rng = seed ^ (uint64_t)run << 32;
		s->lazy_stats = run % 2;
		if (run % 3)
			s->policy.config.plenty_divisor = NEVER_PLENTY;
		populate(s, 40, is_any);
		resize(s, sum_ram(s) * (50 + 4 * run) / 100);
		sim_run(s, 1000);
		sim_mark(s);
		sim_run(s, 3000);
		add_up(s, tally);
		vm_ticks += s->nr * s->tick;
		faults += s->faults;
		finish(s);
	}
	for (unsigned int i = 0; i < SIM_NR_MODELS; i++)
		tap_note("soak: %-14s %3llu guests: %.2f reversals a guest an hour, range at most "
			 "%llu/1000 of RAM, starved for %llu ticks",
			 sim_names[i], (unsigned long long)tally[i].guests,
			 tally[i].reversals * 1.2 / (double)max_u64(tally[i].guests, 1),
			 (unsigned long long)tally[i].range, (unsigned long long)tally[i].starved);
	is(faults, 0, "no rule was broken in %llu decisions on 400 guests of all kinds",
	   (unsigned long long)vm_ticks);
	for (unsigned int i = 0; i < SIM_NR_MODELS; i++)
		if (is_calm(i)) {
			is(tally[i].starved, 0, "%s: never lacks memory", sim_names[i]);
			ok(tally[i].reversals <= 2 * tally[i].guests,
			   "%s: turns at most twice in 3000 ticks", sim_names[i]);
		}
	is(tally[SIM_SILENT].range, 0, "those who never answer are never asked");
}

static uint64_t run_once(uint64_t seed)
{
	struct sim *s = sim_new(0, 750);
	uint64_t hash;

	s->rng = seed;
	populate(s, 30, is_any);
	resize(s, sum_ram(s) * 6 / 10);
	sim_run(s, 1000);
	hash = s->hash;
	finish(s);
	return hash;
}

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	test_paper();
	test_idle_first();
	test_reacts();
	test_mute();
	test_liar();
	test_converges(seed);
	test_soak(seed);
	is(run_once(seed), run_once(seed), "equal pictures give equal targets");
	is_hex(run_once(7), 0x1ca47745d9f7230a, "on every compiler");
	return tap_done();
}
