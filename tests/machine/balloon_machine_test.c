/* SPDX-License-Identifier: MIT */
/*
 * Balloons and their machine: fake VMs that say how their guests are, and hear targets.  The
 * policy's decisions are balloon_policy_test.c's; here it is that they are asked for, arrive, can
 * be explained and overridden, and that no VM gets anything out of what it says.
 */
#include <inttypes.h>
#include "machine_lab_tap.h"

#define RAM    (64 * MIB_PAGES)
#define MEMORY (128 * MIB_PAGES)
#define FULL   (2 * RAM + 400) /* two VMs, and what is left is between min and low */

/* A guest that has `used` pages of its RAM in use, and follows targets if it `follows`. */
struct guest {
	struct lab_vm vm;
	struct balloon_record says;
	uint64_t used;
	uint64_t target; /* as the machine sent it last */
	bool manual;
	unsigned int targets; /* messages heard */
};

struct world {
	struct lab lab;
	int control;
	unsigned int fds;
};

static void open_world(struct world *w, uint64_t memory)
{
	w->fds = open_fds();
	lab_open_plain(&w->lab, memory, OVERCOMMIT_ALWAYS);
	w->control = lab_connect(&w->lab);
}

static void close_world(struct world *w, struct guest *guest, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		lab_finish_vm(&guest[i].vm);
	close(w->control);
	lab_step(&w->lab);
	lab_close(&w->lab, w->fds);
}

static struct machine_admit promise(enum balloon_mode mode)
{
	struct machine_admit admit = lab_promise(RAM, 0);

	admit.balloon = mode;
	admit.shares = MACHINE_SHARES_DEFAULT;
	admit.balloon_min_pages = RAM / 4;
	return admit;
}

/* A guest with a driver, all of whose RAM is resident and paid for with credits. */
static void start(struct world *w, struct guest *g, struct machine_admit admit, uint64_t used)
{
	*g = (struct guest){ .vm = lab_admit(&w->lab, w->control, admit), .used = used };
	if (g->vm.error)
		tap_bail("not admitted: %s", g->vm.text);
	lab_start(&w->lab, w->control, &g->vm);
	lab_attach(&w->lab, &g->vm, RAM, RAM);
	if (!admit.readmit)
		g->vm.credits += lab_take(&w->lab, g->vm.channel, RAM - g->vm.credits);
	while (hear(g->vm.channel, NULL, NULL) > 0)
		;
	g->says = (struct balloon_record){
		.driver = BALLOON_DRIVER,
		.nr_stats = 2,
	};
}

static int say_balloon(struct guest *g)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON, 0);

	msg.balloon = g->says;
	return say_msg(g->vm.channel, msg, -1);
}

/* Fresh statistics. */
static void tell(struct world *w, struct guest *g)
{
	struct balloon_record *r = &g->says;
	uint64_t available = RAM - min_u64(RAM, g->used + r->actual);

	r->stats_ns = w->lab.now_ns;
	r->stats_actual = r->actual;
	r->stat[0] = (struct balloon_stat){ BALLOON_TAG_AVAILABLE, available * QUIRE_PAGE_SIZE };
	r->stat[1] = (struct balloon_stat){ BALLOON_TAG_FREE, available * QUIRE_PAGE_SIZE };
	say_balloon(g);
	lab_step(&w->lab);
}

/* Hear what there is.  The type of the last message that was no target, 0: there was none. */
static int listen_to(struct guest *g)
{
	struct machine_msg msg;
	int type, other = 0;

	while ((type = hear(g->vm.channel, &msg, NULL)) > 0) {
		if (type == MACHINE_BALLOON_TARGET) {
			g->target = msg.target.pages;
			g->manual = msg.target.manual;
			g->targets++;
		} else {
			other = type;
			if (type == MACHINE_GRANT)
				g->vm.credits += msg.pages;
		}
	}
	return type < 0 ? type : other;
}

