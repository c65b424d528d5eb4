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
 *   4. Two things do wait: for a vCPU to leave KVM_RUN (may_wait), and for the kernel to find
 *      memory (turn_away).  Both are rationed.
 *
 * This file uses nothing of a VM but the accessors of vm.h and gmem.h, so a test can bring fakes.
 */
#include <assert.h>
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
#include "ctl.h"
#include "ctl_protocol.h"
#include "sandbox.h"
#include "vm.h"

#define VCPU_TIMEOUT_MS 100  /* for a vCPU to leave the guest; then the client hears -ETIMEDOUT */
#define VCPU_STUCK_MS	1000 /* after such a timeout, wait for no vCPU for so long */
#define NO_MEMORY_MS	10   /* between two attempts to take a client */

static_assert(PG_NR_STATES < CTL_NOT_RAM, "a state fits in seven bits");
static_assert(GMEM_STATE_LARGE == CTL_LARGE, "states go over the wire as gmem_states has them");
static_assert(sizeof(struct ctl_info) <= CTL_MAX_PAYLOAD, "CTL_INFO is one packet");
static_assert(sizeof(struct ctl_frame_users) <= CTL_MAX_PAYLOAD, "CTL_FRAME_USERS is one packet");
static_assert(sizeof(struct ctl_walk) <= CTL_MAX_PAYLOAD, "CTL_WALK is one packet");
static_assert(sizeof(struct tail) <= CTL_MAX_PAYLOAD, "CTL_TAIL is one packet");
static_assert(sizeof(struct vcpu_state) <= CTL_MAX_PAYLOAD, "CTL_CPU is one packet");

struct client {
	int fd;		/* -1: nobody */
	bool answering; /* `request` is being answered */
	uint64_t turn;	/* of its last activity: the client with the smallest is dropped first */
	struct ctl_request request;
	uint64_t next, end; /* what is still to be sent: CTL_MAP: gfns; CTL_READ: gpas */
};

struct packet {
	_Alignas(8) struct ctl_reply reply;
	unsigned char payload[CTL_MAX_PAYLOAD];
};

struct ctl {
	int epoll, listener;
	int spare; /* a descriptor to turn a client away with when there are no others */
	uint64_t turn;
	uint64_t no_wait_until_ns;
	struct client client[CTL_MAX_CLIENTS];
	uint8_t states[CTL_MAP_PAGES];
	struct packet packet; /* the one being made; holds nothing between steps */
};

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

/* ---- answers: each fills the packet's payload and returns its size, or -errno ---- */

static int answer_info(struct ctl *ctl, struct vm *vm)
{
	struct ctl_info *info = (void *)ctl->packet.payload;
	const struct gfn_range *ram;
	unsigned int nr;

	memset(info, 0, sizeof(*info));
	vm_info(vm, &info->vm);
	ram = gmem_ram(vm_gmem(vm), &nr);
	info->nr_ram = nr < CTL_MAX_RAM ? nr : CTL_MAX_RAM;
	memcpy(info->ram, ram, info->nr_ram * sizeof(*ram));
	return (int)sizeof(*info);
}

static uint8_t wire_state(uint8_t state)
{
	return (state & ~GMEM_STATE_LARGE) < PG_NR_STATES ? state : CTL_NOT_RAM;
}

/* How much of it the next packet has. */
static uint64_t chunk(const struct client *c)
{
	uint64_t most = c->request.op == CTL_MAP ? CTL_MAP_PAGES : CTL_MAX_PAYLOAD;

	return min_u64(c->end - c->next, most);
}

/* Make the next chunk of the map.  It fits even if every page is a run of its own. */
static int answer_map(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	uint32_t *run = (void *)ctl->packet.payload;
	uint64_t nr = chunk(c);
	unsigned int runs = 0;

	gmem_states(vm_gmem(vm), c->next, nr, ctl->states);
	for (uint64_t i = 0; i < nr; i++) {
		uint8_t state = wire_state(ctl->states[i]);

		if (runs > 0 && (uint8_t)run[runs - 1] == state)
			run[runs - 1] += 1u << 8;
		else
			run[runs++] = 1u << 8 | state;
	}
	return (int)(runs * sizeof(*run));
}

static int answer_read(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	size_t bytes = chunk(c);
	int code = guest_read(vm_gmem(vm), c->next, ctl->packet.payload, bytes);

	return code ? code : (int)bytes;
}

