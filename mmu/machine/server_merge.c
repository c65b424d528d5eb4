/* SPDX-License-Identifier: MIT */
/*
 * Equal pages: which VM belongs to which domain, and what VMs say over the connections that they
 * got for their JOIN (merge_protocol.h).
 *
 * A packet here may cost half a millisecond, a thousand times as much as a CREDIT.  Credits must
 * not wait for merges.  So connections that have something to say wait in a queue, and each round
 * of the machine's loop serves one packet of the first.  What a dead VM held is given back in
 * parts, one in each round.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "server_internal.h"
#include "mmu/base/wire.h"

/* As many pages as KVM's largest memslot has.  A gfn must fit into 32 bits of an index entry. */
#define GFNS_MAX (1ULL << 31)

/* A RAM file is in order of gpa, with holes where there is no RAM.  They are below 4 GiB. */
#define HOLES_MAX (4 * GiB / QUIRE_PAGE_SIZE)

/* So many frames of a dead VM are given back in a round: 3 ms, if they are freed one by one. */
#define FRAMES_AT_ONCE 4096

/* So many pages are read and hashed at once for an operator, about 5 ms. */
#define HASHES_AT_ONCE 8192u

/* Stores are looked through for stray pages so often, while a VM has a segment. */
#define SWEEP_NS NS_PER_S

/* So long after credits were recalled memory counts as short. */
#define SHORT_NS (10 * NS_PER_S)

/* Room in the socket for answers.  A VM asks one thing at a time, so this is plenty. */
#define ANSWERS_MAX 8

static struct domain *find_domain(struct machine *m, const char *name)
{
	struct domain *d;

	TAILQ_FOREACH(d, &m->domains, link)
	if (*name && !strcmp(d->name, name))
		return d;
	return NULL;
}

static uint64_t charge_frames(void *ctx, uint64_t frames)
{
	return budget_charge_store(ctx, frames);
}

static void uncharge_frames(void *ctx, uint64_t frames)
{
	budget_uncharge_store(ctx, frames);
}

static struct domain *add_domain(struct machine *m, const struct tenant *t)
{
	struct frame_account account = { charge_frames, uncharge_frames, &m->budget };
	struct domain *d = domain_create(&account, m->config.hash, t->promise.domain, &m->shelf,
					 MERGE_MAX_SEGMENTS);

	if (!d)
		return NULL;
	d->id = ++m->last_domain_id;
	d->vm = *d->name ? 0 : t->id;
	TAILQ_INSERT_TAIL(&m->domains, d, link);
	m->nr_domains++;
	return d;
}

static void drop_if_empty(struct machine *m, struct domain *d)
{
	if (d->nr_members || d->nr_leaving)
		return;
	TAILQ_REMOVE(&m->domains, d, link);
	m->nr_domains--;
	domain_destroy(d);
}

/* How many gfns can be RAM.  The VM made the file, so the file's size alone is not believed. */
static uint64_t mergeable_gfns(const struct tenant *t)
{
	struct stat st;

	if (fstat(t->ram, &st))
		return 0;
	return min_u64(t->promise.ram_pages + HOLES_MAX, (uint64_t)st.st_size / QUIRE_PAGE_SIZE);
}

/*
 * Charge t for what it costs to merge it, as overhead.  What a partner's LOOKUP adds or takes is
 * charged when t speaks next.
 */
static void charge(struct machine *m, struct tenant *t)
{
	uint64_t bytes = member_bytes(t->member);

	budget_set_overhead(&m->budget, &t->account,
			    t->promise.overhead_pages + bytes / QUIRE_PAGE_SIZE + 1);
}

/* Is there memory for what merging costs?  As for frames, it may take half of min. */
static bool has_room(const struct machine *m)
{
	return budget_free(&m->budget) > m->budget.min_pages / 2;
}

/* Make t a member of its domain.  False: there is no memory for it. */
static bool become_member(struct machine *m, struct tenant *t, uint64_t gfns)
{
	struct domain *d = find_domain(m, t->promise.domain);

	if (!d)
		d = add_domain(m, t);
	t->member = d ? domain_join(d, t->ram, gfns, t->promise.ram_pages) : NULL;
	if (t->member)
		charge(m, t);
	else if (d)
		drop_if_empty(m, d);
	return t->member != NULL;
}

