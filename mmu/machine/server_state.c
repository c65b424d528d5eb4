/* SPDX-License-Identifier: MIT */
/*
 * The machine's numbers, and whether they add up:
 *
 *   committed == sum over tenants of (RAM + overhead)
 *   used == sum over tenants of (credits + overhead) + frames of the stores
 *   swap held == sum over tenants of what they hold of the swap area
 *   promised_pages of a client == sum over its tenants of (RAM + overhead)
 *   a tenant has a CREDIT that waits  <=>  it is in the queue, and its channel is open
 *   a tenant has a SWAP_CREDIT that waits  <=>  it is in the swap queue, and its channel is open
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "server_internal.h"

uint64_t tenant_resident_pages(const struct tenant *t)
{
	struct stat st;

	if (t->ram < 0 || fstat(t->ram, &st))
		return 0;
	return (uint64_t)st.st_blocks * 512 / QUIRE_PAGE_SIZE;
}

uint64_t tenant_promised_pages(const struct tenant *t)
{
	return t->promise.ram_pages + t->promise.overhead_pages;
}

void tenant_record(const struct tenant *t, struct machine_vm_record *r)
{
	r->ram_pages = t->promise.ram_pages;
	r->overhead_pages = t->account.overhead_pages;
	r->credit_pages = t->account.credit_pages;
	r->resident_pages = tenant_resident_pages(t);
	r->swap_pages = t->swap_pages;
	r->reclaim = t->reclaim;
	r->asked_pages = t->asked_pages;
	r->reclaimed_pages = t->reclaimed_pages;
	r->ignores = t->ignores;
	r->suspended = t->load.suspended;
	r->suspensions = t->load.suspensions;
	r->suspended_ns = t->load.suspended_ns;
	r->oom_score_adj = t->promise.oom_score_adj;
	r->pid = t->pid;
	memcpy(r->name, t->promise.name, sizeof(r->name));
	memcpy(r->domain, t->promise.domain, sizeof(r->domain));
	if (!t->member)
		return;
	r->shared_refs = t->member->references;
	r->lookup_misses = t->member->misses;
	r->lookup_unproven = t->member->unproven;
	r->lookup_late = t->member->late;
}

static void get_settings(const struct ledger_config *c, struct machine_settings *s)
{
	*s = (struct machine_settings){
		.fields = (MACHINE_SET_RESERVES << 1) - 1,
		.mode = c->mode,
		.guess = c->guess,
		.ratio = c->ratio,
		.limit_in_pages = c->limit_in_pages,
		.memory_pages = c->memory_pages,
		.swap_pages = c->swap_pages,
		.limit_pages = c->limit_pages,
		.reserved_huge_pages = c->reserved_huge_pages,
		.admin_reserve_pages = c->admin_reserve_pages,
		.user_reserve_pages = c->user_reserve_pages,
	};
}

static void get_merge_state(const struct machine *m, struct machine_state *s)
{
	const struct domain *d;

	TAILQ_FOREACH(d, &m->domains, link)
	{
		s->store_pages += d->store.used_frames;
		s->store_references += d->store.references;
		s->resident_pages += store_resident_frames(&d->store);
		s->merge_metadata_bytes += domain_index_bytes(d) + domain_store_bytes(d);
	}
	s->nr_domains = m->nr_domains;
	s->store_read_only = m->shelf.ours >= 0;
}

void machine_get_state(struct machine *m, struct machine_state *s)
{
	const struct tenant *t;

	memset(s, 0, sizeof(*s));
	get_settings(&m->ledger.config, &s->settings);
	s->committed_pages = m->ledger.committed_pages;
	s->commit_limit_pages = ledger_commit_limit(&m->ledger.config);
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		s->credit_pages += t->account.credit_pages;
		s->overhead_pages += t->account.overhead_pages;
		s->resident_pages += tenant_resident_pages(t);
	}
	get_merge_state(m, s);
	s->free_pages = budget_free(&m->budget);
	s->min_pages = m->budget.min_pages;
	s->low_pages = m->budget.low_pages;
	s->high_pages = m->budget.high_pages;
	s->admissions = m->admissions;
	s->refusals = m->refusals;
	s->oom_kills = m->oom_kills;
	s->swap_held_pages = m->swap_held_pages;
	s->reclaimed_pages = m->reclaimed_pages;
	s->reclaims = m->reclaims && m->nr_reclaimers;
	s->nr_reclaimers = m->nr_reclaimers;
	s->nr_suspended = m->nr_suspended;
	s->stall_permille = m->stall_permille;
	s->suspensions = m->suspensions;
	s->nr_vms = m->nr_tenants;
	s->pid = getpid();
}

struct audit {
	void (*report)(void *ctx, const char *what);
	void *ctx;
	unsigned int faults;
};

static void expect(struct audit *a, uint64_t got, uint64_t want, const char *what, uint32_t id)
{
	char line[160];

	if (got == want)
		return;
	a->faults++;
	snprintf(line, sizeof(line), "%s: %" PRIu64 ", recomputed %" PRIu64 " (vm %u)", what, got,
		 want, id);
	if (a->report)
		a->report(a->ctx, line);
}

static void audit_swap(struct audit *a, const struct machine *m)
{
	const struct tenant *t, *q;
	uint64_t held = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	{
		unsigned int queued = 0;

		TAILQ_FOREACH(q, &m->swap_queue, in_swap_queue)
		queued += q == t;
		expect(a, queued, t->swap_asked_pages != 0, "times in the swap queue", t->id);
		expect(a, queued && t->channel.fd < 0, false, "waits for swap without a channel",
		       t->id);
		expect(a, t->swap_pages > t->promise.ram_pages, false, "swap beyond RAM", t->id);
		held += t->swap_pages;
	}
	expect(a, m->swap_held_pages, held, "swap held", 0);
}

static void audit_reclaim(struct audit *a, const struct machine *m)
{
	unsigned int reclaimers = 0, suspended = 0;
	const struct tenant *t;
	uint64_t came_back = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	{
		bool may_be_asked = t->reclaim.on && t->channel.fd >= 0;

		reclaimers += may_be_asked;
		suspended += t->load.suspended;
		expect(a, t->load.suspended && !may_be_asked, false, "suspended, and cannot be",
		       t->id);
		expect(a, (t->asked_pages || t->ignores) && !may_be_asked, false,
		       "asked to reclaim, and cannot", t->id);
		expect(a, t->asked_pages && !t->reclaim.more, false, "asked for what it has not",
		       t->id);
		came_back += t->reclaimed_pages;
	}
	expect(a, m->nr_reclaimers, reclaimers, "VMs that reclaim", 0);
	expect(a, m->nr_suspended, suspended, "suspended VMs", 0);
	expect(a, came_back > m->reclaimed_pages, false, "reclaimed from VMs", 0);
}

static void audit_tenant(struct audit *a, const struct machine *m, const struct tenant *t)
{
	const struct tenant *q;
	unsigned int queued = 0;

	TAILQ_FOREACH(q, &m->queue, in_queue)
	queued += q == t;
	expect(a, queued, t->need_pages != 0, "times in the queue", t->id);
	expect(a, t->need_pages && t->channel.fd < 0, false, "waits without a channel", t->id);
	expect(a, t->account.credit_pages > t->promise.ram_pages, false, "credits beyond RAM",
	       t->id);
	expect(a, t->account.overhead_pages < t->promise.overhead_pages, false,
	       "overhead below what was promised", t->id);
	expect(a, t->account.overhead_pages > t->promise.overhead_pages, t->member != NULL,
	       "overhead for merging", t->id);
	expect(a,
	       t->state == TENANT_ADMITTED ? t->process.fd < 0 && t->channel.fd >= 0 :
					     t->process.fd >= 0,
	       true, "has what its state needs", t->id);
	expect(a, t->state == TENANT_DYING && t->channel.fd >= 0, false, "dying, yet heard", t->id);
}

static void expect_of_domain(void *ctx, uint64_t got, uint64_t want, const char *what)
{
	expect(ctx, got, want, what, 0);
}

/* Audit all domains.  Returns the frames of their stores, counted together. */
static uint64_t audit_domains(struct audit *a, const struct machine *m)
{
	unsigned int nr = 0, members = 0, joined = 0;
	const struct domain *d;
	const struct tenant *t;
	uint64_t frames = 0;

	TAILQ_FOREACH(d, &m->domains, link)
	{
		domain_audit(d, expect_of_domain, a);
		expect(a, d->nr_members || d->nr_leaving, true,
		       "a domain has members, or some that are leaving", 0);
		members += d->nr_members;
		frames += d->store.used_frames;
		nr++;
	}
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		joined += t->member != NULL;
		expect(a, t->merge.fd >= 0 && !t->member, false, "a connection of no member",
		       t->id);
	}
	expect(a, joined, members, "members of all domains", 0);
	expect(a, m->nr_domains, nr, "domains", 0);
	return frames;
}

