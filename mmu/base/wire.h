/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_WIRE_H
#define QUIRE_MMU_BASE_WIRE_H

/*
 * One record of machine_protocol.h, or of merge_protocol.h, out and in, as record.h has it.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <quire/error.h>
#include "merge_protocol.h"
#include "machine_protocol.h"

/* A record of this type, all else 0. */
struct machine_msg wire_msg(enum machine_type type, uint32_t vm);

int wire_send(int fd, const struct machine_msg *msg, int attach);

/* Also -EPROTONOSUPPORT: a record of another version, whose rest means nothing. */
int wire_recv(int fd, struct machine_msg *msg, int *attached);

/* The same for what is said about equal pages. */
void wire_merge_header(struct merge_msg *msg, enum merge_type type);
int wire_send_merge(int fd, const struct merge_msg *msg, int attach);
int wire_recv_merge(int fd, struct merge_msg *msg, int *attached); /* no -EPROTONOSUPPORT */

/*
 * The socket address that `address` means: NULL the default, "@NAME" an abstract one, else a
 * path.  0; -ENAMETOOLONG, -EINVAL (empty) with *err.
 */
int wire_address(const char *address, struct sockaddr_un *sun, socklen_t *len,
		 struct quire_error *err);

/* How to print it; the result lives as long as `address` and buf. */
const char *wire_address_name(const char *address, char *buf, size_t bytes);

#endif
