/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include "client.h"
#include "mmu/base/clock.h"
#include "mmu/base/packet.h"
#include "mmu/base/wire.h"

/* A GONE that came while a call waited for its answer. */
struct kept {
	STAILQ_ENTRY(kept) link;
	uint32_t vm;
	struct machine_gone gone;
};

struct machine_client {
	int fd;
	bool stranger;	       /* it is not trusted */
	unsigned int admitted; /* VMs of ours; so many GONE can come ... */
	unsigned int gone;     /* ... and so many have */
	STAILQ_HEAD(kept_list, kept) kept;
};

static int failed(struct quire_error *err, int code)
{
	const char *what = code == -ETIMEDOUT	    ? "does not answer" :
			   code == -EPROTO	    ? "said what makes no sense" :
			   code == -EPROTONOSUPPORT ? "speaks another version of the protocol" :
						      "hung up";

	return quire_fail(err, code, "the machine %s (%s)", what, strerror(-code));
}

/* A machine that says GONE of VMs that it never admitted would fill our memory. */
static int keep(struct machine_client *c, const struct machine_msg *msg)
{
	struct kept *k;

	if (c->gone++ >= c->admitted)
		return -EPROTO;
	k = malloc(sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->vm = msg->vm;
	k->gone = msg->gone;
	STAILQ_INSERT_TAIL(&c->kept, k, link);
	return 0;
}

/* ---- patience ---- */

#define INSTANT_NS (5 * NS_PER_MS)

static uint64_t waited_ns; /* for all strangers so far */

static uint64_t patience_ns(bool stranger)
{
	const uint64_t most = MACHINE_STRANGERS_MS * NS_PER_MS;

	if (!stranger)
		return MACHINE_CLIENT_MS * NS_PER_MS;
	return waited_ns + INSTANT_NS < most ? most - waited_ns : INSTANT_NS;
}

static uint64_t deadline_ns_of(const struct machine_client *c)
{
	return monotonic_ns() + patience_ns(c->stranger);
}

static int wait_for(const struct machine_client *c, short events, uint64_t deadline_ns)
{
	uint64_t begin = monotonic_ns();
	int code = packet_wait(c->fd, events, deadline_ns);

	if (c->stranger)
		waited_ns += monotonic_ns() - begin;
	return code;
}

/* ---- packets ---- */

static int send_msg(struct machine_client *c, const struct machine_msg *msg, int attach)
{
	uint64_t deadline_ns = deadline_ns_of(c);
	int code;

	while ((code = wire_send(c->fd, msg, attach)) == -EAGAIN) {
		code = wait_for(c, POLLOUT, deadline_ns);
		if (code)
			return code;
	}
	return code == -EPIPE ? -ECONNRESET : code;
}

/* Receive the next packet that is not GONE.  *fd becomes its descriptor, the caller's, or -1. */
static int receive(struct machine_client *c, struct machine_msg *msg, int *fd, uint64_t deadline_ns)
{
	int code;

	for (;;) {
		code = wire_recv(c->fd, msg, fd);
		if (code < 0)
			return code;
		if (!code) {
			code = wait_for(c, POLLIN, deadline_ns);
			if (code)
				return code;
		} else if (msg->type != MACHINE_GONE) {
			return 0;
		} else {
			if (*fd >= 0)
				close(*fd);
			code = keep(c, msg);
			if (code)
				return code;
		}
	}
}

/* Is msg of this type, with a descriptor or without?  Returns 0, or -errno with *err. */
static int expect(struct machine_msg *msg, int *fd, enum machine_type type, bool descriptor,
		  struct quire_error *err)
{
	int code = -EPROTO;

	if (msg->type == type && descriptor == (*fd >= 0))
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	if (msg->type != MACHINE_REFUSED || msg->error >= 0 || msg->error < -4095)
		return failed(err, code);
	msg->text[sizeof(msg->text) - 1] = '\0';
	return quire_fail(err, msg->error, "%s", msg->text);
}

/* Send *msg and receive the answer, of this type, into *msg. */
static int ask(struct machine_client *c, struct machine_msg *msg, enum machine_type answer,
	       bool descriptor, int *fd, struct quire_error *err)
{
	int code = send_msg(c, msg, -1), none;

	if (!fd)
		fd = &none;
	if (!code)
		code = receive(c, msg, fd, deadline_ns_of(c));
	return code ? failed(err, code) : expect(msg, fd, answer, descriptor, err);
}

static int create(int fd, bool is_stranger, struct machine_client **out, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_HELLO, 0);
	struct machine_client *c = calloc(1, sizeof(*c));
	int code;

	if (!c) {
		close(fd);
		return quire_fail(err, -ENOMEM, "no memory to talk to the machine");
	}
	c->fd = fd;
	c->stranger = is_stranger;
	STAILQ_INIT(&c->kept);
	code = ask(c, &msg, MACHINE_HELLO, false, NULL, err);
	if (code) {
		machine_client_destroy(c);
		return code;
	}
	*out = c;
	return 0;
}

