/* SPDX-License-Identifier: MIT */
/*
 * When memory is short.
 *
 * CREDITs that cannot be granted wait in one queue, first come first served.  So a large need at
 * the head is not overtaken by small ones.  For the head the machine climbs these rungs:
 *
 *   1. It sends RECALL: every other VM returns the credits that it does not use.  The balloon
 *      policy has a tick at once.
 *   2. VMs free their own memory (server_reclaim.c).
 *      If they do little else, fewer of them run at a time (server_load.c); what suspended VMs wait
 *      for waits until they go on.
 *   3. After recall_ms it kills a VM that holds more than its due, or else the one with the highest
 *      badness (oom.h), which may be the one that waits.  It puts that off as long as memory comes
 *      out of balloons (server_balloon.c) or is being freed.  It also does while a VM that has much
 *      to return has not answered its RECALL, for ignore_ms at most: then that VM is the one that
 *      dies.
 *   4. While the victim dies, for victim_ms at most, it kills nobody else.
 *   5. If no VM may be killed, or all deaths together would not be enough, it answers DENIED.  Then
 *      the next CREDIT is at the head.
 *
 * Whatever comes back goes to the head.  Below the low watermark a grant is just what is needed,
 * and a RECALL goes to all, at most once in recall_ms.
 */
#include <errno.h>
#include <inttypes.h>
#include "mmu/base/mib.h"
#include "oom.h"
#include "server_internal.h"

#define RECALL_NOTE_NS NS_PER_S

/* The CREDIT that is served next; NULL: none.  Those of suspended VMs are passed over. */
static struct tenant *head_of(const struct machine *m)
{
	struct tenant *t;

	TAILQ_FOREACH(t, &m->queue, in_queue)
	if (!t->load.suspended)
		return t;
	return NULL;
}

static void enqueue(struct machine *m, struct tenant *t, uint64_t need, uint64_t want)
{
	t->need_pages = need;
	t->want_pages = want;
	t->load.asked = true;
	TAILQ_INSERT_TAIL(&m->queue, t, in_queue);
}

void pressure_forget(struct machine *m, struct tenant *t)
{
	if (!t->need_pages)
		return;
	if (t == head_of(m))
		m->queue_since_ns = 0;
	TAILQ_REMOVE(&m->queue, t, in_queue);
	t->need_pages = 0;
}

/* Whoever is at the head then has all of recall_ms for itself. */
void pressure_call_off(struct machine *m, struct tenant *t)
{
	if (!t->need_pages)
		return;
	if (t == head_of(m))
		m->queue_deadline_ns = 0;
	pressure_forget(m, t);
	channel_send(m, t, MACHINE_GRANT, 0);
}

void pressure_hold(struct machine *m, struct tenant *t, bool hold)
{
	const struct tenant *head = head_of(m);

	t->load.suspended = hold;
	if (head != head_of(m))
		m->queue_since_ns = m->queue_deadline_ns = 0;
}

static uint64_t recall_ns(const struct machine *m)
{
	return m->config.recall_ms * NS_PER_MS;
}

/* What must come back to meet `need` and the head of the queue, and to have memory above high. */
static uint64_t shortage(const struct machine *m, uint64_t need)
{
	const struct tenant *head = head_of(m);
	uint64_t want = m->budget.high_pages + need + (head ? head->need_pages : 0);
	uint64_t free = budget_free(&m->budget);

	return want > free ? want - free : 0;
}

/* While it goes on, a record in RECALL_NOTE_NS is enough. */
static void note_recall(struct machine *m, uint64_t missing, unsigned int nr)
{
	if (!nr || machine_now(m) < m->next_recall_note_ns)
		return;
	m->next_recall_note_ns = machine_now(m) + RECALL_NOTE_NS;
	event_note(m, EVENT_RECALL, NULL, NULL,
		   NUMBERS(event_bytes(missing), event_bytes(budget_free(&m->budget)),
			   event_bytes(m->budget.low_pages), event_bytes(m->budget.high_pages), nr),
		   "recall: %s free, low %s, high %s: %s are missing, %u VMs are asked for credits",
		   mib_text(budget_free(&m->budget)), mib_text(m->budget.low_pages),
		   mib_text(m->budget.high_pages), mib_text(missing), nr);
}

