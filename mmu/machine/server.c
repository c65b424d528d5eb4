/* SPDX-License-Identifier: MIT */
/*
 * The machine's loop.
 *
 * Every descriptor is a struct source in one epoll set.  The set is level-triggered, so that the
 * machine may read only a few packets from each source in a round: nothing is lost, and everybody
 * has a turn.  A round does this:
 *
 *   1. It reads what is readable: packets, hang-ups, ended processes.
 *   2. It serves one packet about equal pages, of all that wait.
 *   3. It gives back some of the frames that dead VMs held.
 *   4. It acts on deadlines that have passed: of silent clients, of a stop, of the policies,
 *      of VMs that wait.
 *   5. It grants the CREDITs that can be granted now, and looks whether memory is short.
 *   6. It tells who follows the log what has happened.
 *   7. It empties the graveyard: what ended in this round is freed.
 *
 * A descriptor that came from a peer may have other owners.  So closing ours does not take it out
 * of the epoll set, and source_close() always does that first.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include "server_internal.h"

#define EVENTS_PER_ROUND 64

#define DEFAULT_RECALL_MS   200
#define DEFAULT_IGNORE_MS   1000
#define DEFAULT_MEASURE_MS  1000
#define DEFAULT_VICTIM_MS   10000
#define DEFAULT_STOP_MS	    10000
#define DEFAULT_BALLOON_MS  1000
#define DEFAULT_RECLAIM_MS  100
#define DEFAULT_PATIENCE_MS 2000
#define DEFAULT_LOAD_MS	    1000
#define DEFAULT_SUSPEND_MS  10000
#define DEFAULT_MAX_CLIENTS 1024
#define DEFAULT_MAX_VMS	    16384

uint64_t machine_now(const struct machine *m)
{
	return m->config.clock_ns ? m->config.clock_ns(m->config.ctx) : monotonic_ns();
}

void machine_log(struct machine *m, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!m->config.log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	m->config.log(m->config.ctx, line);
}

int source_add(struct machine *m, struct source *s)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };

	return epoll_ctl(m->epoll, EPOLL_CTL_ADD, s->fd, &event) ? -errno : 0;
}

void source_close(struct machine *m, struct source *s)
{
	if (s->fd < 0)
		return;
	epoll_ctl(m->epoll, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	s->fd = -1;
}

static void set_defaults(struct machine_config *c)
{
	c->recall_ms = c->recall_ms ? c->recall_ms : DEFAULT_RECALL_MS;
	c->ignore_ms = c->ignore_ms ? c->ignore_ms : DEFAULT_IGNORE_MS;
	c->measure_ms = c->measure_ms ? c->measure_ms : DEFAULT_MEASURE_MS;
	c->victim_ms = c->victim_ms ? c->victim_ms : DEFAULT_VICTIM_MS;
	c->stop_ms = c->stop_ms ? c->stop_ms : DEFAULT_STOP_MS;
	c->balloon_ms = c->balloon_ms ? c->balloon_ms : DEFAULT_BALLOON_MS;
	c->balloon_patience_ms = c->balloon_patience_ms ? c->balloon_patience_ms :
							  DEFAULT_PATIENCE_MS;
	c->reclaim_ms = c->reclaim_ms ? c->reclaim_ms : DEFAULT_RECLAIM_MS;
	c->reclaim_patience_ms = c->reclaim_patience_ms ? c->reclaim_patience_ms :
							  DEFAULT_PATIENCE_MS;
	c->load_ms = c->load_ms ? c->load_ms : DEFAULT_LOAD_MS;
	c->suspend_ms = c->suspend_ms ? c->suspend_ms : DEFAULT_SUSPEND_MS;
	c->hash = c->hash ? c->hash : page_hash;
	c->max_clients = c->max_clients ? c->max_clients : DEFAULT_MAX_CLIENTS;
	c->max_vms = c->max_vms ? c->max_vms : DEFAULT_MAX_VMS;
}

static void init_policy(struct machine *m)
{
	struct balloon_policy_config config;

	balloon_policy_defaults(&config);
	balloon_policy_init(&m->balloon_policy, &config);
}

int machine_create(const struct machine_config *config, struct machine **out,
		   struct quire_error *err)
{
	int code = ledger_config_check(&config->ledger, err);
	struct machine *m;

	if (code)
		return code;
	m = calloc(1, sizeof(*m));
	if (!m)
		return quire_fail(err, -ENOMEM, "no memory for the machine");
	m->config = *config;
	set_defaults(&m->config);
	m->ledger.config = config->ledger;
	budget_init(&m->budget, config->ledger.memory_pages);
	init_policy(m);
	m->listener.fd = m->listening.fd = m->news.fd = -1;
	TAILQ_INIT(&m->clients);
	TAILQ_INIT(&m->dead_clients);
	TAILQ_INIT(&m->tenants);
	TAILQ_INIT(&m->dead_tenants);
	TAILQ_INIT(&m->queue);
	TAILQ_INIT(&m->merges);
	TAILQ_INIT(&m->swap_queue);
	TAILQ_INIT(&m->leaving);
	TAILQ_INIT(&m->domains);
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (m->epoll < 0)
		code = quire_fail(err, -errno, "cannot create an epoll set: %s", strerror(errno));
	else if (events_init(m))
		code = quire_fail(err, -ENOMEM, "no memory for the log of events");
	if (code) {
		if (m->epoll >= 0)
			close(m->epoll);
		free(m);
		return code;
	}
	m->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	shelf_open(&m->shelf);
	*out = m;
	return 0;
}

static void bury(struct machine *m)
{
	struct client *c;
	struct tenant *t;

	while ((c = TAILQ_FIRST(&m->dead_clients))) {
		TAILQ_REMOVE(&m->dead_clients, c, link);
		free(c);
	}
	while ((t = TAILQ_FIRST(&m->dead_tenants))) {
		TAILQ_REMOVE(&m->dead_tenants, t, link);
		free(t->balloon);
		free(t);
	}
}

void machine_destroy(struct machine *m)
{
	struct domain *d;

	if (!m)
		return;
	/* Nobody is told that a VM has ended, because none has. */
	while (!TAILQ_EMPTY(&m->clients))
		client_drop(m, TAILQ_FIRST(&m->clients), NULL);
	m->config.log = NULL;
	/* VMs go on with the frames that they share, as orphans: these frames keep their bytes. */
	for (d = TAILQ_FIRST(&m->domains); d; d = TAILQ_NEXT(d, link))
		d->store.outlived = true;
	while (!TAILQ_EMPTY(&m->tenants))
		tenant_end(m, TAILQ_FIRST(&m->tenants));
	while (!TAILQ_EMPTY(&m->leaving))
		merge_give_back(m);
	assert(!m->ledger.committed_pages && !m->budget.used_pages && !m->swap_held_pages);
	assert(TAILQ_EMPTY(&m->queue) && TAILQ_EMPTY(&m->swap_queue) && !m->nr_clients &&
	       !m->nr_tenants);
	assert(TAILQ_EMPTY(&m->merges) && TAILQ_EMPTY(&m->domains));
	bury(m);
	source_close(m, &m->news);
	events_finish(m);
	shelf_close(&m->shelf);
	listener_close(&m->listener);
	close(m->epoll);
	if (m->proc >= 0)
		close(m->proc);
	free(m);
}

