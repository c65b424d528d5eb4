/* SPDX-License-Identifier: MIT */
/*
 * Balloons.  What VMs say of their balloons goes to the policy (balloon_policy.h), and what the
 * policy decides goes to the VMs.  Operators may ask why, or decide themselves.
 *
 * Ticks.  A tick takes a picture of all VMs that have sent a BALLOON, asks the policy, and sends
 * the targets that changed.  There is a tick every balloon_ms while the policy decides about any VM
 * with a driver.  There is one sooner when a CREDIT waits, an admission lacks memory, or a guest
 * shows that it needs its pages.  Two ticks are at least balloon_ms / HURRY_DIVISOR apart, and a VM
 * can bring one about at most once in balloon_ms.
 *
 * Waiting.  Only a CREDIT that would otherwise cause an OOM kill waits for balloons.  It waits as
 * long as guests that answer still owe pages that they were asked for, and memory keeps coming
 * back.  A pause may last balloon_patience_ms, and the whole wait PATIENCE_FACTOR times as long.
 *
 * A new machine does not know what an old one decided, but the VM does.  So an operator's target
 * stays in force, and the policy starts from the balloon as it is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "server_internal.h"
#include "mmu/base/wire.h"

#define HURRY_DIVISOR	20u /* two ticks are at least balloon_ms / 20 apart */
#define PATIENCE_FACTOR 5u  /* a CREDIT waits at most 5 * balloon_patience_ms for balloons */

/* A VM's balloon, from its first BALLOON on. */
struct tenant_balloon {
	struct balloon_record said;	    /* its last BALLOON, cut down to what is possible */
	struct balloon_stats stats;	    /* of the guest, from that BALLOON */
	struct machine_balloon_target sent; /* the target that the VM has */
	struct balloon_vm policy;
	uint64_t manual_pages; /* the operator's target */
	uint64_t hurried_ns;   /* when the VM last brought a tick about */
	bool manual;	       /* an operator decides */
	bool asks;	       /* said.asks of any BALLOON since the last tick */
};

/* The picture that a tick takes: three arrays with an element for each VM. */
struct picture {
	struct balloon_input *in;
	struct balloon_vm **vm;
	struct tenant **tenant;
	unsigned int nr;
};

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t period_ns(const struct machine *m)
{
	return m->config.balloon_ms * NS_PER_MS;
}

static bool has_driver(const struct balloon_record *r)
{
	return r->driver == BALLOON_DRIVER;
}

/* ---- when ---- */

static bool is_heard(const struct tenant *t)
{
	return t->balloon && t->channel.fd >= 0;
}

static bool is_policys(const struct machine *m)
{
	const struct tenant *t;

	TAILQ_FOREACH(t, &m->tenants, link)
	if (is_heard(t) && has_driver(&t->balloon->said) && !t->balloon->manual)
		return true;
	return false;
}

void balloon_hurry(struct machine *m, uint64_t need)
{
	uint64_t due = m->last_balloon_ns + period_ns(m) / HURRY_DIVISOR;

	if (!m->next_balloon_ns)
		return;
	m->balloon_need_pages = max_u64(m->balloon_need_pages, need);
	m->next_balloon_ns = min_u64(m->next_balloon_ns, max_u64(due, machine_now(m)));
}

/* Have a tick soon for a guest that is in need, unless it has hurried us just now. */
static void hurry_for(struct machine *m, struct tenant_balloon *b)
{
	uint64_t now = machine_now(m);

	if (now < b->hurried_ns + period_ns(m))
		return;
	b->hurried_ns = now;
	balloon_hurry(m, 0);
}

/* ---- what a VM says ---- */

static void clamp(uint64_t *value, uint64_t max)
{
	*value = min_u64(*value, max);
}

static struct balloon_record cut_down(const struct balloon_record *said, const struct tenant *t,
				      uint64_t now)
{
	struct balloon_record r = *said;
	uint64_t ram = t->promise.ram_pages;

	r.mode = t->promise.balloon;
	r.driver = said->driver <= BALLOON_DRIVER_BROKEN ? said->driver : BALLOON_NO_DRIVER;
	r.asks = said->asks != 0;
	r.manual = said->manual != 0;
	r.nr_stats = (uint32_t)min_u64(said->nr_stats, BALLOON_MAX_STATS);
	clamp(&r.target, ram);
	clamp(&r.actual, ram);
	clamp(&r.silent_since_ns, now);
	clamp(&r.stats_ns, now);
	clamp(&r.stats_actual, ram);
	return r;
}

static struct tenant_balloon *meet(const struct tenant *t, const struct balloon_record *said,
				   const struct balloon_stats *stats)
{
	struct tenant_balloon *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->manual = t->promise.balloon == BALLOON_MODE_MANUAL ||
		    (t->promise.readmit && said->manual);
	b->manual_pages = t->promise.readmit ? said->target : 0;
	b->sent = (struct machine_balloon_target){
		.pages = said->target,
		.manual = said->manual,
	};
	b->said = *said;
	b->stats = *stats;
	return b;
}

