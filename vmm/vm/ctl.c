/* SPDX-License-Identifier: MIT */
/*
 * The server end of the control socket: ctl.h has its promises, ctl_protocol.h what is said.
 *
 * Structure.  An epoll set holds the listening socket and all clients; ctl_fd() returns it.  The
 * server waits for a request of a client (EPOLLIN) or answers one (EPOLLOUT), but never both.  So a
 * flood of requests stays in the kernel's buffer while an answer is under way.
 *
 * No client can hold up the main loop, because:
 *
 *   1. Every socket is non-blocking.
 *   2. A turn does one bounded step for each client that is ready: it looks at most at
 *      CTL_MAP_PAGES pages, copies CTL_MAX_PAYLOAD bytes, or does one walk.
 *   3. Nothing is queued here.  The next part of an answer is made when the socket has room for it.
 *   4. What is in a swap file is asked for.  The client waits for it, and no event but its end
 *      is taken from it meanwhile.
 *   5. Two things do wait: for a vCPU to leave KVM_RUN (ctl_answer.c), and for the kernel to
 *      find memory (turn_away).  Both are rationed.
 *
 * ctl_answer.c has the answers.  Both files use nothing of a VM but the accessors of vm.h and
 * gmem.h, so a test can bring fakes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/vm_uid.h"
#include "ctl_impl.h"
#include "sandbox.h"
#include "vm.h"

#define NO_MEMORY_MS 10 /* between two attempts to take a client */

/* ---- life and death ---- */

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* The name is taken: say by whom, as far as the kernel tells. */
static int name_is_taken(const char *name, const struct sockaddr_un *addr, socklen_t len,
			 struct quire_error *err)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t bytes = sizeof(struct ucred);
	struct ucred cred = { .pid = 0 };

	if (fd >= 0 && !connect(fd, (const struct sockaddr *)addr, len) &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes))
		cred.pid = 0;
	close_if_open(fd);
	if (!cred.pid)
		return quire_fail(err, -EADDRINUSE, "the name %s is taken; choose another --name",
				  name);
	if (uid_owner(cred.uid) == uid_owner(geteuid()))
		return quire_fail(err, -EADDRINUSE,
				  "a VM named %s is running already (process %d); choose another "
				  "--name",
				  name, (int)cred.pid);
	return quire_fail(err, -EADDRINUSE,
			  "the name %s is taken by process %d of user %u; choose another --name",
			  name, (int)cred.pid, (unsigned int)uid_owner(cred.uid));
}

static int listen_as(const char *name, struct quire_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t prefix = strlen(CTL_PREFIX), len = strlen(name);
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + prefix + len);
	int fd, code;

	memcpy(addr.sun_path + 1, CTL_PREFIX, prefix);
	memcpy(addr.sun_path + 1 + prefix, name, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return quire_fail(err, -errno, "cannot make a control socket: %m");
	if (!bind(fd, (struct sockaddr *)&addr, bytes) && !listen(fd, CTL_MAX_CLIENTS))
		return fd;
	code = -errno;
	close(fd);
	if (code == -EADDRINUSE)
		return name_is_taken(name, &addr, bytes, err);
	return quire_fail(err, code, "cannot listen as VM %s: %s", name, strerror(-code));
}

static int watch(struct ctl *ctl, int op, int fd, uint32_t events, uint32_t index)
{
	struct epoll_event ev = { .events = events, .data.u32 = index };

	return epoll_ctl(ctl->epoll, op, fd, &ev) < 0 ? -errno : 0;
}

/* Any descriptor will do.  In the sandbox no file can be opened, so this one is a duplicate. */
static void hold_spare(struct ctl *ctl)
{
	ctl->spare = fcntl(ctl->listener, F_DUPFD_CLOEXEC, 0);
}

int ctl_create(const char *name, struct ctl **out, struct quire_error *err)
{
	struct ctl *ctl;
	int code;

	if (!ctl_name_is_good(name))
		return quire_fail(err, -EINVAL,
				  "a VM's name has 1 to %d letters, digits, '.', "
				  "'_' or '-': \"%.80s\" does not",
				  CTL_NAME_MAX, name);
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return quire_fail(err, -ENOMEM, "no memory for the control socket");
	ctl->epoll = ctl->spare = -1;
	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++)
		ctl->client[i].fd = -1;
	ctl->listener = code = listen_as(name, err);
	if (code < 0)
		goto fail;
	hold_spare(ctl);
	ctl->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (ctl->spare < 0 || ctl->epoll < 0) {
		code = quire_fail(err, -errno, "cannot make a control socket: %m");
		goto fail;
	}
	code = watch(ctl, EPOLL_CTL_ADD, ctl->listener, EPOLLIN, CTL_MAX_CLIENTS);
	if (code < 0) {
		quire_fail(err, code, "cannot watch the control socket: %s", strerror(-code));
		goto fail;
	}
	*out = ctl;
	return 0;
fail:
	ctl_destroy(ctl);
	return code;
}

void ctl_destroy(struct ctl *ctl)
{
	if (!ctl)
		return;
	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++)
		close_if_open(ctl->client[i].fd);
	close_if_open(ctl->listener);
	close_if_open(ctl->spare);
	close_if_open(ctl->epoll);
	free(ctl);
}

int ctl_fd(const struct ctl *ctl)
{
	return ctl->epoll;
}

void ctl_keep(const struct ctl *ctl, struct sandbox_keep *keep)
{
	sandbox_keep(keep, ctl->epoll);
	sandbox_keep(keep, ctl->listener);
	sandbox_keep(keep, ctl->spare);
}