/* Do what the target says, with pages and credits. */
static void follow(struct world *w, struct guest *g)
{
	uint64_t target = g->target, actual = g->says.actual;

	if (target > actual) {
		uint64_t nr = min_u64(target - actual, g->vm.credits);

		if (fallocate(g->vm.ram, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)((RAM - target) * QUIRE_PAGE_SIZE),
			      (off_t)((target - actual) * QUIRE_PAGE_SIZE)))
			abort();
		say(g->vm.channel, MACHINE_RETURN, 0, nr, -1);
		g->vm.credits -= nr;
	}
	g->says.actual = target;
	tell(w, g);
}

/* A second of everybody's life. */
static void second(struct world *w, struct guest *guest, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		tell(w, &guest[i]);
	lab_pass(&w->lab, 1000);
	for (unsigned int i = 0; i < nr; i++) {
		listen_to(&guest[i]);
		follow(w, &guest[i]);
	}
}

/* ---- operators ---- */

static int ask(struct world *w, struct machine_msg *msg)
{
	say_msg(w->control, *msg, -1);
	lab_step(&w->lab);
	return hear(w->control, msg, NULL);
}

static int get(struct world *w, uint32_t vm, struct machine_balloon_state *state)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_GET, vm);
	int type = ask(w, &msg);

	*state = msg.balloon_state;
	return type == MACHINE_BALLOON_STATE ? 0 : type == MACHINE_REFUSED ? msg.error : -EPROTO;
}

static int set(struct world *w, uint32_t vm, bool manual, uint64_t pages)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_SET, vm);
	int type;

	msg.target = (struct machine_balloon_target){ .pages = pages, .manual = manual };
	type = ask(w, &msg);
	return type == MACHINE_BALLOON_STATE ? 0 : type == MACHINE_REFUSED ? msg.error : -EPROTO;
}

/* The i-th newest decision; false: there are not so many. */
static bool why(struct world *w, uint32_t vm, unsigned int i, struct balloon_decision *d)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_WHY, vm);
	int type;

	msg.pages = i;
	type = ask(w, &msg);
	*d = msg.decision.what;
	return type == MACHINE_DECISION;
}

/* Is there a decision for this reason in the log? */
static bool says_why(struct world *w, uint32_t vm, enum balloon_reason reason)
{
	struct balloon_decision d;

	for (unsigned int i = 0; why(w, vm, i, &d); i++)
		if (d.reason == reason)
			return true;
	return false;
}

/* ---- the tests ---- */

static void test_plenty(void)
{
	struct world w;
	struct guest g;

	tap_note("with plenty of memory nobody is asked for anything");
	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_AUTO), RAM / 8);
	is(machine_timeout_ms(w.lab.m), LAB_MEASURE_MS,
	   "a machine that heard of no balloon sleeps");
	tell(&w, &g);
	ok(machine_timeout_ms(w.lab.m) == 1000, "one that did wakes up once a second");
	for (int i = 0; i < 10; i++)
		second(&w, &g, 1);
	is(g.targets, 0, "no target comes");
	ok(says_why(&w, g.vm.id, BALLOON_STEADY), "and the log says that there is nothing to do");
	g.says.driver = BALLOON_NO_DRIVER;
	tell(&w, &g);
	lab_pass(&w.lab, 1000);
	ok(machine_timeout_ms(w.lab.m) > 1000, "when the driver has gone the machine sleeps again");
	close_world(&w, &g, 1);
}

