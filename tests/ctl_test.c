/* SPDX-License-Identifier: MIT */
/*
 * The control socket, with a made-up VM behind it: what a client is told, and that no client,
 * however rude, keeps the server from serving the others.
 *
 * The server runs in a thread as the VMM's main loop would run it; the longest single call of
 * ctl_serve is kept, because that is how long a client held up the VM.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../vmm/ctl_client.h"
#include "tap.h"

#define RAM_END	    50000u
#define BUSY_GVA    0xb059000u		/* the guest keeps changing its tables there */
#define MAX_TURN_MS 1000		/* generous: the machine may be busy, and ASan is slow */

static char name[64];
static struct ctl *ctl;
static atomic_bool stop, stuck;
static atomic_bool paused;
static atomic_uint merge_mode;
static atomic_ulong merge_passes;
static atomic_ulong turns, asked_vcpu, slowest_ms, waits, stops;

/* ---- the made-up VM ---- */

static const struct gfn_range ram[] = { { 0, 20000 }, { 30000, RAM_END } };

/* The worst case for runs (every page differs), long runs, and a 2 MiB leaf. */
static uint8_t fake_state(gfn_t gfn)
{
	if (gfn >= RAM_END || (gfn >= 20000 && gfn < 30000))
		return PG_NR_STATES;
	if (gfn >= 512 && gfn < 1024)
		return PG_PRIVATE | GMEM_STATE_LARGE;
	return gfn < 12000 ? gfn % 2 : PG_ABSENT;
}

struct gmem *vm_gmem(struct vm *vm)
{
	return (struct gmem *)vm;
}

void vm_info(struct vm *vm, struct vm_info *out)
{
	(void)vm;
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", name);
	out->pid = (uint32_t)getpid();
	out->nr_vcpus = 2;
	out->state = paused ? stuck ? VM_PAUSING : VM_PAUSED : VM_RUNNING;
	out->mem.s2.ram_pages = 40000;
	out->mem.s2.pages[PG_ABSENT] = 33744;
	out->mem.s2.pages[PG_PRIVATE] = 6256;
	out->merge.reason_pages[KEEPER_UNIQUE] = 6000;
	out->merge.reason_pages[KEEPER_NEW] = 256;
	out->merge.mode = merge_mode;
	out->merge_passes = merge_passes;
	snprintf(out->domain, sizeof(out->domain), "here");
	out->mem.s2.large_leaves = 1;
	out->mem.faults = 77;
	out->exits[KVM_NR_EXITS - 1] = 5;
}

int vm_pause(struct vm *vm, unsigned int timeout_ms)
{
	(void)vm;
	paused = true;
	if (!stuck)
		return 0;
	waits += timeout_ms > 0;
	usleep(timeout_ms * 1000);
	return -ETIMEDOUT;
}

void vm_resume(struct vm *vm)
{
	(void)vm;
	paused = false;
}

void vm_stop(struct vm *vm)
{
	(void)vm;
	stops++;
}

void vm_set_merge(struct vm *vm, enum keeper_mode mode)
{
	(void)vm;
	merge_mode = mode;
}

uint64_t vm_merge_pass(struct vm *vm)
{
	(void)vm;
	return ++merge_passes;
}

/* Every third page shares the frame of its number's last digit; in segment 7. */
int gmem_frame_of(struct gmem *gm, gfn_t gfn, struct gmem_frame *frame)
{
	(void)gm;
	if (gfn >= RAM_END)
		return -EFAULT;
	*frame = (struct gmem_frame){ 7, gfn % 10 };
	return gfn % 3 ? -ENOENT : 0;
}

uint64_t gmem_frame_users(struct gmem *gm, const struct gmem_frame *frame, gfn_t *out, uint64_t max)
{
	uint64_t nr = 0;

	(void)gm;
	for (gfn_t gfn = 0; gfn < RAM_END && frame->segment == 7; gfn += 3) {
		if (gfn % 10 != frame->index && frame->index != 99)
			continue;
		if (nr < max)
			out[nr] = gfn;
		nr++;
	}
	return nr;
}

unsigned int vm_nr_vcpus(const struct vm *vm)
{
	(void)vm;
	return 2;
}

int vm_vcpu_state(struct vm *vm, unsigned int cpu, unsigned int timeout_ms,
		  struct vcpu_state *state)
{
	(void)vm;
	atomic_fetch_add(&asked_vcpu, 1);
	memset(state, 0, sizeof(*state));
	state->sregs.cr3 = 0x1000 * (cpu + 1);
	if (!stuck)
		return 0;
	usleep(timeout_ms * 1000);
	return -ETIMEDOUT;
}

