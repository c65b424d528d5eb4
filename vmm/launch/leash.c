/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
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

int leash_send_input(int fd, const char *data, size_t bytes)
{
	int ret = 0;

	for (size_t done = 0; done < bytes && !ret; done += LEASH_INPUT_BYTES) {
		struct leash_msg msg = { .type = LEASH_INPUT };

		msg.bytes = (uint32_t)min_u64(bytes - done, LEASH_INPUT_BYTES);
		memcpy(msg.input, data + done, msg.bytes);
		ret = leash_send(fd, &msg, -1);
	}
	return ret;
}

void leash_take_input(const struct leash_msg *msg, char *data, size_t *bytes, size_t size)
{
	size_t take = min_u64(min_u64(msg->bytes, LEASH_INPUT_BYTES), size - *bytes);

	memcpy(data + *bytes, msg->input, take);
	*bytes += take;
}

int leash_recv(int fd, struct leash_msg *msg, int *attached)
{
	return packet_recv(fd, msg, sizeof(*msg), attached);
}
