/* SPDX-License-Identifier: MIT */
/* Operations on files one by one: the thread waits for each. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "file_io_impl.h"

static int create(struct file_io *io, const int *fds, unsigned int nr)
{
	(void)fds;
	(void)nr;
	io->last = &io->first;
	return 0;
}

static void destroy(struct file_io *io)
{
	(void)io;
}

static int64_t perform(const struct file_op *op)
{
	switch (op->type) {
	case FILE_READ: return pread(op->fd, op->buf, op->len, (off_t)op->offset);
	case FILE_WRITE: return pwrite(op->fd, op->buf, op->len, (off_t)op->offset);
	case FILE_SYNC: return fdatasync(op->fd);
	case FILE_ALLOCATE: return fallocate(op->fd, 0, (off_t)op->offset, (off_t)op->len);
	default:
		return fallocate(op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)op->offset, (off_t)op->len);
	}
}

static void submit(struct file_io *io, struct file_op *op)
{
	op->result = perform(op);
	if (op->result < 0)
		op->result = -errno;
	op->next = NULL;
	*io->last = op;
	io->last = &op->next;
}

static bool flush(struct file_io *io)
{
	(void)io;
	return true;
}

static struct file_op *reap(struct file_io *io)
{
	struct file_op *op = io->first;

	if (!op)
		return NULL;
	io->first = op->next;
	if (!io->first)
		io->last = &io->first;
	return op;
}

const struct file_engine file_sync = {
	.name = "system calls",
	.create = create,
	.destroy = destroy,
	.submit = submit,
	.flush = flush,
	.reap = reap,
};
