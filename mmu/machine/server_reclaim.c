/* SPDX-License-Identifier: MIT */
/*
 * Reclaim: VMs free their own memory, and the machine says when and how much.
 *
 * Background.  When free memory falls below low, the machine has a tick: it splits what is missing
 * to high among the VMs that reclaim (reclaim_policy.h) and tells each its part (RECLAIM).  It
 * ticks on until free memory is at high.  Twice what was taken since the last tick is added to what
 * is missing, so that reclaim keeps up with those who grow.  What balloons owe is taken off: memory
 * that nobody misses goes first.
 *
 * Direct.  When somebody waits, memory is at min.  Then a tick comes at once, and what those who
 * wait need is added.  OOM is put off as long as pages come back: a pause may last
 * reclaim_patience_ms, and the whole wait PATIENCE_FACTOR times as long.
 *
 * What a VM says is believed as far as it costs others nothing.  Only credits that come back count
 * as pages freed.  A VM that says it has pages to free, and in reclaim_patience_ms neither returns
 * any nor even says it freed some, *ignores* us.  Nobody waits for its part any more, and when
 * somebody has to die, what it was asked for counts as more than its due (oom.h).  That lasts until
 * it has returned MAKES_GOOD pages, or all it was asked for.  A VM that says it has nothing to free
 * is not asked; it keeps what it has, which its badness counts.
 *
 * The log has a line when reclaim begins, and while it goes on one every LOG_NS.
 */
#include <stdlib.h>
#include "mmu/base/mib.h"
#include "mmu/base/wire.h"
#include "reclaim_policy.h"
#include "server_internal.h"

#define HURRY_DIVISOR	20u /* two ticks are at least reclaim_ms / 20 apart */
#define PATIENCE_FACTOR 10u /* a CREDIT waits at most 10 * reclaim_patience_ms for reclaim */
#define AHEAD_DIVISOR	16u /* at most memory / 16 is freed ahead of those who grow */
#define BAND_DIVISOR	4u  /* a part that differs by less than a quarter is not sent anew */
#define MAKES_GOOD	256u
#define LOG_NS		(10 * NS_PER_S)
#define LEVEL_NS	NS_PER_S

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* ---- what a VM says ---- */

static void clamp(uint64_t *value, uint64_t max)
{
	*value = min_u64(*value, max);
}

static struct reclaim_record cut_down(const struct reclaim_record *said, uint64_t ram, uint64_t now)
{
	struct reclaim_record r = *said;

	if (!said->on)
		return (struct reclaim_record){ 0 };
	r.on = 1;
	r.more = said->more != 0;
	r.suspended = said->suspended != 0;
	r.pad = 0;
	clamp(&r.still_asked, ram);
	clamp(&r.compressed, ram);
	clamp(&r.pool, ram);
	clamp(&r.swapped, ram);
	clamp(&r.working_set, ram);
	clamp(&r.working_set_error, ram);
	clamp(&r.some_ns, now);
	clamp(&r.full_ns, r.some_ns);
	return r;
}

static uint64_t patience_ns(const struct machine *m)
{
	return m->config.reclaim_patience_ms * NS_PER_MS;
}

/* It has time to do what it was asked from now on. */
static void wait_for(struct machine *m, struct tenant *t)
{
	t->reclaim_due_ns = machine_now(m) + patience_ns(m);
}

void reclaim_said(struct machine *m, struct tenant *t, const struct reclaim_record *said)
{
	struct reclaim_record r = cut_down(said, t->promise.ram_pages, machine_now(m));

	if (r.freed > t->reclaim.freed && !t->ignores)
		wait_for(m, t);
	if (!r.more)
		t->asked_pages = 0;
	m->nr_reclaimers += r.on - t->reclaim.on;
	t->reclaim = r;
	t->reclaim_said = true;
	load_said(m, t, &r);
}

void reclaim_returned(struct machine *m, struct tenant *t, uint64_t pages)
{
	uint64_t paid = min_u64(pages, t->asked_pages);

	if (!paid)
		return;
	t->asked_pages -= paid;
	t->made_good_pages += paid;
	t->reclaimed_pages += paid;
	m->reclaimed_pages += paid;
	if (!t->asked_pages || t->made_good_pages >= MAKES_GOOD) {
		t->ignores = false;
		t->made_good_pages = 0;
		reclaim_hurry(m, 0);
	}
	if (!t->ignores)
		wait_for(m, t);
}

/* May it be asked to reclaim? */
static bool is_asked(const struct tenant *t)
{
	return t->reclaim.on && t->channel.fd >= 0;
}

void reclaim_forget(struct machine *m, struct tenant *t)
{
	m->nr_reclaimers -= is_asked(t);
	t->asked_pages = 0;
	t->ignores = false;
	load_forget(m, t);
}

/* ---- when ---- */

static uint64_t period_ns(const struct machine *m)
{
	return m->config.reclaim_ms * NS_PER_MS;
}