void vcpu_walk_cpu(const struct vm *vm, const struct vcpu_state *state, struct walk_cpu *out)
{
	(void)vm;
	*out = (struct walk_cpu){ .cr3 = state->sregs.cr3 };
}

const struct gfn_range *gmem_ram(const struct gmem *gm, unsigned int *nr)
{
	(void)gm;
	*nr = ARRAY_SIZE(ram);
	return ram;
}

void gmem_states(struct gmem *gm, gfn_t gfn, uint64_t nr, uint8_t *states)
{
	(void)gm;
	for (uint64_t i = 0; i < nr; i++)
		states[i] = fake_state(gfn + i);
}

enum walk_outcome gmem_walk(struct gmem *gm, const struct walk_cpu *cpu, gva_t gva,
			    struct walk_access access, struct walk_result *res)
{
	(void)gm;
	*res = (struct walk_result){
		.outcome = gva == BUSY_GVA ? WALK_AGAIN : WALK_OK,
		.gpa = 600 * 4096 + gva % 4096, .maddr = 0x5000,
		.level1 = 2, .level2 = 1, .format1 = &x86_4level_format, .nr_refs = 2,
		.error_code = access.write * PF_W | access.fetch * PF_I | access.user * PF_U,
		.ref = {
			{ .stage = 2, .level = 4, .addr = 0x10, .input = cpu->cr3, .entry = 7 },
			{ .stage = 1, .level = 3, .addr = cpu->cr3, .input = gva, .entry = 0x87 },
		},
	};
	return res->outcome;
}

/* ---- the main loop ---- */

static unsigned long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long)ts.tv_sec * 1000 + (unsigned long)ts.tv_nsec / 1000000;
}

static void *main_loop(void *arg)
{
	struct pollfd pfd = { .fd = ctl_fd(ctl), .events = POLLIN };
	unsigned long start, took;

	(void)arg;
	while (!stop) {
		if (poll(&pfd, 1, 20) <= 0)
			continue;
		start = now_ms();
		ctl_serve(ctl, (struct vm *)ctl);
		took = now_ms() - start;
		if (took > slowest_ms)
			slowest_ms = took;
		turns++;
	}
	return NULL;
}

/* ---- clients ---- */

static int connect_vm(void)
{
	struct quire_error err;
	int fd = ctl_connect(name, &err);

	if (fd < 0)
		tap_bail("cannot connect: %s", err.text);
	return fd;
}

static struct ctl_request request(unsigned int op, uint64_t arg0, uint64_t arg1, uint64_t arg2)
{
	return (struct ctl_request){
		.magic = CTL_MAGIC, .version = CTL_VERSION, .op = (uint16_t)op, .tag = 99,
		.arg = { arg0, arg1, arg2 },
	};
}

/* Send one record and return the status of the answer; 1 if the server hung up. */
static int status_of(int fd, const void *record, size_t bytes)
{
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + CTL_MAX_PAYLOAD];
	struct ctl_reply *reply = (void *)packet;
	ssize_t n;

	if (send(fd, record, bytes, MSG_NOSIGNAL) < 0)
		return 1;
	n = recv(fd, packet, sizeof(packet), 0);
	if (n <= 0)
		return 1;
	return reply->tag == 99 ? reply->status : -9999;
}

static int status_of_request(struct ctl_request req)
{
	int fd = connect_vm(), status = status_of(fd, &req, sizeof(req));

	close(fd);
	return status;
}

/* The proof that all is well: a fresh polite client is answered, soon. */
static void still_serves(const char *after)
{
	struct quire_error err = { "" };
	struct ctl_info info;
	unsigned long start = now_ms();
	int fd = connect_vm(), code = ctl_get_info(fd, &info, &err);

	close(fd);
	ok(code == 0 && now_ms() - start < 4000, "after %s a new client is answered (%s)", after,
	   err.text);
}

/* ---- the tests ---- */