/* One idle guest, one that uses all it has, and a machine that has no more than both. */
static void test_reclaim(void)
{
	struct machine_state before, after;
	struct guest g[2];
	struct world w;
	uint64_t credits;

	tap_note("an idle guest and a busy one on a machine that is full");
	open_world(&w, FULL);
	start(&w, &g[0], promise(BALLOON_MODE_AUTO), RAM / 8);
	start(&w, &g[1], promise(BALLOON_MODE_AUTO), RAM - RAM / 32);
	before = lab_state(&w.lab);
	ok(before.free_pages < before.low_pages, "free memory is below low");
	for (int i = 0; i < 20; i++)
		second(&w, g, 2);
	after = lab_state(&w.lab);
	ok(g[0].says.actual > 0 && g[1].says.actual == 0,
	   "the idle one is squeezed by %" PRIu64 " pages, the busy one is not", g[0].says.actual);
	ok(after.free_pages >= after.high_pages, "free memory is above high");
	is(after.free_pages - before.free_pages, g[0].says.actual,
	   "it rose by just what is in the balloon");
	is(after.committed_pages, before.committed_pages, "what is committed is as it was");
	ok(says_why(&w, g[0].vm.id, BALLOON_RECLAIM), "the log says why");
	ok(strstr(w.lab.log, "': balloon: reclaim: "), "so does the machine's: %.60s", w.lab.log);

	tap_note("it needs its memory");
	credits = g[0].says.actual;
	g[0].used = RAM;
	g[0].says.asks = 1;
	g[0].says.actual /= 2;
	tell(&w, &g[0]);
	g[0].says.asks = 0;
	lab_pass(&w.lab, 50);
	listen_to(&g[0]);
	ok(g[0].target < credits / 2,
	   "what it asks for is released within a twentieth of a second");
	ok(says_why(&w, g[0].vm.id, BALLOON_PRESSURE), "... for pressure");
	close_world(&w, g, 2);
}

static void test_silent(void)
{
	struct machine_balloon_state state;
	struct guest g[2];
	struct world w;

	tap_note("guests that do not answer");
	open_world(&w, FULL);
	start(&w, &g[0], promise(BALLOON_MODE_AUTO), RAM / 8);
	start(&w, &g[1], promise(BALLOON_MODE_AUTO), RAM / 8);
	ok(get(&w, g[0].vm.id, &state) == 0 && !state.heard, "a VM that said nothing is not heard");
	g[1].says.driver = BALLOON_NO_DRIVER;
	say_balloon(&g[1]);
	tell(&w, &g[0]);
	for (int i = 0; i < 15; i++)
		lab_pass(&w.lab, 1000);
	listen_to(&g[0]);
	listen_to(&g[1]);
	ok(g[0].targets > 0 && g[0].targets <= 10,
	   "one that falls silent is asked while its word counts");
	is(g[1].targets, 0, "one without a driver is not asked");
	g[0].targets = 0;
	for (int i = 0; i < 30; i++)
		lab_pass(&w.lab, 1000);
	listen_to(&g[0]);
	is(g[0].targets, 0, "later neither is asked");
	ok(says_why(&w, g[0].vm.id, BALLOON_SILENT) && says_why(&w, g[1].vm.id, BALLOON_SILENT),
	   "and the log says so");
	close_world(&w, g, 2);
}

