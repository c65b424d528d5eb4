/* SPDX-License-Identifier: MIT */
/*
 * Load control: VMs whose working sets do not fit together, second by second.  A guest brings in as
 * much of its working set as it gets, is stalled as long as some of it is missing, and frees what
 * it is asked for.
 */
#include "reclaim_lab.h"

#define MAX_GUESTS 6

struct guest {
	struct vm vm;
	uint64_t wants;	    /* its working set */
	bool honest;	    /* it says how long it is stalled; else that it is all the time */
	bool obeys;	    /* it stands still when it is to */
	unsigned int still; /* seconds */
	unsigned int work;  /* seconds in which it had all it wanted */
	bool dead;
};

struct play {
	struct world w;
	struct guest g[MAX_GUESTS];
	unsigned int nr;
	unsigned int nobody_ran; /* seconds */
};

static struct guest *join(struct play *p, uint64_t wants, struct machine_admit admit)
{
	struct guest *g = &p->g[p->nr++];

	*g = (struct guest){ .wants = wants, .honest = true, .obeys = true };
	reclaim_admit(&p->w, &g->vm, 100, admit);
	return g;
}

static void enter(struct play *p, unsigned int nr, uint64_t wants)
{
	*p = (struct play){ .nr = 0 };
	reclaim_open(&p->w, 16 * MIB_PAGES);
	for (unsigned int i = 0; i < nr; i++)
		join(p, wants, lab_promise(RAM, 0));
}

static void leave(struct play *p)
{
	for (unsigned int i = 0; i < p->nr; i++)
		lab_finish_vm(&p->g[i].vm.lab);
	reclaim_close(&p->w, NULL, 0);
}

/* It frees what it is asked for, but for a page that it needs at once. */
static void give(struct play *p, struct guest *g)
{
	reclaim_hear(&g->vm);
	if (g->vm.asked)
		reclaim_free(&p->w, &g->vm, g->vm.asked);
}

/* Ask for what is missing until nothing comes.  A CREDIT may be left waiting. */
static void grow(struct play *p, struct guest *g)
{
	while (!g->vm.waits && g->vm.lab.credits < g->wants) {
		uint64_t need = min_u64(g->wants - g->vm.lab.credits, MACHINE_NEED_MAX);

		say_credit(g->vm.lab.channel, need, need);
		g->vm.waits = true;
		lab_step(&p->w.lab);
		reclaim_hear(&g->vm);
	}
}

static void live(struct play *p, struct guest *g, uint64_t ns)
{
	bool still = g->vm.still && g->obeys;

	give(p, g);
	if (!still)
		grow(p, g);
	if (!still && (g->vm.lab.credits < g->wants || !g->honest))
		g->vm.says.full_ns += ns;
	g->vm.says.some_ns = g->vm.says.full_ns;
	g->vm.says.working_set = g->wants;
	g->vm.says.suspended = still;
}

static void second(struct play *p)
{
	unsigned int ran = 0;

	for (unsigned int tenth = 0; tenth < 10; tenth++) {
		for (unsigned int i = 0; i < p->nr; i++)
			if (!p->g[i].dead)
				live(p, &p->g[i], 100 * LAB_MS);
		lab_pass(&p->w.lab, 100);
	}
	for (unsigned int i = 0; i < p->nr; i++) {
		struct guest *g = &p->g[i];

		if (g->dead)
			continue;
		reclaim_say(&p->w, &g->vm);
		g->still += g->vm.still;
		g->work += !g->vm.still && g->vm.lab.credits >= g->wants;
		ran += !g->vm.still;
	}
	p->nobody_ran += !ran;
}

static void pass(struct play *p, unsigned int seconds)
{
	while (seconds--)
		second(p);
}

static unsigned int nr_still(const struct play *p)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < p->nr; i++)
		nr += p->g[i].vm.still;
	return nr;
}

/* ---- what it is for ---- */

static void test_turns(void)
{
	struct machine_state s;
	struct play p;

	enter(&p, 2, 2500);
	pass(&p, 2);
	is(nr_still(&p), 0, "two seconds of thrashing are no reason yet");
	pass(&p, 3);
	is(nr_still(&p), 1, "then one of two stands still");
	ok(strstr(p.w.lab.log, "thrashing: 2 busy VMs are stalled for ") || nr_still(&p),
	   "the log: %s", p.w.lab.log);
	pass(&p, 115);
	s = lab_state(&p.w.lab);
	tap_note("in 120 s: still for %u and %u s, at work for %u and %u s, %lu suspensions",
		 p.g[0].still, p.g[1].still, p.g[0].work, p.g[1].work, s.suspensions);
	ok(p.g[0].still >= 40 && p.g[1].still >= 40, "they take turns");
	ok(p.g[0].work >= 30 && p.g[1].work >= 30, "in which the other one gets on");
	is(p.nobody_ran, 0, "never both of them");
	ok(s.suspensions <= 16, "a turn lasts");
	is(s.oom_kills, 0, "and nobody dies");
	leave(&p);
}

static void test_shares(void)
{
	struct machine_admit rich = lab_promise(RAM, 0);
	struct play p;

	enter(&p, 2, 1750);
	rich.shares = 4000;
	join(&p, 1750, rich);
	pass(&p, 240);
	tap_note("in 240 s: still for %u, %u and, with four times the shares, %u s", p.g[0].still,
		 p.g[1].still, p.g[2].still);
	ok(p.g[2].still * 2 < p.g[0].still && p.g[2].still * 2 < p.g[1].still,
	   "who has more shares stands still for less long");
	leave(&p);
}