int machine_client_create(int fd, struct machine_client **out, struct quire_error *err)
{
	return create(fd, false, out, err);
}

static uid_t uid_of_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ? (uid_t)-1 : peer.uid;
}

bool machine_client_trusts(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* The socket, or -errno.  The connect blocks while the machine's backlog is full. */
static int dial(const char *address, uint64_t wait_ns, struct quire_error *err)
{
	struct timeval patience = { .tv_sec = (time_t)(wait_ns / NS_PER_S),
				    .tv_usec = (suseconds_t)(wait_ns % NS_PER_S / 1000) };
	struct sockaddr_un sun;
	char name[64];
	socklen_t len;
	int fd, code = wire_address(address, &sun, &len, err);

	if (code)
		return code;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return quire_fail(err, -errno, "cannot create a socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&sun, len))
		return fd;
	code = errno == EAGAIN ? -ETIMEDOUT : -errno;
	close(fd);
	return quire_fail(err, code,
			  "no machine answers at %s: %s; start one with quire "
			  "machine",
			  wire_address_name(address, name, sizeof(name)), strerror(-code));
}

/* Anybody may listen at an abstract name.  Only what root or our own user started is trusted. */
int machine_client_connect(const char *address, struct machine_client **out,
			   struct quire_error *err)
{
	int fd = dial(address, patience_ns(false), err);
	char name[64];
	uid_t uid;

	if (fd < 0)
		return fd;
	uid = uid_of_peer(fd);
	if (machine_client_trusts(uid))
		return machine_client_create(fd, out, err);
	close(fd);
	return quire_fail(err, -EPERM,
			  "the machine at %s belongs to user %u, who could read and change guests' "
			  "memory; name another with --machine",
			  wire_address_name(address, name, sizeof(name)), uid);
}

int machine_client_look(const char *address, struct machine_client **out, uid_t *uid,
			struct quire_error *err)
{
	uint64_t begin = monotonic_ns();
	int fd = dial(address, patience_ns(true), err);
	uid_t owner = fd < 0 ? (uid_t)-1 : uid_of_peer(fd);
	bool is_stranger = !machine_client_trusts(owner);

	if (is_stranger)
		waited_ns += monotonic_ns() - begin;
	if (uid)
		*uid = owner;
	return fd < 0 ? fd : create(fd, is_stranger, out, err);
}

void machine_client_destroy(struct machine_client *c)
{
	struct kept *k;

	if (!c)
		return;
	while ((k = STAILQ_FIRST(&c->kept))) {
		STAILQ_REMOVE_HEAD(&c->kept, link);
		free(k);
	}
	close(c->fd);
	free(c);
}

int machine_client_admit(struct machine_client *c, const struct machine_admit *admit,
			 struct machine_admitted *out, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_ADMIT, 0);
	int code, channel;

	c->admitted++;
	msg.admit = *admit;
	code = ask(c, &msg, MACHINE_ADMITTED, true, &channel, err);
	if (code) {
		out->refused = msg.type == MACHINE_REFUSED;
		out->refusal = msg.refusal;
		return code;
	}
	*out = (struct machine_admitted){
		.vm = msg.vm,
		.channel = channel,
		.credit_pages = msg.pages,
	};
	return 0;
}

int machine_client_started(struct machine_client *c, uint32_t vm, int pidfd,
			   struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_STARTED, vm);
	int code = send_msg(c, &msg, pidfd);

	return code ? failed(err, code) : 0;
}

int machine_client_get(struct machine_client *c, struct machine_state *state,
		       struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_GET, 0);
	int code = ask(c, &msg, MACHINE_STATE, false, NULL, err);

	if (!code)
		*state = msg.state;
	return code;
}

