/* SPDX-License-Identifier: MIT */
/*
 * Operations on files through an io_uring (io_uring(7)), whose restrictions file_io.h
 * explains.
 *
 * The thread sleeps in poll(2), because it waits for doorbells too, and not in the ring.  The ring
 * has no fixed buffers: these would be pinned memory, whether a guest uses its disk or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "file_io_impl.h"

/* Threads of the kernel's in our process, for what it cannot do without waiting. */
#define WORKERS 4

static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t allowed[] = { IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC,
					   IORING_OP_FALLOCATE };
	struct io_uring_restriction r[ARRAY_SIZE(allowed) + 2] = {
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(allowed); i++) {
		r[i + 2].opcode = IORING_RESTRICTION_SQE_OP;
		r[i + 2].sqe_op = allowed[i];
	}
	return io_uring_register_restrictions(ring, r, ARRAY_SIZE(r));
}

static int create(struct file_io *io, const int *fds, unsigned int nr)
{
	unsigned int workers[2] = { WORKERS, WORKERS };
	int ret = io_uring_queue_init(FILE_MAX_IN_FLIGHT, &io->ring, IORING_SETUP_R_DISABLED);

	if (ret)
		return ret;
	(void)io_uring_register_iowq_max_workers(&io->ring, workers); /* Linux 5.15 */
	ret = io_uring_register_files(&io->ring, fds, nr);
	if (!ret)
		ret = restrict_ring(&io->ring);
	if (!ret)
		ret = io_uring_enable_rings(&io->ring);
	if (ret)
		io_uring_queue_exit(&io->ring);
	io->poll_fd = io->ring.ring_fd;
	return ret;
}

static void destroy(struct file_io *io)
{
	io_uring_queue_exit(&io->ring);
}

/* The ring knows its files by their places in the list. */
static int place_of(const struct file_io *io, int fd)
{
	unsigned int i = 0;

	while (i < io->nr_fds && io->fds[i] != fd)
		i++;
	return (int)i;
}

static void submit(struct file_io *io, struct file_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	int file = place_of(io, op->fd);

	/* Unreachable: there are as many entries as operations in flight. */
	if (!sqe)
		abort();
	switch (op->type) {
	case FILE_READ:
		io_uring_prep_read(sqe, file, op->buf, (unsigned int)op->len, op->offset);
		break;
	case FILE_WRITE:
		io_uring_prep_write(sqe, file, op->buf, (unsigned int)op->len, op->offset);
		break;
	case FILE_SYNC: io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC); break;
	case FILE_PUNCH:
		io_uring_prep_fallocate(sqe, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)op->offset, (off_t)op->len);
		break;
	case FILE_ALLOCATE:
		io_uring_prep_fallocate(sqe, file, 0, (off_t)op->offset, (off_t)op->len);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

static bool flush(struct file_io *io)
{
	if (io_uring_sq_ready(&io->ring))
		(void)io_uring_submit(&io->ring);
	return !io_uring_sq_ready(&io->ring);
}

static struct file_op *reap(struct file_io *io)
{
	struct io_uring_cqe *cqe;
	struct file_op *op;

	if (io_uring_peek_cqe(&io->ring, &cqe))
		return NULL;
	op = io_uring_cqe_get_data(cqe);
	op->result = cqe->res;
	io_uring_cqe_seen(&io->ring, cqe);
	return op;
}

const struct file_engine file_uring = {
	.name = "io_uring",
	.create = create,
	.destroy = destroy,
	.submit = submit,
	.flush = flush,
	.reap = reap,
};
