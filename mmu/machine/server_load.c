/* SPDX-License-Identifier: MIT */
/*
 * Load control: when VMs do little but wait for pages, fewer of them run at a time.
 *
 * Reclaim can always find a page, and when working sets do not fit together it finds those that are
 * needed next.  Then all crawl.  A guest that stands still needs no memory, and the others get on.
 *
 * What is looked at, every load_ms while memory is short: which VMs are *busy*, that is, asked for
 * credits since the last look or wait for some, and for what share of the time no vCPU of theirs
 * could run (full_ns, by their own word).  The machine *thrashes* if two busy VMs at least are
 * stalled for HALF of THRASH_PERMILLE of the time, and all busy ones for THRASH_PERMILLE on
 * average.  If it has for THRASH_LOOKS in a row, a VM is suspended (SUSPEND): its guest stands
 * still, all its pages go (reclaim_policy.h), and its CREDITs wait.
 *
 * Who.  Of the stalled VMs the one that was suspended least: for the shortest time, weighed with
 * its shares, and among equals the one that holds most for its shares.  Never one that must not be
 * killed, nor the last that runs, nor one that has not run for suspend_ms since it was suspended.
 *
 * How long.  After suspend_ms it goes on.  If there is no room for its working set then, another
 * one that was stalled is suspended in its place: they take turns.  It goes on sooner if the others
 * are not stalled any more and there is room for its working set, or if nobody else runs.
 *
 * A VM that lies about its stalls can only have itself suspended, because those that are not
 * stalled are never chosen.  One that goes on although it was suspended gets no credits, and
 * ignores that it was asked to free all it has.
 */
#include "mmu/base/mib.h"
#include "mmu/base/wire.h"
#include "oom.h"
#include "server_internal.h"

#define THRASH_PERMILLE 600u
#define CALM_PERMILLE	200u
#define THRASH_LOOKS	3u
#define CALM_LOOKS	3u
#define STALE_LOOKS	3u /* a stall of which nothing was heard for so long is over */

static uint64_t period_ns(const struct machine *m)
{
	return m->config.load_ms * NS_PER_MS;
}

static uint64_t turn_ns(const struct machine *m)
{
	return m->config.suspend_ms * NS_PER_MS;
}

static uint32_t shares_of(const struct tenant *t)
{
	return t->promise.shares ? t->promise.shares : MACHINE_SHARES_DEFAULT;
}

/* ---- what is looked at ---- */

static uint32_t permille(uint64_t part, uint64_t whole)
{
	return (uint32_t)(min_u64(part, whole) * 1000 / max_u64(whole, 1));
}

static bool runs(const struct tenant *t)
{
	return t->channel.fd >= 0 && !t->load.suspended;
}

static bool is_busy(const struct tenant *t)
{
	return runs(t) && t->reclaim.on && (t->load.asked || t->need_pages);
}

static uint32_t stall(const struct machine *m, const struct tenant *t)
{
	bool stale = machine_now(m) > t->load.said_ns + STALE_LOOKS * period_ns(m);

	return stale ? 0 : t->load.full_permille;
}

static bool is_stalled(const struct machine *m, const struct tenant *t)
{
	return is_busy(t) && stall(m, t) >= THRASH_PERMILLE / 2;
}

/* All VMs together, at one look. */
struct view {
	unsigned int running, busy, stalled;
	uint32_t permille; /* the mean stall of those that are busy */
};

static struct view look(const struct machine *m)
{
	struct view v = { 0 };
	const struct tenant *t;
	uint64_t sum = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	{
		v.running += runs(t);
		v.busy += is_busy(t);
		v.stalled += is_stalled(m, t);
		sum += is_busy(t) ? stall(m, t) : 0;
	}
	v.permille = v.busy ? (uint32_t)(sum / v.busy) : 0;
	return v;
}