/*
 * A list that comes in parts: what to ask, and the function that takes its entries.  A machine of
 * another user may say anything, for ever.  So there is a last id for each part, a limit for all
 * parts, and one deadline for the whole list.
 */
struct list {
	enum machine_type ask, entry;
	void (*vm)(void *ctx, uint32_t id, const struct machine_vm_record *r);
	void (*domain)(void *ctx, uint32_t id, const struct machine_domain_record *r);
	void *ctx;
	uint64_t deadline_ns;
	uint32_t last;	 /* id of the last entry */
	unsigned int nr; /* entries so far */
};

/* Is that an entry that can follow?  Ids ascend. */
static bool list_goes_on(struct list *list, const struct machine_msg *msg)
{
	if (msg->vm <= list->last || list->nr == MACHINE_LIST_ALL)
		return false;
	list->last = msg->vm;
	list->nr++;
	return true;
}

static void list_entry(const struct list *list, struct machine_msg *msg)
{
	if (list->entry == MACHINE_VM) {
		msg->vm_record.name[MACHINE_NAME_MAX] = '\0';
		msg->vm_record.domain[MACHINE_NAME_MAX] = '\0';
		list->vm(list->ctx, msg->vm, &msg->vm_record);
	} else {
		msg->domain_record.name[MACHINE_NAME_MAX] = '\0';
		list->domain(list->ctx, msg->vm, &msg->domain_record);
	}
}

/* Get one part of the list.  *from becomes the id to go on from, or 0 at the end. */
static int list_part(struct machine_client *c, struct list *list, uint32_t *from,
		     struct quire_error *err)
{
	struct machine_msg msg = wire_msg(list->ask, *from);
	int fd, code = send_msg(c, &msg, -1);

	if (code)
		return failed(err, code);
	for (;;) {
		code = receive(c, &msg, &fd, list->deadline_ns);
		if (code)
			return failed(err, code);
		if (msg.type == MACHINE_END) {
			code = expect(&msg, &fd, MACHINE_END, false, err);
			if (!code && msg.vm && msg.vm <= list->last)
				code = failed(err, -EPROTO);
			*from = msg.vm;
			return code;
		}
		code = expect(&msg, &fd, list->entry, false, err);
		if (!code && !list_goes_on(list, &msg))
			code = failed(err, -EPROTO);
		if (code)
			return code;
		list_entry(list, &msg);
	}
}

static int list_all(struct machine_client *c, struct list *list, struct quire_error *err)
{
	unsigned int had;
	uint32_t from = 0;
	int code;

	list->deadline_ns = deadline_ns_of(c);
	do {
		had = list->nr;
		code = list_part(c, list, &from, err);
	} while (!code && from && list->nr > had);
	return code ? code : from ? failed(err, -EPROTO) : 0;
}

int machine_client_list(struct machine_client *c,
			void (*each)(void *ctx, uint32_t vm, const struct machine_vm_record *r),
			void *ctx, struct quire_error *err)
{
	struct list list = { MACHINE_LIST, MACHINE_VM, .vm = each, .ctx = ctx };

	return list_all(c, &list, err);
}

int machine_client_domains(struct machine_client *c,
			   void (*each)(void *ctx, uint32_t id,
					const struct machine_domain_record *r),
			   void *ctx, struct quire_error *err)
{
	struct list list = { MACHINE_DOMAINS, MACHINE_DOMAIN, .domain = each, .ctx = ctx };

	return list_all(c, &list, err);
}

int machine_client_elsewhere(struct machine_client *c, uint32_t vm, uint64_t *pages,
			     struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_ELSEWHERE, vm);
	int code = ask(c, &msg, MACHINE_PAGES, false, NULL, err);

	if (!code)
		*pages = msg.pages;
	return code;
}

int machine_client_kill(struct machine_client *c, uint32_t vm, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_KILL, vm);

	return ask(c, &msg, MACHINE_END, false, NULL, err);
}

static int ask_balloon(struct machine_client *c, struct machine_msg *msg,
		       struct machine_balloon_state *state, struct quire_error *err)
{
	int code = ask(c, msg, MACHINE_BALLOON_STATE, false, NULL, err);

	if (!code && msg->balloon_state.mode >= BALLOON_NR_MODES)
		return failed(err, -EPROTO);
	if (!code && state)
		*state = msg->balloon_state;
	return code;
}

