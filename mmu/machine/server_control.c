/* SPDX-License-Identifier: MIT */
/*
 * Control connections.
 *
 * The table control_rules[] says in which state a client may send a request, and whether the
 * request carries a descriptor.  A handler returns false if the request broke the rules in some
 * other way: then the client is dropped.  A request that is well formed but cannot be done is
 * answered with REFUSED.
 *
 * After anything was sent the client may be gone, because it did not read its answers.  So handlers
 * send last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "oom.h"
#include "server_internal.h"
#include "mmu/base/mib.h"
#include "mmu/base/wire.h"

#define ACCEPTS_PER_ROUND 16
#define ACCEPT_PAUSE_NS	  (100 * NS_PER_MS)
#define STRANGERS_SAID	  5 /* the log has so many lines about clients of other users */
#define STRANGERS_NS	  (10 * NS_PER_S) /* ... in so long, and then one that counts the rest */

void client_drop(struct machine *m, struct client *c, const char *why)
{
	struct tenant *t;

	if (c->state == CLIENT_CLOSED)
		return;
	if (why)
		machine_log(m, "client of pid %d: hung up on: %s", (int)c->pid, why);
	source_close(m, &c->socket);
	events_forget(m, c);
	TAILQ_FOREACH(t, &m->tenants, link)
	if (t->launcher == c)
		t->launcher = NULL;
	TAILQ_REMOVE(&m->clients, c, link);
	TAILQ_INSERT_TAIL(&m->dead_clients, c, link);
	c->state = CLIENT_CLOSED;
	m->nr_clients--;
}

void client_send(struct machine *m, struct client *c, const struct machine_msg *msg, int attach)
{
	int code;

	if (c->state == CLIENT_CLOSED)
		return;
	code = wire_send(c->socket.fd, msg, attach);
	if (code == -EAGAIN)
		client_drop(m, c, "it does not read its answers");
	else if (code)
		client_drop(m, c, NULL);
}

static struct machine_msg refused(int error, const char *text)
{
	struct machine_msg msg = wire_msg(MACHINE_REFUSED, 0);

	msg.error = error;
	memcpy(msg.text, text, strnlen(text, sizeof(msg.text) - 1));
	return msg;
}

void client_refuse(struct machine *m, struct client *c, int error, const char *text)
{
	struct machine_msg msg = refused(error, text);

	client_send(m, c, &msg, -1);
}

/* The process and the user at the other end of fd; uid -1: the kernel does not tell. */
static struct ucred peer(int fd)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		cred.uid = (uid_t)-1;
	return cred;
}

/* Serve fd as a client.  Takes fd over, also on failure.  Returns 0 or -errno. */
static int client_create(struct machine *m, int fd, struct ucred cred)
{
	struct client *c = calloc(1, sizeof(*c));
	int code = -ENOMEM;

	if (c) {
		c->socket = (struct source){ .kind = SERVER_SOURCE_CLIENT, .fd = fd, .owner = c };
		code = source_add(m, &c->socket);
	}
	if (code) {
		free(c);
		close(fd);
		return code;
	}
	c->hello_deadline_ns = machine_now(m) + MACHINE_HELLO_SECONDS * 1000 * NS_PER_MS;
	c->privileged = cred.uid == 0;
	c->pid = cred.pid;
	TAILQ_INSERT_TAIL(&m->clients, c, link);
	m->nr_clients++;
	m->had_clients = true;
	return 0;
}

int machine_adopt_control(struct machine *m, int fd)
{
	return client_create(m, fd, peer(fd));
}

/* Stop accepting for a while: there are too many clients, or no descriptors.  The backlog waits. */
static void suspend_listening(struct machine *m)
{
	epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->listening.fd, NULL);
	m->accept_again_ns = machine_now(m) + ACCEPT_PAUSE_NS;
}

/* Strangers may knock as often as they like, and must not fill the log. */
static void log_stranger(struct machine *m, const struct ucred *cred)
{
	if (!m->strangers_ns)
		m->strangers_ns = machine_now(m) + STRANGERS_NS;
	if (m->strangers++ < STRANGERS_SAID)
		machine_log(m, "client of pid %d: hung up on: uid %u is neither mine nor root",
			    (int)cred->pid, (unsigned int)cred->uid);
	else
		m->strangers_unsaid++;
}