static void test_manual(void)
{
	struct machine_balloon_state state;
	struct balloon_decision d;
	struct guest g[3];
	struct world w;

	tap_note("by hand");
	open_world(&w, 4 * MEMORY);
	start(&w, &g[0], promise(BALLOON_MODE_AUTO), RAM / 8);
	start(&w, &g[1], promise(BALLOON_MODE_MANUAL), RAM / 8);
	start(&w, &g[2], promise(BALLOON_MODE_OFF), RAM / 8);
	is(-set(&w, g[0].vm.id, true, 100), EAGAIN, "not before the VM has spoken");
	tell(&w, &g[0]);
	tell(&w, &g[1]);
	is(-set(&w, 99, true, 100), ESRCH, "no such VM");
	is(-set(&w, g[2].vm.id, true, 100), EOPNOTSUPP, "a VM without a balloon");
	is(-set(&w, g[0].vm.id, true, RAM - RAM / 4 + 1), ERANGE, "below the minimum");
	is(-set(&w, g[0].vm.id, true, RAM - RAM / 4), 0, "just the minimum");
	listen_to(&g[0]);
	ok(g[0].target == RAM - RAM / 4 && g[0].manual, "the target comes at once, as one by hand");
	follow(&w, &g[0]);
	for (int i = 0; i < 5; i++)
		second(&w, g, 2);
	ok(g[0].targets == 1, "the policy leaves it alone, though there is plenty");
	ok(why(&w, g[0].vm.id, 0, &d) && d.reason == BALLOON_MANUAL, "and the log says why");
	ok(get(&w, g[0].vm.id, &state) == 0 && state.manual && state.mode == BALLOON_MODE_AUTO &&
		   state.target_pages == RAM - RAM / 4 && state.min_pages == RAM / 4 &&
		   state.shares == MACHINE_SHARES_DEFAULT,
	   "an operator sees it");
	is(-set(&w, g[0].vm.id, false, 0), 0, "back to the policy");
	for (int i = 0; i < 5; i++)
		second(&w, g, 2);
	ok(g[0].target < RAM - RAM / 4 && !g[0].manual, "which releases, as there is plenty");
	is(-set(&w, g[1].vm.id, true, 1000), 0, "a VM in manual mode");
	listen_to(&g[1]);
	is(g[1].target, 1000, "... is told, too");
	ok(!why(&w, g[2].vm.id, 0, &d), "of a VM without a balloon nothing was decided");
	close_world(&w, g, 3);
}

static void test_lost(void)
{
	struct machine_admit admit = promise(BALLOON_MODE_AUTO);
	struct guest g[2];
	struct world w;

	tap_note("a machine that takes over");
	open_world(&w, 4 * MEMORY);
	admit.readmit = 1;
	admit.credit_pages = RAM - 1000;
	start(&w, &g[0], admit, RAM / 8);
	admit.credit_pages = RAM - 2000;
	start(&w, &g[1], admit, RAM / 8);
	lab_pass(&w.lab, 3000);
	listen_to(&g[0]);
	is(g[0].targets, 0, "says nothing before it has heard");
	g[0].says.target = g[0].says.actual = g[0].target = 1000;
	g[0].says.manual = 1;
	g[1].says.target = g[1].says.actual = g[1].target = 2000;
	for (int i = 0; i < 5; i++)
		second(&w, g, 2);
	ok(g[0].target == 1000 && g[0].targets == 0, "a target by hand holds on");
	ok(g[1].target < 2000 && g[1].target > 0, "the policy goes on from what is in the balloon");
	close_world(&w, g, 2);
}

/* ---- the ladder ---- */

/* An idle guest that has all its RAM, a VM that needs more than is left, and when it asked. */
struct shortage {
	struct world w;
	struct guest idle, busy;
	uint64_t need;
	uint64_t since_ns;
};

static void open_shortage(struct shortage *s, enum balloon_mode mode)
{
	struct machine_state state;

	open_world(&s->w, RAM + RAM / 2);
	start(&s->w, &s->idle, promise(mode), RAM / 8);
	s->busy = (struct guest){ .vm = lab_admit(&s->w.lab, s->w.control, lab_promise(RAM, 0)) };
	lab_start(&s->w.lab, s->w.control, &s->busy.vm);
	if (mode != BALLOON_MODE_OFF) {
		tell(&s->w, &s->idle);
		second(&s->w, &s->idle, 1);
	}
	state = lab_state(&s->w.lab);
	lab_take(&s->w.lab, s->busy.vm.channel, state.free_pages - state.min_pages);
	s->need = 300;
	s->since_ns = s->w.lab.now_ns;
	say_credit(s->busy.vm.channel, s->need, 0);
	lab_step(&s->w.lab);
}

