/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "disk_io_impl.h"

static const struct disk_engine *const table[] = { &disk_uring, &disk_sync };

int disk_io_create_as(const struct disk_engine *engine, const int *fds, unsigned int nr,
		      struct disk_io **out)
{
	struct disk_io *io = calloc(1, sizeof(*io));
	int ret;

	if (!io)
		return -ENOMEM;
	if (nr > DISK_IO_MAX_FDS)
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

int disk_io_create(const int *fds, unsigned int nr, struct disk_io **out)
{
	int ret = -ENOSYS;

	for (unsigned int i = 0; i < ARRAY_SIZE(table) && ret; i++)
		ret = disk_io_create_as(table[i], fds, nr, out);
	return ret;
}

void disk_io_destroy(struct disk_io *io)
{
	if (!io)
		return;
	io->engine->destroy(io);
	free(io);
}

int disk_io_fd(const struct disk_io *io)
{
	return io->poll_fd;
}

const char *disk_io_name(const struct disk_io *io)
{
	return io->engine->name;
}

void disk_io_submit(struct disk_io *io, struct disk_op *op)
{
	op->done = false;
	io->in_flight++;
	io->engine->submit(io, op);
}

bool disk_io_flush(struct disk_io *io)
{
	return io->engine->flush(io);
}

struct disk_op *disk_io_reap(struct disk_io *io)
{
	struct disk_op *op = io->engine->reap(io);

	if (op) {
		op->done = true;
		io->in_flight--;
	}
	return op;
}

unsigned int disk_io_in_flight(const struct disk_io *io)
{
	return io->in_flight;
}
