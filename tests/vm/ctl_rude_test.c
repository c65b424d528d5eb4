/* SPDX-License-Identifier: MIT */
/* The control socket: no client, however rude, keeps the server from serving the others. */
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "ctl_lab.h"

#define MAX_TURN_MS 1000 /* generous: the machine may be busy, and ASan is slow */

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
	ok(hung_up == sizeof(req) + 3, "only a packet of exactly the right length is taken");
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
	static const unsigned int op[] = { CTL_INFO, CTL_MAP, CTL_WALK, CTL_RESUME, CTL_FRAME_USERS,
					   CTL_READ, CTL_CPU, CTL_TAIL, 12345 };
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
	usleep(50000); /* the server closes what earlier clients left */
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

/* Connect without a look at who listens. */
static int connect_unasked(const char *vm)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, CTL_PREFIX "%s", vm);

	return connect(fd, (struct sockaddr *)&addr,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)len) ?
		       -1 :
		       fd;
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
		int fd = setuid(65534) == 0 ? connect_unasked(name) : -1;

		if (ctl_open(name, CTL_PATIENCE_S) != -EPERM)
			_exit(2);
		_exit(fd >= 0 && ctl_get_info(fd, &info, &err) == -ECONNRESET ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "another user's client is turned away");
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

static void test_stuck_pause(void)
{
	struct ctl_request req = request(CTL_PAUSE, 0, 0, 0);

	usleep(1100000); /* VCPU_STUCK_MS since the last stuck vCPU */
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

int main(int argc, char **argv)
{
	uint64_t seed;

	tap_init();
	seed = tap_seed(argc, argv);
	begin("ctl_rude_test");
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
	end();
	return tap_done();
}