/* How many looks in a row the machine thrashed, and how many it was calm. */
static void judge(struct machine *m, const struct view *v)
{
	bool thrashes = m->reclaims && v->stalled >= 2 && v->permille >= THRASH_PERMILLE &&
			!balloon_owed(m);
	bool calm = v->permille < CALM_PERMILLE;

	m->thrash_looks = thrashes ? m->thrash_looks + 1 : 0;
	m->calm_looks = calm ? m->calm_looks + 1 : 0;
	m->stall_permille = v->permille;
}

/* ---- who ---- */

static uint64_t suspended_ns(const struct machine *m, const struct tenant *t)
{
	return t->load.suspended_ns + (t->load.suspended ? machine_now(m) - t->load.since_ns : 0);
}

/* Is a to be suspended before b? */
static bool goes_before(const struct machine *m, const struct tenant *a, const struct tenant *b)
{
	__uint128_t cost_a = (__uint128_t)suspended_ns(m, a) * shares_of(a);
	__uint128_t cost_b = (__uint128_t)suspended_ns(m, b) * shares_of(b);

	if (cost_a != cost_b)
		return cost_a < cost_b;
	return (__uint128_t)a->account.credit_pages * shares_of(b) >
	       (__uint128_t)b->account.credit_pages * shares_of(a);
}

static bool has_run(const struct machine *m, const struct tenant *t)
{
	return !t->load.suspensions || machine_now(m) >= t->load.since_ns + turn_ns(m);
}

static bool may_be_suspended(const struct machine *m, const struct tenant *t)
{
	return runs(t) && has_run(m, t) && t->promise.oom_score_adj > OOM_SCORE_ADJ_MIN;
}

/* The VM to suspend: one that is stalled, or in turn one that was. */
static struct tenant *choose(const struct machine *m, bool in_turn)
{
	struct tenant *t, *found = NULL;

	TAILQ_FOREACH(t, &m->tenants, link)
	if ((is_stalled(m, t) || (in_turn && t->load.takes_turns)) && may_be_suspended(m, t) &&
	    (!found || goes_before(m, t, found)))
		found = t;
	return found;
}

static struct tenant *longest_suspended(const struct machine *m)
{
	struct tenant *t, *found = NULL;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->load.suspended && (!found || t->load.since_ns < found->load.since_ns))
		found = t;
	return found;
}

/* ---- what is done ---- */

static double seconds(uint64_t ns)
{
	return (double)ns / NS_PER_S;
}

/* Those that are stalled now are to take turns. */
static void mark_turns(struct machine *m)
{
	struct tenant *t;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (is_stalled(m, t))
		t->load.takes_turns = true;
}

/* A VM that does not read just now is not suspended. */
static void suspend(struct machine *m, struct tenant *t, const struct view *v, const char *why)
{
	struct machine_msg msg = wire_msg(MACHINE_SUSPEND, 0);

	msg.pages = 1;
	if (channel_post(m, t, &msg, -1))
		return;
	event_note(m, EVENT_SUSPENSION, t, why,
		   NUMBERS(stall(m, t), v->permille, v->busy, event_bytes(budget_free(&m->budget)),
			   event_bytes(m->budget.low_pages), event_bytes(t->account.credit_pages),
			   event_bytes(t->reclaim.working_set), shares_of(t),
			   event_count(t->load.suspended_ns)),
		   "%s: %u busy VMs are stalled for %.1f %% of the time, %s free, low %s: "
		   "suspending vm %u '%s': stalled for %.1f %%, holds %s, working set %s, "
		   "shares %u, was suspended for %.1f s before",
		   why, v->busy, v->permille / 10.0, mib_text(budget_free(&m->budget)),
		   mib_text(m->budget.low_pages), t->id, t->promise.name, stall(m, t) / 10.0,
		   mib_text(t->account.credit_pages), mib_text(t->reclaim.working_set),
		   shares_of(t), seconds(t->load.suspended_ns));
	mark_turns(m);
	t->load.room_pages = min_u64(t->reclaim.working_set, t->account.credit_pages);
	pressure_hold(m, t, true);
	t->load.since_ns = machine_now(m);
	t->load.suspensions++;
	m->suspensions++;
	m->nr_suspended++;
	m->thrash_looks = m->calm_looks = 0;
	reclaim_hurry(m, 0);
}

