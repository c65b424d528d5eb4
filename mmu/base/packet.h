/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_PACKET_H
#define QUIRE_MMU_BASE_PACKET_H

/*
 * One packet of a SOCK_SEQPACKET socket, with at most one descriptor, out and in.  Sending and
 * receiving do not block.  A hostile peer can neither make them fail in a way that is not listed
 * here nor leave a descriptor behind.
 */
#include <stddef.h>
#include <stdint.h>

/*
 * Send a packet, with descriptor `attach` unless it is -1; the caller keeps both.
 *
 * Returns 0;
 *   -EAGAIN              the peer does not read
 *   -EPIPE, -ECONNRESET  the peer is gone
 *   another -errno       as sendmsg() says
 */
int packet_send(int fd, const void *packet, size_t bytes, int attach);

/*
 * Receive one.  *attached becomes a descriptor (close-on-exec) that is the caller's, or -1.
 *
 * Returns 1; 0: there is no packet yet;
 *   -ECONNRESET   the peer hung up
 *   -EPROTO       the packet has another size, or more than one descriptor
 */
int packet_recv(int fd, void *packet, size_t bytes, int *attached);

/* Wait until fd has one of the poll() events.  0; -ETIMEDOUT at the deadline; other -errno. */
int packet_wait(int fd, short events, uint64_t deadline_ns);

#endif
