/* SPDX-License-Identifier: MIT */
/*
 * Whom a thread that was taken over can send to: nobody but those that its process is connected to.
 *
 * Sockets of a stranger listen under abstract names, one of each type.  In each role, a process in
 * the sandbox tries to reach them: with sockets that it makes, of all types, and by naming an
 * address as it sends on the connected sockets that a VM has.  Nothing may arrive.
 *
 * Descriptors that wait in a socket to be received count for the whole user, and beyond a limit
 * nobody of that user can send one.  So no role may have both ends of a socket, to park them there;
 * and each VM of root has a uid of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <quire/types.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/tap.h"
#include "vmm/vm/sandbox.h"

static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
static const char *const type_name[] = { "stream", "datagram", "packet" };

#define NR_TYPES ARRAY_SIZE(types)

static int stranger[NR_TYPES];
static struct sockaddr_un address[NR_TYPES];
static socklen_t address_len[NR_TYPES];

static void open_strangers(void)
{
	for (size_t i = 0; i < NR_TYPES; i++) {
		struct sockaddr_un *sun = &address[i];

		sun->sun_family = AF_UNIX;
		snprintf(sun->sun_path + 1, sizeof(sun->sun_path) - 1, "quire/test/%d/%s",
			 (int)getpid(), type_name[i]);
		address_len[i] = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
					     strlen(sun->sun_path + 1));
		stranger[i] = socket(AF_UNIX, types[i] | SOCK_NONBLOCK, 0);
		if (stranger[i] < 0 || bind(stranger[i], (struct sockaddr *)sun, address_len[i]) ||
		    (types[i] != SOCK_DGRAM && listen(stranger[i], 8)))
			tap_bail("%s socket: %s", type_name[i], strerror(errno));
	}
}

/* Has anything arrived at a stranger's socket since this was last asked? */
static bool has_arrived(size_t i)
{
	char byte;
	int fd;

	if (types[i] == SOCK_DGRAM)
		return recv(stranger[i], &byte, 1, 0) >= 0;
	fd = accept(stranger[i], NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static unsigned int arrivals(void)
{
	unsigned int nr = 0;

	for (size_t i = 0; i < NR_TYPES; i++)
		nr += has_arrived(i);
	return nr;
}

#define MOST_FDS 253 /* SCM_MAX_FD */

/* Send a byte and `nr` times fd from fd, to this address if it is not NULL. */
static long send_fds(int fd, unsigned int nr, struct sockaddr_un *to, socklen_t len)
{
	union {
		char buf[CMSG_SPACE(MOST_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (char[1]){ 'x' }, .iov_len = 1 };
	struct msghdr h = { .msg_name = to,
			    .msg_namelen = len,
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = CMSG_SPACE(nr * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(int));
	for (unsigned int i = 0; i < nr; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	return syscall(SYS_sendmsg, fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_to_strangers(int fd)
{
	for (size_t i = 0; i < NR_TYPES; i++)
		send_fds(fd, 1, &address[i], address_len[i]);
}

/* Roles of threads end alone; the others are a process. */
static bool has_exit(enum sandbox_role role)
{
	return role == SANDBOX_VCPU || role == SANDBOX_PAGER || role == SANDBOX_CHANNEL ||
	       role == SANDBOX_KEEPER || role == SANDBOX_RECLAIMER || role == SANDBOX_SWAP ||
	       role == SANDBOX_DEVICE;
}

/* A process in the sandbox that runs `attack` in this role, with fd open.  How it ended. */
static int in_role(enum sandbox_role role, int fd, void (*attack)(int fd, int arg), int arg)
{
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err = { "" };
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		sandbox_keep(&keep, fd);
		if (sandbox_enter(SANDBOX_ON, &keep, &err))
			_exit(2);
		sandbox_thread(role);
		attack(fd, arg);
		for (;;)
			syscall(has_exit(role) ? SYS_exit : SYS_exit_group, 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			tap_bail("waitpid: %s", strerror(errno));
	return status;
}

static void make_pair(int fd, int type)
{
	int pair[2];

	(void)fd;
	if (!syscall(SYS_socketpair, AF_UNIX, type, 0, pair))
		send_to_strangers(pair[0]);
}

static void make_socket(int fd, int family)
{
	(void)fd;
	for (size_t i = 0; i < NR_TYPES; i++)
		send_to_strangers((int)syscall(SYS_socket, family, types[i], 0));
}

static void use_what_is_there(int fd, int arg)
{
	(void)arg;
	send_to_strangers(fd);
}

static bool killed_by_filter(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool is_machine(enum sandbox_role role)
{
	return role == SANDBOX_MACHINE || role == SANDBOX_MACHINE_BARE;
}

static void test_new_sockets(enum sandbox_role role)
{
	static const int families[] = { AF_UNIX,    AF_INET,   AF_INET6,
					AF_NETLINK, AF_PACKET, 40 /* AF_VSOCK */ };
	static const int flags[] = { 0, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC };
	unsigned int killed = 0, tried = 0;

	for (size_t i = 0; i < NR_TYPES; i++)
		for (size_t k = 0; k < ARRAY_SIZE(flags); k++, tried++)
			killed +=
				killed_by_filter(in_role(role, -1, make_pair, types[i] | flags[k]));
	for (size_t i = 0; i < ARRAY_SIZE(families); i++, tried++)
		killed += killed_by_filter(in_role(role, -1, make_socket, families[i]));
	/*
	 * A machine makes connected pairs of packet sockets, and nothing else.  An observer asks
	 * machines and VMs over sockets of one family.
	 */
	is(killed,
	   tried - (is_machine(role)	     ? ARRAY_SIZE(flags) :
		    role == SANDBOX_OBSERVER ? 1 :
					       0),
	   "%s: to make a socket is the end, whatever its type", sandbox_role_name[role]);
	is(arrivals(), role == SANDBOX_OBSERVER, "... and nothing arrives at a stranger's");
}

static void test_connected_sockets(enum sandbox_role role)
{
	for (size_t i = 0; i < NR_TYPES; i++) {
		int pair[2];

		if (types[i] == SOCK_DGRAM)
			continue; /* no VM has one: test_streams() */
		if (socketpair(AF_UNIX, types[i], 0, pair))
			tap_bail("socketpair: %s", strerror(errno));
		in_role(role, pair[0], use_what_is_there, 0);
		close(pair[1]);
		in_role(role, pair[0], use_what_is_there, 0);
		close(pair[0]);
		is(arrivals(), 0, "%s: a name on a connected %s socket means nothing",
		   sandbox_role_name[role], type_name[i]);
	}
}

/* A standard stream through which one could send to anybody keeps a VM from running. */
static void test_streams(void)
{
	for (size_t i = 0; i < NR_TYPES; i++)
		for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
			int saved = dup(fd), status, pair[2];

			fflush(NULL);
			if (saved < 0 || socketpair(AF_UNIX, types[i], 0, pair) ||
			    dup2(pair[0], fd) < 0)
				tap_bail("descriptors: %s", strerror(errno));
			status = in_role(SANDBOX_KEEPER, -1, use_what_is_there, fd);
			dup2(saved, fd);
			close(saved);
			close(pair[0]);
			close(pair[1]);
			is(status, types[i] == SOCK_DGRAM ? 2 << 8 : 0,
			   "descriptor %d is a %s socket: %s", fd, type_name[i],
			   types[i] == SOCK_DGRAM ? "refused" : "fine");
		}
}

/* ---- descriptors in flight ---- */

/* A process in the sandbox, with a uid of its own or not, that runs `work` with a socket. */
static pid_t start(bool own_uid, int fd, void (*work)(int fd))
{
	struct rlimit few = { .rlim_cur = 300, .rlim_max = 300 };
	struct sandbox_keep keep = { .nr = 0 };
	struct quire_error err = { "" };
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_NOFILE, &few);
	sandbox_keep(&keep, fd);
	if (own_uid)
		sandbox_take_uid();
	if (sandbox_enter(SANDBOX_ON, &keep, &err))
		_exit(2);
	sandbox_thread(SANDBOX_CHANNEL);
	work(fd);
	for (;;)
		syscall(SYS_exit, 0);
}

/* Has it done its work, and waits in poll()? */
static bool is_waiting(pid_t pid)
{
	char path[64], line[128] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	if (fd >= 0)
		close(fd);
	return atoi(line) == SYS_poll && strncmp(line, "running", 7);
}

/* Fill a socket that nobody reads with descriptors, as many as the kernel lets us, and stay. */
static void park(int fd)
{
	while (send_fds(fd, MOST_FDS, NULL, 0) >= 0)
		;
	for (;;)
		syscall(SYS_poll, NULL, 0, -1);
}

static void send_one(int fd)
{
	syscall(SYS_exit, send_fds(fd, 1, NULL, 0) < 0);
}

/* How a VM ends that sends one descriptor while another of its user has parked many. */
static int sibling_of_parker(bool own_uids)
{
	int parking[2], other[2], status;
	pid_t parker;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, parking) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, other))
		tap_bail("socketpair: %s", strerror(errno));
	parker = start(own_uids, parking[0], park);
	while (!is_waiting(parker))
		usleep(1000);
	waitpid(start(own_uids, other[0], send_one), &status, 0);
	kill(parker, SIGKILL);
	waitpid(parker, NULL, 0);
	for (unsigned int i = 0; i < 2; i++) {
		close(parking[i]);
		close(other[i]);
	}
	return status;
}

static void test_parking(void)
{
	if (geteuid() != 0) {
		tap_skip("only root gives each VM a uid of its own");
		return;
	}
	is(sibling_of_parker(false), 1 << 8,
	   "with one uid, who parks descriptors keeps others from sending any");
	is(sibling_of_parker(true), 0, "with a uid for each VM, a sibling's message passes");
}

/* Without a sandbox the attack is one: what it sends arrives. */
static void test_attack_is_real(void)
{
	make_pair(-1, SOCK_DGRAM);
	is(arrivals(), 1, "outside of the sandbox a datagram arrives");
}

int main(void)
{
	tap_init();
	open_strangers();
	test_attack_is_real();
	for (int role = 0; role < SANDBOX_NR_ROLES; role++) {
		test_new_sockets((enum sandbox_role)role);
		test_connected_sockets((enum sandbox_role)role);
	}
	test_streams();
	test_parking();
	return tap_done();
}