/* Make the connection, of which we keep one end.  Returns the VM's end; -1: there is none. */
static int connect_keeper(struct machine *m, struct tenant *t)
{
	int room = ANSWERS_MAX * (int)sizeof(struct merge_msg), pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -1;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	t->merge = (struct source){ .kind = SERVER_SOURCE_MERGE, .fd = pair[0], .owner = t };
	if (!source_add(m, &t->merge))
		return pair[1];
	source_close(m, &t->merge);
	close(pair[1]);
	return -1;
}

static int join(struct machine *m, struct tenant *t, uint64_t gfns)
{
	int keeper = connect_keeper(m, t);

	if (keeper >= 0 && !become_member(m, t, gfns)) {
		source_close(m, &t->merge);
		close(keeper);
		keeper = -1;
	}
	if (keeper < 0)
		event_note(m, EVENT_JOIN, t, "no memory", NUMBERS(EVENT_UNKNOWN, EVENT_UNKNOWN),
			   "no memory to merge its pages");
	else
		event_note(m, EVENT_JOIN, t, t->member->domain->name,
			   NUMBERS(t->member->domain->id, t->member->domain->nr_members),
			   "joined domain %u '%s'", t->member->domain->id, t->member->domain->name);
	return keeper;
}

const char *merge_join(struct machine *m, struct tenant *t)
{
	struct machine_msg answer = wire_msg(MACHINE_JOINED, 0);
	int keeper, code;
	uint64_t gfns;

	if (t->ram < 0 || t->member)
		return t->member ? "a second JOIN" : "a JOIN before ATTACH";
	gfns = mergeable_gfns(t);
	if (!gfns || gfns > GFNS_MAX)
		return "a JOIN with a RAM file that is too small or too large";
	keeper = join(m, t, gfns);
	code = channel_post(m, t, &answer, keeper);
	if (keeper >= 0)
		close(keeper);
	return code == -EAGAIN ? "it does not read its answers" : NULL;
}

void merge_hang_up(struct machine *m, struct tenant *t)
{
	source_close(m, &t->merge);
	if (t->merge_waits)
		TAILQ_REMOVE(&m->merges, t, in_merges);
	t->merge_waits = false;
}

void merge_end(struct machine *m, struct tenant *t)
{
	merge_hang_up(m, t);
	if (!t->member)
		return;
	domain_leave(t->member);
	TAILQ_INSERT_TAIL(&m->leaving, t->member, in_leaving);
	t->member = NULL;
}

void merge_give_back(struct machine *m)
{
	struct member *member = TAILQ_FIRST(&m->leaving);
	struct domain *d;

	if (!member)
		return;
	d = member->domain;
	TAILQ_REMOVE(&m->leaving, member, in_leaving);
	if (domain_give_back(member, FRAMES_AT_ONCE))
		drop_if_empty(m, d);
	else
		TAILQ_INSERT_HEAD(&m->leaving, member, in_leaving);
}

void merge_ready(struct machine *m, struct tenant *t)
{
	if (t->merge_waits)
		return;
	t->merge_waits = true;
	TAILQ_INSERT_TAIL(&m->merges, t, in_merges);
}

/* Send m->merge_answer.  A VM that does not read is killed. */
static void reply(struct machine *m, struct tenant *t, int attach)
{
	int code = wire_send_merge(t->merge.fd, &m->merge_answer, attach);

	if (code == -EAGAIN)
		tenant_misbehaved(m, t, "it does not read the answers about its pages");
	else if (code)
		merge_hang_up(m, t);
}

static void begin_answer(struct machine *m, enum merge_type type, uint32_t arg)
{
	memset(&m->merge_answer, 0, sizeof(m->merge_answer));
	wire_merge_header(&m->merge_answer, type);
	m->merge_answer.arg = arg;
}

static void segment(struct machine *m, struct tenant *t, uint32_t which)
{
	int fd = domain_open(t->member, which);

	if (fd >= 0 && !m->next_sweep_ns)
		m->next_sweep_ns = machine_now(m) + SWEEP_NS;
	begin_answer(m, fd < 0 ? MERGE_FRAMES : MERGE_SEGMENT, fd < 0 ? 0 : which);
	reply(m, t, fd);
	if (fd >= 0)
		close(fd);
}

/* Was memory short just now, so that frames which nobody uses should be archived? */
static bool is_short(const struct machine *m)
{
	return budget_free(&m->budget) < m->budget.high_pages ||
	       (m->next_recall_ns && machine_now(m) < m->next_recall_ns + SHORT_NS);
}