void pressure_recall(struct machine *m, const struct tenant *except, uint64_t need)
{
	uint64_t missing = shortage(m, need);
	struct tenant *t, *next;
	unsigned int nr = 0;

	m->next_recall_ns = machine_now(m) + recall_ns(m);
	balloon_hurry(m, need);
	reclaim_hurry(m, need);
	for (t = TAILQ_FIRST(&m->tenants); t && missing; t = next) {
		next = TAILQ_NEXT(t, link);
		if (t == except || t->recalled || !t->account.credit_pages)
			continue;
		t->recalled = !channel_send(m, t, MACHINE_RECALL, 0);
		t->recalled_ns = machine_now(m);
		nr += t->recalled;
	}
	note_recall(m, missing, nr);
}

/* Grant what t asks for.  False: there is not enough, and t got nothing. */
static bool give(struct machine *m, struct tenant *t, uint64_t need, uint64_t want)
{
	uint64_t pages = tenant_grant(m, t, need, want);

	if (pages < need)
		return false;
	channel_send(m, t, MACHINE_GRANT, pages);
	if (budget_free(&m->budget) < m->budget.low_pages && machine_now(m) >= m->next_recall_ns)
		pressure_recall(m, t, 0);
	return true;
}

void pressure_request(struct machine *m, struct tenant *t, uint64_t need, uint64_t want)
{
	if (!need || (!head_of(m) && !t->load.suspended))
		if (give(m, t, need, want))
			return;
	enqueue(m, t, need, want);
}

void pressure_serve(struct machine *m)
{
	struct tenant *t;

	while ((t = head_of(m))) {
		uint64_t need = t->need_pages, since = m->queue_since_ns;

		pressure_forget(m, t);
		if (!give(m, t, need, t->want_pages)) {
			t->need_pages = need;
			TAILQ_INSERT_HEAD(&m->queue, t, in_queue);
			m->queue_since_ns = since ? since : machine_now(m);
			balloon_hurry(m, 0);
			break;
		}
		m->queue_deadline_ns = 0;
	}
	if (!t) {
		m->queue_deadline_ns = 0;
	} else if (!m->queue_deadline_ns) {
		m->queue_deadline_ns = machine_now(m) + recall_ns(m);
		pressure_recall(m, t, 0);
	}
}

/* Until when to wait for victims to die; 0: none is dying. */
static uint64_t patience(const struct machine *m)
{
	const struct tenant *t;
	uint64_t until = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->state == TENANT_DYING)
		until = max_u64(until, t->kill_deadline_ns);
	return until;
}

/* Until when to wait for VMs that could return much and have not answered; 0: none such. */
static uint64_t hope(const struct machine *m)
{
	const struct tenant *t;
	uint64_t until = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->recalled && tenant_can_be_killed(t) &&
	    t->promise.oom_score_adj > OOM_SCORE_ADJ_MIN &&
	    t->account.credit_pages > tenant_resident_pages(t) + OOM_SPARE_PAGES)
		until = max_u64(until, t->recalled_ns + m->config.ignore_ms * NS_PER_MS);
	return until;
}

/* Does one who has this die before one who has that?  Who holds more than his due does. */
static bool is_worse(const struct machine *m, const struct machine_holding *a,
		     const struct machine_holding *b)
{
	bool exceeds = oom_excess(a), b_exceeds = oom_excess(b);
	int64_t badness = oom_badness(a, m->budget.memory_pages);

	if (badness == OOM_NEVER || exceeds != b_exceeds)
		return badness != OOM_NEVER && exceeds;
	return badness > oom_badness(b, m->budget.memory_pages);
}

/*
 * The tenant that is to die, the first one among equals, and *worst what it has.  NULL: none may be
 * killed.  Only those are weighed whose frames could make them the worst.  At most all are, so a
 * choice among 100 members of a domain with 4 GiB of frames takes 0.3 s.  It comes after recall_ms,
 * and once for each kill.
 */
static struct tenant *choose(const struct machine *m, struct machine_holding *worst)
{
	struct tenant *t, *victim = NULL;