int machine_listen(struct machine *m, const char *address, struct quire_error *err)
{
	int code;

	if (m->listener.fd >= 0)
		return quire_fail(err, -EBUSY, "the machine listens already");
	code = listener_open(&m->listener, address, err);
	if (code)
		return code;
	m->listening = (struct source){ .kind = SERVER_SOURCE_LISTENER, .fd = m->listener.fd };
	code = source_add(m, &m->listening);
	if (code) {
		listener_close(&m->listener);
		m->listening.fd = -1;
		return quire_fail(err, code, "cannot poll the socket: %s", strerror(-code));
	}
	return 0;
}

unsigned int machine_places(const struct machine *m, struct place place[MACHINE_MAX_PLACES])
{
	place[0] = (struct place){ .path = "/proc", .use = PLACE_READ };
	place[1] = (struct place){ .fd = m->shelf.ours, .use = PLACE_KEEP };
	return listener_place(&m->listener, &place[2]) ? 3 : 2;
}

void machine_start_setter(struct machine *m, void (*hold)(void))
{
	shelf_start_setter(&m->shelf, hold);
}

void machine_hold_setter(struct machine *m, bool places)
{
	if (!places)
		shelf_close(&m->shelf);
	shelf_hold_setter(&m->shelf);
}

int machine_fd(const struct machine *m)
{
	return m->epoll;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ? a : b;
	return min_u64(a, b);
}