void reclaim_hurry(struct machine *m, uint64_t need)
{
	uint64_t due = m->last_reclaim_ns + period_ns(m) / HURRY_DIVISOR;
	uint64_t next = max_u64(due, machine_now(m));

	if (!m->nr_reclaimers)
		return;
	m->reclaim_need_pages = max_u64(m->reclaim_need_pages, need);
	if (!m->next_reclaim_ns || next < m->next_reclaim_ns)
		m->next_reclaim_ns = next;
}

void reclaim_look(struct machine *m)
{
	bool falls_short = !m->next_reclaim_ns && budget_free(&m->budget) < m->budget.low_pages;

	if (falls_short || !TAILQ_EMPTY(&m->queue))
		reclaim_hurry(m, 0);
}

/* ---- how much ---- */

/* What those need who wait, and are not suspended, and who could not be admitted. */
static uint64_t waited_for(const struct machine *m)
{
	uint64_t pages = m->reclaim_need_pages;
	const struct tenant *t;

	TAILQ_FOREACH(t, &m->queue, in_queue)
	pages += t->load.suspended ? 0 : t->need_pages;
	return pages;
}

/* What is freed ahead of those who grow: twice what they have taken since the last tick. */
static uint64_t ahead(const struct machine *m)
{
	uint64_t past = max_u64(machine_now(m) - m->last_reclaim_ns, 1);
	uint64_t taken = m->granted_pages;

	if (past > period_ns(m))
		taken = (uint64_t)((__uint128_t)taken * period_ns(m) / past);
	return min_u64(2 * taken, m->budget.memory_pages / AHEAD_DIVISOR);
}

/* The level may change at every tick.  A beginning is noted once in LEVEL_NS, and then its end. */
static void note_level(struct machine *m, uint64_t waited)
{
	const struct budget *b = &m->budget;

	if (m->reclaims == m->noted_reclaims ||
	    (m->reclaims && machine_now(m) < m->next_level_note_ns))
		return;
	m->noted_reclaims = m->reclaims;
	if (m->reclaims)
		m->next_level_note_ns = machine_now(m) + LEVEL_NS;
	event_note(m, EVENT_RECLAIM_LEVEL, NULL, m->reclaims ? "begins" : "ends",
		   NUMBERS(event_bytes(budget_free(b)), event_bytes(b->low_pages),
			   event_bytes(b->high_pages), event_bytes(waited)),
		   "reclaim %s: %s free, low %s, high %s, %s waited for",
		   m->reclaims ? "begins" : "ends", mib_text(budget_free(b)),
		   mib_text(b->low_pages), mib_text(b->high_pages), mib_text(waited));
}

/* What is missing; 0: memory is not short. */
static uint64_t shortage(struct machine *m)
{
	const struct budget *b = &m->budget;
	uint64_t waited = waited_for(m);

	if (waited || budget_free(b) < b->low_pages)
		m->reclaims = true;
	else if (budget_free(b) >= b->high_pages)
		m->reclaims = false;
	note_level(m, waited);
	if (!m->reclaims)
		return 0;
	return less(b->high_pages + waited + ahead(m),
		    budget_free(b) + (waited ? 0 : balloon_owed(m)));
}

/* ---- a tick ---- */

/* The picture that a tick takes: three arrays with an element for each VM. */
struct picture {
	struct reclaim_input *in;
	uint64_t *give;
	struct tenant **tenant;
	unsigned int nr;
};

static struct reclaim_input look_at(const struct tenant *t)
{
	return (struct reclaim_input){
		.held_pages = t->account.credit_pages,
		.active_pages = t->reclaim.working_set,
		.shares = t->promise.shares ? t->promise.shares : MACHINE_SHARES_DEFAULT,
		.still = t->load.suspended,
	};
}

static bool take_picture(struct machine *m, struct picture *p)
{
	struct tenant *t;

	p->in = calloc(m->nr_reclaimers + 1, sizeof(*p->in));
	p->give = calloc(m->nr_reclaimers + 1, sizeof(*p->give));
	p->tenant = calloc(m->nr_reclaimers + 1, sizeof(struct tenant *));
	if (!p->in || !p->give || !p->tenant)
		return false;
	TAILQ_FOREACH(t, &m->tenants, link)
	if (is_asked(t)) {
		p->in[p->nr] = look_at(t);
		p->tenant[p->nr++] = t;
	}
	return true;
}

static void discard_picture(struct picture *p)
{
	free(p->in);
	free(p->give);
	free(p->tenant);
}

/*
 * Does it believe that it has freed more than has come back?  It sees pages go, and we see credits;
 * and some of both may be on their way when they are asked for anew.
 */
static bool thinks_it_is_done(const struct tenant *t)
{
	return t->reclaim_said && t->reclaim.still_asked < t->asked_pages / BAND_DIVISOR;
}

/* A VM that does not read just now hears of it at the next tick. */
static void ask(struct machine *m, struct tenant *t, uint64_t pages)
{
	uint64_t had = t->asked_pages;
	struct machine_msg msg = wire_msg(MACHINE_RECLAIM, 0);

	if (pages ? less(pages, had) + less(had, pages) <= had / BAND_DIVISOR &&
			    !thinks_it_is_done(t) :
		    !t->told_to_free)
		return;
	msg.pages = pages;
	if (channel_post(m, t, &msg, -1))
		return;
	if (!had)
		wait_for(m, t);
	t->asked_pages = pages;
	t->reclaim_said = false;
	t->told_to_free = pages != 0;
}

