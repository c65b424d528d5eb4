/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "wire.h"

struct machine_msg wire_msg(enum machine_type type, uint32_t vm)
{
	struct machine_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.magic = MACHINE_MAGIC;
	msg.version = MACHINE_VERSION;
	msg.type = (uint16_t)type;
	msg.vm = vm;
	return msg;
}

/* Room for one descriptor; the kernel rounds it up to two. */
union fd_control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static int send_record(int fd, const void *record, size_t bytes, int attach)
{
	struct iovec iov = { .iov_base = (void *)record, .iov_len = bytes };
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

int wire_send(int fd, const struct machine_msg *msg, int attach)
{
	return send_record(fd, msg, sizeof(*msg), attach);
}

int wire_send_merge(int fd, const struct merge_msg *msg, int attach)
{
	return send_record(fd, msg, sizeof(*msg), attach);
}

/* Keep the first descriptor and close the rest.  Returns how many came. */
static unsigned int take_descriptors(struct msghdr *h, int *attached)
{
	unsigned int nr = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
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

static int reject(int *attached, int error)
{
	if (*attached >= 0)
		close(*attached);
	*attached = -1;
	return error;
}

/* 1, or why n bytes with nr descriptors are not one record of this size. */
static int check(size_t bytes, ssize_t n, unsigned int nr, int flags)
{
	if (n == 0 && !nr)
		return -ECONNRESET;
	if (n != (ssize_t)bytes || flags & (MSG_TRUNC | MSG_CTRUNC) || nr > 1)
		return -EPROTO;
	return 1;
}

/*
 * A peer that closes with records of ours unread leaves an error in front of what it sent:
 * the first ECONNRESET is only that, and what it sent is still worth reading.
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

static int recv_record(int fd, void *record, size_t bytes, int *attached)
{
	struct iovec iov = { .iov_base = record, .iov_len = bytes };
	union fd_control control;
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
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
	return code == 1 ? 1 : reject(attached, code);
}

int wire_recv(int fd, struct machine_msg *msg, int *attached)
{
	int code = recv_record(fd, msg, sizeof(*msg), attached);

	if (code == 1 && msg->magic != MACHINE_MAGIC)
		return reject(attached, -EPROTO);
	if (code == 1 && msg->version != MACHINE_VERSION)
		return reject(attached, -EPROTONOSUPPORT);
	return code;
}

void wire_merge_header(struct merge_msg *msg, enum merge_type type)
{
	msg->magic = MERGE_MAGIC;
	msg->version = MACHINE_VERSION;
	msg->type = (uint16_t)type;
}

int wire_recv_merge(int fd, struct merge_msg *msg, int *attached)
{
	int code = recv_record(fd, msg, sizeof(*msg), attached);

	if (code == 1 && (msg->magic != MERGE_MAGIC || msg->version != MACHINE_VERSION ||
			  msg->nr > MERGE_BATCH))
		return reject(attached, -EPROTO);
	return code;
}

int wire_address(const char *address, struct sockaddr_un *sun, socklen_t *len,
		 struct quire_error *err)
{
	char buf[64];
	size_t n;

	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (!address) {
		snprintf(buf, sizeof(buf), "@" MACHINE_ADDRESS, (unsigned int)getuid());
		address = buf;
	}
	n = strlen(address);
	if (!n || !strcmp(address, "@"))
		return quire_fail(err, -EINVAL, "the machine's address is empty; give a path, or "
				  "@NAME for an abstract one");
	if (n >= sizeof(sun->sun_path))
		return quire_fail(err, -ENAMETOOLONG,
				  "%.40s...: %zu bytes are too many for a socket address, %zu is "
				  "the most; choose a shorter path", address, n,
				  sizeof(sun->sun_path) - 1);
	memcpy(sun->sun_path, address, n);
	*len = offsetof(struct sockaddr_un, sun_path) + n;
	if (*address == '@')
		sun->sun_path[0] = '\0';
	else
		(*len)++;
	return 0;
}

const char *wire_address_name(const char *address, char *buf, size_t bytes)
{
	if (address)
		return address;
	snprintf(buf, bytes, "@" MACHINE_ADDRESS, (unsigned int)getuid());
	return buf;
}