static void resume(struct machine *m, struct tenant *t, const char *why)
{
	uint64_t past = machine_now(m) - t->load.since_ns;

	event_note(m, EVENT_RESUMPTION, t, why,
		   NUMBERS(event_count(past), event_bytes(t->account.credit_pages),
			   event_bytes(budget_free(&m->budget)), event_bytes(m->budget.high_pages),
			   m->stall_permille),
		   "resuming vm %u '%s' after %.1f s: %s; it holds %s, %s free, high %s, others "
		   "are stalled for %.1f %% of the time",
		   t->id, t->promise.name, seconds(past), why, mib_text(t->account.credit_pages),
		   mib_text(budget_free(&m->budget)), mib_text(m->budget.high_pages),
		   m->stall_permille / 10.0);
	t->load.suspended_ns += past;
	t->load.since_ns = machine_now(m);
	m->nr_suspended--;
	m->thrash_looks = m->calm_looks = 0;
	pressure_hold(m, t, false);
	channel_send(m, t, MACHINE_SUSPEND, 0);
}

/* What it says is for how long it was stalled, ever.  Half a period shows how much that is. */
void load_said(struct machine *m, struct tenant *t, const struct reclaim_record *said)
{
	uint64_t now = machine_now(m), past = now - t->load.said_ns;

	if (t->load.suspended && !said->on)
		resume(m, t, "it does not reclaim any more");
	if (past < period_ns(m) / 2)
		return;
	t->load.full_permille = said->full_ns < t->load.full_ns ?
					0 :
					permille(said->full_ns - t->load.full_ns, past);
	t->load.full_ns = said->full_ns;
	t->load.said_ns = now;
}

void load_forget(struct machine *m, struct tenant *t)
{
	if (t->load.suspended) {
		m->nr_suspended--;
		pressure_hold(m, t, false);
	}
	if (m->nr_suspended)
		m->next_load_ns = machine_now(m);
}

/* Is there room for what it used when it was suspended? */
static bool has_room(const struct machine *m, const struct tenant *t)
{
	return budget_free(&m->budget) >= m->budget.high_pages + t->load.room_pages;
}

/* The turn of the VM that was suspended first is over. */
static void next_turn(struct machine *m, struct tenant *t, const struct view *v)
{
	struct tenant *next = has_room(m, t) ? NULL : choose(m, true);

	if (next)
		suspend(m, next, v, "in turn");
	resume(m, t, "its turn is over");
}

static void act(struct machine *m, const struct view *v)
{
	struct tenant *first = longest_suspended(m), *next;

	if (first && !v->running)
		resume(m, first, "nobody else runs");
	else if (first && machine_now(m) >= first->load.since_ns + turn_ns(m))
		next_turn(m, first, v);
	else if (first && m->calm_looks >= CALM_LOOKS && has_room(m, first))
		resume(m, first, "there is room for it");
	else if (m->thrash_looks >= THRASH_LOOKS && (next = choose(m, false)))
		suspend(m, next, v, "thrashing");
}

/* ---- when ---- */

void load_start(struct machine *m)
{
	struct tenant *t;

	if (m->next_load_ns)
		return;
	m->next_load_ns = machine_now(m) + period_ns(m);
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		t->load.asked = false;
	}
}

/* Memory is enough for all. */
static void calm_down(struct machine *m)
{
	struct tenant *t;

	m->stall_permille = 0;
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		t->load.takes_turns = false;
	}
}

void load_expire(struct machine *m, uint64_t now)
{
	struct tenant *t;
	struct view v;

	if (!m->next_load_ns || now < m->next_load_ns)
		return;
	v = look(m);
	judge(m, &v);
	act(m, &v);
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		t->load.asked = false;
	}
	m->next_load_ns = m->reclaims || m->nr_suspended ? now + period_ns(m) : 0;
	if (!m->next_load_ns)
		calm_down(m);
}