static void secret(struct machine *m, struct tenant *t)
{
	begin_answer(m, MERGE_SECRET, 0);
	m->merge_answer.secret = t->member->domain->secret;
	reply(m, t, -1);
}

static const char *serve(struct machine *m, struct tenant *t, const struct merge_msg *ask)
{
	const char *fault = NULL;

	switch (ask->type) {
	case MERGE_LOOKUP:
		begin_answer(m, MERGE_FRAMES, 0);
		member_limit_hints(t->member, has_room(m));
		member_forgive(t->member, machine_now(m));
		fault = domain_lookup(t->member, ask, &m->merge_answer);
		break;
	case MERGE_NEWS:
		begin_answer(m, MERGE_FRAMES, 0);
		domain_news(t->member, &m->merge_answer);
		m->merge_answer.arg |= is_short(m) ? MERGE_SHORT : 0;
		break;
	case MERGE_DROP: return domain_drop(t->member, ask);
	case MERGE_COLD: return domain_cold(t->member, ask);
	case MERGE_SEGMENT: segment(m, t, ask->arg); return NULL;
	case MERGE_SECRET: secret(m, t); return NULL;
	case MERGE_PASS: events_passed(m, t, &ask->pass); return NULL;
	default: return "a type that is none of merging";
	}
	if (!fault)
		reply(m, t, -1);
	return fault;
}

static void receive(struct machine *m, struct tenant *t)
{
	const char *fault;
	int fd, code = wire_recv_merge(t->merge.fd, &m->merge_ask, &fd);

	if (!code)
		return;
	if (code == -ECONNRESET) {
		merge_hang_up(m, t);
		return;
	}
	fault = code < 0 ? "not a packet of merging" :
		fd >= 0	 ? "a descriptor too many" :
			   serve(m, t, &m->merge_ask);
	if (fd >= 0)
		close(fd);
	if (t->member)
		charge(m, t);
	if (fault)
		tenant_misbehaved(m, t, fault);
}

void merge_serve(struct machine *m)
{
	struct tenant *t = TAILQ_FIRST(&m->merges);

	if (!t)
		return;
	TAILQ_REMOVE(&m->merges, t, in_merges);
	t->merge_waits = false;
	receive(m, t);
}

static void sweep(struct machine *m, struct domain *d)
{
	uint64_t pages;
	struct member *culprit = domain_sweep(d, &pages);
	struct tenant *t;

	if (!pages)
		return;
	machine_log(m, "domain %u '%s': %llu pages of its store were there that nobody published",
		    d->id, d->name, (unsigned long long)pages);
	TAILQ_FOREACH(t, &m->tenants, link)
	if (culprit && t->member == culprit) {
		tenant_misbehaved(m, t, "it reads frames that nobody published");
		return;
	}
}

void merge_expire(struct machine *m, uint64_t now)
{
	struct domain *d, *next;

	if (!m->next_sweep_ns || now < m->next_sweep_ns)
		return;
	m->next_sweep_ns = TAILQ_EMPTY(&m->domains) ? 0 : now + SWEEP_NS;
	for (d = TAILQ_FIRST(&m->domains); d; d = next) {
		next = TAILQ_NEXT(d, link);
		sweep(m, d);
	}
}

/* Does another domain than `own` know this page? */
static bool is_elsewhere(const struct machine *m, const struct domain *own, const void *page)
{
	const struct domain *d;

	TAILQ_FOREACH(d, &m->domains, link)
	if (d != own && domain_knows(d, page))
		return true;
	return false;
}

/*
 * Each domain hashes in its own way, so the pages are read again, and not all of them: each
 * `stride`th hint stands for as many.
 */
uint64_t merge_elsewhere(const struct machine *m, const struct tenant *t)
{
	uint64_t most = max_u64(HASHES_AT_ONCE / max_u64(m->nr_domains, 1), 1);
	uint64_t hints = t->member ? t->member->nr_hints : 0;
	uint64_t stride = hints / most + 1, seen = 0, looked = 0, found = 0;
	uint8_t page[QUIRE_PAGE_SIZE];

	for (uint64_t gfn = 0; seen < hints; gfn++) {
		if (!t->member->hint_of[gfn] || seen++ % stride)
			continue;
		looked++;
		if (member_read(t->member, gfn, 1, page))
			found += is_elsewhere(m, t->member->domain, page);
	}
	return looked ? found * hints / looked : 0;
}