/* ---- clients come and go ---- */

static void drop(struct client *c)
{
	close(c->fd); /* which also takes it out of the epoll set */
	c->fd = -1;
}

static struct client *free_client(struct ctl *ctl)
{
	struct client *quiet = &ctl->client[0];

	for (unsigned int i = 0; i < CTL_MAX_CLIENTS; i++) {
		struct client *c = &ctl->client[i];

		if (c->fd < 0)
			return c;
		if (c->turn < quiet->turn)
			quiet = c;
	}
	drop(quiet);
	return quiet;
}

static bool may_ask(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == geteuid();
}

/*
 * There is no descriptor left.  The client that waits would keep the listener readable and the main
 * loop spinning.  So accept it on the spare descriptor and close that.  If not even this works, the
 * kernel is out of memory, and the least we can do is to spin slowly.
 */
static void turn_away(struct ctl *ctl)
{
	int fd;

	close_if_open(ctl->spare);
	fd = accept(ctl->listener, NULL, NULL);
	if (fd >= 0)
		close(fd);
	else if (errno != EAGAIN)
		poll(NULL, 0, NO_MEMORY_MS);
	hold_spare(ctl);
}

static void accept_one(struct ctl *ctl)
{
	int fd = accept4(ctl->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int room = 4 * (int)sizeof(struct packet);
	struct client *c;

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			turn_away(ctl);
		return;
	}
	if (!may_ask(fd)) {
		close(fd);
		return;
	}
	/*
	 * When epoll calls the socket writable, a quarter of it is used at most, so a packet fits.
	 */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	c = free_client(ctl);
	*c = (struct client){ .fd = fd, .turn = ctl->turn };
	if (watch(ctl, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(c - ctl->client)) < 0)
		drop(c);
}

/* ---- one step for one client ---- */

static void watch_client(struct ctl *ctl, struct client *c, uint32_t events)
{
	if (watch(ctl, EPOLL_CTL_MOD, c->fd, events, (uint32_t)(c - ctl->client)) < 0)
		drop(c);
}

static void set_answering(struct ctl *ctl, struct client *c, bool answering)
{
	c->answering = answering;
	watch_client(ctl, c, answering ? EPOLLOUT : EPOLLIN);
}

/* While a client waits, epoll says nothing but that it is gone. */
static void set_waiting(struct ctl *ctl, struct client *c, bool waiting)
{
	c->waiting = waiting;
	watch_client(ctl, c, waiting ? 0 : EPOLLOUT);
}

void ctl_go_on(struct ctl *ctl)
{
	for (unsigned int i = 0; ctl && i < CTL_MAX_CLIENTS; i++)
		if (ctl->client[i].fd >= 0 && ctl->client[i].waiting)
			set_waiting(ctl, &ctl->client[i], false);
}

static bool is_request(const struct ctl_request *req, ssize_t bytes)
{
	return bytes == (ssize_t)sizeof(*req) && req->magic == CTL_MAGIC && req->zero == 0;
}

static void take_request(struct ctl *ctl, struct client *c, struct vm *vm)
{
	/* MSG_TRUNC returns the true length of a packet, also if it is too long. */
	ssize_t n = recv(c->fd, &c->request, sizeof(c->request), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!is_request(&c->request, n)) {
		drop(c);
		return;
	}
	ctl_begin(ctl, c, vm);
	set_answering(ctl, c, true);
}

/* Make and send the next packet of an answer.  A client that is gone or broken is dropped. */
static void send_packet(struct ctl *ctl, struct client *c, struct vm *vm)
{
	struct packet *p = &ctl->packet;
	int bytes = ctl_answer(ctl, c, vm);
	bool read = c->request.op == CTL_READ;
	bool parts = bytes >= 0 && (c->request.op == CTL_MAP || read);
	uint64_t next = c->next + (!parts ? 0 : read ? (uint64_t)bytes : ctl_chunk(c));
	bool last = !parts || next == c->end;

	if (read && bytes == -EINPROGRESS) {
		set_waiting(ctl, c, true);
		return;
	}
	p->reply = (struct ctl_reply){
		.magic = CTL_MAGIC,
		.version = CTL_VERSION,
		.op = c->request.op,
		.tag = c->request.tag,
		.status = bytes < 0 ? bytes : 0,
		.flags = last ? CTL_LAST : 0,
		.bytes = bytes < 0 ? 0 : (uint32_t)bytes,
	};
	if (send(c->fd, p, sizeof(p->reply) + p->reply.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop(c);
		return;
	}
	c->next = next;
	if (last)
		set_answering(ctl, c, false);
}

void ctl_serve(struct ctl *ctl, struct vm *vm)
{
	struct epoll_event ev[CTL_MAX_CLIENTS + 1];
	int n = epoll_wait(ctl->epoll, ev, (int)ARRAY_SIZE(ev), 0);
	bool knock = false;

	ctl->turn++;
	for (int i = 0; i < n; i++) {
		struct client *c;

		if (ev[i].data.u32 == CTL_MAX_CLIENTS) {
			knock = true;
			continue;
		}
		c = &ctl->client[ev[i].data.u32];
		c->turn = ctl->turn;
		if (c->waiting)
			drop(c);
		else if (c->answering)
			send_packet(ctl, c, vm);
		else
			take_request(ctl, c, vm);
	}
	/* Last, because a new client may take the place of one that this turn has an event for. */
	if (knock)
		accept_one(ctl);
}