void strangers_expire(struct machine *m)
{
	if (m->strangers_unsaid)
		machine_log(m, "hung up on %u more clients of other users", m->strangers_unsaid);
	m->strangers = m->strangers_unsaid = 0;
	m->strangers_ns = 0;
}

void listener_ready(struct machine *m)
{
	for (unsigned int i = 0; i < ACCEPTS_PER_ROUND; i++) {
		struct ucred cred;
		int fd;

		if (m->nr_clients >= m->config.max_clients) {
			suspend_listening(m);
			return;
		}
		fd = accept4(m->listening.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
				suspend_listening(m);
			return;
		}
		cred = peer(fd);
		if (cred.uid == geteuid() || cred.uid == 0) {
			client_create(m, fd, cred);
		} else {
			log_stranger(m, &cred);
			close(fd);
		}
	}
}

static bool on_hello(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg answer = wire_msg(MACHINE_HELLO, 0);

	(void)msg, (void)fd;
	c->state = CLIENT_CONTROL;
	answer.pid = getpid();
	client_send(m, c, &answer, -1);
	return true;
}

static int64_t known_bytes(bool known, uint64_t pages)
{
	return known ? event_bytes(pages) : EVENT_UNKNOWN;
}

static void note_refusal(struct machine *m, const struct machine_admit *admit,
			 const struct machine_refusal *r, const char *text)
{
	static const char *const by[] = { "machine", "ledger", "budget" };
	bool ledger = r->book == MACHINE_LEDGER, budget = r->book == MACHINE_BUDGET;
	struct machine_event *e;

	e = event_note(m, EVENT_REFUSAL, NULL, by[r->book],
		       NUMBERS(known_bytes(ledger || budget, r->request_pages),
			       ledger ? (int64_t)r->mode : EVENT_UNKNOWN,
			       known_bytes(ledger, r->committed_pages),
			       known_bytes(ledger, r->allowed_pages),
			       known_bytes(budget, r->free_pages),
			       known_bytes(budget, r->min_pages)),
		       "%s", text);
	memcpy(e->name, admit->name, strnlen(admit->name, MACHINE_NAME_MAX));
}

static bool on_admit(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_refusal refusal;
	struct machine_msg answer;
	struct quire_error err;
	struct tenant *t;
	int channel, code;

	(void)fd;
	code = tenant_admit(m, c, &msg->admit, &t, &channel, &refusal, &err);
	if (code) {
		m->refusals += code != -EAGAIN;
		if (code != -EAGAIN || !c->asks_again)
			note_refusal(m, &msg->admit, &refusal, err.text);
		c->asks_again = code == -EAGAIN;
		answer = refused(code, err.text);
		answer.refusal = refusal;
		client_send(m, c, &answer, -1);
		return true;
	}
	c->asks_again = false;
	answer = wire_msg(MACHINE_ADMITTED, t->id);
	answer.pages = t->account.credit_pages;
	client_send(m, c, &answer, channel);
	close(channel);
	return true;
}

/*
 * Set *pid to the process of a pidfd, or to -1 if that has ended.  Only pidfds have a line "Pid:"
 * in their fdinfo.  Returns 0; -EBADF: fd is no pidfd.
 */