static void audit_clients(struct audit *a, const struct machine *m)
{
	unsigned int nr = 0, followers = 0;
	const struct client *c;

	TAILQ_FOREACH(c, &m->clients, link)
	{
		const struct tenant *t;
		uint64_t promised = 0;

		TAILQ_FOREACH(t, &m->tenants, link)
		if (t->launcher == c)
			promised += tenant_promised_pages(t);
		expect(a, c->promised_pages, promised, "promised to a client's VMs", 0);
		expect(a, c->state == CLIENT_CLOSED, false, "closed client among the living", 0);
		followers += c->waits_for_event != 0;
		nr++;
	}
	expect(a, m->nr_clients, nr, "clients", 0);
	expect(a, m->nr_followers, followers, "clients that follow the log", 0);
}

unsigned int machine_audit(struct machine *m, void (*report)(void *ctx, const char *what),
			   void *ctx)
{
	struct audit a = { .report = report, .ctx = ctx };
	uint64_t committed = 0, used = 0;
	const struct tenant *t;
	unsigned int nr = 0;

	TAILQ_FOREACH(t, &m->tenants, link)
	{
		committed += tenant_promised_pages(t);
		used += t->account.credit_pages + t->account.overhead_pages;
		audit_tenant(&a, m, t);
		nr++;
	}
	expect(&a, m->ledger.committed_pages, committed, "committed pages", 0);
	used += audit_domains(&a, m);
	expect(&a, m->budget.used_pages, used, "used pages", 0);
	expect(&a, m->budget.memory_pages, m->ledger.config.memory_pages, "memory of the budget",
	       0);
	expect(&a, m->nr_tenants, nr, "VMs", 0);
	audit_swap(&a, m);
	audit_reclaim(&a, m);
	audit_clients(&a, m);
	return a.faults;
}