int machine_client_balloon_get(struct machine_client *c, uint32_t vm,
			       struct machine_balloon_state *state, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_GET, vm);

	return ask_balloon(c, &msg, state, err);
}

int machine_client_balloon_set(struct machine_client *c, uint32_t vm,
			       const struct machine_balloon_target *target,
			       struct machine_balloon_state *state, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_SET, vm);

	msg.target = *target;
	return ask_balloon(c, &msg, state, err);
}

int machine_client_balloon_why(struct machine_client *c, uint32_t vm, unsigned int i,
			       struct machine_decision *decision, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_BALLOON_WHY, vm);
	int fd, code;

	msg.pages = i;
	code = send_msg(c, &msg, -1);
	if (!code)
		code = receive(c, &msg, &fd, deadline_ns_of(c));
	if (code)
		return failed(err, code);
	if (msg.type == MACHINE_END) {
		code = expect(&msg, &fd, MACHINE_END, false, err);
		return code ? code : quire_fail(err, -ENOENT, "there are not so many decisions");
	}
	code = expect(&msg, &fd, MACHINE_DECISION, false, err);
	if (!code && msg.decision.what.reason >= BALLOON_NR_REASONS)
		return failed(err, -EPROTO);
	if (!code)
		*decision = msg.decision;
	return code;
}

int machine_client_set(struct machine_client *c, const struct machine_settings *settings,
		       struct machine_state *state, struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_SET, 0);
	int code;

	msg.set = *settings;
	code = ask(c, &msg, MACHINE_STATE, false, NULL, err);
	if (!code && state)
		*state = msg.state;
	return code;
}

/* Is that an event that can follow?  Its texts are made to end. */
static bool event_goes_on(struct machine_event *e, uint64_t from, unsigned int nr)
{
	e->name[sizeof(e->name) - 1] = '\0';
	e->reason[EVENT_REASON_MAX] = '\0';
	e->text[EVENT_TEXT_MAX] = '\0';
	return e->kind < EVENT_NR_KINDS && e->seq >= from && e->seq < UINT64_MAX &&
	       nr < MACHINE_LIST_MAX;
}

int machine_client_events(struct machine_client *c, uint64_t *from, unsigned int wait_ms,
			  void (*each)(void *ctx, const struct machine_event *event), void *ctx,
			  struct quire_error *err)
{
	struct machine_msg msg = wire_msg(MACHINE_EVENTS, 0);
	uint64_t next = *from;
	int fd, code;

	msg.events.from = *from;
	msg.events.wait_ms = wait_ms;
	code = send_msg(c, &msg, -1);
	/* This wait is asked for, and does not count against anybody's patience. */
	if (!code && wait_ms)
		packet_wait(c->fd, POLLIN, monotonic_ns() + wait_ms * NS_PER_MS);
	for (unsigned int nr = 0; !code; nr++) {
		code = receive(c, &msg, &fd, deadline_ns_of(c));
		if (code)
			break;
		if (msg.type == MACHINE_END) {
			*from = msg.pages;
			return expect(&msg, &fd, MACHINE_END, false, err);
		}
		code = expect(&msg, &fd, MACHINE_EVENT, false, err);
		if (code)
			return code;
		if (!event_goes_on(&msg.event, next, nr))
			return failed(err, -EPROTO);
		next = msg.event.seq + 1;
		each(ctx, &msg.event);
	}
	return failed(err, code);
}

int machine_client_fd(const struct machine_client *c)
{
	return c->fd;
}

static bool take_kept(struct machine_client *c, uint32_t *vm, struct machine_gone *gone)
{
	struct kept *k = STAILQ_FIRST(&c->kept);

	if (!k)
		return false;
	*vm = k->vm;
	*gone = k->gone;
	STAILQ_REMOVE_HEAD(&c->kept, link);
	free(k);
	return true;
}

int machine_client_gone(struct machine_client *c, uint32_t *vm, struct machine_gone *gone)
{
	struct machine_msg msg;
	int fd, code;

	if (take_kept(c, vm, gone))
		return 1;
	code = wire_recv(c->fd, &msg, &fd);
	if (code <= 0)
		return code;
	if (fd >= 0)
		close(fd);
	if (msg.type != MACHINE_GONE || fd >= 0)
		return -EPROTO;
	*vm = msg.vm;
	*gone = msg.gone;
	return 1;
}
