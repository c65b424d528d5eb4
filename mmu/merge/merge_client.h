/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_MERGE_CLIENT_H
#define QUIRE_MMU_MERGE_MERGE_CLIENT_H

/*
 * The VM's side of merge_protocol.h: one thread that asks and waits.  What it needs of the kernel
 * is sendmsg, recvmsg and poll (and close, if the machine sends what it should not).
 *
 * After any error the connection is of no more use: an answer may still be under way.  A struct
 * merge_msg is 8 KiB, and merge_ask() puts half as much on the stack.
 */
#include "mmu/base/merge_protocol.h"

#define MERGE_CLIENT_MS 10000

/* A connection: keep fds[0], give fds[1] to credits_join().  Both close-on-exec.  0 or -errno. */
int merge_pair(int fds[2]);

/* What was asked, as far as the answer must agree with it. */
struct merge_question {
	uint16_t type;
	uint32_t nr, arg;
	uint64_t gfn[MERGE_BATCH];
};

/*
 * Send *msg, whose type, nr, arg and entries are set, and remember in *q what it was; or receive
 * the answer to *q into *msg.  Two questions may be under way; answers come in order.  *descriptor
 * (may be NULL if q is no SEGMENT) becomes the segment's, the caller's, or -1.
 *
 * On 0 the answer is of the right type, has an entry with the same gfn for each of a LOOKUP's, and
 * each frame is one or says why not (NEWS: each is one).
 *   -ECONNRESET   the machine hung up
 *   -ETIMEDOUT    no room, or no answer, within MERGE_CLIENT_MS
 *   -EPROTO       the answer makes no sense
 */
int merge_send(int fd, struct merge_msg *msg, struct merge_question *q);
int merge_receive(int fd, struct merge_msg *msg, const struct merge_question *q, int *descriptor);

/* Both, one after the other. */
int merge_ask(int fd, struct merge_msg *msg, int *descriptor);

/* Send a DROP, to which there is no answer; waits for room.  0, -ECONNRESET, -ETIMEDOUT. */
int merge_tell(int fd, struct merge_msg *msg);

#endif
