/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "file_io_impl.h"

static const struct file_engine *const table[] = { &file_uring, &file_sync };

int file_io_create_as(const struct file_engine *engine, const int *fds, unsigned int nr,
		      struct file_io **out)
{
	struct file_io *io = calloc(1, sizeof(*io));
	int ret;

	if (!io)
		return -ENOMEM;
	if (nr > FILE_IO_MAX_FDS)
		abort();
	io->engine = engine;
	io->poll_fd = -1;
	io->nr_fds = nr;
	memcpy(io->fds, fds, nr * sizeof(*fds));
	ret = engine->create(io, fds, nr);
	if (ret)
		free(io);
	else
		*out = io;
	return ret;
}

int file_io_create(const int *fds, unsigned int nr, struct file_io **out)
{
	int ret = -ENOSYS;

	for (unsigned int i = 0; i < ARRAY_SIZE(table) && ret; i++)
		ret = file_io_create_as(table[i], fds, nr, out);
	return ret;
}

void file_io_destroy(struct file_io *io)
{
	if (!io)
		return;
	io->engine->destroy(io);
	free(io);
}

int file_io_fd(const struct file_io *io)
{
	return io->poll_fd;
}

const char *file_io_name(const struct file_io *io)
{
	return io->engine->name;
}

void file_io_submit(struct file_io *io, struct file_op *op)
{
	op->done = false;
	io->in_flight++;
	io->engine->submit(io, op);
}

bool file_io_flush(struct file_io *io)
{
	return io->engine->flush(io);
}

struct file_op *file_io_reap(struct file_io *io)
{
	struct file_op *op = io->engine->reap(io);

	if (op) {
		op->done = true;
		io->in_flight--;
	}
	return op;
}

unsigned int file_io_in_flight(const struct file_io *io)
{
	return io->in_flight;
}