/* The others shrink. */
static void test_room(void)
{
	unsigned int before;
	struct play p;

	enter(&p, 2, 2500);
	pass(&p, 5);
	is(nr_still(&p), 1, "(one stands still)");
	p.g[0].wants = p.g[1].wants = 1125;
	for (unsigned int i = 0; i < 2; i++)
		if (!p.g[i].vm.still)
			reclaim_free(&p.w, &p.g[i].vm, p.g[i].vm.lab.credits - 1125);
	before = p.g[0].still + p.g[1].still;
	pass(&p, 5);
	ok(nr_still(&p) == 0 && p.g[0].still + p.g[1].still - before <= 4,
	   "when there is room for it, it goes on before its turn is over");
	pass(&p, 20);
	is(lab_state(&p.w.lab).suspensions, 1, "and nobody stands still any more");
	leave(&p);
}

static void test_fits(void)
{
	struct play p;

	enter(&p, 4, 875);
	pass(&p, 30);
	is(lab_state(&p.w.lab).suspensions, 0, "who fits is left alone");
	leave(&p);
}

/* ---- who is not suspended ---- */

static void test_protected(void)
{
	struct machine_admit admit = lab_promise(RAM, 0);
	struct play p;

	enter(&p, 1, 2500);
	admit.oom_score_adj = -1000;
	join(&p, 2500, admit);
	pass(&p, 60);
	ok(p.g[0].still > 20 && !p.g[1].still,
	   "who must not be killed does not stand still either");
	leave(&p);
}

/* Memory is short, but only those who lie say that they are stalled. */
static void test_liars(void)
{
	struct play p;

	enter(&p, 3, 1125);
	p.g[1].honest = p.g[2].honest = false;
	p.g[0].wants = 700;
	p.g[1].wants = p.g[2].wants = 1700;
	pass(&p, 60);
	tap_note("in 60 s: still for %u, %u and %u s", p.g[0].still, p.g[1].still, p.g[2].still);
	is(p.g[0].still, 0, "who is not stalled does not stand still for others");
	ok(p.g[1].still + p.g[2].still > 20, "those who say they are stalled do");
	leave(&p);
	enter(&p, 3, 1125);
	p.g[1].honest = false;
	pass(&p, 30);
	is(lab_state(&p.w.lab).suspensions, 0, "one alone that says so is not believed");
	leave(&p);
}

/* ---- who does not stand still ---- */

static void test_disobedient(void)
{
	struct guest *bad, *good;
	struct play p;

	enter(&p, 2, 2500);
	p.g[0].obeys = p.g[1].obeys = false;
	while (!nr_still(&p))
		second(&p);
	bad = p.g[0].vm.still ? &p.g[0] : &p.g[1];
	good = bad == &p.g[0] ? &p.g[1] : &p.g[0];
	pass(&p, 3);
	ok(bad->vm.still && bad->vm.waits && bad->vm.lab.credits < 1000,
	   "who goes on all the same gets no credits");
	ok(good->vm.lab.credits >= good->wants, "the other one gets what it wants");
	is(lab_state(&p.w.lab).oom_kills, 0, "nobody is killed for one that is to stand still");
	while (bad->vm.still)
		second(&p);
	second(&p);
	ok(bad->vm.lab.credits > 1000, "when its turn is over, it is served");
	leave(&p);
}

/* ---- deaths ---- */

static void test_deaths(void)
{
	struct guest *a, *b;
	struct play p;

	enter(&p, 2, 2500);
	pass(&p, 5);
	a = p.g[0].vm.still ? &p.g[0] : &p.g[1];
	b = a == &p.g[0] ? &p.g[1] : &p.g[0];
	kill(b->vm.lab.pid, SIGKILL);
	b->dead = true;
	lab_await_vms(&p.w.lab, 1);
	lab_step(&p.w.lab);
	reclaim_hear(&a->vm);
	ok(!a->vm.still, "when the last that runs dies, the one that stands still goes on at once");
	leave(&p);
	enter(&p, 3, 2500);
	pass(&p, 5);
	a = p.g[0].vm.still ? &p.g[0] : p.g[1].vm.still ? &p.g[1] : &p.g[2];
	kill(a->vm.lab.pid, SIGKILL);
	a->dead = true;
	lab_await_vms(&p.w.lab, 2);
	is(lab_state(&p.w.lab).nr_suspended, nr_still(&p) - 1,
	   "who dies while it stands still is not counted");
	a->vm.still = false;
	pass(&p, 20);
	ok(lab_state(&p.w.lab).suspensions > 1, "and others take turns");
	leave(&p);
}

/* The machine ends while a VM stands still.  That the VM goes on then is swap_quota_test.c's. */
static void test_end(void)
{
	struct play p;

	enter(&p, 2, 2500);
	pass(&p, 5);
	is(lab_state(&p.w.lab).nr_suspended, 1, "(one stands still)");
	machine_destroy(p.w.lab.m);
	ok(true, "a machine may end");
	for (unsigned int i = 0; i < p.nr; i++)
		lab_finish_vm(&p.g[i].vm.lab);
	close(p.w.control);
}

int main(void)
{
	tap_init();
	test_turns();
	test_shares();
	test_room();
	test_fits();
	test_protected();
	test_liars();
	test_disobedient();
	test_deaths();
	test_end();
	return tap_done();
}