/* Does the guest show that it needs its pages? */
static bool in_need(const struct tenant_balloon *was, const struct balloon_record *is,
		    const struct balloon_stats *stats)
{
	return is->asks || is->touches > was->said.touches ||
	       stats->oom_kills > was->stats.oom_kills;
}

const char *balloon_said(struct machine *m, struct tenant *t, const struct machine_msg *msg)
{
	uint64_t now = machine_now(m);
	struct balloon_record said = cut_down(&msg->balloon, t, now);
	struct balloon_stats stats = balloon_read_stats(&said, t->promise.ram_pages);
	struct tenant_balloon *b = t->balloon;
	bool news = !b || has_driver(&b->said) || has_driver(&said);

	if (t->promise.balloon == BALLOON_MODE_OFF)
		return "a BALLOON of a VM without one";
	if (!b)
		b = t->balloon = meet(t, &said, &stats);
	if (!b)
		return NULL; /* no memory for it: the policy does without */
	if (in_need(b, &said, &stats))
		hurry_for(m, b);
	b->asks |= said.asks;
	b->said = said;
	b->stats = stats;
	if (news && !b->manual && !m->next_balloon_ns)
		m->next_balloon_ns = now + period_ns(m);
	return NULL;
}

/* ---- a tick ---- */

static struct balloon_input look_at(const struct tenant *t)
{
	const struct tenant_balloon *b = t->balloon;

	return (struct balloon_input){
		.ram_pages = t->promise.ram_pages,
		.shares = t->promise.shares,
		.min_pages = t->promise.balloon_min_pages,
		.resident_pages = t->ram < 0 ? t->account.credit_pages : tenant_resident_pages(t),
		.actual_pages = b->said.actual,
		.touches = b->said.touches,
		.driver = has_driver(&b->said),
		.asks = b->asks,
		.manual = b->manual,
		.manual_pages = b->manual_pages,
		.stats = b->stats,
	};
}

static bool take_picture(struct machine *m, struct picture *p)
{
	struct tenant *t;

	p->in = calloc(m->nr_tenants + 1, sizeof(*p->in));
	p->vm = calloc(m->nr_tenants + 1, sizeof(struct balloon_vm *));
	p->tenant = calloc(m->nr_tenants + 1, sizeof(struct tenant *));
	if (!p->in || !p->vm || !p->tenant)
		return false;
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		if (!is_heard(t))
			continue;
		p->in[p->nr] = look_at(t);
		p->vm[p->nr] = &t->balloon->policy;
		p->tenant[p->nr++] = t;
		t->balloon->asks = false;
	}
	return true;
}

static void discard_picture(struct picture *p)
{
	free(p->in);
	free(p->vm);
	free(p->tenant);
}

/* Memory that somebody waits for counts as not free. */
static struct balloon_machine look_at_machine(const struct machine *m)
{
	const struct budget *b = &m->budget;
	uint64_t spoken_for = m->balloon_need_pages;
	const struct tenant *t;

	TAILQ_FOREACH(t, &m->queue, in_queue)
	spoken_for += t->need_pages;
	return (struct balloon_machine){
		.now_ns = machine_now(m),
		.memory_pages = b->memory_pages,
		.free_pages = less(budget_free(b), spoken_for),
		.min_pages = b->min_pages,
		.low_pages = b->low_pages,
		.high_pages = b->high_pages,
	};
}

/* Note a target that moved, and a guest that has become silent. */
static void note_decision(struct machine *m, const struct tenant *t, enum balloon_reason before)
{
	const struct balloon_vm *vm = &t->balloon->policy;
	const struct balloon_decision *d = balloon_log_get(vm, 0);
	char text[400];

	if (!d || (vm->plan.from_pages == vm->target_pages &&
		   (d->reason != BALLOON_SILENT || before == BALLOON_SILENT)))
		return;
	balloon_describe(d, text, sizeof(text));
	event_note(m, EVENT_BALLOON, t, balloon_reason_name(d->reason),
		   NUMBERS(event_count(vm->plan.from_pages), event_count(vm->target_pages),
			   event_count(d->actual_pages), event_count(d->resident_pages),
			   event_count(d->available_pages), event_count(d->active_pages),
			   event_count(d->margin_pages), event_count(d->limit_pages),
			   event_count(d->free_pages), event_count(d->short_pages)),
		   "balloon: %s", text);
}

/* Send the target if it changed.  A VM that does not read just now gets it with the next tick. */
static void send_target(struct machine *m, struct tenant *t)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_TARGET, 0);
	struct tenant_balloon *b = t->balloon;

	msg.target.pages = b->policy.target_pages;
	msg.target.manual = b->manual;
	if (b->sent.pages == msg.target.pages && b->sent.manual == msg.target.manual)
		return;
	if (!channel_post(m, t, &msg, -1))
		b->sent = msg.target;
}

static enum balloon_reason last_reason(const struct balloon_vm *vm)
{
	const struct balloon_decision *d = balloon_log_get(vm, 0);

	return d ? d->reason : BALLOON_SILENT;
}

