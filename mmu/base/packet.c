/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "clock.h"
#include "packet.h"

/* Room for one descriptor, which the kernel rounds up to two. */
union fd_control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int packet_send(int fd, const void *packet, size_t bytes, int attach)
{
	struct iovec iov = { .iov_base = (void *)packet, .iov_len = bytes };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_control control;
	ssize_t n;

	if (attach >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		h.msg_control = control.buf;
		h.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &attach, sizeof(int));
	}
	do
		n = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Keep the first descriptor and close the rest.  Returns how many came. */
static unsigned int take_descriptors(struct msghdr *h, int *attached)
{
	unsigned int nr = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(int));
			if (nr++)
				close(fd);
			else
				*attached = fd;
		}
	}
	return nr;
}

/* 1; or why n bytes with nr descriptors are not a packet of this size: -ECONNRESET, -EPROTO. */
static int check(size_t bytes, ssize_t n, unsigned int nr, int flags)
{
	if (n == 0 && !nr)
		return -ECONNRESET;
	if (n != (ssize_t)bytes || flags & (MSG_TRUNC | MSG_CTRUNC) || nr > 1)
		return -EPROTO;
	return 1;
}

/*
 * A peer that closes its end with packets of ours unread leaves an error in front of what it sent.
 * So the first ECONNRESET does not mean that there is nothing to read.
 */
static ssize_t receive(int fd, struct msghdr *h)
{
	unsigned int resets = 0;
	ssize_t n;

	do
		n = recvmsg(fd, h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !resets++)));
	return n;
}

int packet_recv(int fd, void *packet, size_t bytes, int *attached)
{
	struct iovec iov = { .iov_base = packet, .iov_len = bytes };
	union fd_control control;
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf) };
	unsigned int nr;
	ssize_t n;
	int code;

	*attached = -1;
	n = receive(fd, &h);
	if (n < 0)
		return errno == EAGAIN ? 0 : -ECONNRESET;
	nr = take_descriptors(&h, attached);
	code = check(bytes, n, nr, h.msg_flags);
	if (code < 0 && *attached >= 0) {
		close(*attached);
		*attached = -1;
	}
	return code;
}

int packet_wait(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = monotonic_ns();
		int n;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		n = poll(&pfd, 1, poll_ms(now, deadline_ns));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}
