/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_VMM_DEV_DISK_IO_IMPL_H
#define QUIRE_VMM_DEV_DISK_IO_IMPL_H

/* What disk_io.c, disk_uring.c and disk_sync.c share. */
#include <liburing.h>
#include "disk_io.h"

struct disk_io {
	const struct disk_engine *engine;
	int fds[DISK_IO_MAX_FDS];
	unsigned int nr_fds;
	unsigned int in_flight;
	int poll_fd;		       /* -1: none */
	struct io_uring ring;	       /* disk_uring */
	struct disk_op *first, **last; /* disk_sync: those done */
};

#endif
