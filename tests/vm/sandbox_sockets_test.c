/* SPDX-License-Identifier: MIT */
/*
 * Whom a thread that was taken over can send to: nobody but those that its process is connected to.
 *
 * Sockets of a stranger listen under abstract names, one of each type.  In each role, a process in
 * the sandbox tries to reach them: with sockets that it makes, of all types, and by naming an
 * address as it sends on the connected sockets that a VM has.  Nothing may arrive.
 *
 * Descriptors that wait in a socket to be received count for the whole user, and beyond a limit
 * nobody of that user can send one.  So no role may have both ends of a socket, to park them there.
 */
#include <errno.h>
#include <quire/types.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
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

/* Send a byte and a descriptor from fd to all strangers by name. */
static void send_to_strangers(int fd)
{
	for (size_t i = 0; i < NR_TYPES; i++) {
		union {
			char buf[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control = { 0 };
		struct iovec iov = { .iov_base = (char[1]){ 'x' }, .iov_len = 1 };
		struct msghdr h = { .msg_name = &address[i],
				    .msg_namelen = address_len[i],
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.buf,
				    .msg_controllen = sizeof(control.buf) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
		syscall(SYS_sendmsg, fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
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
			syscall(role == SANDBOX_MAIN || role == SANDBOX_IMAGE ? SYS_exit_group :
										SYS_exit,
				0);
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
	is(killed, tried, "%s: to make a socket is the end, whatever its type",
	   sandbox_role_name[role]);
	is(arrivals(), 0, "... and nothing arrives at a stranger's");
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
	return tap_done();
}
