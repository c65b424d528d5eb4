/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_MERGE_MERGE_CLIENT_H
#define QUIRE_MMU_MERGE_MERGE_CLIENT_H

/*
 * The VM's side of merge_protocol.h, for one thread that asks and waits.  It needs the system calls
 * sendmsg, recvmsg and poll, and close if the machine sends a descriptor that it should not.
 *
 * Every function here that waits returns 0 or one of these:
 *
 *   -ECONNRESET   the machine hung up
 *   -ETIMEDOUT    the machine did not read, or did not answer, within MERGE_CLIENT_MS
 *   -EPROTO       the answer makes no sense
 *
 * After an error the connection is of no use any more: an answer may still be under way.  A struct
 * merge_msg is 8 KiB, and merge_ask() puts half as much on the stack.
 */
#include "mmu/base/merge_protocol.h"

#define MERGE_CLIENT_MS 10000

/* What was asked, as far as the answer has to agree with it. */
struct merge_question {
	uint16_t type;
	uint32_t nr, arg;
	uint64_t gfn[MERGE_BATCH];
};

/*
 * Send *msg, of which the caller has set type, nr, arg and entries, and remember in *q what it
 * was.  Two questions may be under way; their answers come in order.  *msg gets a header, and is
 * else as it was.
 */
int merge_send(int fd, struct merge_msg *msg, struct merge_question *q);

/*
 * Receive the answer to *q into *msg.  *descriptor becomes the segment's, which is the caller's, or
 * -1.  It may be NULL if q is not a SEGMENT.
 *
 * On 0 the answer is of the right type.  It has an entry with the same gfn for each entry of a
 * LOOKUP.  Each frame is a frame number or an enum merge_none; in NEWS it is a frame number,
 * and what was archived has references.
 */
int merge_receive(int fd, struct merge_msg *msg, const struct merge_question *q, int *descriptor);

/* Send *msg and receive the answer into it: merge_send() and then merge_receive(). */
int merge_ask(int fd, struct merge_msg *msg, int *descriptor);

/* Send a DROP, a COLD or a PASS, to which there is no answer.  Waits until the machine reads. */
int merge_tell(int fd, struct merge_msg *msg);

#endif