/* Pass time until the need is met or somebody has been killed.  Milliseconds. */
static uint64_t await(struct shortage *s, void (*live)(struct shortage *s))
{
	for (unsigned int i = 0; i < 2000; i++) {
		if (lab_state(&s->w.lab).oom_kills || listen_to(&s->busy) == MACHINE_GRANT)
			break;
		live(s);
		lab_pass(&s->w.lab, 10);
	}
	return (s->w.lab.now_ns - s->since_ns) / LAB_MS;
}

static void close_shortage(struct shortage *s)
{
	lab_finish_vm(&s->busy.vm);
	close_world(&s->w, &s->idle, 1);
}

static void lives_well(struct shortage *s)
{
	if (listen_to(&s->idle) == MACHINE_RECALL)
		say(s->idle.vm.channel, MACHINE_RETURN, 0, 0, -1);
	if (s->idle.target != s->idle.says.actual)
		follow(&s->w, &s->idle);
}

static void does_nothing(struct shortage *s)
{
	listen_to(&s->idle);
}

/* A page at a time. */
static void drips(struct shortage *s)
{
	listen_to(&s->idle);
	if ((s->w.lab.now_ns - s->since_ns) / LAB_MS % 500 == 0)
		say(s->idle.vm.channel, MACHINE_RETURN, 0, 1, -1);
	tell(&s->w, &s->idle);
}

static void test_ladder(void)
{
	static const struct {
		const char *what;
		enum balloon_mode mode;
		void (*live)(struct shortage *s);
		bool killed;
		uint64_t from_ms, to_ms;
	} stories[] = {
		{ "a guest that follows", BALLOON_MODE_AUTO, lives_well, false, 0, 1000 },
		{ "one that does not", BALLOON_MODE_AUTO, does_nothing, true, 2000, 2300 },
		{ "one that gives a page now and then", BALLOON_MODE_AUTO, drips, true, 9900,
		  10300 },
		{ "one without a balloon", BALLOON_MODE_OFF, does_nothing, true, 200, 210 },
	};
	struct shortage s;

	for (unsigned int i = 0; i < ARRAY_SIZE(stories); i++) {
		uint64_t ms;

		open_shortage(&s, stories[i].mode);
		ms = await(&s, stories[i].live);
		ok(lab_state(&s.w.lab).oom_kills == stories[i].killed && ms >= stories[i].from_ms &&
			   ms <= stories[i].to_ms,
		   "a CREDIT waits for %s: %s after %u ms", stories[i].what,
		   stories[i].killed ? "somebody is killed" : "it is granted", (unsigned int)ms);
		close_shortage(&s);
	}
}

/* ---- VMs that say what cannot be ---- */