static void test_names(void)
{
	static const char *const bad[] = { "", "a/b", "a b", "a\nb", "\xff",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	struct quire_error err;
	struct ctl *other;
	char *list;
	int fd;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		ok(ctl_create(bad[i], &other, &err) == -EINVAL, "bad name %u is refused", i);
	ok(ctl_create(name, &other, &err) == -EADDRINUSE, "a name is taken once");
	ok(strstr(err.text, name) != NULL, "... and the message names it: %s", err.text);
	list = ctl_list();
	ok(list && strstr(list, name), "the VM is in the list of running ones");
	ok(ctl_connect("no-such-vm", &err) == -ENOENT && strstr(err.text, name),
	   "a missing VM's message lists the others");
	free(list);
	snprintf(err.text, sizeof(err.text), "%d", (int)getpid());
	fd = ctl_connect(err.text, &err);
	ok(fd >= 0, "the VM's pid names it too");
	close(fd);
	ok(ctl_connect("1", &err) == -ENOENT, "... and another pid does not");
}

static void test_info(void)
{
	struct quire_error err;
	struct ctl_info info;
	int fd = connect_vm();

	ok(ctl_get_info(fd, &info, &err) == 0, "CTL_INFO is answered");
	ok(strcmp(info.vm.name, name) == 0 && info.vm.pid == (uint32_t)getpid(), "name and pid");
	ok(info.vm.nr_vcpus == 2 && info.nr_ram == 2 && info.ram[1].end == RAM_END,
	   "vCPUs and RAM");
	ok(info.vm.mem.s2.pages[PG_PRIVATE] == 6256 && info.vm.mem.s2.large_leaves == 1 &&
	   info.vm.mem.faults == 77 && info.vm.exits[KVM_NR_EXITS - 1] == 5, "counters");
	close(fd);
}

static unsigned int state_of_vm(void)
{
	struct quire_error err;
	struct ctl_info info;
	int fd = connect_vm(), code = ctl_get_info(fd, &info, &err);

	close(fd);
	return code ? 99 : info.vm.state;
}

static int command(unsigned int op)
{
	struct quire_error err = { "" };
	int fd = connect_vm(), code = ctl_command(fd, op, &err);

	close(fd);
	if (code)
		tap_note("%s", err.text);
	return code;
}

static void test_commands(void)
{
	ok(state_of_vm() == VM_RUNNING, "a VM runs at first");
	ok(command(CTL_PAUSE) == 0 && state_of_vm() == VM_PAUSED, "CTL_PAUSE pauses it");
	ok(command(CTL_PAUSE) == 0 && state_of_vm() == VM_PAUSED, "... and again");
	ok(command(CTL_RESUME) == 0 && state_of_vm() == VM_RUNNING, "CTL_RESUME resumes it");
	ok(command(CTL_RESUME) == 0 && state_of_vm() == VM_RUNNING, "... and again");
	ok(stops == 0, "nobody has stopped it");
	ok(command(CTL_STOP) == 0 && stops == 1, "CTL_STOP stops it, once");
}

static void test_merge(void)
{
	struct quire_error err;
	struct ctl_info info;
	uint64_t ticket = 0;
	int fd = connect_vm();

	ok(ctl_set_merge(fd, KEEPER_ZERO, &err) == 0 && ctl_get_info(fd, &info, &err) == 0 &&
	   info.vm.merge.mode == KEEPER_ZERO, "CTL_MERGE_MODE sets the mode");
	ok(!strcmp(info.vm.domain, "here") && info.vm.merge.reason_pages[KEEPER_UNIQUE] == 6000,
	   "CTL_INFO has domain and reasons");
	ok(ctl_merge_now(fd, &ticket, &err) == 0 && ticket == 1, "CTL_MERGE_NOW gives a ticket");
	ok(ctl_get_info(fd, &info, &err) == 0 && info.vm.merge_passes >= ticket,
	   "... which CTL_INFO honours");
	close(fd);
	ok(status_of_request(request(CTL_MERGE_MODE, KEEPER_NR_MODES, 0, 0)) == -EINVAL,
	   "a mode that does not exist is refused");
	ok(status_of_request(request(CTL_MERGE_MODE, 1ULL << 32, 0, 0)) == -EINVAL,
	   "... and a number is not cut off");
}

static void test_sharers(void)
{
	static struct ctl_frame_users users;
	struct gmem_frame all = { 7, 99 }, none = { 8, 0 };
	struct quire_error err;
	int fd = connect_vm();

	ok(ctl_get_sharers(fd, 33, &users, &err) == 0 && users.frame.segment == 7 &&
	   users.frame.index == 3, "the frame that a page shares");
	ok(users.nr == 1667 && users.gfn[0] == 3 && users.gfn[1] == 33 && users.gfn[1666] == 49983,
	   "... and all pages that do");
	ok(ctl_get_sharers(fd, 34, &users, &err) == -ENOENT, "a page that shares none: %s", err.text);
	ok(ctl_get_sharers(fd, RAM_END, &users, &err) == -EFAULT, "no RAM: %s", err.text);
	ok(ctl_get_sharers(fd, UINT64_MAX, &users, &err) == -EFAULT, "nor is the last gfn of all");
	ok(ctl_get_users(fd, &none, &users, &err) == 0 && users.nr == 0, "a frame of nobody here");
	ok(ctl_get_users(fd, &all, &users, &err) == 0 && users.nr == 16667 &&
	   users.gfn[CTL_MAX_USERS - 1] == 3 * (CTL_MAX_USERS - 1),
	   "more users than a packet holds are counted");
	close(fd);
}

static void test_stuck_pause(void)
{
	struct ctl_request req = request(CTL_PAUSE, 0, 0, 0);

	usleep(1100000);	/* VCPU_STUCK_MS since the last stuck vCPU */
	waits = 0;
	stuck = true;
	for (int i = 0; i < 5; i++)
		ok(status_of_request(req) == -ETIMEDOUT, "a vCPU that does not pause is reported");
	ok(state_of_vm() == VM_PAUSING, "... and the VM is not called paused");
	ok(waits == 1, "... but held up the main loop once, not five times (%lu)",
	   (unsigned long)waits);
	stuck = false;
	ok(state_of_vm() == VM_PAUSED, "when the vCPU has come out the VM is paused");
	ok(command(CTL_RESUME) == 0, "... until it is resumed");
	still_serves("a vCPU that does not pause");
}

static bool map_is_right(int fd, gfn_t gfn, uint64_t nr)
{
	uint8_t *states = malloc(nr);
	struct quire_error err;
	bool right = states && ctl_get_map(fd, gfn, nr, states, &err) == 0;

	for (uint64_t i = 0; right && i < nr; i++)
		right = states[i] == fake_state(gfn + i);
	free(states);
	return right;
}

static void test_map(void)
{
	static const struct { gfn_t gfn; uint64_t nr; const char *what; } range[] = {
		{ 0, RAM_END, "all of RAM" }, { 0, 1, "the first page" },
		{ RAM_END - 1, 1, "the last page" }, { 511, 514, "a 2 MiB leaf and its edges" },
		{ 19999, 10002, "the hole and its edges" }, { 40000, 20000, "past the end" },
		{ 90000, 10, "nothing but what is beyond RAM" },
		{ 0, CTL_MAP_PAGES, "exactly one packet" },
		{ 7, CTL_MAP_PAGES + 1, "one page more than a packet" },
		{ 1ULL << 60, 3, "an absurd gfn" },
	};
	int fd = connect_vm();

	for (unsigned int i = 0; i < ARRAY_SIZE(range); i++)
		ok(map_is_right(fd, range[i].gfn, range[i].nr), "map: %s", range[i].what);
	close(fd);
}

static void test_walk(void)
{
	struct walk_access access = { .write = true, .user = true };
	struct quire_error err;
	struct walk_result res;
	uint8_t state;
	int fd = connect_vm();

	ok(ctl_get_walk(fd, 1, 0x7fff1234, access, &res, &state, &err) == 0, "a walk is answered");
	ok(res.outcome == WALK_OK && res.gpa == 600 * 4096 + 0x234 && res.maddr == 0x5000,
	   "outcome and addresses");
	ok(res.error_code == (PF_W | PF_U), "the access asked for is the access walked");
	ok(res.format1 == &x86_4level_format && res.level1 == 2 && res.level2 == 1, "levels");
	ok(res.nr_refs == 2 && res.ref[0].input == 0x2000 && res.ref[1].entry == 0x87,
	   "references, of the vCPU asked for");
	ok(!strcmp(res.ref[0].name, "EPT PML4E") && !strcmp(res.ref[1].name, "PDPTE"),
	   "their names: %s, %s", res.ref[0].name, res.ref[1].name);
	is_hex(state, PG_PRIVATE | GMEM_STATE_LARGE, "state of the page reached");
	ok(ctl_get_walk(fd, 2, 0, access, &res, &state, &err) == -ENOENT, "no such vCPU");
	ok(ctl_get_walk(fd, 0, 0, access, &res, &state, &err) == 0, "... and the next is fine");
	ok(ctl_get_walk(fd, 0, BUSY_GVA, access, &res, &state, &err) == 0 &&
	   res.outcome == WALK_AGAIN && res.gpa == 600 * 4096 && state == PG_NR_STATES,
	   "tables that keep changing are an answer, which reaches no page");
	close(fd);
	ok(status_of_request(request(CTL_WALK, 0, CTL_ACCESS_WRITE | CTL_ACCESS_FETCH, 0)) ==
	   -EINVAL, "a write that fetches is no access");
	ok(status_of_request(request(CTL_WALK, 0, 8, 0)) == -EINVAL, "unknown access bits");
	ok(status_of_request(request(CTL_WALK, 0, 0, 1ULL << 32)) == -ENOENT,
	   "a vCPU number of more than 32 bits is not cut off");
}

static void test_stuck_vcpu(void)
{
	struct ctl_request req = request(CTL_WALK, 0, 0, 0);
	unsigned long before = asked_vcpu;

	stuck = true;
	for (int i = 0; i < 5; i++)
		ok(status_of_request(req) == -ETIMEDOUT, "a stuck vCPU is reported");
	stuck = false;
	ok(asked_vcpu - before == 1, "... but held up the main loop once, not five times (%lu)",
	   asked_vcpu - before);
	still_serves("a stuck vCPU");
}

static void test_strangers(void)
{
	struct ctl_request req = request(CTL_INFO, 0, 0, 0);

	req.version = 2;
	ok(status_of_request(req) == -EPROTONOSUPPORT, "another version is told so");
	req = request(77, 0, 0, 0);
	ok(status_of_request(req) == -EOPNOTSUPP, "an unknown op is told so");
	req = request(CTL_INFO, 0, 0, 0);
	req.magic = 1;
	ok(status_of_request(req) == 1, "a wrong magic ends the conversation");
	req = request(CTL_INFO, 0, 0, 0);
	req.zero = 1;
	ok(status_of_request(req) == 1, "a non-zero reserved field ends the conversation");
	still_serves("strangers");
}

static void test_garbage(uint64_t *seed)
{
	unsigned char junk[4096];
	unsigned int hung_up = 0;
	struct ctl_request req = request(CTL_INFO, 0, 0, 0);

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (unsigned char)tap_random(seed);
	for (unsigned int i = 0; i < 100; i++) {
		int fd = connect_vm();

		hung_up += status_of(fd, junk, 1 + tap_random(seed) % sizeof(junk)) == 1;
		close(fd);
	}
	ok(hung_up == 100, "100 packets of garbage: hung up on each time");
	hung_up = 0;
	memcpy(junk, &req, sizeof(req));
	for (size_t bytes = 1; bytes <= sizeof(req) + 4; bytes++) {
		int fd = connect_vm();

		hung_up += status_of(fd, junk, bytes) == 1;
		close(fd);
	}
	ok(hung_up == sizeof(req) + 3, "only a record of exactly the right length is taken");
	still_serves("garbage");
}

static void test_silent(void)
{
	int fd[CTL_MAX_CLIENTS * 2];

	for (unsigned int i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = connect_vm();
	still_serves("many clients that say nothing");
	for (unsigned int i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
}

/* Asks without ever reading until the socket takes no more. */
static int flood(unsigned int op)
{
	struct ctl_request req = request(op, 0, 0, 0);
	struct pollfd pfd = { .events = POLLOUT };
	int fd = pfd.fd = connect_vm();

	while (poll(&pfd, 1, 100) == 1 && send(fd, &req, sizeof(req), MSG_NOSIGNAL) > 0)
		;
	return fd;
}

static void test_flood(void)
{
	static const unsigned int op[] = { CTL_INFO, CTL_MAP, CTL_WALK, CTL_RESUME,
					   CTL_FRAME_USERS, 12345 };
	int fd[ARRAY_SIZE(op)];

	for (unsigned int i = 0; i < ARRAY_SIZE(op); i++)
		fd[i] = flood(op[i]);
	still_serves("floods of requests whose answers nobody reads");
	turns = 0;
	usleep(200000);
	ok(turns < 100, "... which leave the main loop asleep (%lu turns in 0.2 s)",
	   (unsigned long)turns);
	for (unsigned int i = 0; i < ARRAY_SIZE(op); i++)
		close(fd[i]);
}

static void test_disconnects(void)
{
	struct ctl_request req = request(CTL_MAP, 0, 0, 0);
	unsigned char packet[4096];

	for (unsigned int i = 0; i < 50; i++) {
		int fd = connect_vm();

		if (send(fd, &req, sizeof(req), MSG_NOSIGNAL) < 0)
			tap_bail("send: %m");
		if (i % 3)
			recv(fd, packet, sizeof(packet), 0);
		if (i % 2)
			shutdown(fd, i % 4 == 1 ? SHUT_RD : SHUT_WR);
		close(fd);
	}
	still_serves("clients that leave in the middle of an answer");
}

/* Packets of the answer to a request for nr pages from gfn on, read slowly. */
static unsigned int slow_map(gfn_t gfn, uint64_t nr)
{
	struct ctl_request req = request(CTL_MAP, gfn, nr, 0);
	static _Alignas(8) unsigned char packet[sizeof(struct ctl_reply) + CTL_MAX_PAYLOAD];
	struct ctl_reply *reply = (void *)packet;
	unsigned int packets = 0;
	int fd = connect_vm();

	if (send(fd, &req, sizeof(req), MSG_NOSIGNAL) < 0)
		tap_bail("send: %m");
	do {
		usleep(20000);
		if (recv(fd, packet, sizeof(packet), 0) <= 0)
			break;
		packets++;
	} while (!(reply->flags & CTL_LAST) && packets < 100);
	close(fd);
	return packets;
}

static void test_slow_reader(void)
{
	unsigned int all = (RAM_END + CTL_MAP_PAGES - 1) / CTL_MAP_PAGES;

	ok(slow_map(0, 0) == all, "a slow reader gets the whole answer, %u packets", all);
	ok(slow_map(5, UINT64_MAX) == all, "a range beyond all bounds ends with RAM");
	ok(slow_map(UINT64_MAX, UINT64_MAX) == 1, "... and beyond RAM there is an empty answer");
}

/* With no descriptor left, the server turns a client away and does not spin. */
static void test_no_descriptors(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1);
	struct timeval patience = { .tv_sec = 5 };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), filler[64], nr = 0;
	struct rlimit was, low;
	char byte;

	len += (socklen_t)sprintf(addr.sun_path + 1, "%s%s", CTL_PREFIX, name);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	usleep(50000);	/* the server closes what earlier clients left */
	getrlimit(RLIMIT_NOFILE, &was);
	low = was;
	low.rlim_cur = 64;
	setrlimit(RLIMIT_NOFILE, &low);
	while (nr < 64 && (filler[nr] = dup(fd)) >= 0)
		nr++;
	ok(connect(fd, (struct sockaddr *)&addr, len) == 0 && recv(fd, &byte, 1, 0) == 0,
	   "without a free descriptor a client is turned away");
	turns = 0;
	usleep(100000);
	ok(turns < 100, "... and the main loop sleeps (%lu turns in 0.1 s)", (unsigned long)turns);
	while (nr > 0)
		close(filler[--nr]);
	setrlimit(RLIMIT_NOFILE, &was);
	close(fd);
	still_serves("running out of descriptors");
}

static void test_other_user(void)
{
	struct quire_error err;
	struct ctl_info info;
	int status = -1;
	pid_t pid;

	if (geteuid() != 0) {
		tap_skip("another user is refused: only root can become one");
		return;
	}
	pid = fork();
	if (pid == 0) {
		int fd = setuid(65534) == 0 ? ctl_connect(name, &err) : -1;

		_exit(fd >= 0 && ctl_get_info(fd, &info, &err) == -ECONNRESET ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "another user's client is turned away");
}

int main(int argc, char **argv)
{
	struct quire_error err;
	pthread_t thread;
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	snprintf(name, sizeof(name), "ctl_test.%d", (int)getpid());
	if (ctl_create(name, &ctl, &err) < 0)
		tap_bail("%s", err.text);
	pthread_create(&thread, NULL, main_loop, NULL);
	test_names();
	test_info();
	test_commands();
	test_merge();
	test_sharers();
	test_map();
	test_walk();
	test_strangers();
	test_garbage(&seed);
	test_silent();
	test_flood();
	test_disconnects();
	test_slow_reader();
	test_no_descriptors();
	test_other_user();
	test_stuck_vcpu();
	test_stuck_pause();
	ok(slowest_ms < MAX_TURN_MS, "no turn of the main loop took long (%lu ms)",
	   (unsigned long)slowest_ms);
	stop = true;
	pthread_join(thread, NULL);
	ctl_destroy(ctl);
	ctl_destroy(NULL);
	ok(ctl_connect(name, &err) == -ENOENT, "a VM that has gone is no longer there");
	return tap_done();
}
