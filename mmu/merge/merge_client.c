/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include "merge_client.h"
#include "mmu/base/clock.h"
#include "mmu/base/packet.h"
#include "mmu/base/wire.h"

static uint64_t deadline(void)
{
	return monotonic_ns() + MERGE_CLIENT_MS * NS_PER_MS;
}

static int send_before(int fd, struct merge_msg *msg, uint64_t deadline_ns)
{
	int code;

	wire_merge_header(msg, msg->type);
	while ((code = wire_send_merge(fd, msg, -1)) == -EAGAIN) {
		code = packet_wait(fd, POLLOUT, deadline_ns);
		if (code)
			return code;
	}
	return code ? -ECONNRESET : 0;
}

static int receive_before(int fd, struct merge_msg *msg, int *descriptor, uint64_t deadline_ns)
{
	int code;

	while (!(code = wire_recv_merge(fd, msg, descriptor))) {
		code = packet_wait(fd, POLLIN, deadline_ns);
		if (code)
			return code;
	}
	return code == 1 ? 0 : code;
}

static void remember(struct merge_question *q, const struct merge_msg *msg)
{
	q->type = msg->type;
	q->nr = msg->nr;
	q->arg = msg->arg;
	for (uint32_t i = 0; msg->type == MERGE_LOOKUP && i < msg->nr; i++)
		q->gfn[i] = msg->lookup[i].gfn & ~MERGE_PUBLISH;
}

static bool is_lookup_answer(const struct merge_question *q, const struct merge_msg *msg)
{
	if (msg->nr != q->nr)
		return false;
	for (uint32_t i = 0; i < msg->nr; i++) {
		uint32_t frame = msg->frame[i].frame;

		if (msg->frame[i].gfn != q->gfn[i] ||
		    (!MERGE_IS_FRAME(frame) && (frame < MERGE_UNIQUE || frame > MERGE_LATER)))
			return false;
	}
	return true;
}

static bool is_news(const struct merge_msg *msg)
{
	for (uint32_t i = 0; i < msg->nr; i++) {
		const struct merge_frame *n = &msg->frame[i];
		bool archived = n->gfn & MERGE_ARCHIVED;

		if (!MERGE_IS_FRAME(n->frame) || archived != (n->references > 0) ||
		    (archived && !MERGE_IS_FRAME(merge_archived_frame(n->gfn))))
			return false;
	}
	return true;
}

static bool is_answer(const struct merge_question *q, const struct merge_msg *msg, bool descriptor)
{
	if (q->type == MERGE_SEGMENT && msg->type == MERGE_SEGMENT)
		return descriptor && msg->arg == q->arg;
	if (q->type == MERGE_SECRET)
		return !descriptor && msg->type == MERGE_SECRET;
	if (descriptor || msg->type != MERGE_FRAMES)
		return false;
	return q->type == MERGE_LOOKUP ? is_lookup_answer(q, msg) :
	       q->type == MERGE_NEWS   ? is_news(msg) :
					 !msg->nr;
}

int merge_send(int fd, struct merge_msg *msg, struct merge_question *q)
{
	remember(q, msg);
	return send_before(fd, msg, deadline());
}

int merge_receive(int fd, struct merge_msg *msg, const struct merge_question *q, int *descriptor)
{
	int got = -1, code = receive_before(fd, msg, &got, deadline());

	if (!code && (!is_answer(q, msg, got >= 0) || (got >= 0 && !descriptor)))
		code = -EPROTO;
	if (code && got >= 0)
		close(got);
	if (descriptor)
		*descriptor = code ? -1 : got;
	return code;
}

int merge_ask(int fd, struct merge_msg *msg, int *descriptor)
{
	struct merge_question q;
	int code;

	if (descriptor)
		*descriptor = -1;
	code = merge_send(fd, msg, &q);
	return code ? code : merge_receive(fd, msg, &q, descriptor);
}

int merge_tell(int fd, struct merge_msg *msg)
{
	return send_before(fd, msg, deadline());
}
