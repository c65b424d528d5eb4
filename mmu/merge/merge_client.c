/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "merge_client.h"
#include "mmu/base/wire.h"

int merge_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? -errno : 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Wait until fd is ready or the deadline has passed.  0 or -ETIMEDOUT. */
static int wait_ready(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = now_ms();

		if (now >= deadline_ms)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)(deadline_ms - now)) > 0)
			return 0;
	}
}

static int send_before(int fd, struct merge_msg *msg, uint64_t deadline)
{
	int code;

	wire_merge_header(msg, msg->type);
	while ((code = wire_send_merge(fd, msg, -1)) == -EAGAIN) {
		code = wait_ready(fd, POLLOUT, deadline);
		if (code)
			return code;
	}
	return code ? -ECONNRESET : 0;
}

static int receive_before(int fd, struct merge_msg *msg, int *descriptor, uint64_t deadline)
{
	int code;

	while (!(code = wire_recv_merge(fd, msg, descriptor))) {
		code = wait_ready(fd, POLLIN, deadline);
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
		    (!MERGE_IS_FRAME(frame) && (frame < MERGE_UNIQUE || frame > MERGE_NO_MEMORY)))
			return false;
	}
	return true;
}

static bool is_news(const struct merge_msg *msg)
{
	for (uint32_t i = 0; i < msg->nr; i++)
		if (!MERGE_IS_FRAME(msg->frame[i].frame))
			return false;
	return true;
}

static bool is_answer(const struct merge_question *q, const struct merge_msg *msg, bool descriptor)
{
	if (q->type == MERGE_SEGMENT && msg->type == MERGE_SEGMENT)
		return descriptor && msg->arg == q->arg;
	if (descriptor || msg->type != MERGE_FRAMES)
		return false;
	return q->type == MERGE_LOOKUP ? is_lookup_answer(q, msg) :
	       q->type == MERGE_NEWS   ? is_news(msg) :
					 !msg->nr;
}

int merge_send(int fd, struct merge_msg *msg, struct merge_question *q)
{
	remember(q, msg);
	return send_before(fd, msg, now_ms() + MERGE_CLIENT_MS);
}

int merge_receive(int fd, struct merge_msg *msg, const struct merge_question *q, int *descriptor)
{
	int got = -1, code = receive_before(fd, msg, &got, now_ms() + MERGE_CLIENT_MS);

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
	return send_before(fd, msg, now_ms() + MERGE_CLIENT_MS);
}