	*worst = (struct machine_holding){ .oom_score_adj = OOM_SCORE_ADJ_MIN };
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		struct machine_holding had = measure(t);

		if (!is_worse(m, &had, worst))
			continue;
		if (t->member)
			domain_weigh(t->member, &had.alone_pages, &had.share_pages);
		if (!is_worse(m, &had, worst))
			continue;
		*worst = had;
		victim = t;
	}
	return victim;
}

static void kill_for(struct machine *m, struct tenant *victim, const struct tenant *head,
		     const struct machine_holding *had)
{
	struct machine_gone numbers = {
		.badness = oom_badness(had, m->budget.memory_pages),
		.had = *had,
		.need_pages = head->need_pages,
		.free_pages = budget_free(&m->budget),
		.min_pages = m->budget.min_pages,
	};

	event_note(m, EVENT_OOM, victim, had->ignored_pages ? "ignored what it was asked" : NULL,
		   NUMBERS(head->id, event_bytes(numbers.need_pages),
			   event_bytes(numbers.free_pages), event_bytes(numbers.min_pages),
			   numbers.badness, event_bytes(had->ignored_pages),
			   event_bytes(had->resident_pages), event_bytes(had->credit_pages),
			   event_bytes(had->alone_pages), event_bytes(had->share_pages),
			   event_bytes(had->overhead_pages), had->oom_score_adj),
		   "out of memory: vm %u '%s' needs %s, %s free, min %s: killing vm %u '%s', "
		   "pid %d: ignored %s, resident %s, credits %s, store alone %s, store share %s, "
		   "overhead %s, oom_score_adj %d, badness %" PRId64,
		   head->id, head->promise.name, mib_text(numbers.need_pages),
		   mib_text(numbers.free_pages), mib_text(numbers.min_pages), victim->id,
		   victim->promise.name, (int)victim->pid, mib_text(had->ignored_pages),
		   mib_text(had->resident_pages), mib_text(had->credit_pages),
		   mib_text(had->alone_pages), mib_text(had->share_pages),
		   mib_text(had->overhead_pages), had->oom_score_adj, numbers.badness);
	if (!tenant_kill(m, victim, MACHINE_OOM))
		return;
	numbers.reason = MACHINE_OOM;
	victim->gone = numbers;
	m->oom_kills++;
}

static void deny(struct machine *m, struct tenant *head)
{
	event_note(m, EVENT_DENIAL, head, NULL,
		   NUMBERS(event_bytes(head->need_pages), event_bytes(budget_free(&m->budget)),
			   event_bytes(m->budget.min_pages)),
		   "out of memory: vm %u '%s' needs %s, %s free, min %s: killing is not allowed "
		   "or not enough, denied",
		   head->id, head->promise.name, mib_text(head->need_pages),
		   mib_text(budget_free(&m->budget)), mib_text(m->budget.min_pages));
	pressure_forget(m, head);
	channel_send(m, head, MACHINE_DENIED, 0);
}

/* Would memory be enough for t if all others were dead? */
static bool can_ever_be_met(const struct machine *m, const struct tenant *t)
{
	uint64_t own = t->account.credit_pages + t->account.overhead_pages;

	return t->need_pages + own + m->budget.min_pages <= m->budget.memory_pages;
}

void pressure_expire(struct machine *m, uint64_t now)
{
	struct tenant *victim, *head = head_of(m);
	uint64_t until;
	struct machine_holding worst;

	/* Kill nobody while pages of a dead VM come back. */
	if (!head || !m->queue_deadline_ns || now < m->queue_deadline_ns ||
	    !TAILQ_EMPTY(&m->leaving))
		return;
	pressure_serve(m); /* what has come back in this round may be enough */
	head = head_of(m);
	if (!head || now < m->queue_deadline_ns)
		return;
	until = max_u64(patience(m), hope(m));
	if (now >= until && (balloon_may_help(m, now) || reclaim_may_help(m, now)))
		until = now + recall_ns(m);
	m->queue_deadline_ns = now < until ? until : 0;
	if (now < until)
		return;
	victim = can_ever_be_met(m, head) ? choose(m, &worst) : NULL;
	if (victim)
		kill_for(m, victim, head, &worst);
	else
		deny(m, head);
}