int machine_timeout_ms(const struct machine *m)
{
	uint64_t next = earlier(m->queue_deadline_ns, m->stop_deadline_ns), now, ms;
	const struct client *c;

	if (!TAILQ_EMPTY(&m->leaving))
		return 0;
	next = earlier(earlier(next, m->strangers_ns), m->accept_again_ns);
	next = earlier(next, m->next_balloon_ns);
	next = earlier(next, m->next_reclaim_ns);
	next = earlier(next, m->next_load_ns);
	next = earlier(next, m->next_measure_ns);
	next = earlier(next, m->next_sweep_ns);
	TAILQ_FOREACH(c, &m->clients, link)
	next = earlier(next, c->state == CLIENT_NEW ? c->hello_deadline_ns : c->event_deadline_ns);
	if (!next)
		return -1;
	now = machine_now(m);
	if (next <= now)
		return 0;
	ms = (next - now + NS_PER_MS - 1) / NS_PER_MS;
	return (int)min_u64(ms, INT_MAX);
}

static void expire_clients(struct machine *m, uint64_t now)
{
	struct client *c, *next;

	for (c = TAILQ_FIRST(&m->clients); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->state == CLIENT_NEW && now >= c->hello_deadline_ns)
			client_drop(m, c, "it said nothing");
	}
}

static void expire_stop(struct machine *m)
{
	struct tenant *t, *next;

	m->stop_deadline_ns = 0;
	for (t = TAILQ_FIRST(&m->tenants); t; t = next) {
		next = TAILQ_NEXT(t, link);
		event_note(m, EVENT_OVERDUE, t, NULL, NULL, "did not stop in %u ms, killed",
			   m->config.stop_ms);
		if (!tenant_kill(m, t, MACHINE_ENDED))
			tenant_end(m, t);
	}
}

static void resume_listening(struct machine *m)
{
	m->accept_again_ns = 0;
	if (source_add(m, &m->listening))
		m->accept_again_ns = machine_now(m) + 100 * NS_PER_MS;
}

static void expire(struct machine *m)
{
	uint64_t now = machine_now(m);

	expire_clients(m, now);
	if (m->stop_deadline_ns && now >= m->stop_deadline_ns)
		expire_stop(m);
	if (m->accept_again_ns && now >= m->accept_again_ns)
		resume_listening(m);
	if (m->strangers_ns && now >= m->strangers_ns)
		strangers_expire(m);
	merge_expire(m, now);
	balloon_expire(m, now);
	reclaim_expire(m, now);
	load_expire(m, now);
	measure_expire(m, now);
	pressure_expire(m, now);
}

/* An event for something that ended earlier in this round means nothing: its fd is -1. */
static void dispatch(struct machine *m, struct source *s)
{
	if (s->fd < 0)
		return;
	switch (s->kind) {
	case SERVER_SOURCE_LISTENER: listener_ready(m); break;
	case SERVER_SOURCE_CLIENT: client_ready(m, s->owner); break;
	case SERVER_SOURCE_CHANNEL: channel_ready(m, s->owner); break;
	case SERVER_SOURCE_PROCESS: tenant_end(m, s->owner); break;
	case SERVER_SOURCE_MERGE: merge_ready(m, s->owner); break;
	case SERVER_SOURCE_NEWS: events_take_news(m); break;
	}
}

/* Who follows the log alone keeps no machine going. */
static bool is_done(const struct machine *m)
{
	if (m->nr_tenants)
		return false;
	return m->stopping ||
	       (m->config.exit_when_idle && m->had_clients && m->nr_clients == m->nr_followers);
}

int machine_serve(struct machine *m)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	int nr = epoll_wait(m->epoll, events, EVENTS_PER_ROUND, 0);

	if (nr < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < nr; i++)
		dispatch(m, events[i].data.ptr);
	merge_serve(m);
	merge_give_back(m);
	expire(m);
	pressure_serve(m);
	reclaim_look(m);
	events_serve(m);
	bury(m);
	return is_done(m);
}

void machine_stop_all(struct machine *m)
{
	struct tenant *t, *next;

	if (m->stopping)
		return;
	m->stopping = true;
	m->stop_deadline_ns = machine_now(m) + m->config.stop_ms * NS_PER_MS;
	for (t = TAILQ_FIRST(&m->tenants); t; t = next) {
		next = TAILQ_NEXT(t, link);
		channel_send(m, t, MACHINE_STOP, 0);
	}
}

int machine_run(struct machine *m, int stop_fd)
{
	int code;

	while (!(code = machine_serve(m))) {
		struct pollfd fds[] = {
			{ .fd = m->epoll, .events = POLLIN },
			{ .fd = m->stopping ? -1 : stop_fd, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), machine_timeout_ms(m)) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			machine_stop_all(m);
	}
	return code < 0 ? code : 0;
}