/* A vCPU that is stuck costs the main loop VCPU_TIMEOUT_MS, which may happen only rarely. */
static bool may_wait(const struct ctl *ctl)
{
	return monotonic_ns() >= ctl->no_wait_until_ns;
}

static int waited(struct ctl *ctl, int code)
{
	if (code == -ETIMEDOUT)
		ctl->no_wait_until_ns = monotonic_ns() + VCPU_STUCK_MS * NS_PER_MS;
	return code;
}

static unsigned int paging_of(const struct pt_format *format)
{
	unsigned int paging = CTL_PAGING_OFF;

	while (paging < CTL_NR_PAGING && ctl_paging_format(paging) != format)
		paging++;
	return paging;
}

static void pack_walk(const struct walk_result *res, struct ctl_walk *out)
{
	memset(out, 0, sizeof(*out));
	out->outcome = (uint32_t)res->outcome;
	out->error_code = res->error_code;
	out->gpa = res->gpa;
	out->maddr = res->maddr;
	out->qualification = res->qualification;
	out->level1 = res->level1;
	out->level2 = res->level2;
	out->paging = (uint8_t)paging_of(res->format1);
	out->nr_refs = res->nr_refs;
	for (unsigned int i = 0; i < res->nr_refs; i++) {
		const struct walk_ref *ref = &res->ref[i];

		out->ref[i] = (struct ctl_walk_ref){
			.stage = ref->stage,
			.level = ref->level,
			.addr = ref->addr,
			.input = ref->input,
			.entry = ref->entry,
		};
	}
}

/* The state of the page that the walk led to; CTL_NOT_RAM if it led to none. */
static uint8_t reached_state(struct vm *vm, const struct walk_result *res)
{
	uint8_t state;

	if (res->outcome == WALK_AGAIN || res->gpa == GPA_INVALID)
		return CTL_NOT_RAM;
	gmem_states(vm_gmem(vm), gpa_to_gfn(res->gpa), 1, &state);
	return wire_state(state);
}

/* The registers of a vCPU that a client named. */
static int read_cpu(struct ctl *ctl, struct vm *vm, uint64_t cpu, struct vcpu_state *state)
{
	if (cpu >= vm_nr_vcpus(vm))
		return -ENOENT;
	if (!may_wait(ctl))
		return -ETIMEDOUT;
	return waited(ctl, vm_vcpu_state(vm, (unsigned int)cpu, VCPU_TIMEOUT_MS, state));
}

static int answer_cpu(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct vcpu_state *state = (void *)ctl->packet.payload;
	int code = read_cpu(ctl, vm, req->arg[0], state);

	return code ? code : (int)sizeof(*state);
}

static int answer_tail(struct ctl *ctl, struct vm *vm)
{
	vm_tail(vm, (void *)ctl->packet.payload);
	return (int)sizeof(struct tail);
}

static int answer_walk(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct walk_access access = {
		.write = req->arg[1] & CTL_ACCESS_WRITE,
		.fetch = req->arg[1] & CTL_ACCESS_FETCH,
		.user = req->arg[1] & CTL_ACCESS_USER,
	};
	struct ctl_walk *out = (void *)ctl->packet.payload;
	struct vcpu_state state;
	struct walk_result res;
	struct walk_cpu cpu;
	int code;

	if (req->arg[1] > (CTL_ACCESS_WRITE | CTL_ACCESS_FETCH | CTL_ACCESS_USER) ||
	    (access.write && access.fetch))
		return -EINVAL;
	code = read_cpu(ctl, vm, req->arg[2], &state);
	if (code < 0)
		return code;
	vcpu_walk_cpu(vm, &state, &cpu);
	gmem_walk(vm_gmem(vm), &cpu, req->arg[0], access, &res);
	pack_walk(&res, out);
	out->state = reached_state(vm, &res);
	return (int)sizeof(*out);
}

/* A pause always takes effect.  If waiting is not allowed now, only the waiting is left out. */
static int answer_pause(struct ctl *ctl, struct vm *vm)
{
	return may_wait(ctl) ? waited(ctl, vm_pause(vm, VCPU_TIMEOUT_MS)) : vm_pause(vm, 0);
}

static int answer_resume(struct vm *vm)
{
	vm_resume(vm);
	return 0;
}

static int answer_stop(struct vm *vm)
{
	vm_stop(vm);
	return 0;
}

