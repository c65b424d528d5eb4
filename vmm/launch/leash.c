/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sys/socket.h>
#include "mmu/base/packet.h"
#include "leash.h"

int leash_create(int pair[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ?
		       -errno :
		       0;
}

int leash_send(int fd, const struct leash_msg *msg, int attach)
{
	return packet_send(fd, msg, sizeof(*msg), attach);
}

int leash_recv(int fd, struct leash_msg *msg, int *attached)
{
	return packet_recv(fd, msg, sizeof(*msg), attached);
}