static void decide(struct machine *m, struct picture *p, enum balloon_reason *before)
{
	struct balloon_machine picture = look_at_machine(m);

	for (unsigned int i = 0; i < p->nr; i++)
		before[i] = last_reason(p->vm[i]);
	balloon_policy_tick(&m->balloon_policy, &picture, p->in, p->vm, p->nr);
	for (unsigned int i = 0; i < p->nr; i++) {
		note_decision(m, p->tenant[i], before[i]);
		send_target(m, p->tenant[i]);
	}
}

static void tick(struct machine *m)
{
	struct picture p = { .nr = 0 };
	enum balloon_reason *before = calloc(m->nr_tenants + 1, sizeof(*before));

	if (take_picture(m, &p) && before)
		decide(m, &p, before);
	free(before);
	discard_picture(&p);
	m->balloon_need_pages = 0;
	m->last_balloon_ns = machine_now(m);
	m->next_balloon_ns = is_policys(m) ? m->last_balloon_ns + period_ns(m) : 0;
}

void balloon_expire(struct machine *m, uint64_t now)
{
	if (m->next_balloon_ns && now >= m->next_balloon_ns)
		tick(m);
}

/* ---- is it worth waiting? ---- */

uint64_t balloon_owed_by(const struct tenant *t)
{
	if (!is_heard(t) || !t->balloon->policy.plan.answers)
		return 0;
	return less(t->balloon->policy.target_pages, t->balloon->said.actual);
}

uint64_t balloon_owed(const struct machine *m)
{
	const struct tenant *t;
	uint64_t pages = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	pages += balloon_owed_by(t);
	return pages;
}

bool balloon_may_help(const struct machine *m, uint64_t now)
{
	uint64_t patience = m->config.balloon_patience_ms * NS_PER_MS;
	uint64_t since = max_u64(m->queue_since_ns, m->returned_ns);

	return now < since + patience && now < m->queue_since_ns + PATIENCE_FACTOR * patience &&
	       balloon_owed(m);
}

/* ---- operators ---- */

static void send_state(struct machine *m, struct client *c, const struct tenant *t)
{
	struct machine_msg answer = wire_msg(MACHINE_BALLOON_STATE, t->id);
	const struct tenant_balloon *b = t->balloon;

	answer.balloon_state = (struct machine_balloon_state){
		.mode = t->promise.balloon,
		.manual = b ? b->manual : t->promise.balloon == BALLOON_MODE_MANUAL,
		.shares = t->promise.shares,
		.heard = b != NULL,
		.ram_pages = t->promise.ram_pages,
		.min_pages = t->promise.balloon_min_pages,
	};
	if (b) {
		answer.balloon_state.target_pages = b->policy.known ? b->policy.target_pages :
								      b->said.target;
		answer.balloon_state.said = b->said;
	}
	client_send(m, c, &answer, -1);
}

/* The VM that is meant, if it has a balloon; NULL: the client has been refused. */
static struct tenant *find(struct machine *m, struct client *c, uint32_t id)
{
	struct tenant *t = tenant_find(m, id);

	if (t && t->promise.balloon != BALLOON_MODE_OFF)
		return t;
	if (t)
		client_refuse(m, c, -EOPNOTSUPP, "it was started with --balloon=off");
	else
		client_refuse(m, c, -ESRCH, "there is no such VM");
	return NULL;
}

bool balloon_on_get(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	const struct tenant *t = find(m, c, msg->vm);

	(void)fd;
	if (t)
		send_state(m, c, t);
	return true;
}

static int set_by_hand(const struct tenant *t, uint64_t pages, struct quire_error *err)
{
	uint64_t most = t->promise.ram_pages - t->promise.balloon_min_pages;

	if (pages > most)
		return quire_fail(err, -ERANGE,
				  "its guest keeps at least %" PRIu64 " MiB, as "
				  "--balloon-min says",
				  (t->promise.balloon_min_pages + 255) / 256);
	t->balloon->manual = true;
	t->balloon->manual_pages = pages;
	return 0;
}

bool balloon_on_set(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct tenant *t = find(m, c, msg->vm);
	struct quire_error err;
	int code = 0;

	(void)fd;
	if (!t)
		return true;
	if (!is_heard(t))
		code = quire_fail(&err, -EAGAIN,
				  "it has said nothing of its balloon yet; try again");
	else if (msg->target.manual)
		code = set_by_hand(t, msg->target.pages, &err);
	else
		t->balloon->manual = false;
	if (code) {
		client_refuse(m, c, code, err.text);
		return true;
	}
	tick(m);
	send_state(m, c, t);
	return true;
}

bool balloon_on_why(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg answer = wire_msg(MACHINE_DECISION, msg->vm);
	const struct tenant *t = find(m, c, msg->vm);

	(void)fd;
	if (!t)
		return true;
	if (t->balloon && msg->pages < balloon_log_count(&t->balloon->policy)) {
		answer.decision.now_ns = machine_now(m);
		answer.decision.what =
			*balloon_log_get(&t->balloon->policy, (unsigned int)msg->pages);
	} else {
		answer = wire_msg(MACHINE_END, 0);
	}
	client_send(m, c, &answer, -1);
	return true;
}