static int answer_merge_mode(const struct ctl_request *req, struct vm *vm)
{
	if (req->arg[0] >= KEEPER_NR_MODES)
		return -EINVAL;
	vm_set_merge(vm, (enum keeper_mode)req->arg[0]);
	return 0;
}

static int answer_merge_now(struct ctl *ctl, struct vm *vm)
{
	uint64_t ticket = vm_merge_pass(vm);

	memcpy(ctl->packet.payload, &ticket, sizeof(ticket));
	return (int)sizeof(ticket);
}

static int answer_frame_users(struct ctl *ctl, const struct ctl_request *req, struct vm *vm)
{
	struct ctl_frame_users *out = (void *)ctl->packet.payload;
	int code;

	out->frame = (struct gmem_frame){ .segment = req->arg[1], .index = req->arg[2] };
	if (req->arg[0] != CTL_BY_FRAME) {
		code = gmem_frame_of(vm_gmem(vm), req->arg[0], &out->frame);
		if (code)
			return code;
	}
	out->nr = gmem_frame_users(vm_gmem(vm), &out->frame, out->gfn, CTL_MAX_USERS);
	return (int)(offsetof(struct ctl_frame_users, gfn) +
		     min_u64(out->nr, CTL_MAX_USERS) * sizeof(out->gfn[0]));
}

static int answer(struct ctl *ctl, const struct client *c, struct vm *vm)
{
	if (c->request.version != CTL_VERSION)
		return -EPROTONOSUPPORT;
	switch (c->request.op) {
	case CTL_INFO: return answer_info(ctl, vm);
	case CTL_MAP: return answer_map(ctl, c, vm);
	case CTL_WALK: return answer_walk(ctl, &c->request, vm);
	case CTL_PAUSE: return answer_pause(ctl, vm);
	case CTL_RESUME: return answer_resume(vm);
	case CTL_STOP: return answer_stop(vm);
	case CTL_MERGE_MODE: return answer_merge_mode(&c->request, vm);
	case CTL_MERGE_NOW: return answer_merge_now(ctl, vm);
	case CTL_FRAME_USERS: return answer_frame_users(ctl, &c->request, vm);
	case CTL_CPU: return answer_cpu(ctl, &c->request, vm);
	case CTL_READ: return answer_read(ctl, c, vm);
	case CTL_TAIL: return answer_tail(ctl, vm);
	default: return -EOPNOTSUPP;
	}
}

/* ---- one step for one client ---- */

static void set_answering(struct ctl *ctl, struct client *c, bool answering)
{
	c->answering = answering;
	if (watch(ctl, EPOLL_CTL_MOD, c->fd, answering ? EPOLLOUT : EPOLLIN,
		  (uint32_t)(c - ctl->client)) < 0)
		drop(c);
}

/* Clip the range of a request to the end of RAM.  If nothing is left, the answer is empty. */
static void map_start(struct client *c, struct vm *vm)
{
	const struct gfn_range *ram;
	unsigned int nr;
	gfn_t end;

	ram = gmem_ram(vm_gmem(vm), &nr);
	end = ram[nr - 1].end;
	c->next = min_u64(c->request.arg[0], end);
	c->end = c->request.arg[1] ? c->next + min_u64(c->request.arg[1], end - c->next) : end;
}

static void read_start(struct client *c)
{
	uint64_t gpa = c->request.arg[0], bytes = c->request.arg[1];

	c->next = gpa;
	c->end = gpa + min_u64(bytes, UINT64_MAX - gpa);
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
	if (c->request.op == CTL_MAP)
		map_start(c, vm);
	if (c->request.op == CTL_READ)
		read_start(c);
	set_answering(ctl, c, true);
}

/* Make and send the next packet of an answer.  A client that is gone or broken is dropped. */
static void send_packet(struct ctl *ctl, struct client *c, struct vm *vm)
{
	struct packet *p = &ctl->packet;
	int bytes = answer(ctl, c, vm);
	bool parts = bytes >= 0 && (c->request.op == CTL_MAP || c->request.op == CTL_READ);
	bool last = !parts || c->next + chunk(c) == c->end;

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
	if (parts)
		c->next += chunk(c);
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
		if (c->answering)
			send_packet(ctl, c, vm);
		else
			take_request(ctl, c, vm);
	}
	/* Last, because a new client may take the place of one that this turn has an event for. */
	if (knock)
		accept_one(ctl);
}