static void test_liars(void)
{
	struct machine_admit bad[4];
	struct machine_balloon_state state;
	struct guest g[2];
	struct world w;

	tap_note("VMs that say what cannot be");
	open_world(&w, FULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = promise(BALLOON_MODE_AUTO);
	bad[0].balloon = BALLOON_NR_MODES;
	bad[1].shares = 0;
	bad[2].shares = MACHINE_SHARES_MAX + 1;
	bad[3].balloon_min_pages = RAM + 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		is(-lab_admit(&w.lab, w.control, bad[i]).error, EINVAL,
		   "a promise that makes no sense: %u", i);
	start(&w, &g[0], promise(BALLOON_MODE_AUTO), RAM / 8);
	start(&w, &g[1], promise(BALLOON_MODE_AUTO), RAM - RAM / 32);
	memset(&g[0].says, 0xff, sizeof(g[0].says));
	g[0].says.driver = BALLOON_DRIVER;
	g[0].says.stat[0].tag = BALLOON_TAG_AVAILABLE;
	g[0].says.stat[1].tag = BALLOON_TAG_FREE;
	for (int i = 0; i < 20; i++) {
		say_balloon(&g[0]);
		second(&w, &g[1], 1);
		listen_to(&g[0]);
	}
	ok(get(&w, g[0].vm.id, &state) == 0 && state.said.actual == RAM &&
		   state.said.target == RAM && state.said.stats_actual == RAM &&
		   state.said.nr_stats == BALLOON_MAX_STATS &&
		   state.said.stats_ns <= w.lab.now_ns && state.said.asks == 1 &&
		   state.said.mode == BALLOON_MODE_AUTO,
	   "what is told is cut down to what can be");
	ok(g[0].target <= RAM, "so is the target");
	is(g[1].targets, 0, "nobody else is asked for anything on its account");
	ok(lab_reap(&g[0].vm, false) == 0, "it lives on");
	for (unsigned int i = 0; i < 1000; i++)
		say_balloon(&g[0]);
	lab_step(&w.lab);
	ok(lab_reap(&g[0].vm, false) == 0, "... also when it talks a lot");
	is(w.lab.faults, 0, "all sums are right");
	close_world(&w, g, 2);
}

/* A VM can hurry the policy once a second, however often it cries. */
static void test_cry(void)
{
	struct balloon_decision first, last;
	struct guest g;
	struct world w;

	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_AUTO), RAM / 8);
	tell(&w, &g);
	lab_pass(&w.lab, 1000);
	why(&w, g.vm.id, 0, &first);
	for (unsigned int i = 0; i < 90; i++) {
		g.says.asks = 1;
		g.says.touches++;
		tell(&w, &g);
		lab_pass(&w.lab, 10);
	}
	why(&w, g.vm.id, 0, &last);
	ok(first.ticks == 1 && last.ticks <= 2, "90 cries in a second are %u ticks", last.ticks);
	close_world(&w, &g, 1);
}

static void test_rules(void)
{
	struct guest g;
	struct world w;

	tap_note("VMs that break rules");
	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_OFF), RAM / 8);
	say_balloon(&g);
	lab_step(&w.lab);
	ok(lab_reap(&g.vm, true) == SIGKILL, "a BALLOON without a balloon ends the VM");
	ok(strstr(w.lab.log, "broke the rules") || lab_await_vms(&w.lab, 0), "... for that");
	g.vm.pid = 0;
	close_world(&w, &g, 1);

	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_AUTO), RAM / 8);
	say(g.vm.channel, MACHINE_BALLOON_TARGET, 0, 1, -1);
	lab_step(&w.lab);
	ok(lab_reap(&g.vm, true) == SIGKILL, "targets are not for VMs to send");
	g.vm.pid = 0;
	close_world(&w, &g, 1);

	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_AUTO), RAM / 8);
	say(g.vm.channel, MACHINE_BALLOON_SET, g.vm.id, 1, -1);
	lab_step(&w.lab);
	ok(lab_reap(&g.vm, true) == SIGKILL, "nor is what operators say");
	g.vm.pid = 0;
	close_world(&w, &g, 1);
}

/* A VM that never reads is not killed for targets, and gets the last one when it does. */
static void test_deaf(void)
{
	struct guest g;
	struct world w;
	int heard = 0;

	open_world(&w, 4 * MEMORY);
	start(&w, &g, promise(BALLOON_MODE_AUTO), RAM / 8);
	tell(&w, &g);
	for (uint64_t i = 0; i < 2000; i++)
		heard |= set(&w, g.vm.id, true, 1000 + i % 2);
	is(heard, 0, "2000 targets are sent to a VM that does not read");
	ok(lab_reap(&g.vm, false) == 0, "it lives on");
	listen_to(&g);
	ok(g.targets < 2000, "only so many were under way: %u", g.targets);
	set(&w, g.vm.id, true, 1234);
	listen_to(&g);
	is(g.target, 1234, "and the last one arrives");
	close_world(&w, &g, 1);
}

int main(void)
{
	tap_init();
	test_plenty();
	test_reclaim();
	test_silent();
	test_manual();
	test_lost();
	test_ladder();
	test_liars();
	test_cry();
	test_rules();
	test_deaf();
	return tap_done();
}