static int pidfd_pid(int fd, pid_t *pid)
{
	char path[48], line[128];
	int code = -EBADF;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return -EBADF;
	while (code && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", pid) == 1)
			code = 0;
	fclose(f);
	return code;
}

/* It is no offence to name a VM that has just ended: the request and its GONE have crossed. */
static bool on_started(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct tenant *t = tenant_find(m, msg->vm);
	pid_t pid;

	if (pidfd_pid(*fd, &pid))
		return false;
	if (!t)
		return msg->vm && msg->vm <= m->last_id;
	if (t->launcher != c || t->state != TENANT_ADMITTED)
		return false;
	tenant_started(m, t, *fd, pid);
	*fd = -1;
	return true;
}

static bool on_get(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg answer = wire_msg(MACHINE_STATE, 0);

	(void)msg, (void)fd;
	machine_get_state(m, &answer.state);
	client_send(m, c, &answer, -1);
	return true;
}

/* A list comes in parts, so that each fits into the socket of a client that reads it. */
static bool on_list(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg end = wire_msg(MACHINE_END, 0);
	unsigned int nr = 0;
	struct tenant *t;

	(void)fd;
	TAILQ_FOREACH(t, &m->tenants, link)
	{
		struct machine_msg answer = wire_msg(MACHINE_VM, t->id);

		if (t->id < msg->vm)
			continue;
		if (nr++ == MACHINE_LIST_MAX) {
			end.vm = t->id;
			break;
		}
		tenant_record(t, &answer.vm_record);
		client_send(m, c, &answer, -1);
	}
	client_send(m, c, &end, -1);
	return true;
}

static bool on_domains(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg end = wire_msg(MACHINE_END, 0);
	const struct domain *d;
	unsigned int nr = 0;

	(void)fd;
	TAILQ_FOREACH(d, &m->domains, link)
	{
		struct machine_msg answer = wire_msg(MACHINE_DOMAIN, d->id);

		if (d->id < msg->vm)
			continue;
		if (nr++ == MACHINE_LIST_MAX) {
			end.vm = d->id;
			break;
		}
		domain_record(d, &answer.domain_record);
		client_send(m, c, &answer, -1);
	}
	client_send(m, c, &end, -1);
	return true;
}

static bool on_elsewhere(struct machine *m, struct client *c, const struct machine_msg *msg,
			 int *fd)
{
	struct machine_msg answer = wire_msg(MACHINE_PAGES, msg->vm);
	const struct tenant *t = tenant_find(m, msg->vm);

	(void)fd;
	if (!t) {
		client_refuse(m, c, -ESRCH, "there is no such VM");
		return true;
	}
	answer.pages = merge_elsewhere(m, t);
	client_send(m, c, &answer, -1);
	return true;
}

static bool on_kill(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct machine_msg end = wire_msg(MACHINE_END, msg->vm);
	struct tenant *t = tenant_find(m, msg->vm);

	(void)fd;
	if (!t) {
		client_refuse(m, c, -ESRCH, "there is no such VM");
	} else if (!tenant_kill(m, t, MACHINE_ENDED)) {
		client_refuse(m, c, -EPERM, "its process is not known, or may not be killed");
	} else {
		event_note(m, EVENT_KILL, t, NULL, NULL, "killed, because pid %d asks for it",
			   (int)c->pid);
		client_send(m, c, &end, -1);
	}
	return true;
}

int ledger_config_check(const struct ledger_config *c, struct quire_error *err)
{
	if (!c->memory_pages)
		return quire_fail(err, -EINVAL, "a machine has at least 4 KiB of memory");
	if (c->memory_pages > MACHINE_PAGES_MAX || c->swap_pages > MACHINE_PAGES_MAX ||
	    c->limit_pages > MACHINE_PAGES_MAX || c->reserved_huge_pages > MACHINE_PAGES_MAX ||
	    c->admin_reserve_pages > MACHINE_PAGES_MAX || c->user_reserve_pages > MACHINE_PAGES_MAX)
		return quire_fail(err, -EINVAL, "a size beyond 64 bits of bytes");
	if (c->mode > OVERCOMMIT_NEVER || c->guess > GUESS_ESTIMATE)
		return quire_fail(err, -EINVAL, "overcommit modes are 0, 1 and 2");
	return 0;
}

static void apply(struct ledger_config *c, const struct machine_settings *s)
{
	if (s->fields & MACHINE_SET_MEMORY)
		c->memory_pages = s->memory_pages;
	if (s->fields & MACHINE_SET_SWAP)
		c->swap_pages = s->swap_pages;
	if (s->fields & MACHINE_SET_MODE) {
		c->mode = s->mode;
		c->guess = s->guess;
	}
	if (s->fields & MACHINE_SET_RATIO) {
		c->ratio = s->ratio;
		c->limit_in_pages = false;
	}
	if (s->fields & MACHINE_SET_LIMIT) {
		c->limit_pages = s->limit_pages;
		c->limit_in_pages = true;
	}
	if (s->fields & MACHINE_SET_RESERVES) {
		c->reserved_huge_pages = s->reserved_huge_pages;
		c->admin_reserve_pages = s->admin_reserve_pages;
		c->user_reserve_pages = s->user_reserve_pages;
	}
}

/*
 * As in Linux, any limit may be set below what is committed: it stops new promises only.  If memory
 * becomes less than what is in use, the machine recalls what the VMs can spare, and grants nothing
 * until enough came back.
 */
static bool on_set(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd)
{
	struct ledger_config config = m->ledger.config;
	struct quire_error err;
	int code;

	if (!msg->set.fields || msg->set.fields >= MACHINE_SET_RESERVES << 1)
		return false;
	apply(&config, &msg->set);
	code = ledger_config_check(&config, &err);
	if (code) {
		client_refuse(m, c, code, err.text);
		return true;
	}
	m->ledger.config = config;
	budget_resize(&m->budget, config.memory_pages);
	event_note(m, EVENT_SETTINGS, NULL, NULL,
		   NUMBERS(event_bytes(config.memory_pages), event_bytes(config.swap_pages),
			   (int64_t)config.mode, event_bytes(ledger_commit_limit(&config)),
			   event_bytes(m->ledger.committed_pages)),
		   "set: memory %s, swap %s, mode %d, CommitLimit %s, committed %s",
		   mib_text(config.memory_pages), mib_text(config.swap_pages), (int)config.mode,
		   mib_text(ledger_commit_limit(&config)), mib_text(m->ledger.committed_pages));
	if (budget_free(&m->budget) < m->budget.low_pages)
		pressure_recall(m, NULL, 0);
	swap_serve(m);
	return on_get(m, c, msg, fd);
}

static const struct control_rule {
	enum client_state state; /* in which a client may send it */
	bool descriptor;	 /* it carries one */
	bool (*handle)(struct machine *m, struct client *c, const struct machine_msg *msg, int *fd);
} control_rules[MACHINE_NR_TYPES] = {
	[MACHINE_HELLO] = { CLIENT_NEW, false, on_hello },
	[MACHINE_ADMIT] = { CLIENT_CONTROL, false, on_admit },
	[MACHINE_STARTED] = { CLIENT_CONTROL, true, on_started },
	[MACHINE_GET] = { CLIENT_CONTROL, false, on_get },
	[MACHINE_LIST] = { CLIENT_CONTROL, false, on_list },
	[MACHINE_SET] = { CLIENT_CONTROL, false, on_set },
	[MACHINE_DOMAINS] = { CLIENT_CONTROL, false, on_domains },
	[MACHINE_ELSEWHERE] = { CLIENT_CONTROL, false, on_elsewhere },
	[MACHINE_BALLOON_GET] = { CLIENT_CONTROL, false, balloon_on_get },
	[MACHINE_BALLOON_SET] = { CLIENT_CONTROL, false, balloon_on_set },
	[MACHINE_BALLOON_WHY] = { CLIENT_CONTROL, false, balloon_on_why },
	[MACHINE_KILL] = { CLIENT_CONTROL, false, on_kill },
	[MACHINE_EVENTS] = { CLIENT_CONTROL, false, events_on_ask },
};

static bool client_message(struct machine *m, struct client *c, const struct machine_msg *msg,
			   int *fd)
{
	const struct control_rule *rule;

	if (msg->type >= MACHINE_NR_TYPES)
		return false;
	events_answer(m, c);
	rule = &control_rules[msg->type];
	return rule->handle && rule->state == c->state && rule->descriptor == (*fd >= 0) &&
	       rule->handle(m, c, msg, fd);
}

static void client_lost(struct machine *m, struct client *c, int code)
{
	struct quire_error err;

	if (code == -EPROTONOSUPPORT) {
		quire_fail(&err, 0,
			   "refused: this machine speaks version %d of the protocol; use "
			   "the quire that started it",
			   MACHINE_VERSION);
		client_refuse(m, c, code, err.text);
	}
	client_drop(m, c, code == -ECONNRESET ? NULL : "it sent what is no packet of ours");
}

void client_ready(struct machine *m, struct client *c)
{
	for (unsigned int i = 0; i < PACKETS_PER_ROUND && c->state != CLIENT_CLOSED; i++) {
		struct machine_msg msg;
		int fd, code = wire_recv(c->socket.fd, &msg, &fd);

		if (!code)
			return;
		if (code < 0) {
			client_lost(m, c, code);
			return;
		}
		if (!client_message(m, c, &msg, &fd))
			client_drop(m, c, "it broke the rules");
		if (fd >= 0)
			close(fd);
	}
}