static void check_answer(struct machine *m, struct tenant *t)
{
	if (t->ignores || !t->asked_pages || machine_now(m) < t->reclaim_due_ns)
		return;
	t->ignores = true;
	t->made_good_pages = 0;
	event_note(m, EVENT_IGNORES, t, NULL,
		   NUMBERS(event_bytes(t->asked_pages), event_bytes(t->account.credit_pages)),
		   "was asked to free %s of %s, and freed nothing in %u ms",
		   mib_text(t->asked_pages), mib_text(t->account.credit_pages),
		   m->config.reclaim_patience_ms);
}

static unsigned int nr_asked(const struct machine *m)
{
	const struct tenant *t;
	unsigned int nr = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	nr += t->asked_pages != 0;
	return nr;
}

/* While it goes on, a line in LOG_NS is enough. */
static void log_tick(struct machine *m, uint64_t missing, uint64_t given)
{
	uint64_t came_back = m->reclaimed_pages - m->logged_reclaimed_pages;

	if (machine_now(m) < m->next_reclaim_log_ns || !(missing || came_back))
		return;
	event_note(m, EVENT_RECLAIM, NULL, NULL,
		   NUMBERS(event_bytes(budget_free(&m->budget)), event_bytes(m->budget.low_pages),
			   event_bytes(m->budget.high_pages), event_bytes(waited_for(m)),
			   event_bytes(missing), event_bytes(given), nr_asked(m),
			   event_bytes(m->reclaimed_pages)),
		   "reclaim: %s free, low %s, high %s, %s waited for: %s are missing, %s asked "
		   "of %u VMs; %s came back since the last such line",
		   mib_text(budget_free(&m->budget)), mib_text(m->budget.low_pages),
		   mib_text(m->budget.high_pages), mib_text(waited_for(m)), mib_text(missing),
		   mib_text(given), nr_asked(m), mib_text(came_back));
	m->logged_reclaimed_pages = m->reclaimed_pages;
	m->next_reclaim_log_ns = machine_now(m) + LOG_NS;
}

/*
 * May a VM be asked?  Not while its balloon is to grow and does: its driver needs the guest's
 * pages, and what the balloon takes need not be kept.
 */
static bool is_able(const struct tenant *t)
{
	return t->reclaim.more && !balloon_owed_by(t);
}

/* Split what is missing among those of whom it may be expected; the others give nothing. */
static uint64_t split(struct picture *p, uint64_t missing, bool ignorant)
{
	for (unsigned int i = 0; i < p->nr; i++)
		p->in[i].able = is_able(p->tenant[i]) && (ignorant || !p->tenant[i]->ignores);
	return reclaim_split(p->in, p->give, p->nr, missing);
}

/* Who ignores us is asked for its part, and the others as if it were not there. */
static void decide(struct machine *m, struct picture *p, uint64_t missing)
{
	uint64_t given;

	for (unsigned int i = 0; i < p->nr; i++)
		check_answer(m, p->tenant[i]);
	split(p, missing, true);
	for (unsigned int i = 0; i < p->nr; i++)
		if (p->tenant[i]->ignores)
			ask(m, p->tenant[i], p->give[i]);
	given = split(p, missing, false);
	for (unsigned int i = 0; i < p->nr; i++)
		if (!p->tenant[i]->ignores)
			ask(m, p->tenant[i], p->give[i]);
	log_tick(m, missing, given);
}

/* A suspended VM is asked for all it has, however much is free. */
static bool goes_on(const struct machine *m)
{
	return m->nr_reclaimers && (m->reclaims || m->nr_suspended);
}

static void tick(struct machine *m)
{
	uint64_t missing = shortage(m);
	struct picture p = { .nr = 0 };

	if (take_picture(m, &p))
		decide(m, &p, missing);
	discard_picture(&p);
	m->granted_pages = m->reclaim_need_pages = 0;
	m->last_reclaim_ns = machine_now(m);
	m->next_reclaim_ns = goes_on(m) ? m->last_reclaim_ns + period_ns(m) : 0;
	if (m->next_reclaim_ns)
		load_start(m);
}

void reclaim_expire(struct machine *m, uint64_t now)
{
	if (m->next_reclaim_ns && now >= m->next_reclaim_ns)
		tick(m);
}

/* ---- is it worth waiting? ---- */

static bool is_owed(const struct machine *m)
{
	const struct tenant *t;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->asked_pages && !t->ignores)
		return true;
	return false;
}

bool reclaim_may_help(const struct machine *m, uint64_t now)
{
	uint64_t since = max_u64(m->queue_since_ns, m->returned_ns);

	return now < since + patience_ns(m) &&
	       now < m->queue_since_ns + PATIENCE_FACTOR * patience_ns(m) && is_owed(m);
}
