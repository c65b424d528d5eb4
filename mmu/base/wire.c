/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "packet.h"
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

int wire_send(int fd, const struct machine_msg *msg, int attach)
{
	return packet_send(fd, msg, sizeof(*msg), attach);
}

int wire_send_merge(int fd, const struct merge_msg *msg, int attach)
{
	return packet_send(fd, msg, sizeof(*msg), attach);
}

static int reject(int *attached, int error)
{
	if (*attached >= 0)
		close(*attached);
	*attached = -1;
	return error;
}

int wire_recv(int fd, struct machine_msg *msg, int *attached)
{
	int code = packet_recv(fd, msg, sizeof(*msg), attached);

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
	int code = packet_recv(fd, msg, sizeof(*msg), attached);

	if (code == 1 &&
	    (msg->magic != MERGE_MAGIC || msg->version != MACHINE_VERSION || msg->nr > MERGE_BATCH))
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
		return quire_fail(err, -EINVAL,
				  "the machine's address is empty; give a path, or "
				  "@NAME for an abstract one");
	if (n >= sizeof(sun->sun_path))
		return quire_fail(err, -ENAMETOOLONG,
				  "%.40s...: %zu bytes are too many for a socket address, %zu is "
				  "the most; choose a shorter path",
				  address, n, sizeof(sun->sun_path) - 1);
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
