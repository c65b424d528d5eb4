/* SPDX-License-Identifier: MIT */
/*
 * The thread of a swap file.
 *
 * New operations come in a queue.  Reads go before writes, because somebody sleeps for each.  What
 * the disk does only in part is continued where it ended, if that is between two units.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "mmu/base/clock.h"
#include "mmu/base/locks.h"
#include "mmu/base/thread.h"
#include "swap_io.h"

struct queue {
	struct swap_op *first, **last;
};

/* [I] immutable after create   [s] LOCK_SWAP   [t] the thread alone */
struct swap_io {
	int fd;			     /* [I] */
	uint32_t unit;		     /* [I] */
	int event;		     /* [I] eventfd: something is in the queues */
	struct file_io *files;	     /* [t] */
	struct swap_faults faults;   /* [t] */
	struct swap_op *held;	     /* [t] done, and held back by a fault */
	struct lock lock;	     /* LOCK_SWAP */
	struct queue reads;	     /* [s] */
	struct queue others;	     /* [s] */
	bool stopping;		     /* [s] */
	struct thread thread;	     /* [I] */
	void (*on_start)(void *ctx); /* [I] */
	void *ctx;		     /* [I] */
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void enqueue(struct queue *q, struct swap_op *op)
{
	op->next = NULL;
	*q->last = op;
	q->last = &op->next;
}

static struct swap_op *dequeue(struct queue *q)
{
	struct swap_op *op = q->first;

	if (!op)
		return NULL;
	q->first = op->next;
	if (!q->first)
		q->last = &q->first;
	return op;
}

int swap_io_create(int fd, uint32_t unit, const struct swap_faults *faults, struct swap_io **out)
{
	struct swap_io *io = calloc(1, sizeof(*io));
	int err = -ENOMEM;

	if (!io)
		return err;
	io->fd = fd;
	io->unit = unit;
	io->faults = *faults;
	queue_init(&io->reads);
	queue_init(&io->others);
	io->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = io->event < 0 ? -errno : file_io_create(&fd, 1, &io->files);
	if (err) {
		if (io->event >= 0)
			close(io->event);
		free(io);
		return err;
	}
	lock_init(&io->lock, LOCK_SWAP);
	*out = io;
	return 0;
}

void swap_io_descriptors(const struct swap_io *io, int fds[SWAP_IO_DESCRIPTORS])
{
	fds[0] = io->event;
	fds[1] = file_io_fd(io->files);
}

const char *swap_io_engine(const struct swap_io *io)
{
	return file_io_name(io->files);
}

/* ---- the thread ---- */

static void finish(struct swap_op *op)
{
	if (op->file.result > 0)
		op->file.result = 0;
	op->done(op);
}

/* Did the disk only a part of it?  Then the rest is to be done. */
static bool is_part(const struct swap_io *io, struct file_op *op)
{
	uint64_t done = op->result > 0 ? align_down((uint64_t)op->result, io->unit) : 0;

	if ((op->type != FILE_READ && op->type != FILE_WRITE) || op->result < 0 ||
	    (uint64_t)op->result >= op->len)
		return false;
	if (!done)
		op->result = -EIO;
	op->buf = (uint8_t *)op->buf + done;
	op->offset += done;
	op->len -= done;
	return done;
}

static void came_out(struct swap_io *io, struct swap_op *op)
{
	uint64_t ns = swap_faults_apply(&io->faults, &op->file);

	if (is_part(io, &op->file)) {
		file_io_submit(io->files, &op->file);
	} else if (ns) {
		op->due_ns = ns == SWAP_DEAD_NS ? UINT64_MAX : monotonic_ns() + ns;
		op->next = io->held;
		io->held = op;
	} else {
		finish(op);
	}
}

static struct swap_op *next_in_queue(struct swap_io *io)
{
	struct swap_op *op;

	lock(&io->lock);
	op = dequeue(&io->reads);
	if (!op)
		op = dequeue(&io->others);
	unlock(&io->lock);
	return op;
}

static void hand_over(struct swap_io *io)
{
	struct swap_op *op;

	while (file_io_in_flight(io->files) < FILE_MAX_IN_FLIGHT && (op = next_in_queue(io)))
		file_io_submit(io->files, &op->file);
	file_io_flush(io->files);
}

static bool reap(struct swap_io *io)
{
	struct file_op *op;
	bool any = false;

	while ((op = file_io_reap(io->files))) {
		came_out(io, op->owner);
		any = true;
	}
	return any;
}

static bool is_stopping(struct swap_io *io)
{
	bool stopping;

	lock(&io->lock);
	stopping = io->stopping;
	unlock(&io->lock);
	return stopping;
}

/*
 * Let those go that were held back long enough; in the end, all.  Returns the ms until the next
 * one, or -1.
 */
static int release_held(struct swap_io *io)
{
	struct swap_op **at = &io->held;
	uint64_t now = is_stopping(io) ? UINT64_MAX : monotonic_ns(), next = UINT64_MAX;

	while (*at) {
		struct swap_op *op = *at;

		if (op->due_ns > now) {
			next = min_u64(next, op->due_ns);
			at = &op->next;
		} else {
			*at = op->next;
			finish(op);
		}
	}
	return next == UINT64_MAX ? -1 : (int)((next - now) / 1000000 + 1);
}

static bool is_finished(struct swap_io *io)
{
	bool finished;

	lock(&io->lock);
	finished = io->stopping && !io->reads.first && !io->others.first;
	unlock(&io->lock);
	return finished && !io->held && !file_io_in_flight(io->files);
}

static void io_main(void *arg)
{
	struct swap_io *io = arg;
	struct pollfd p[] = {
		{ .fd = io->event, .events = POLLIN },
		{ .fd = file_io_fd(io->files), .events = POLLIN },
	};
	eventfd_t count;

	if (io->on_start)
		io->on_start(io->ctx);
	while (!is_finished(io)) {
		int ms;

		do
			hand_over(io);
		while (reap(io));
		ms = release_held(io);
		if (is_finished(io))
			return;
		if (poll(p, ARRAY_SIZE(p), ms) < 0 && errno != EINTR)
			return;
		eventfd_read(io->event, &count);
	}
}

int swap_io_start(struct swap_io *io, void (*on_start)(void *ctx), void *ctx)
{
	io->on_start = on_start;
	io->ctx = ctx;
	return thread_start(&io->thread, "swap", io_main, io);
}

void swap_io_submit(struct swap_io *io, struct swap_op *op)
{
	op->file.fd = io->fd;
	op->file.owner = op;
	op->since_ns = monotonic_ns();
	lock(&io->lock);
	enqueue(op->file.type == FILE_READ ? &io->reads : &io->others, op);
	unlock(&io->lock);
	eventfd_write(io->event, 1);
}

void swap_io_destroy(struct swap_io *io)
{
	if (!io)
		return;
	lock(&io->lock);
	io->stopping = true;
	unlock(&io->lock);
	eventfd_write(io->event, 1);
	thread_join(&io->thread);
	file_io_destroy(io->files);
	close(io->event);
	lock_finish(&io->lock);
	free(io);
}
