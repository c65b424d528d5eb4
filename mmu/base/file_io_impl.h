/* SPDX-License-Identifier: MIT */
#ifndef QUIRE_MMU_BASE_FILE_IO_IMPL_H
#define QUIRE_MMU_BASE_FILE_IO_IMPL_H

/* What file_io.c, file_uring.c and file_sync.c share. */
#include <liburing.h>
#include "file_io.h"

struct file_io {
	const struct file_engine *engine;
	int fds[FILE_IO_MAX_FDS];
	unsigned int nr_fds;
	unsigned int in_flight;
	int poll_fd;		       /* -1: none */
	struct io_uring ring;	       /* file_uring */
	struct file_op *first, **last; /* file_sync: those done */
};

#endif
