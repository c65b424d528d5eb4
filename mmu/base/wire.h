/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_WIRE_H
#define QUIRE_MMU_BASE_WIRE_H

/*
 * Sending and receiving the packets of machine_protocol.h and merge_protocol.h.  The calls return
 * what packet_send() and packet_recv() return (packet.h).
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <quire/error.h>
#include "merge_protocol.h"
#include "machine_protocol.h"

/* A packet of this type for this VM; everything else in it is 0. */
struct machine_msg wire_msg(enum machine_type type, uint32_t vm);

int wire_send(int fd, const struct machine_msg *msg, int attach);

/* Also -EPROTONOSUPPORT: the packet is of another version, and its rest means nothing. */
int wire_recv(int fd, struct machine_msg *msg, int *attached);

/* The same for the connection about equal pages. */
void wire_merge_header(struct merge_msg *msg, enum merge_type type);
int wire_send_merge(int fd, const struct merge_msg *msg, int attach);

/* Another version is -EPROTO here: the VM and its machine agreed on one before. */
int wire_recv_merge(int fd, struct merge_msg *msg, int *attached);

/*
 * Make a socket address of `address`: NULL is the default one, "@NAME" an abstract one, and
 * anything else a path.  0; -ENAMETOOLONG, -EINVAL (it is empty) with *err.
 */
int wire_address(const char *address, struct sockaddr_un *sun, socklen_t *len,
		 struct quire_error *err);

/* The same as a text to print.  It lives as long as `address` and buf. */
const char *wire_address_name(const char *address, char *buf, size_t bytes);

#endif
